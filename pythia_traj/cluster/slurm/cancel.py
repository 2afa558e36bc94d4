"""The end of a run's jobs, and of no others: those whose name is the run's."""

from collections.abc import Mapping
from pathlib import Path

from pythia_traj.cluster.slurm.arrays import Submitted
from pythia_traj.cluster.slurm.client import ask
from pythia_traj.cluster.slurm.queue import QueuedTask, tasks
from pythia_traj.errors import SchedulerError
from pythia_traj.store.layout import Run


def cancel(run: str | Path) -> list[QueuedTask]:
    """Cancels the jobs of a run, whatever they wait for; what they have finished is stored.

    Args:
        run: its directory.

    Returns:
        the tasks that waited or ran.

    Raises:
        StoreError: it is not a run.
        SchedulerError: Slurm is not here, or does not answer.
    """
    ended = [task for task in tasks(Run.open(Path(run))) if task.comes or task.is_stuck]
    _cancel({task.job for task in ended})
    return ended


def withdraw(run: Run, submitted: Mapping[str, Submitted]) -> bool:
    """Cancels the jobs of some arrays; whether it is certain that none of them is left.

    Args:
        submitted: by the names of their folders.
    """
    jobs = {one.array.job for one in submitted.values() if one.array.job is not None}
    is_certain = True
    try:
        # Slurm may have taken a job and not said so.
        jobs |= {task.job for task in tasks(run) if task.submission in submitted}
    except SchedulerError:
        is_certain = False
    try:
        _cancel(jobs)
    except SchedulerError:
        return False
    return is_certain


def _cancel(jobs: set[str]) -> None:
    if jobs:
        ask("scancel", "--quiet", *sorted(jobs))
