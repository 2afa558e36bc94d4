"""`debug`: the tasks of `slurm` one after the other in submitit's debug executor, without Slurm."""

import warnings
from pathlib import Path

from submitit import DebugExecutor

from pythia_traj.cluster.children import End
from pythia_traj.cluster.executor import Outcome, Submission
from pythia_traj.cluster.outcome import outcome_of
from pythia_traj.cluster.slurm import arrays
from pythia_traj.cluster.slurm.batch import preview
from pythia_traj.cluster.slurm.dealing import deal, refuse_impossible
from pythia_traj.cluster.slurm.task import Task
from pythia_traj.config import SweepConfig
from pythia_traj.store.layout import Run
from pythia_traj.store.writing import writing
from pythia_traj.sweeps.record import Observer


class Debug:
    """Shows on one machine what the tasks of a cluster would do."""

    name = "debug"

    def workers(self, config: SweepConfig, jobs: int | None, per_gpu: int | None) -> int:
        """As many as are asked for; one by default.

        Raises:
            ConfigError: Slurm could not be asked for what `cluster` says, or lacks something.
        """
        return refuse_impossible(self.name, config, jobs, per_gpu)

    def preview(self, config: SweepConfig, request: str, jobs: int) -> str:
        """The script that sbatch would get."""
        return preview(config, jobs)

    def run(self, submission: Submission, observer: Observer) -> Outcome:
        """Does the tasks; what they print is in their logs."""
        run = Run.open(submission.config.out)
        observer.planned(submission.plan)
        dealt = deal(submission)
        # Without a record: Slurm knows nothing of it.
        folder = run.jobs / f"{arrays.new_submission()}-0"
        with writing(run.path):
            folder.mkdir(parents=True)
        todo = [] if dealt.fetch is None else [dealt.fetch]
        todo += [dealt.task(shard) for shard in dealt.shards]
        notes, ended = [], dict[str, End]()
        for number, task in enumerate(todo):
            observer.working(task.name)
            task.output = folder / f"{number}_0_log.out"
            if (how := _do(task, folder)) is not None:
                notes.append(f"{how}: {task.output}")
            ended |= task.ended
        return outcome_of(submission, ended, notes)


def _do(task: Task, folder: Path) -> str | None:
    # Not the task itself: submitit opens a debugger where what it calls raises.
    (job,) = DebugExecutor(folder).submit_array([task.attempt])
    with warnings.catch_warnings():
        # It does not close its own logs.
        warnings.simplefilter("ignore", ResourceWarning)
        return job.result()
