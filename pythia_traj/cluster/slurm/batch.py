"""Arrays that are submitted together through submitit: all of them, or none."""

import io
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor
from submitit.core.utils import FailedJobError, FailedSubmissionError

from pythia_traj.cluster.slurm import arrays
from pythia_traj.cluster.slurm.arrays import Submitted
from pythia_traj.cluster.slurm.asking import parameters
from pythia_traj.cluster.slurm.cancel import withdraw
from pythia_traj.cluster.slurm.client import reason
from pythia_traj.cluster.slurm.task import Task
from pythia_traj.config import SweepConfig
from pythia_traj.errors import SchedulerError
from pythia_traj.store.layout import Run
from pythia_traj.store.records import Array
from pythia_traj.store.writing import writing

_PYTHON = f"{shlex.quote(sys.executable)} -P"
"""Without the directory where the job starts on Python's path."""

_MOST_TIMEOUTS = 10_000
"""How often submitit requeues a task at its time limit; a task knows when that is in vain."""


class Batch:
    """What one command submits.

    Attributes:
        submitted: the arrays that Slurm has taken.
    """

    def __init__(self, run: Run) -> None:
        self._run, self._name = run, arrays.new_submission()
        self._begun: list[Submitted] = []
        self.submitted: list[Submitted] = []

    def submit(self, array: Array, tasks: Sequence[Task], asked: Mapping[str, Any]) -> Submitted:
        """Submits an array.

        Args:
            asked: parameters of submitit, without the names of the job and of its folder.

        Raises:
            SchedulerError: Slurm refuses it.
            StoreError: the run cannot be written.
        """
        one = Submitted(self._run.jobs / f"{self._name}-{len(self._begun)}", array)
        self._begun.append(one)
        one.write(self._run)
        executor = SlurmExecutor(one.folder, _MOST_TIMEOUTS, python=_PYTHON)
        said = io.StringIO()
        try:
            # submitit prints what sbatch says, too.
            with writing(self._run.path), redirect_stderr(said):
                executor.update_parameters(**_named(self._run, one.folder), **asked)
                jobs = executor.submit_array(tasks)
        except (FailedJobError, FailedSubmissionError) as error:
            raise SchedulerError(
                f"sbatch failed: {reason(str(error) or said.getvalue())}"
                f" (asked for: {_words(asked)})"
            ) from None
        job = jobs[0].job_id.partition("_")[0]
        self.submitted.append(one.know(job, self._run))
        return self.submitted[-1]

    def withdraw(self) -> str:
        """Cancels what was submitted, and removes all traces of it; says whether that worked."""
        if withdraw(self._run, {one.folder.name: one for one in self._begun}):
            for one in self._begun:
                one.remove()
            return "nothing is left submitted"
        run = shlex.quote(str(self._run.path))
        return f"a part may be in the queue: pythia-traj cancel {run} when Slurm answers again"


@contextmanager
def all_or_nothing(run: Run) -> Iterator[Batch]:
    """Arrays that are withdrawn if the block ends badly, or is interrupted."""
    batch = Batch(run)
    try:
        yield batch
    except SchedulerError as error:
        raise SchedulerError(f"{error}; {batch.withdraw()}") from None
    except BaseException:
        batch.withdraw()
        raise


def script(run: Run, tasks: int, asked: Mapping[str, Any]) -> str:
    """The script that `submit` would give to sbatch."""
    executor = _Preview(run.jobs / "SUBMISSION", python=_PYTHON)
    executor.update_parameters(**_named(run, executor.folder), **asked)
    if tasks > 1:
        executor.parameters["map_count"] = tasks
    return executor.text


def preview(config: SweepConfig, jobs: int) -> str:
    """The script of an array of so many workers."""
    return script(Run(config.out.absolute()), jobs, parameters(config.cluster, jobs))


class _Preview(SlurmExecutor):
    """Makes a script on a machine that need not have Slurm."""

    @classmethod
    def affinity(cls) -> int:
        return 1

    @property
    def text(self) -> str:
        """The script."""
        return self._make_submission_file_text(self._submitit_command_str, "")


def _named(run: Run, folder: Path) -> dict[str, str]:
    return {"job_name": arrays.job_name(run), "comment": folder.name}


def _words(asked: Mapping[str, Any]) -> str:
    """What could be wrong with a job."""
    words = ("partition", "account", "qos", "gres", "cpus_per_task", "mem", "time")
    said = [f"{word} {asked[word]}" for word in words if asked.get(word) is not None]
    return ", ".join(said) or "nothing"
