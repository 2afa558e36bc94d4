"""How far a run is: what the log says of a unit counts while the process that wrote it lives."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

import pythia_traj as pt


@pytest.fixture
def state(suite, tmp_path):
    """What is said of a unit that a worker began and whose file is not there."""
    run = tmp_path / "run"
    pt.sweep(
        pt.SweepConfig(
            model=str(suite),
            steps="0,2",
            experiments={"induction": {"length": 20, "n": 2}},
            out=run,
            device="cpu",
        )
    )
    (run / "metrics" / "model=tiny" / "label=induction" / "step-000002.parquet").unlink()

    def begun_by(**worker):
        event = {"time": time.time(), "event": "started", "unit": "tiny/induction/step2", **worker}
        with (run / "log" / "other.jsonl").open("a") as log:
            log.write(json.dumps(event) + "\n")
        return pt.status(run).units["tiny/induction/step2"]

    return begun_by


def test_a_unit_is_being_measured_while_its_process_lives(state):
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    here, dead = socket.gethostname(), int(ended.stdout)
    assert state(host=here, pid=os.getpid()) == "running"
    assert state(host=here, pid=dead) == "left"
    # Process 1 lives, and is another user's for everybody but root.
    assert state(host=here, pid=1) == "running"
    assert state(host=here) == "left"


def test_of_another_host_only_the_time_is_known(state, monkeypatch):
    assert state(host="elsewhere", pid=1) == "running"
    later = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: later)
    assert state(host="elsewhere", pid=1, time=later - 7100) == "left"
