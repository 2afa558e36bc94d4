"""What docstrings and pages show at a prompt is what Python answers."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROMPT = re.compile(r"^\s*>>> ", re.MULTILINE)


def with_prompts(*patterns):
    """The files in which something is shown at a prompt."""
    files = (path for pattern in patterns for path in sorted(ROOT.glob(pattern)))
    return [path for path in files if PROMPT.search(path.read_text())]


def failures(test):
    said = []
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    return "".join(said)


@pytest.mark.parametrize(
    "path",
    with_prompts("pythia_traj/**/*.py", "experiments/*.py"),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_examples_in_docstrings_are_true(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts if parts[0] == "pythia_traj" else ("pythia_traj", *parts))
    found = doctest.DocTestFinder().find(importlib.import_module(name))
    # None stands where Python does not look for them, as after a constant.
    assert sum(len(test.examples) for test in found) == len(PROMPT.findall(path.read_text()))
    assert "".join(map(failures, found)) == ""


@pytest.mark.parametrize("path", with_prompts("*.md", "docs/*.md"), ids=lambda path: path.name)
def test_examples_in_pages_are_true(path):
    text = path.read_text()
    test = doctest.DocTestParser().get_doctest(text, {}, path.name, str(path), 0)
    assert len(test.examples) == len(PROMPT.findall(text))
    assert failures(test) == ""
