"""The lab does what tests of the `slurm` executor take for granted."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.slurm import lab as laboratory
from tests.slurm.lab import OVER, Lab, LabError, required

ROOT = Path(__file__).parents[2]

NOTING = """
trap 'echo USR2 >> {notes}; exit' USR2
echo "started ${{SLURM_RESTART_COUNT:-0}} $SLURMD_NODENAME" >> {notes}
while :; do sleep 0.1; done
"""
"""A task that notes its starts, and ends at USR2."""


@pytest.fixture
def submit(slurm: Lab, tmp_path: Path) -> Callable[..., str]:
    """Submits a bash script; returns the job."""

    def submit(script: str, *options: str) -> str:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.sh"
        path.write_text(f"#!/bin/bash\n{script}\n")
        where = () if any("--output" in option for option in options) else ("--output=/dev/null",)
        command = ("sbatch", "--parsable", "--gres=gpu:1", *where, *options)
        return slurm.run(*command, str(path)).strip()

    return submit


@pytest.fixture
def noting(submit: Callable[..., str], slurm: Lab, tmp_path: Path) -> Callable[..., Path]:
    """Runs NOTING as a step of a job, until it has started; returns its notes, `<job>.notes`."""

    def noting(*options: str) -> Path:
        step = tmp_path / "step.sh"
        notes = "$1/$SLURM_JOB_ID.notes"
        step.write_text(NOTING.format(notes=notes))
        job = submit(f"srun bash {step} {tmp_path}", "--requeue", *options)
        path = tmp_path / f"{job}.notes"
        slurm.wait(path.exists)
        return path

    return noting


def states(slurm: Lab, job: str) -> list[str]:
    return [state for task, state, *_ in slurm.queue() if task.split("_")[0] == job]


def alive(conf: str) -> list[str]:
    """Names of the processes that live and were started with this configuration, or below it."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.environ().get("SLURM_CONF") == conf
                or process.cwd() == str(Path(conf).parent)
                or any(str(Path(conf).parent) in word for word in process.cmdline())
            ):
                found.append(process.name())
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_four_tasks_run_at_once_each_with_a_gpu_of_its_own(slurm, submit, tmp_path):
    script = f'echo "$SLURMD_NODENAME $CUDA_VISIBLE_DEVICES" > {tmp_path}/$SLURM_ARRAY_TASK_ID.gpu'
    job = submit(f"{script}\nsleep 100", "--array=0-3")
    slurm.wait(lambda: states(slurm, job) == ["RUNNING"] * 4)
    slurm.wait(lambda: len(list(tmp_path.glob("*.gpu"))) == 4)
    slurm.wait(lambda: all(path.read_text() for path in tmp_path.glob("*.gpu")))
    given = sorted(path.read_text().strip() for path in tmp_path.glob("*.gpu"))
    assert given == ["n1 0", "n1 1", "n2 0", "n2 1"]


@pytest.mark.slow
def test_an_array_is_refused_beyond_the_limit_and_so_is_a_gpu_too_many(slurm, submit):
    with pytest.raises(LabError, match="Invalid job array specification"):
        submit("true", "--array=0-6")
    with pytest.raises(LabError, match="Requested node configuration is not available"):
        submit("true", "--gres=gpu:3")


@pytest.mark.slow
def test_a_requeued_task_starts_again_within_seconds(slurm, noting):
    notes = noting()
    slurm.run("scontrol", "requeue", notes.stem)
    slurm.wait(lambda: "started 1" in notes.read_text(), seconds=20)


@pytest.mark.slow
def test_an_urgent_job_preempts_and_the_task_is_told(slurm, noting, submit, tmp_path):
    notes = noting("--nodelist=n1", "--gres=gpu:2", "--signal=USR2@20")
    urgent = submit("true", "--partition=urgent", "--nodelist=n1", "--gres=gpu:2")
    slurm.wait(lambda: "USR2" in notes.read_text())
    slurm.wait(lambda: states(slurm, urgent) == ["COMPLETED"])


@pytest.mark.slow
def test_jobs_of_a_node_that_lost_power_start_again_on_the_other(slurm, noting):
    notes = noting()
    _, _, node = notes.read_text().split()
    slurm.stop_node(node)
    assert not [process for process in slurm.processes() if process.name() == "slurmstepd"]
    slurm.wait(lambda: "started 1" in notes.read_text())
    assert notes.read_text().split()[-1] != node
    slurm.start_node(node)


