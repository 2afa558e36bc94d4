"""What every executor promises, whichever way its workers start."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

import pythia_traj as pt
from pythia_traj.cluster.scripts import Script
from pythia_traj.cluster.submission import EXECUTORS, submit
from tests.cluster.test_scripts import NEEDED, start

BROKEN = """
from pythia_traj.experiment import experiment
from pythia_traj.values import Rows

@experiment(version=1)
def broken(model) -> Rows:
    \"\"\"Fails.\"\"\"
    raise ValueError("no number")
"""

JOBS = {"inline": 1}
"""How many workers each gets; all others two."""

ALL = sorted(EXECUTORS)

slow = pytest.mark.slow

EVERY = [
    pytest.param(name, marks=[] if name == "inline" else slow) for name in ALL if name != "slurm"
]
"""All that start processes are slow. `slurm` has tests on a real one, and its tasks are those of
`debug`.
"""

EACH_KIND = [
    "inline",
    *(pytest.param(name, marks=slow) for name in ("local", "debug", "script:pbs")),
]
"""Scripts differ in how their tasks start, which the others have shown."""

OF_SLURM = {"time": "1:00:00"}


def needed(executor):
    """What an executor needs of the section `cluster`."""
    return OF_SLURM if executor in ("slurm", "debug") else NEEDED.get(kind_of(executor), {})


def kind_of(executor):
    return executor.removeprefix("script:")


@pytest.fixture(autouse=True)
def equal_threads(monkeypatch):
    """Rows are equal to the bit at equal threads; `pythia-traj` is the one that is tested."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    programs = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def config(suite, tmp_path):
    def make(executor, **settings):
        return pt.SweepConfig(
            **{
                "model": str(suite),
                "steps": "all",
                "experiments": {
                    "induction": {"length": 20, "n": 2},
                    "representation": {"length": 20, "n": 4},
                },
                "out": tmp_path / "run",
                "device": "cpu",
                "cluster": needed(executor),
                **settings,
            }
        )

    return make


def do(executor, config):
    """Does a request: by the executor, or, where it writes a script, by hand as it says.

    The second is the exit status of each task.
    """
    jobs = JOBS.get(executor, 2)
    outcome = submit(config, executor, jobs=jobs)
    statuses = []
    if outcome.handed is not None:
        path = outcome.handed.path
        assert str(path) in outcome.handed.submit
        written = Script(path.read_text(), path.name, outcome.handed.submit)
        for i in range(jobs):
            ended = start(kind_of(executor), written, i, jobs, Path.cwd())
            statuses.append(ended.returncode)
    return outcome, statuses


def rows(run):
    return pt.load(run, controls=True)


def changes(run):
    """All files of a run, with their times of change."""
    return {path: path.stat().st_mtime_ns for path in sorted(run.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("executor", EVERY)
def test_its_rows_are_those_of_one_sweep(executor, config, tmp_path):
    asked = config(executor)
    outcome, statuses = do(executor, asked)
    assert set(statuses) <= {0}
    assert pt.status(asked.out).done == 8
    planned = {unit.name for unit in (*outcome.result.done, *outcome.left)}
    assert len(planned) == 8
    assert bool(outcome.left) == (outcome.handed is not None)
    pt.sweep(asked.model_copy(update={"out": tmp_path / "whole"}))
    assert rows(asked.out).equals(rows(tmp_path / "whole"))


@pytest.mark.parametrize("executor", ALL)
def test_nothing_is_started_or_written_when_all_is_done(executor, config, monkeypatch):
    asked = config(executor)
    pt.sweep(asked)
    before = changes(asked.out)

    def refuse(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr("subprocess.Popen", refuse)
    outcome = submit(asked, executor)
    assert outcome.is_empty
    assert len(outcome.result.skipped) == 8
    assert changes(asked.out) == before


@pytest.mark.parametrize("executor", EACH_KIND)
def test_repeating_does_only_what_is_missing(executor, config):
    asked = config(executor)
    pt.sweep(asked)
    whole = rows(asked.out)
    missing = asked.out / "metrics" / "model=tiny" / "label=induction" / "step-000001.parquet"
    missing.unlink()
    before = changes(asked.out / "metrics")
    outcome, statuses = do(executor, asked)
    assert set(statuses) <= {0}
    (unit,) = (*outcome.result.done, *outcome.left)
    assert unit.name == "tiny/induction/step1"
    after = changes(asked.out / "metrics")
    assert after.pop(missing)
    assert after == before
    assert rows(asked.out).equals(whole)


@pytest.mark.parametrize("executor", EACH_KIND)
def test_a_unit_that_fails_costs_no_other(executor, config, tmp_path):
    file = tmp_path / "broken.py"
    file.write_text(BROKEN)
    asked = config(
        executor, experiments={"broken": {"use": str(file)}, "induction": {"length": 20, "n": 2}}
    )
    outcome, statuses = do(executor, asked)
    if outcome.handed is None:
        assert {why for _, why in outcome.result.failed} == {"ValueError: no number"}
        assert (len(outcome.result.done), outcome.left, outcome.notes) == (4, (), ())
    else:
        assert statuses == [3, 3]
    status = pt.status(asked.out)
    assert (status.done, status.failed) == (4, 4)
    assert set(rows(asked.out).label) == {"induction"}


@pytest.mark.parametrize("executor", ALL)
def test_a_directory_that_cannot_be_a_run_is_one_line(executor, cli, suite, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    settings = [f"cluster.{name}={value}" for name, value in needed(executor).items()]
    status, out, err = cli(
        *("submit", "--model", suite, "--steps", "0", "--experiment", "induction"),
        *("--out", tmp_path / "full", "--executor", executor, "--device", "cpu"),
        *(word for setting in settings for word in ("--set", setting)),
    )
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {tmp_path / 'full'} holds letter.txt and is not a run: ")
    assert err.count("\n") == 1
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_a_device_that_is_not_there_is_one_line(executor, cli, suite, tmp_path):
    status, out, err = cli(
        *("submit", "--model", suite, "--steps", "0", "--experiment", "induction"),
        *("--out", tmp_path / "run", "--executor", executor, "--device", "cuda:77"),
    )
    assert (status, out) == (1, "")
    assert err.startswith("error: this machine has no device 'cuda:77': use auto, cpu")
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("run/metrics"))


@pytest.mark.parametrize("executor", ["inline", pytest.param("local", marks=slow)])
def test_a_request_that_the_model_cannot_meet_is_one_line(executor, cli, suite, tmp_path):
    status, out, err = cli(
        *("submit", "--model", suite, "--steps", "0,1", "--experiment", "induction"),
        *("--set", "induction.length=500", "--jobs", JOBS.get(executor, 2)),
        *("--out", tmp_path / "run", "--executor", executor, "--device", "cpu"),
    )
    assert (status, out) == (1, "")
    assert err.startswith("error: induction: ")
    assert err.count("\n") == 1


def test_a_run_may_be_moved_between_two_submissions(config, tmp_path):
    asked = config("inline", steps="0,1")
    submit(asked, "inline")
    shutil.move(asked.out, tmp_path / "moved")
    outcome = submit(config("inline", out=tmp_path / "moved"), "inline")
    assert (len(outcome.result.done), len(outcome.result.skipped)) == (4, 4)
