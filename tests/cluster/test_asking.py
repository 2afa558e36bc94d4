"""What the section `cluster` asks Slurm for: the script. tests/slurm gives it to a real one."""

import errno
import re
from pathlib import Path

import pytest
from submitit import SlurmExecutor

import pythia_traj as pt
from pythia_traj.cluster.executor import Submission
from pythia_traj.cluster.slurm.asking import (
    fetch_parameters,
    finishing_seconds,
    parameters,
    warning_seconds,
)
from pythia_traj.cluster.slurm.batch import all_or_nothing, script
from pythia_traj.cluster.slurm.client import reason
from pythia_traj.cluster.slurm.dealing import deal
from pythia_traj.cluster.slurm.queue import QueuedTask
from pythia_traj.cluster.slurm.slurm import Slurm
from pythia_traj.errors import ConfigError, StoreError
from pythia_traj.resources import Cluster
from pythia_traj.store.layout import Run
from pythia_traj.store.records import Array
from pythia_traj.sweeps.requests import record

RUN = Run(Path("/data/my runs/mine"))

ASKED = {
    "partition": ("other", "#SBATCH --partition=other"),
    "account": ("physics", "#SBATCH --account=physics"),
    "qos": ("high", "#SBATCH --qos=high"),
    "gpus": (2, "#SBATCH --gres=gpu:2"),
    "cpus": (4, "#SBATCH --cpus-per-task=4"),
    "memory": ("16GB", "#SBATCH --mem=15625000K"),
    "time": ("4:00:30", "#SBATCH --time=241"),
    "at_once": (3, "#SBATCH --array=0-4%3"),
    "directives": (["-C a100", "--exclusive"], "#SBATCH -C a100\n#SBATCH --exclusive\nset -e"),
    "setup": (["module load cuda", "false"], "set -e\nmodule load cuda\nfalse\n"),
}


def made(jobs=5, **asked):
    return script(RUN, jobs, parameters(Cluster(**{"time": "1:00:00", **asked}), jobs))


@pytest.mark.parametrize("setting", ASKED)
def test_what_is_asked_for_is_in_the_script(setting):
    value, words = ASKED[setting]
    assert words in made(**{setting: value})
    assert words not in made()


def test_a_script_holds_what_tasks_need_to_go_on():
    text = made(cpus=4)
    for option in ("--requeue", "--signal=USR2@60", "--open-mode=append", "--array=0-4%5"):
        assert f"#SBATCH {option}\n" in text
    assert re.search(r"#SBATCH --job-name=mine-[0-9a-f]{10}\n", text)
    assert "#SBATCH --output='/data/my runs/mine/jobs/SUBMISSION/%A_%a_0_log.out'" in text
    # What srun does not take from its job.
    assert re.search(r"^srun .*--cpus-per-task=4 .* -P -u -m submitit", text, re.M)
    assert re.search(r"^srun .*--export=ALL ", text, re.M)
    assert "wckey" not in text
    assert "--array" not in made(jobs=1)


def test_options_come_before_all_other_lines():
    lines = made(directives=["-C a100"], setup=["module load cuda"]).splitlines()
    options = [i for i, line in enumerate(lines) if line.startswith("#SBATCH")]
    others = [i for i, line in enumerate(lines) if line and not line.startswith("#")]
    assert max(options) < min(others)


def test_what_downloads_asks_for_no_gpu_and_not_for_the_directives_of_workers():
    cluster = Cluster(time="1:00:00", fetch="internet", partition="gpu", directives=["-C a100"])
    text = script(RUN, 1, fetch_parameters(cluster))
    assert "#SBATCH --partition=internet\n" in text
    assert "gres" not in text
    assert "a100" not in text


def test_what_waits_for_others_ends_when_they_fail():
    text = script(RUN, 2, parameters(Cluster(time=10), 2, ["afterok:17"]))
    assert "#SBATCH --dependency=afterok:17\n" in text
    assert "#SBATCH --kill-on-invalid-dep=yes\n" in text


@pytest.mark.parametrize(
    ("time", "warning", "finishing"), [(1, 15, 7.5), (2, 30, 15.0), (4, 60, 30.0), (600, 60, 30.0)]
)
def test_short_tasks_are_warned_later(time, warning, finishing):
    asked = Cluster(time=time)
    assert (warning_seconds(asked), finishing_seconds(asked)) == (warning, finishing)


