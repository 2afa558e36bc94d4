"""What Slurm knows of a run's tasks: those that wait or run, and lately how they ended.

`squeue` forgets a job some minutes after its end. Where the cluster keeps accounts, `sacct` knows
it longer; where it keeps none, the logs of the tasks have to do.
"""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pythia_traj.cluster.slurm import arrays
from pythia_traj.cluster.slurm.client import ask
from pythia_traj.cluster.slurm.task import ENDS_WELL
from pythia_traj.errors import SchedulerError
from pythia_traj.outside import last_lines
from pythia_traj.store.layout import Run

ENDED_WELL = "COMPLETED"

ENDED = {
    ENDED_WELL,
    "BOOT_FAIL",
    "CANCELLED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
}
"""States of tasks that do not come back by themselves."""

UNKNOWN = "UNKNOWN"
"""Of a task that Slurm has forgotten, and whose log does not say that it ended well."""

_NEVER = ("launch failed requeued held", "JobHoldMaxRequeue", "DependencyNeverSatisfied")
"""Reasons for which a task waits that no passing of time removes."""

_ID = re.compile(r"(?P<job>[0-9]{1,12})(?:_(?P<index>[0-9]{1,9}))?")

_LAST_LINES = 5
"""Of the log of a task that ended badly."""

_OF_SUBMITIT = re.compile(r"submitit [A-Z]+ \(.*?\) - ")


@dataclass(frozen=True)
class QueuedTask:
    """A task of a run as Slurm sees it.

    Attributes:
        id: Slurm's, `17_3`.
        submission: the name of its array's folder in the run.
        shard: which part of the request it does, `3/4`; None where it downloads.
        state: Slurm's word, `PENDING`, or UNKNOWN.
        reason: why it waits.
        node: where it runs or ran.
        log: what it has printed, as a path within the run; None before it has begun.
        last_lines: the end of that, of a task that ended badly.
    """

    id: str
    submission: str
    shard: str | None
    state: str
    reason: str
    node: str
    log: str | None = None
    last_lines: tuple[str, ...] = ()

    @property
    def job(self) -> str:
        """The id of its job."""
        return self.id.partition("_")[0]

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs, so that it may still do something."""
        return self.state not in {*ENDED, UNKNOWN} and not self.is_stuck

    @property
    def comes(self) -> bool:
        """Whether it may still begin a unit: it does not end now, as cancelled ones do for long."""
        return self.is_active and self.state != "COMPLETING"

    @property
    def is_stuck(self) -> bool:
        """Whether it waits for what never comes."""
        waits = self.state in ("PENDING", "COMPLETING")
        return waits and self.reason.strip("()") in _NEVER

    @property
    def ended_badly(self) -> bool:
        """Whether it failed, as far as Slurm knows."""
        return self.is_stuck or self.state == UNKNOWN or self.state in ENDED - {ENDED_WELL}


@dataclass(frozen=True)
class Queue:
    """What Slurm says of a run's tasks.

    Attributes:
        tasks: those that wait or run, and those of the last submission that have ended badly.
        unknown: why Slurm could not be asked; None where it answered.
    """

    tasks: tuple[QueuedTask, ...] = ()
    unknown: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As `status --json` prints it."""
        return {"tasks": [asdict(task) for task in self.tasks], "unknown": self.unknown}


def tasks(run: Run) -> list[QueuedTask]:
    """The tasks of a run's jobs that Slurm has not forgotten.

    Raises:
        SchedulerError: it does not answer.
    """
    submitted = arrays.read(run)
    lines = ask(
        "squeue",
        *("--noheader", "--array", "--states=all", "--user", str(os.getuid())),
        *("--name", arrays.job_name(run), "--format=%i|%T|%N|%k|%r"),
    )
    found = (line.split("|", 4) for line in lines.splitlines())
    return [
        _task(run, submitted, *fields)
        for fields in found
        if len(fields) == 5 and _ID.fullmatch(fields[0])
    ]


