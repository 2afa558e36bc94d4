"""Whatever befalls a worker, the rows are those of one undisturbed sweep.

Real processes: killed, stopped, out of memory, two on one shard. What was done before is not done
again: its files keep their times of change.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pythia_traj as pt
from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run
from pythia_traj.sweeps.heartbeat import SILENT_SECONDS
from pythia_traj.sweeps.requests import record

pytestmark = pytest.mark.slow

SLOW = """
import os
import resource
import time

import psutil
import torch

from pythia_traj.experiment import experiment
from pythia_traj.values import Key, Rows


@experiment(version=1)
def slow(model) -> Rows:
    \"\"\"The norm of W_E, slowly; on demand with less memory than it asks for.\"\"\"
    time.sleep(0.4)
    if "STARVED" in os.environ:
        allowed = psutil.Process().memory_info().vms + 50_000_000
        resource.setrlimit(resource.RLIMIT_AS, (allowed, resource.RLIM_INFINITY))
        try:
            torch.ones(1_000_000_000)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    rows = Rows()
    rows.add(Key("norm"), float(model.W_E.detach().norm()))
    return rows
"""

UNITS = 8


class Workers:
    """A run with a request of eight units, of which half take 0.4 s, and its workers."""

    def __init__(self, suite, folder):
        (folder / "slow.py").write_text(SLOW)

        def request(out):
            experiments = {
                "slow": {"use": str(folder / "slow.py")},
                "induction": {"length": 20, "n": 4},
            }
            return pt.SweepConfig(
                model=str(suite),
                steps="all",
                experiments=experiments,
                out=folder / out,
                device="cpu",
            )

        self._whole, parts = request("whole"), request("parts")
        pt.sweep(self._whole)
        record(parts)
        self.path = parts.out
        self._begun = []

    def begin(self, shard, **environment):
        command = [str(Path(sys.executable).with_name("pythia-traj")), "worker", str(self.path)]
        process = subprocess.Popen(
            [*command, "--shard", shard],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self._begun.append(process)
        return process

    def status_of(self, process):
        """The exit status, when the process has ended."""
        process.communicate(timeout=120)
        return process.returncode

    def files(self):
        return {p: p.stat().st_mtime_ns for p in self.path.glob("metrics/*/*/*.parquet")}

    def wait_for(self, what):
        deadline = time.monotonic() + 120
        while not (found := what()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return found

    def first_unit(self, process):
        """Waits until a process has written something and has another unit in hand."""
        before = self.files()
        return self.wait_for(lambda: self.files() != before and self.log_of(process))

    def log_of(self, process):
        return next(self.path.glob(f"log/*-{process.pid}-*.jsonl"), None)

    def end(self):
        for process in self._begun:
            if process.returncode is None:
                process.kill()
                process.communicate()

    def is_whole(self, before=()):
        """Whether all rows are there, and what was there before is as it was."""
        after = self.files()
        assert len(after) == UNITS
        assert {path: after[path] for path in before} == dict(before)
        whole, parts = (pt.load(run, controls=True) for run in (self._whole.out, self.path))
        return whole.equals(parts)


@pytest.fixture
def workers(suite, tmp_path):
    made = Workers(suite, tmp_path)
    yield made
    made.end()


def done(run):
    return [event["unit"] for event in read_events(Run(run)) if event["event"] == "done"]


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_after_a_killed_worker_one_more_command_does_the_rest(workers, signum, status):
    process = workers.begin("0/1")
    workers.first_unit(process)
    process.send_signal(signum)
    assert workers.status_of(process) == status
    before = workers.files()
    assert 1 <= len(before) < UNITS
    assert workers.status_of(workers.begin("0/1")) == 0
    assert workers.is_whole(before)
    assert not list((workers.path / ".tmp").iterdir())
    assert not list(workers.path.glob("claims/*/*"))
    assert sorted(done(workers.path)) == sorted(set(done(workers.path)))


def test_another_worker_does_the_rest_of_a_killed_one_by_itself(workers):
    killed = workers.begin("0/2")
    workers.first_unit(killed)
    other = workers.begin("1/2")
    killed.kill()
    workers.status_of(killed)
    before = workers.files()
    assert workers.status_of(other) == 0
    assert workers.is_whole(before)


def test_a_worker_that_hangs_loses_its_step_when_its_heart_has_stopped(workers):
    hung = workers.begin("0/2")
    log = workers.first_unit(hung)
    hung.send_signal(signal.SIGSTOP)
    before = workers.files()
    # While it may still be alive, its step is left to it.
    out, _ = workers.begin("1/2").communicate(timeout=120)
    assert "left to other workers; Parquet" in out
    assert len(workers.files()) < UNITS
    long_ago = time.time() - SILENT_SECONDS - 1
    os.utime(log, (long_ago, long_ago))
    assert workers.status_of(workers.begin("1/2")) == 0
    assert workers.is_whole(before)
    # It wakes up: whatever it writes still is the same.
    hung.send_signal(signal.SIGCONT)
    assert workers.status_of(hung) == 0
    assert workers.is_whole()
    assert not list(workers.path.glob("claims/*/*"))


def test_units_that_ran_out_of_memory_are_done_by_one_more_command(workers):
    starved = workers.begin("0/1", STARVED="1")
    _, err = starved.communicate(timeout=120)
    assert starved.returncode == 3
    assert "memory" in err
    status = pt.status(workers.path)
    assert (status.done, status.failed) == (UNITS // 2, UNITS // 2)
    before = workers.files()
    assert workers.status_of(workers.begin("0/1")) == 0
    assert workers.is_whole(before)


def test_two_workers_on_one_shard_share_it(workers):
    both = [workers.begin("0/1") for _ in range(2)]
    assert [workers.status_of(process) for process in both] == [0, 0]
    assert workers.is_whole()
    assert sorted(done(workers.path)) == sorted(set(done(workers.path)))
    assert len(set(done(workers.path))) == UNITS
