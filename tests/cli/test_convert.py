"""`convert`, and what the other commands say of a run of schema 1."""

import json
import shutil
from pathlib import Path

import pytest

import pythia_traj as pt
from pythia_traj.errors import StoreError
from pythia_traj.store.layout import CONVERSION, Run

OLD = Path(__file__).parents[1] / "store" / "schema1" / "run"

READING = (["status"], ["report", "-o", "{tmp}/report.html"], ["describe"], ["describe", "--json"])


@pytest.fixture
def old(tmp_path):
    """A part of the fixture, one label."""

    def of_others(_, names):
        return [n for n in names if n.startswith("experiment=") and n != "experiment=mine"]

    return Path(shutil.copytree(OLD, tmp_path / "old", ignore=of_others))


def refusals(cli, run, suite, tmp_path):
    """What every command that takes a run says of it."""
    filled = [[word.format(tmp=tmp_path) for word in command] for command in READING]
    for command, *options in filled:
        yield cli(command, run, *options)
    sweep = ("sweep", "--model", suite, "--steps", "0", "--experiment", "induction", "--out", run)
    yield cli(*sweep)
    yield cli(*sweep, "--dry-run")


def test_every_command_names_the_one_that_converts(cli, suite, tmp_path, old):
    line = (
        f"error: {old} was written by pythia-traj 0.1.0 (schema 1): make a run of this version of"
        f" it with pythia-traj convert {old} NEW\n"
    )
    before = sorted(old.rglob("*"))
    said = list(refusals(cli, old, suite, tmp_path))
    assert said == [(1, "", line)] * 6
    assert sorted(old.rglob("*")) == before
    assert not (tmp_path / "report.html").exists()
    for call in (pt.load, pt.status, pt.describe):
        with pytest.raises(StoreError) as caught:
            call(old)
        assert f"error: {caught.value}\n" == line


def test_every_command_refuses_a_conversion_that_is_not_complete(cli, suite, tmp_path):
    new = tmp_path / "new"
    new.mkdir()
    (new / CONVERSION).touch()
    line = (
        f"error: {new} is a conversion that was interrupted: repeat pythia-traj convert OLD {new}\n"
    )
    assert list(refusals(cli, new, suite, tmp_path)) == [(1, "", line)] * 6
    assert [path.name for path in new.iterdir()] == [CONVERSION]


def test_it_says_what_was_converted(cli, tmp_path, old):
    new = tmp_path / "new"
    code, out, err = cli("convert", old, new)
    assert code == 0
    assert out == (
        f"3 units of 40 rows, 15 files written, 0 already there, 0 left out; run: {new}\n"
    )
    lines = err.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("warning: mine") for line in lines)
    code, out, _ = cli("convert", old, new)
    assert code == 0
    assert out == (
        f"3 units of 40 rows, 0 files written, 15 already there, 0 left out; run: {new}\n"
    )


def test_json_is_all_that_the_library_says(cli, tmp_path, old):
    code, out, _ = cli("convert", old, tmp_path / "new", "--json")
    again = pt.convert(old, tmp_path / "again")
    assert code == 0
    assert json.loads(out) == {
        **vars(again),
        "out": str(tmp_path / "new"),
    }


def test_what_is_damaged_is_named_and_the_rest_is_converted(cli, tmp_path, old):
    name = "metrics/model=toy/experiment=mine/step-000512.parquet"
    (old / name).write_bytes(b"PAR1")
    code, out, err = cli("convert", old, tmp_path / "new")
    assert code == 3
    assert out.startswith("2 units of 26 rows, 14 files written, 0 already there, 1 left out; run:")
    assert (
        f"left out: {old / name}: it is not a Parquet file, or only the beginning of one\n" in err
    )
    found = pt.status(tmp_path / "new", check=True)
    assert (found.done, found.damaged) == (2, 0)


def test_a_directory_of_something_else_is_one_line(cli, tmp_path, old):
    Run.create(tmp_path / "run")
    assert cli("convert", old, tmp_path / "run") == (
        1,
        "",
        f"error: {tmp_path / 'run'} is another run: give an empty or a new directory\n",
    )