def find_queue(run: Run) -> Queue | None:
    """What there is to say of a run's tasks; None where it has never submitted any."""
    submitted = arrays.read(run)
    if not submitted:
        return None
    unknown = None
    known: dict[str, QueuedTask] = {}
    try:
        known = {task.id: task for task in tasks(run)}
    except SchedulerError as error:
        unknown = str(error)
    last = _last(submitted)
    known |= {task.id: task for task in _accounted(run, last, known)}
    if unknown is None:
        known |= {task.id: task for task in _forgotten(run, last, known)}
    told = [task for task in known.values() if task.is_active]
    told += [
        _with_last_lines(run, task)
        for task in known.values()
        if task.submission in last and task.ended_badly
    ]
    return Queue(tuple(sorted(told, key=lambda task: _order(task.id))), unknown)


def _last(submitted: Mapping[str, arrays.Submitted]) -> dict[str, arrays.Submitted]:
    """The arrays that were submitted together with the last one."""
    # What a submission that was killed has left is none.
    told = [name for name, one in submitted.items() if one.array.job is not None or one.logs]
    newest = arrays.submission_of(max(told, default=""))
    return {name: one for name, one in submitted.items() if arrays.submission_of(name) == newest}


def _accounted(
    run: Run, submitted: Mapping[str, arrays.Submitted], known: Mapping[str, QueuedTask]
) -> list[QueuedTask]:
    """The ended tasks that only the cluster's accounts know, where it keeps any."""
    jobs = {one.array.job: name for name, one in submitted.items() if one.array.job is not None}
    if not jobs or all(_covered(one, known) for one in submitted.values()):
        return []
    found = []
    with suppress(SchedulerError):
        lines = ask(
            "sacct",
            *("--noheader", "--parsable2", "--allocations"),
            # Not by name: a job that ended while the controller was gone has lost it there.
            *("--jobs", ",".join(jobs), "--user", str(os.getuid())),
            "--format=JobID,State,NodeList",
        )
        for line in lines.splitlines():
            name, state, node = (*line.split("|"), "", "")[:3]
            match = _ID.fullmatch(name)
            if match is not None and match["job"] in jobs and name not in known:
                # `CANCELLED by 1000`
                word = state.partition(" ")[0]
                found.append(_task(run, submitted, name, word, node, jobs[match["job"]], ""))
    return found


def _forgotten(
    run: Run, submitted: Mapping[str, arrays.Submitted], known: Mapping[str, QueuedTask]
) -> list[QueuedTask]:
    """The tasks that nobody knows, and whose log does not say that they ended well."""
    found = []
    for name, one in submitted.items():
        for (job, index), log in one.logs.items():
            task = f"{job}_{index}" if len(one.array.shards) > 1 else job
            if task not in known and ENDS_WELL not in last_lines(log, _LAST_LINES):
                found.append(_task(run, submitted, task, UNKNOWN, "", name, ""))
    return found


def _covered(one: arrays.Submitted, known: Mapping[str, QueuedTask]) -> bool:
    of_it = [task for task in known.values() if task.submission == one.folder.name]
    return len(of_it) >= max(1, len(one.array.shards))


def _task(
    run: Run,
    submitted: Mapping[str, arrays.Submitted],
    name: str,
    state: str,
    node: str,
    submission: str,
    reason: str,
) -> QueuedTask:
    match = _ID.fullmatch(name)
    assert match is not None
    index, shard, log = int(match["index"] or 0), None, None
    one = submitted.get(submission)
    if one is not None:
        if index < len(one.array.shards):
            shard = f"{one.array.shards[index]}/{one.array.count}"
        path = one.logs.get((match["job"], index))
        log = None if path is None else str(path.relative_to(run.path))
    return QueuedTask(name, submission, shard, state, reason, node, log)


def _with_last_lines(run: Run, task: QueuedTask) -> QueuedTask:
    if task.log is None:
        return task
    return QueuedTask(**{**vars(task), "last_lines": tuple(_last_lines(run.path / task.log))})


def _last_lines(log: Path) -> list[str]:
    """The end of a task's log, without what submitit puts in front of its own lines."""
    return [_OF_SUBMITIT.sub("", line) for line in last_lines(log, _LAST_LINES)]


def _order(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in name.split("_"))