@pytest.mark.slow
def test_a_node_whose_daemon_ends_keeps_its_jobs(slurm, noting):
    notes = noting()
    node = notes.read_text().split()[-1]
    slurm.stop_node(node, kill=False)
    slurm.start_node(node)
    slurm.run("scancel", "--signal=USR2", notes.stem)
    slurm.wait(lambda: "USR2" in notes.read_text())
    assert notes.read_text().count("started") == 1


@pytest.mark.slow
@pytest.mark.parametrize("kill", [True, False])
def test_the_queue_is_gone_with_the_controller_and_comes_back(slurm, submit, kill):
    job = submit("true", "--hold", "--job-name=kept")
    # It saves its state a few seconds after a change: a job that it has not saved is lost.
    saved = slurm.directory / "state" / "job_state"
    slurm.wait(lambda: not kill or (saved.exists() and b"kept" in saved.read_bytes()))
    slurm.stop_controller(kill)
    with pytest.raises(LabError, match="Unable to contact slurm controller"):
        slurm.queue()
    slurm.start_controller()
    assert states(slurm, job) == ["PENDING"]


@pytest.mark.slow
def test_clearing_ends_jobs_that_a_killed_controller_believes_to_run(slurm, submit):
    job = submit("sleep 6")
    slurm.wait(lambda: states(slurm, job) == ["COMPLETED"])
    slurm.stop_controller()
    slurm.start_controller()
    slurm.clear()
    assert slurm.queue() == []
    job = submit("true")
    slurm.wait(lambda: states(slurm, job) == ["COMPLETED"], seconds=10)


@pytest.mark.slow
def test_the_blind_node_does_not_see_what_the_others_see(slurm, submit):
    if not slurm.private:
        pytest.skip("a node that does not see a directory needs the right to mount")
    output = slurm.directory / "unseen" / "run" / "output"
    output.parent.mkdir()
    seen = submit("true", f"--output={output}")
    unseen = submit("true", f"--output={output}", "--partition=blind")
    slurm.wait(lambda: {*states(slurm, seen), *states(slurm, unseen)} <= OVER)
    assert states(slurm, seen) == ["COMPLETED"]
    assert states(slurm, unseen) == ["FAILED"]


@pytest.mark.slow
def test_accounting_lists_a_job(accounted):
    job = accounted.run("sbatch", "--parsable", "--output=/dev/null", "--wrap=exit 3").strip()
    command = ("sacct", "--noheader", "--allocations", "--parsable2", "--format=JobID,State")
    accounted.wait(lambda: f"{job}|FAILED" in accounted.run(*command))


@pytest.mark.slow
def test_nothing_is_left_of_a_lab_that_ends_while_jobs_run():
    required()
    with Lab() as own:
        own.run("sbatch", "--output=/dev/null", "--wrap=trap '' TERM; srun sleep 1000")
        own.wait(lambda: [process for process in own.processes() if process.name() == "sleep"])
        conf = own.environment["SLURM_CONF"]
        assert {"munged", "slurmctld", "slurmd", "slurmstepd", "sleep"} <= set(alive(conf))
    assert alive(conf) == []
    assert not own.directory.exists()


@pytest.mark.slow
def test_nothing_outlives_tests_that_are_killed(tmp_path):
    required()
    program = """
import sys, time
from tests.slurm.lab import Lab
with Lab() as own:
    own.run("sbatch", "--output=/dev/null", "--wrap=setsid sleep 1000")
    own.wait(lambda: [process for process in own.processes() if process.name() == "sleep"])
    print(own.environment["SLURM_CONF"], flush=True)
    time.sleep(1000)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        conf = tests.stdout.readline().strip()
        assert {"slurmd", "slurmstepd", "sleep"} <= set(alive(conf))
        os.kill(tests.pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while alive(conf) and time.monotonic() < end:
        time.sleep(0.1)
    assert alive(conf) == []
    shutil.rmtree(Path(conf).parent)


@pytest.mark.parametrize(
    ("user", "debian", "outcome"),
    [(0, True, pytest.fail), (0, False, pytest.skip), (1000, True, pytest.skip)],
)
def test_slurm_that_is_missing_fails_tests_only_where_it_can_be_installed(
    monkeypatch, tmp_path, user, debian, outcome
):
    monkeypatch.setattr(laboratory, "SYSTEM", str(tmp_path))
    monkeypatch.setattr(laboratory, "DEBIAN", Path("/") if debian else tmp_path / "none")
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(outcome.Exception, match=r"sh tests/system_packages.sh"):
        required()
