"""`worker` at the command line: a request is recorded, shards are done, errors are one line."""

import json

import pytest

import pythia_traj as pt
from pythia_traj.schedulers import SCHEDULERS, SHARDS

BROKEN = """
from pythia_traj.experiment import experiment
from pythia_traj.values import Rows

@experiment(version=1)
def broken(model) -> Rows:
    \"\"\"Fails.\"\"\"
    raise ValueError("no number")
"""


@pytest.fixture(autouse=True)
def no_scheduler(monkeypatch):
    """The tests themselves may run in a job."""
    for one in SCHEDULERS:
        for name in (one.index, one.count, one.least, one.stride, SHARDS):
            if name is not None:
                monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(cli, suite, tmp_path):
    """A run with a request for the tiny suite's four steps."""
    path = tmp_path / "run"
    status, out, err = cli("sweep", *asking(suite), "--out", path, "--record-only")
    assert (status, err) == (0, "")
    assert out == f"request {request_name(path)}: 4 to do, 0 already there\n"
    return path


def asking(suite, experiment="induction"):
    sets = ["--set", "induction.length=20"] if experiment == "induction" else []
    return ["--model", suite, "--steps", "all", "--experiment", experiment, *sets]


def request_name(path):
    (file,) = (path / "requests").glob("*.json")
    return file.stem


def test_the_shards_of_a_recorded_request_are_one_sweep(cli, suite, run, tmp_path):
    assert not list(run.glob("metrics/*"))
    assert pt.status(run).left == 4
    # Nobody works on the other shard: this worker takes it over.
    status, out, err = cli("worker", run, "--shard", "1/2", "--device", "cpu")
    assert (status, out) == (0, f"4 done, 0 already there, 0 failed; Parquet: {run / 'metrics'}\n")
    assert err == f"request {request_name(run)}, shard 1/2\n"
    document = json.loads(cli("worker", run, "--shard", "0/2", "--json")[1])
    assert document["skipped"] == ["tiny/induction/step0", "tiny/induction/step1"]
    assert document["done"] == document["left"] == []
    assert cli("sweep", *asking(suite), "--out", tmp_path / "whole")[0] == 0
    whole, parts = (pt.load(tmp_path / name, controls=True) for name in ("whole", "run"))
    assert whole.equals(parts)
    assert request_name(tmp_path / "whole") == request_name(run)


def test_the_schedulers_variables_say_the_shard(cli, run, monkeypatch):
    monkeypatch.setenv("SKYPILOT_JOB_RANK", "1")
    monkeypatch.setenv("SKYPILOT_NUM_JOBS", "4")
    monkeypatch.setenv("RANK", "0")
    status, _, err = cli("worker", run)
    assert status == 0
    assert err == (
        f"request {request_name(run)}, shard 1/4 (SKYPILOT_JOB_RANK=1, SKYPILOT_NUM_JOBS=4; RANK"
        " ignored)\n"
    )
    assert pt.status(run).units["tiny/induction/step1"] == "done"
    # What is said on the command line comes first.
    assert "shard 3/4\n" in cli("worker", run, "--shard", "3/4")[2]
    assert "shard 1/2 (SKYPILOT_JOB_RANK=1; " in cli("worker", run, "--shards", "2")[2]


def test_a_worker_whose_units_are_done_or_whose_shard_is_empty_ends_well(cli, run):
    assert cli("worker", run, "--shard", "0/1")[0] == 0
    assert cli("worker", run, "--shard", "0/1")[1].startswith("0 done, 4 already there")
    assert cli("worker", run, "--shard", "0/9")[1].startswith("0 done, 0 already there, 0 failed;")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "which shard? Give --shard i/n, such as --shard 0/4"),
        (("--shard", "2/2"), "shard 2/2: shards count from 0, so the last of 2 is 1/2"),
        (("--shard", "1"), "--shard '1': write i/n, such as 0/4"),
        (("--shard", "0/2", "--shards", "2"), "--shard 0/2 says how many shards there are"),
        (("--shard", "0/2", "--request", "abc"), "run has no request 'abc'"),
        (("--shard", "0/2", "--device", "gpu"), "unknown device 'gpu': use auto, cpu"),
        (("--shard", "0/2", "--prefetch", "-1"), "prefetch: -1"),
    ],
)
def test_an_impossible_worker_ends_with_one_line_and_measures_nothing(cli, run, arguments, message):
    status, out, err = cli("worker", run, *arguments)
    assert (status, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert not list(run.glob("metrics/*"))


def test_a_directory_that_is_not_a_run_is_refused(cli, tmp_path):
    status, _, err = cli("worker", tmp_path, "--shard", "0/1")
    assert status == 1
    assert err == f"error: {tmp_path} is not a run directory: it has no run.json\n"


def test_units_that_fail_exit_as_those_of_a_sweep(cli, suite, tmp_path):
    file = tmp_path / "broken.py"
    file.write_text(BROKEN)
    words = asking(suite, f"{file},induction")
    run_path = tmp_path / "run"
    assert cli("sweep", *words, "--out", run_path, "--record-only")[0] == 0
    status, _, err = cli("worker", run_path, "--shard", "0/2")
    assert status == 3
    assert "failed: tiny/broken/step0 and 3 more: " in err
    # What failed elsewhere is tried again by the worker whose shard it is, not by others.
    assert "failed: tiny/broken/step2 and 1 more: " in cli("worker", run_path, "--shard", "1/2")[2]


def test_a_request_is_recorded_or_shown_not_both(cli, suite, tmp_path):
    words = [*asking(suite), "--out", tmp_path / "run", "--record-only"]
    status, _, err = cli("sweep", *words, "--dry-run")
    assert (status, err) == (
        1,
        "error: --dry-run writes nothing: leave it out, or --record-only\n",
    )
    assert not (tmp_path / "run").exists()
    document = json.loads(cli("sweep", *words, "--json")[1])
    assert document == {
        "run": str(tmp_path / "run"),
        "request": request_name(tmp_path / "run"),
        "todo": 4,
        "done": 0,
    }
