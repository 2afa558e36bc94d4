"""What schedulers tell a task of an array: its number, how many there are, the job's id.

Each scheduler is a row of a table. Slurm, SkyPilot, LSF and torchrun say how many tasks there are;
Kubernetes and PBS do not.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pythia_traj.errors import ConfigError

SHARDS = "PYTHIA_TRAJ_SHARDS"
"""The variable that says how many shards there are, where no scheduler does."""


@dataclass(frozen=True)
class Scheduler:
    """The variables of one scheduler.

    Attributes:
        index: the number of this task.
        count: how many tasks there are; None where the scheduler does not say.
        first: the number of the first task.
        least: the lowest number of this array, which need not begin at `first`.
        stride: the distance between two numbers, which has to be 1.
        no_array: the index of a job that is not an array.
        job: the job's id.
        array: the id of the array; a task of it is then called by that and its index.
    """

    name: str
    index: str
    count: str | None = None
    first: int = 0
    least: str | None = None
    stride: str | None = None
    no_array: str | None = None
    job: str | None = None
    array: str | None = None


SCHEDULERS = (
    Scheduler(
        "Slurm",
        "SLURM_ARRAY_TASK_ID",
        count="SLURM_ARRAY_TASK_COUNT",
        least="SLURM_ARRAY_TASK_MIN",
        stride="SLURM_ARRAY_TASK_STEP",
        job="SLURM_JOB_ID",
        array="SLURM_ARRAY_JOB_ID",
    ),
    Scheduler("SkyPilot", "SKYPILOT_JOB_RANK", count="SKYPILOT_NUM_JOBS", job="SKYPILOT_TASK_ID"),
    Scheduler("Kubernetes", "JOB_COMPLETION_INDEX"),
    Scheduler("PBS", "PBS_ARRAY_INDEX", job="PBS_JOBID"),
    Scheduler(
        "LSF",
        "LSB_JOBINDEX",
        count="LSB_JOBINDEX_END",
        first=1,
        stride="LSB_JOBINDEX_STEP",
        no_array="0",
        job="LSB_JOBID",
    ),
    # Last: torchrun may run inside a task of any of the others.
    Scheduler("torchrun", "RANK", count="WORLD_SIZE", job="TORCHELASTIC_RUN_ID"),
)
"""In the order in which they are asked: the first that has an index decides."""


@dataclass(frozen=True)
class Task:
    """The task of an array that this process is.

    Attributes:
        index: its number, from 0; it may be beyond the last where an array has gaps.
        count: how many there are.
        told_by: the variables that say so, for the log.
    """

    index: int
    count: int
    told_by: str


def find_task(environment: Mapping[str, str], shards: int | None = None) -> Task:
    """The task that a scheduler's variables say this process is.

    Args:
        shards: how many there are. It replaces the scheduler's number, and the index then counts
            from the scheduler's first, so that a part of an array can be submitted again.

    Raises:
        ConfigError: no variable says it, or one has a value that cannot be meant.
    """
    found = [one for one in SCHEDULERS if environment.get(one.index) not in (None, one.no_array)]
    if not found:
        known = ", ".join(one.index for one in SCHEDULERS)
        raise ConfigError(
            f"which shard? Give --shard i/n, such as --shard 0/4; no scheduler says it (none of"
            f" {known} is set)"
        )
    scheduler, ignored = found[0], [one.index for one in found[1:]]
    told = _Told(environment)
    index = told.number(scheduler.index)
    count = told.number(SHARDS) if shards is None else shards
    first = scheduler.first
    if count is None:
        count = told.number(scheduler.count)
        if told.number(scheduler.stride) not in (None, 0, 1):
            raise ConfigError(
                f"{scheduler.stride}={environment[str(scheduler.stride)]}: the numbers of the array"
                " have to follow each other, such as 0-3, or give --shards N"
            )
        least = told.number(scheduler.least)
        first = first if least is None else least
    if index is None or count is None:
        raise ConfigError(
            f"{scheduler.index} does not say how many shards there are: give --shards N, or"
            f" {SHARDS}=N"
        )
    more = f"; {', '.join(ignored)} ignored" if ignored else ""
    return Task(index - first, count, told.said + more)


def job_id(environment: Mapping[str, str]) -> str | None:
    """The id that the scheduler gave the job, `17_3` of a task; None outside of one."""
    for one in SCHEDULERS:
        if one.array is not None and environment.get(one.array) and environment.get(one.index):
            return f"{environment[one.array]}_{environment[one.index]}"
        if one.job is not None and environment.get(one.job):
            return environment[one.job]
    return None


class _Told:
    """Reads numbers of the environment, and keeps which ones."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._read: list[str] = []

    def number(self, name: str | None) -> int | None:
        """The value of a variable; None where it is not set."""
        text = None if name is None else self._environment.get(name)
        if text is None:
            return None
        self._read.append(f"{name}={text}")
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            raise ConfigError(
                f"{name}={text!r}: it has to be a whole number; give --shard i/n instead"
            )
        return int(text)

    @property
    def said(self) -> str:
        """The variables that were read, with their values."""
        return ", ".join(self._read)
