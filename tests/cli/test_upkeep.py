"""`merge`, `remove`, `compact` as a user meets them: what they print, ask and refuse."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pythia_traj as pt
from pythia_traj.store.layout import Run
from tests.store.test_compacting import make

COMMAND = str(Path(sys.executable).with_name("pythia-traj"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def run(made, tmp_path):
    return Path(shutil.copytree(made.path, tmp_path / "run"))


def test_compact_says_how_many_files_became_how_many(cli, run):
    assert cli("compact", run) == (0, "8 units: 18 files are 6 now\n", "")
    assert cli("compact", run) == (0, "there are no files to put together\n", "")
    assert cli("status", run)[1].startswith("8 done, 0 running, 0 failed, 0 left")
    code, out, _ = cli("compact", run, "--json")
    assert (code, json.loads(out)) == (0, {"units": 0, "before": 0, "after": 0, "left": {}})


def test_compact_names_what_it_leaves_and_why(cli, run):
    note = run / "metrics/model=m/label=loss/\x1b[31mred.txt"
    note.touch()
    code, out, err = cli("compact", run)
    assert (code, out) == (3, "4 units: 9 files are 3 now\n")
    assert err.startswith("left as it is: m/loss: ")
    assert err.endswith("which is not the rows of a unit: move it elsewhere\n")
    assert "\x1b" not in err


def test_merge_says_what_it_took(cli, run, made, tmp_path):
    pt.remove(run, "loss")
    out = tmp_path / "out"
    code, said, err = cli("merge", run, made.path, "--out", out)
    assert (code, said, err) == (0, f"8 units of 2 runs, 8 written, 0 left out; run: {out}\n", "")
    code, said, _ = cli("merge", run, made.path, "--out", out, "--json")
    assert (code, json.loads(said)["units"], json.loads(said)["written"]) == (0, 8, 0)


def test_merge_names_what_no_run_has_whole(cli, run, tmp_path):
    other = make(tmp_path / "other", labels=("other",))
    damaged = other.unit_path("m", "other", 512)
    damaged.write_bytes(b"")
    code, said, err = cli("merge", run, other.path, "--out", tmp_path / "out")
    assert code == 3
    assert said.startswith("11 units of 2 runs, 11 written, 1 left out")
    assert err == f"left out: m/other/step512: {damaged}: it is empty\n"


def test_remove_deletes_nothing_where_nobody_can_answer(cli, run):
    code, out, err = cli("remove", run, "--label", "loss")
    assert (code, out) == (1, "")
    assert err == (
        f"error: Delete 4 units of label loss (model m) from {run}? Nobody can answer here: give"
        " --yes to delete without asking\n"
    )
    assert len(pt.load(run, label="loss")) > 0
    code, out, _ = cli("remove", run, "--label", "loss", "--yes")
    assert (code, out) == (0, f"deleted 4 units of label loss (model m) from {run}\n")
    code, out, _ = cli("remove", run, "--label", "induction", "--model", "m", "--yes", "--json")
    assert json.loads(out) == {"label": "induction", "models": ["m"], "units": 4, "requests": 1}


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("\x04", 1)])
def test_remove_asks_first(run, answer, code):
    keyboard, terminal = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "remove", str(run), "--label", "loss"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(keyboard, answer.encode())
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err.startswith(f"Delete 4 units of label loss (model m) from {run}? [y/N]")
    assert ("deleted 4 units" in out) is (code == 0)
    assert ("nothing was deleted" in err) is (code == 1)
    assert set(pt.load(run).label) == {"induction"} if code == 0 else {"induction", "loss"}
    os.close(keyboard)
    os.close(terminal)


def test_what_is_misspelt_or_not_a_run_is_one_line(cli, run, tmp_path):
    for command, line in (
        (("remove", run, "--label", "los"), "has no label 'los': did you mean loss?"),
        (("remove", run, "--label", "loss", "--model", "n"), "no label 'loss' of model 'n': "),
        (("compact", tmp_path), f"{tmp_path} is not a run directory: it has no run.json"),
        (("merge", run, "--out", tmp_path / "out"), "a merge needs at least two different runs"),
    ):
        code, out, err = cli(*command)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert line in err


def test_beside_a_sweep_each_is_refused(cli, run, tmp_path):
    log = run / "log" / f"elsewhere-1-{0:08x}.jsonl"
    log.parent.mkdir(exist_ok=True)
    log.touch()
    other = Run.create(tmp_path / "other").path
    for command in (
        ("compact", run),
        ("remove", run, "--label", "loss", "--yes"),
        ("merge", run, other, "--out", tmp_path / "out"),
    ):
        code, out, err = cli(*command)
        assert (code, out) == (1, "")
        assert err.startswith(f"error: elsewhere-1-00000000 is writing to {run}: wait until it")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_run_that_may_not_be_written_is_one_line(cli, run):
    run.chmod(0o555)
    code, _, err = cli("compact", run)
    assert (code, err.count("\n")) == (1, 1)


def test_a_read_only_disk_is_one_line(cli, made, mount):
    disk = mount("size=4m")
    run = shutil.copytree(made.path, disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for command in (("compact", run), ("remove", run, "--label", "loss", "--yes")):
        code, out, err = cli(*command)
        assert (code, out) == (1, "")
        assert err == f"error: the disk of {run} is read-only: give another --out\n"
