"""`report`: one page of one or several runs, in whatever state, and its figures as files."""

import inspect
import json
import re
import shutil
from pathlib import Path

import pytest

import pythia_traj as pt
from pythia_traj.cli.report import report as command
from pythia_traj.store.events import EventLog
from pythia_traj.store.layout import Run
from tests.chromium import in_chromium

UNIT = "metrics/model=tiny/label=ind/step-000001.parquet"


@pytest.fixture(scope="module")
def made(suite, tmp_path_factory):
    """A run, not to be changed."""
    out = tmp_path_factory.mktemp("report") / "run"
    experiments = {"ind": {"use": "induction", "length": 20, "n": 2}}
    request = {"model": str(suite), "steps": "0,1,2", "device": "cpu", "experiments": experiments}
    assert not pt.sweep(pt.SweepConfig(**request, out=out)).failed
    return out


@pytest.fixture
def run(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "run"))


def text_of(path):
    return re.sub(
        r"<[^>]*>", " ", re.sub(r"<script.*?</script>", "", path.read_text(), flags=re.DOTALL)
    )


def test_a_finished_run_is_a_page(cli, made, tmp_path):
    path = tmp_path / "page.html"
    assert cli("report", made, "-o", path) == (0, f"report: {path}\n", "")
    assert "induction" in text_of(path)
    assert [one.name for one in tmp_path.iterdir()] == ["page.html"]


def test_several_runs_are_one_page_with_names_of_their_own(cli, made, run, tmp_path):
    path = tmp_path / "page.html"
    other = run.rename(tmp_path / "other")
    assert cli("report", made, other, "-o", path) == (0, f"report: {path}\n", "")
    assert "run/tiny" in text_of(path)
    assert "other/tiny" in text_of(path)


def empty(run):
    shutil.rmtree(run / "metrics")
    return "none of 3 units has been measured yet"


def one_step(run):
    for step in (1, 2):
        (run / UNIT.replace("1.", f"{step}.")).unlink()
    return "tiny was measured at step 0 alone"


def failed(run):
    (run / UNIT).unlink()
    EventLog(Run(run)).write("failed", unit="tiny/ind/step1", error="out of words")
    return "1 unit failed (tiny/ind/step1): out of words"


def being_written(run):
    (run / UNIT).unlink()
    EventLog(Run(run)).write("started", unit="tiny/ind/step1")
    return "the run is being written: 1 worker is at work, 1 of 3 units in hand"


def truncated(run):
    (run / UNIT).write_bytes((run / UNIT).read_bytes()[:100])
    return f"left out 1 damaged file: {UNIT}"


def newer(run):
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(facts | {"schema": 3, "version": "9.0"}))
    return "the run was written by pythia-traj 9.0 (schema 3)"


@pytest.mark.parametrize(
    "change",
    [empty, one_step, failed, being_written, truncated, newer],
    ids=lambda one: one.__name__,
)
def test_the_page_is_made_of_a_run_in_any_state_and_says_which(cli, run, tmp_path, change):
    expected = change(run)
    code, out, err = cli("report", run, "-o", tmp_path / "page.html")
    assert (code, out) == (0, f"report: {tmp_path / 'page.html'}\n")
    kind = "note" if change is being_written else "warning"
    assert any(line.startswith(f"{kind}: {expected}") for line in err.splitlines()), err
    assert expected in " ".join(text_of(tmp_path / "page.html").split())


def test_what_is_not_a_run_or_not_a_file_is_one_sentence(cli, made, tmp_path):
    for arguments, said in (
        ((tmp_path, "-o", tmp_path / "page.html"), "is not a run directory"),
        ((made, made, "-o", tmp_path / "page.html"), "is given twice"),
        ((made, "-o", tmp_path), "is a directory: give the file to write"),
    ):
        code, out, err = cli("report", *arguments)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert said in err
    assert not list(tmp_path.iterdir())


def test_without_chrome_figures_are_refused_before_anything_is_written(
    cli, made, tmp_path, monkeypatch
):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nowhere"))
    code, _, err = cli("report", made, "-o", tmp_path / "page.html", "--figures", tmp_path / "f")
    assert (code, err.count("\n")) == (1, 1)
    assert "pip install 'pythia-traj[figures]'" in err
    assert not list(tmp_path.iterdir())


@in_chromium
def test_figures_are_written_beside_the_page(cli, made, tmp_path):
    page, folder = tmp_path / "page.html", tmp_path / "figures"
    code, out, err = cli("report", made, "-o", page, "--figures", folder)
    assert (code, out, err) == (0, f"report: {page}\nfigures: {folder}\n", "")
    names = {path.name for path in folder.iterdir()}
    assert {"induction-The-strongest-heads.pdf", "induction-The-strongest-heads.svg"} <= names
    assert {name.rpartition(".")[2] for name in names} == {"pdf", "svg"}


def test_the_works_to_cite_are_written_as_bibtex(cli, made, tmp_path):
    page, works = tmp_path / "page.html", tmp_path / "works.bib"
    code, out, err = cli("report", made, "-o", page, "--bibtex", works)
    assert (code, out, err) == (0, f"report: {page}\nworks to cite: {works}\n", "")
    assert re.search(r"^@\w+\{olsson", works.read_text(), flags=re.MULTILINE | re.IGNORECASE)


def test_the_library_has_the_options_of_the_command(made, tmp_path):
    of_command = set(inspect.signature(command).parameters) - {"output"}
    of_command |= {"path", "on_dated", "on_figure"}
    assert of_command == set(inspect.signature(pt.report).parameters)
    assert pt.report(str(made), tmp_path / "page.html") == ()


def test_items_that_were_left_out_are_said_too(cli, run, tmp_path):
    item = run / "tables/items" / UNIT.removeprefix("metrics/")
    item.write_bytes(item.read_bytes()[:100])
    code, _, err = cli("report", run, "-o", tmp_path / "page.html")
    assert (code, err.count("\n")) == (0, 1)
    assert err.startswith("warning: left out 1 damaged file: tables/items/model=tiny/label=ind")
    assert "left out 1 damaged file" in text_of(tmp_path / "page.html")
