"""Texts are plain English: some phrases that need two readings are refused everywhere."""

from pathlib import Path

import pytest
import typer

from pythia_traj.cli.main import app
from tests.plain_english import PHRASES, in_folder, in_help, in_text, strings

ROOT = Path(__file__).parents[1]

REASONS = (
    "there is no other set of as many heads in these layers",
    "there is no other sequence",
    "there is no such reference at this step",
)
"""Reasons in the column `reason`: values of rows, which stay equal to the bit."""


def test_no_file_holds_a_refused_phrase():
    assert in_folder(ROOT, exempt=REASONS) == []


def test_no_help_holds_a_refused_phrase():
    assert in_help(app) == []


@pytest.mark.parametrize("reason", REASONS)
def test_every_exempt_reason_is_still_in_an_experiment_and_holds_a_phrase(reason):
    sources = (path.read_text() for path in (ROOT / "experiments").glob("*.py"))
    assert reason in [text for source in sources for _, text in strings(source)]
    assert in_text(reason)


CODE = {
    "a string": 'said = "it is no run"',
    "a string over two lines": 'said = (\n    "it is"\n    " no run"\n)',
    "a formatted string": 'said = f"{path} is no {kind} at {step:d}"',
    "a formatted string over two lines": 'said = (\n    f"{path} is"\n    " no run"\n)',
    "a string within a formatted one": "said = f\"{path}: {why or 'it is no run'}\"",
    "a docstring": 'def open():\n    """Opens it: is\n    no run.\n    """',
    "a text after a value": 'LIMIT = 1\n"""It is no limit."""',
    "a comment": "x = 1  # it is no limit",
    "a comment over two lines": "# It is\n# no limit.",
    "white space": 'said = "it is \\t no run"',
    "a capital": 'said = "Is no run"',
}
PLACES = {
    "pythia_traj/deep/file.py": CODE["a string"],
    "experiments/file.py": CODE["a docstring"],
    "benchmarks/file.py": CODE["a comment"],
    "docs/file.py": CODE["a formatted string"],
    "docs/page.md": "A directory that is\nno run.",
    "README.md": "It is no run.",
    "CONTRIBUTING.md": "It is no run.",
    "CHANGELOG.md": "- It is no run.",
    "pythia_traj/page.html.jinja": "<p>It is no run.</p>",
    "configs/demo.yaml": "# It is no run.",
}


def planted(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")
    return in_folder(root)


@pytest.mark.parametrize("place", PLACES)
def test_a_phrase_is_found_in_every_place(place, tmp_path):
    (found,) = planted(tmp_path, place, PLACES[place])
    assert found.startswith(f"{place}:")
    assert found.endswith(": is no ")


@pytest.mark.parametrize("kind", CODE)
def test_a_phrase_is_found_in_every_kind_of_text(kind, tmp_path):
    assert len(planted(tmp_path, "pythia_traj/file.py", CODE[kind])) == 1


@pytest.mark.parametrize("phrase", PHRASES)
def test_every_phrase_is_found(phrase):
    assert in_text(f"It {phrase} such thing.")


def test_words_that_only_contain_a_phrase_are_allowed():
    assert in_text("Recommended: this now is not outlets gone.") == []


def test_only_a_whole_exempt_string_is_exempt(tmp_path):
    file = tmp_path / "experiments" / "file.py"
    file.parent.mkdir()
    file.write_text(f'a = "{REASONS[1]}"\nb = "{REASONS[1]}!"\n# {REASONS[1]}\n')
    assert in_folder(tmp_path, exempt=REASONS) == [
        "experiments/file.py:2: is no ",
        "experiments/file.py:3: is no ",
    ]


HELPS = {
    "of the program": {"program": "It is no run."},
    "of a command": {"command": "It is no run."},
    "of an option": {"option": "It is no run."},
    "of an argument": {"argument": "It is no run."},
    "of a command in a group": {"nested": "It is no run."},
}


@pytest.mark.parametrize("place", HELPS)
def test_a_phrase_is_found_in_every_help(place):
    helps = HELPS[place]
    program = typer.Typer(help=helps.get("program"), rich_markup_mode=None)
    group = typer.Typer()
    program.add_typer(group, name="group")

    @group.command("nested", help=helps.get("nested", "Nested."))
    def nested() -> None: ...

    @program.command("plain", help=helps.get("command", "Plain."))
    def plain(
        argument: str = typer.Argument(help=helps.get("argument", "Given.")),
        option: str = typer.Option("", help=helps.get("option", "Chosen.")),
    ) -> None: ...

    assert in_help(program)
    assert all(found.endswith("--help: is no ") for found in in_help(program))
