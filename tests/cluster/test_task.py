"""What a task does on its node, without a cluster: its commands are those of a fake worker."""

import os
import signal
import sys
import threading
import time

import pytest

from pythia_traj.cluster.slurm import task as module
from pythia_traj.cluster.slurm.task import ENDS_WELL, Task, scratch_directory
from pythia_traj.store.layout import Run
from tests.cluster.test_local import FAKE, behave_in, started_in


@pytest.fixture
def task(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PROGRAM", FAKE)
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    Run.create(tmp_path / "run")
    (tmp_path / "run" / "log").mkdir()

    def make(*words, **settings):
        behave_in(tmp_path, 0, *words)
        command = ("worker", str(tmp_path / "run"), "--shard", "0/2")
        output = tmp_path / "printed"
        return Task(tmp_path / "run", "worker 0/2", (command,), **{"output": output, **settings})

    return make


def signalled(task, after, act):
    """Does the task; `act` is called in this thread as a signal handler is, once that is true."""
    came = []
    before = signal.signal(signal.SIGUSR1, lambda *_: came.append(act()))

    def send():
        while not after():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        how = task.attempt()
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    return how, came[0]


def has_started(tmp_path):
    return lambda: (tmp_path / "run" / "started-0.json").exists()


def test_a_task_that_ends_well_says_so_last(task, capfd):
    task(output=None)()
    assert capfd.readouterr().out.splitlines()[-1] == ENDS_WELL


def test_a_task_whose_worker_dies_fails_with_the_reason(task, capfd):
    with pytest.raises(SystemExit, match="^worker 0/2 .* was killed .signal 9.*memory"):
        task("killed")()
    assert ENDS_WELL not in capfd.readouterr().out


def test_units_that_fail_are_no_failure_of_the_task(task):
    assert task("failed=tiny/loss/step1", "refuses").attempt() is None
    assert "status 1" in task("refuses").attempt()


def test_a_worker_that_hangs_is_killed(task):
    assert "had no heartbeat for" in task("stopped", silent_seconds=0.5).attempt()


def test_the_announced_end_lets_the_unit_be_finished(task, tmp_path):
    asked = task("finishes")
    how, after = signalled(asked, has_started(tmp_path), asked.checkpoint)
    assert (tmp_path / "run" / "finished-0").exists()
    assert after.function.name == "worker 0/2"
    assert "status 140" in how


@pytest.mark.parametrize("words", [("sleeps", "ignores"), ("sleeps", "ignores", "deaf")])
def test_a_unit_that_takes_longer_is_dropped(task, tmp_path, monkeypatch, words):
    monkeypatch.setattr(module, "_OBEYING", 0.5)
    asked = task(*words, patience=0.5)
    begun = time.monotonic()
    how, after = signalled(asked, has_started(tmp_path), asked.checkpoint)
    assert after is not None
    assert "signal 9" in how if "deaf" in words else "signal 15" in how
    assert time.monotonic() - begun < 60


def test_a_task_that_has_done_nothing_in_its_time_is_not_requeued(task, tmp_path):
    asked = task("sleeps", limit=1)
    late = time.monotonic() + 1
    is_late = has_started(tmp_path)
    with pytest.raises(SystemExit, match="^worker 0/2 has finished no unit in .* give more time"):
        signalled(asked, lambda: is_late() and time.monotonic() > late, asked.checkpoint)
    useful = task("done=tiny/loss/step1", "sleeps", limit=1)
    (tmp_path / "run" / "started-0.json").unlink()
    late = time.monotonic() + 1
    _, after = signalled(useful, lambda: is_late() and time.monotonic() > late, useful.checkpoint)
    assert after is not None


def test_a_node_has_its_own_cache_unless_told_otherwise(task, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    own = tmp_path / f"pythia-traj-{os.getuid()}"
    seen = "PYTHIA_TRAJ_CACHE"
    monkeypatch.delenv(seen)
    task().attempt()
    assert started_in(tmp_path)[seen] == str(own)
    assert own.stat().st_mode & 0o777 == 0o700
    task(scratch=False).attempt()
    assert started_in(tmp_path)[seen] is None
    monkeypatch.setenv(seen, "/elsewhere")
    task().attempt()
    assert started_in(tmp_path)[seen] == "/elsewhere"


def test_somebody_elses_scratch_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "theirs").mkdir()
    (tmp_path / f"pythia-traj-{os.getuid()}").symlink_to(tmp_path / "theirs")
    used = scratch_directory()
    assert used.parent == tmp_path
    assert used.name.startswith("pythia-traj-")
    assert used.resolve() == used


def test_defaults_give_way_to_the_node_and_orders_do_not(task, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    task(defaults={"OMP_NUM_THREADS": "2"}, environment={"CUDA_VISIBLE_DEVICES": "3"}).attempt()
    told = started_in(tmp_path)
    assert (told["OMP_NUM_THREADS"], told["CUDA_VISIBLE_DEVICES"]) == ("7", "3")
    monkeypatch.delenv("OMP_NUM_THREADS")
    task(defaults={"OMP_NUM_THREADS": "2"}).attempt()
    assert started_in(tmp_path)["OMP_NUM_THREADS"] == "2"


SLURM = """#!/bin/sh
echo "$0 $@" >> {calls}
case "$0" in *squeue) echo {state};; esac
exit {status}
"""


@pytest.mark.parametrize(
    ("state", "status", "of_array", "requeues", "waits"),
    [
        ("RUNNING", 0, False, True, True),
        ("RUNNING", 0, True, True, True),
        ("COMPLETING", 0, True, False, False),
        # The controller does not answer: it will end the task, or a time limit does.
        ("RUNNING", 1, True, False, True),
    ],
)
def test_a_task_whose_worker_was_stopped_goes_on_unless_it_was_cancelled(
    task, tmp_path, monkeypatch, state, status, of_array, requeues, waits
):
    (tmp_path / "bin").mkdir()
    calls = tmp_path / "calls"
    for name in ("squeue", "scontrol"):
        file = tmp_path / "bin" / name
        file.write_text(SLURM.format(calls=calls, state=state, status=status))
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    if of_array:
        # The last task of an array has the array's id.
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "17")
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setattr(module, "_UNTIL_KILLED", 0.7)
    asked = task("terminated")
    begun = time.monotonic()
    assert "ended by signal 15" in asked.attempt()
    assert (time.monotonic() - begun > 0.7) == waits
    said = calls.read_text()
    job = "17_3" if of_array else "17"
    assert f"squeue --noheader --jobs {job} --format=%T" in said
    assert (f"scontrol requeue {job}\n" in said) == requeues


def test_importing_a_task_loads_no_torch():
    import subprocess

    code = "import sys, pythia_traj.cluster.slurm.task; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