@pytest.mark.parametrize(
    ("settings", "jobs", "message"),
    [
        ({}, 2, r"cluster\.time is missing: slurm needs how long a task may take"),
        ({"cluster": {"time": 60, "image": "x"}}, 2, r"cluster\.image: slurm cannot be asked"),
        ({"cluster": {"time": 60}, "device": "cuda:1"}, 2, "--device cuda:1: each task sees a GPU"),
        ({"cluster": {"time": 60}, "out": "a%b"}, 2, "Slurm writes no logs below a path with %"),
        ({"cluster": {"time": 60}, "out": "a\\b"}, 2, "with %, a backslash or a control character"),
    ],
)
@pytest.mark.parametrize("executor", ["slurm", "debug"])
def test_what_slurm_could_not_do_is_refused_before_anything_is_written(
    cli, suite, tmp_path, settings, jobs, message, executor
):
    out = tmp_path / settings.get("out", "run")
    words = ["--model", suite, "--steps", "0", "--experiment", "loss", "--jobs", jobs]
    for name, value in settings.get("cluster", {}).items():
        words += ["--set", f"cluster.{name}={value}"]
    words += ["--device", settings.get("device", "cpu")]
    status, shown, err = cli("submit", "--executor", executor, "--out", out, *words)
    assert (status, shown) == (1, "")
    assert re.match(rf"error: .*{message}", err)
    assert err.count("\n") == 1
    assert not out.exists()


def test_gpus_are_not_shared(suite, tmp_path):
    config = pt.SweepConfig(
        model=str(suite), steps="0", experiments=["loss"], out=tmp_path, cluster={"time": 60}
    )
    with pytest.raises(ConfigError, match="--per-gpu 2: only --executor local shares GPUs"):
        Slurm().workers(config, 2, 2)


@pytest.mark.parametrize(
    ("cluster", "keep", "environment", "defaults", "scratch"),
    [
        ({}, False, {}, {}, True),
        ({"cpus": 3}, False, {}, {"OMP_NUM_THREADS": "3"}, True),
        # What was fetched, or is to be kept, lies where all nodes see it.
        ({"fetch": "internet"}, False, {"HF_HUB_OFFLINE": "1"}, {}, False),
        ({}, True, {}, {}, False),
    ],
)
def test_what_a_task_is_told(suite, tmp_path, cluster, keep, environment, defaults, scratch):
    config = pt.SweepConfig(
        model=str(suite),
        steps="all",
        experiments=["loss"],
        out=tmp_path / "run",
        keep=keep,
        cluster={"time": "0:10:00", **cluster},
    )
    request, plan = record(config)
    dealt = deal(Submission(config, request, plan, jobs=2), 7.0)
    assert (list(dealt.shards), dealt.fetch) == ([0, 1], None)
    task = dealt.task(1)
    assert (task.environment, task.defaults, task.scratch) == (environment, defaults, scratch)
    assert (task.limit, task.patience, task.silent_seconds) == (600, 30.0, 7.0)
    ((*words, option, shard),) = task.commands
    assert words[:4] == ["worker", str(tmp_path / "run"), "--request", request]
    assert (option, shard, task.name) == ("--shard", "1/2", "worker 1/2")


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    """The task's own file is the one that has no room."""

    def is_full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SlurmExecutor, "affinity", lambda _: 1)
    monkeypatch.setattr(SlurmExecutor, "submit_array", is_full)
    (tmp_path / "squeue").write_text("#!/bin/sh\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    run, array = Run.create(tmp_path / "run"), Array(request="x", count=1, shards=[0])
    asked = parameters(Cluster(time=60), 1)
    with (
        pytest.raises(StoreError, match=r"^the disk of .*run is full: "),
        all_or_nothing(run) as batch,
    ):
        batch.submit(array, [], asked)
    assert not run.jobs.exists()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "it does not say why"),
        (
            "sbatch: error: invalid partition\nsbatch: error: Batch job failed: no\n",
            "Batch job failed: no",
        ),
        (
            "sbatch: unrecognized option '--x'\nTry \"sbatch --help\" for more\n",
            "unrecognized option '--x'",
        ),
        ("slurm_load_jobs error: Unable to contact\x1b[31m", "Unable to contact"),
    ],
)
def test_why_a_command_failed(said, why):
    assert reason(said).startswith(why)
    assert "\x1b" not in reason(said)


@pytest.mark.parametrize(
    ("state", "reason", "active", "badly"),
    [
        ("PENDING", "Resources", True, False),
        ("RUNNING", "None", True, False),
        ("COMPLETING", "None", True, False),
        ("PENDING", "JobHeldAdmin", True, False),
        ("COMPLETED", "None", False, False),
        ("FAILED", "NonZeroExitCode", False, True),
        ("NODE_FAIL", "None", False, True),
        ("UNKNOWN", "", False, True),
        ("PENDING", "launch failed requeued held", False, True),
        ("COMPLETING", "launch failed requeued held", False, True),
        ("PENDING", "(DependencyNeverSatisfied)", False, True),
    ],
)
def test_which_tasks_come_back(state, reason, active, badly):
    task = QueuedTask("17_3", "20261129-101530-3f9c2a-0", "3/4", state, reason, "n1")
    assert (task.is_active, task.ended_badly, task.job) == (active, badly, "17")
    assert task.comes == (active and state != "COMPLETING")
