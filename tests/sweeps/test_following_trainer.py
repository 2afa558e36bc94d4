"""A Trainer that really trains, in a process of its own, is followed."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import pythia_traj as pt
from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run
from pythia_traj.sweeps.record import Silent

ROOT = Path(__file__).parents[2]


class Beside(Silent):
    """An observer that sees when the training beside it fails."""

    def __init__(self, process):
        self.process = process

    def working(self, what):
        assert not self.process.poll(), "the training failed"


LABELS = {
    "induction": {"length": 10, "n": 4},
    "loss": {"length": 8, "n": 4},
}

pytestmark = pytest.mark.slow


@pytest.fixture
def training(tmp_path):
    """Starts trainings, and ends those that are left."""
    started = []

    def start(**arguments):
        command = [sys.executable, "-m", "tests.sweeps.trainer"]
        command += [tmp_path / "live", json.dumps(arguments)]
        with (tmp_path / "training.log").open("w") as log:
            started.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log))
        return tmp_path / "live", Beside(started[-1])

    yield start
    for process in started:
        process.kill()
        process.wait()


def request(live, out):
    return pt.SweepConfig(model=str(live), steps="all", experiments=LABELS, out=out, device="cpu")


def starts(out):
    return Counter(e["unit"] for e in read_events(Run(out)) if e["event"] == "started")


def test_every_checkpoint_is_measured_once_with_the_rows_of_a_sweep_afterwards(training, tmp_path):
    live, observer = training(max_steps=20, save_steps=5, seconds=0.3)
    assert not live.exists()
    config = request(live, tmp_path / "run")
    followed = pt.follow(config, observer=observer)
    assert followed.end == "checkpoint-20/trainer_state.json says that step 20 was the last of 20"
    assert (followed.result.failed, followed.removed) == ([], {})
    assert sorted({unit.step for unit in followed.result.done}) == [5, 10, 15, 20]
    assert set(starts(config.out).values()) == {1}
    again = pt.sweep(config)
    assert (len(again.done), len(again.skipped)) == (0, 8)
    pt.sweep(request(live, tmp_path / "afterwards"))
    for table in (None, "items", "models"):
        rows = [pt.load(tmp_path / run, table=table) for run in ("run", "afterwards")]
        assert rows[0].equals(rows[1])


def test_a_trainer_that_removes_old_checkpoints_makes_nothing_fail(training, tmp_path):
    live, observer = training(max_steps=40, save_steps=2, save_total_limit=1, seconds=0.15)
    config = request(live, tmp_path / "run")
    followed = pt.follow(config, observer=observer)
    assert followed.result.failed == []
    done = {unit.step for unit in followed.result.done}
    assert 40 in done
    assert followed.removed
    assert done | followed.removed.keys() <= set(range(2, 41, 2))
    state = pt.status(config.out)
    assert (state.left, state.failed, state.running) == (0, 0, 0)


def test_a_trainer_that_stops_early_ends_it(training, tmp_path):
    live, observer = training(max_steps=1000, save_steps=5, seconds=0.1, stop_at=12)
    followed = pt.follow(request(live, tmp_path / "run"), observer=observer)
    assert followed.end == "checkpoint-12/trainer_state.json says that it was stopped at step 12"
    assert sorted({unit.step for unit in followed.result.done}) == [5, 10, 12]
