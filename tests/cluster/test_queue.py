"""What is said of a run's tasks, by what Slurm answers: its commands are scripts that print."""

import json
import os

import pytest

from pythia_traj.cluster.slurm import arrays
from pythia_traj.cluster.slurm.queue import find_queue
from pythia_traj.cluster.slurm.task import ENDS_WELL
from pythia_traj.store.layout import Run
from pythia_traj.store.records import Array

FIRST, LAST = "20261129-101530-aaaaaa-0", "20261130-101530-bbbbbb-0"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """`slurm(squeue="17_0|RUNNING|n1|...|None", sacct=None)`: what they print; None: they fail."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")

    def answers(**texts):
        for name, text in {"squeue": "", "sacct": None, **texts}.items():
            (bin_ / f"{name}.txt").write_text(text or "")
            end = "exit 0" if text is not None else "echo 'x error: no answer' >&2; exit 1"
            (bin_ / name).write_text(
                f'#!/bin/sh\necho "{name} $@" >> {tmp_path}/asked\ncat {bin_}/{name}.txt\n{end}\n'
            )
            (bin_ / name).chmod(0o755)

    answers()
    return answers


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run")


def submitted(run, name, job, shards=(0, 2), count=4):
    array = Array(request="x", count=count, shards=list(shards))
    return arrays.Submitted(run.jobs / name, array).know(job, run)


def log(one, name, text):
    path = one.folder / f"{name}_0_log.out"
    path.write_text(text)
    return str(path.relative_to(one.folder.parents[1]))


def told(run):
    return [(task.id, task.shard, task.state) for task in find_queue(run).tasks]


def test_a_run_without_jobs_asks_nobody(run, slurm, tmp_path):
    assert find_queue(run) is None
    assert not (tmp_path / "asked").exists()


def test_tasks_that_wait_or_run_are_told_with_their_shards(run, slurm, tmp_path):
    one = submitted(run, LAST, "17")
    path = log(one, "17_0", "x\n")
    slurm(squeue=f"17_1|PENDING||{LAST}|Resources\n17_0|RUNNING|n1|{LAST}|None\nnonsense\n")
    running, waiting = find_queue(run).tasks
    assert (running.shard, running.log, running.node) == ("0/4", path, "n1")
    assert (waiting.shard, waiting.log, waiting.reason) == ("2/4", None, "Resources")
    asked = (tmp_path / "asked").read_text()
    assert f"--name {arrays.job_name(run)} " in asked
    # Not by a name that the environment says.
    assert f"--user {os.getuid()} " in asked


def test_a_job_without_an_array_is_its_only_task(run, slurm):
    submitted(run, LAST, "18", shards=[3])
    slurm(squeue=f"18|RUNNING|n1|{LAST}|None\n")
    assert told(run) == [("18", "3/4", "RUNNING")]


def test_what_failed_in_an_older_submission_is_over(run, slurm):
    submitted(run, FIRST, "17")
    submitted(run, LAST, "18")
    slurm(
        squeue=f"17_0|FAILED|n1|{FIRST}|NonZeroExitCode\n18_0|TIMEOUT|n1|{LAST}|TimeLimit\n"
        f"17_1|RUNNING|n1|{FIRST}|None\n18_1|COMPLETED|n1|{LAST}|None\n"
    )
    assert told(run) == [("17_1", "2/4", "RUNNING"), ("18_0", "0/4", "TIMEOUT")]


def test_where_slurm_has_forgotten_tasks_their_logs_say_how_they_ended(run, slurm):
    one = submitted(run, LAST, "17")
    log(one, "17_0", f"measured\n{ENDS_WELL}\nsubmitit INFO (2026) - Exiting\n")
    log(one, "17_1", "submitit INFO (2026-11-29 10:00:00,000) - Starting\nmeasured\n")
    (task,) = find_queue(run).tasks
    assert (task.id, task.state, task.last_lines) == ("17_1", "UNKNOWN", ("Starting", "measured"))
    # While nobody answers, it may be running.
    slurm(squeue=None)
    queue = find_queue(run)
    assert (queue.tasks, queue.unknown) == ((), "squeue failed: no answer")


def test_accounts_say_it_where_there_are_any(run, slurm):
    one = submitted(run, LAST, "17")
    log(one, "17_1", "killed in the middle\n")
    answer = "17_0|COMPLETED|n1\n17_1|CANCELLED by 1000|n2\n99_0|FAILED|n1\n"
    for squeue in ("", None):
        slurm(squeue=squeue, sacct=answer)
        (task,) = find_queue(run).tasks
        assert (task.id, task.state, task.node) == ("17_1", "CANCELLED", "n2")
        assert task.last_lines == ("killed in the middle",)


def test_status_shows_it_as_text_while_something_is_left(run, slurm, cli):
    request = {"explicit_steps": {"tiny": [0, 8]}, "experiments": {"loss": {}}}
    run.record_request(request)
    one = submitted(run, LAST, "17")
    path = log(one, "17_0", "one\ntwo\nthree\nfour\n\x1b[31mfive\n[bold]six\n")
    slurm(squeue=f"17_0|FAILED|n1|{LAST}|x\n17_1|PENDING||{LAST}|QOSMaxJobs\n")
    code, out, _ = cli("status", run.path)
    lines = out.splitlines()
    assert code == 0
    assert "tasks in Slurm: 1 pending (QOSMaxJobs)" in lines
    start = lines.index(f"task 17_0 failed on n1: {path}")
    assert lines[start + 1 : start + 6] == [
        "  two",
        "  three",
        "  four",
        "  \\x1b[31mfive",
        "  [bold]six",
    ]
    queue = json.loads(cli("status", run.path, "--json")[1])["queue"]
    assert [task["id"] for task in queue["tasks"]] == ["17_0", "17_1"]
    assert queue["unknown"] is None
    for step in (0, 8):
        file = run.unit_path("tiny", "loss", step)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert "task 17_0" not in cli("status", run.path)[1]


def test_damaged_and_foreign_files_are_left_out(run, slurm):
    one = submitted(run, LAST, "17")
    (submitted(run, FIRST, "16").folder / "array.json").write_text("{")
    (run.jobs / "..evil").mkdir()
    (run.jobs / "notes.txt").write_text("mine")
    os.mkfifo(one.folder / "17_0_0_log.out")
    (one.folder / "nonsense_log.out").write_text("x")
    slurm(squeue=f"17_0|FAILED|n1|{LAST}|x\n16_0|RUNNING|n1|{FIRST}|None\n5_0|FAILED|n|../x|y\n")
    failed, running = sorted(find_queue(run).tasks, key=lambda task: task.state)
    assert (failed.id, failed.last_lines) == ("17_0", ())
    assert (running.id, running.shard, running.log) == ("16_0", None, None)


def test_what_a_killed_submission_has_left_hides_nothing(run, slurm):
    submitted(run, FIRST, "17")
    arrays.Submitted(run.jobs / LAST, Array(request="x", count=1, shards=[0])).write(run)
    slurm(squeue=f"17_0|FAILED|n1|{FIRST}|x\n")
    assert told(run) == [("17_0", "0/4", "FAILED")]


def test_tasks_that_failed_alike_are_one_line(run, slurm, cli):
    run.record_request({"explicit_steps": {"tiny": [0, 8]}, "experiments": {"loss": {}}})
    one = submitted(run, LAST, "17", shards=range(5), count=5)
    paths = [log(one, f"17_{i}", "same\n") for i in range(2)]
    states = ["FAILED", "FAILED", "CANCELLED", "PENDING", "BOOT_FAIL"]
    reasons = ["x", "x", "x", "launch failed requeued held", "x"]
    rows = enumerate(zip(states, reasons, strict=True))
    slurm(squeue="".join(f"17_{i}|{state}|n1|{LAST}|{why}\n" for i, (state, why) in rows))
    lines = cli("status", run.path)[1].splitlines()
    unseen = "without a log: can the nodes see the run?"
    assert [line for line in lines if line.startswith(("task", "  "))] == [
        f"task 17_0 and 1 more failed on n1: {paths[0]}",
        "  same",
        f"task 17_3 pending (launch failed requeued held) on n1: {unseen}",
        f"task 17_4 boot_fail on n1: {unseen}",
    ]


def test_names_of_runs_differ_by_their_paths(run, tmp_path):
    other = Run.create(tmp_path / "elsewhere" / "run")
    names = {arrays.job_name(run), arrays.job_name(other)}
    assert len(names) == 2
    assert all(name.startswith("run-") for name in names)
