"""`debug`: the tasks of `slurm` one after the other in submitit's debug executor, without Slurm."""

from submitit import DebugExecutor

from pythia_traj.cluster.executor import Handed, Outcome, Submission
from pythia_traj.cluster.slurm import arrays
from pythia_traj.cluster.slurm.asking import parameters
from pythia_traj.cluster.slurm.batch import script
from pythia_traj.cluster.slurm.dealing import deal, refuse_impossible
from pythia_traj.config import SweepConfig
from pythia_traj.store.layout import Run
from pythia_traj.store.records import Array
from pythia_traj.sweeps.record import Observer, SweepResult


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
        return script(Run(config.out.absolute()), jobs, parameters(config.cluster, jobs))

    def run(self, submission: Submission, observer: Observer) -> Outcome:
        """Does the tasks; what they print is in their logs."""
        plan, run = submission.plan, Run.open(submission.config.out)
        observer.planned(plan)
        dealt = deal(submission)
        array = Array(request=submission.request, count=submission.jobs, shards=list(dealt.shards))
        one = arrays.create(run, arrays.new_submission(), 0, array)
        todo = [] if dealt.fetch is None else [dealt.fetch]
        todo += [dealt.task(shard) for shard in dealt.shards]
        notes = []
        for number, task in enumerate(todo):
            observer.working(task.name)
            task.output = one.folder / f"{number}_0_log.out"
            # Not the task itself: submitit opens a debugger where what it calls raises.
            (job,) = DebugExecutor(one.folder).submit_array([task.attempt])
            if (how := job.result()) is not None:
                notes.append(how)
        result = SweepResult(run.path, skipped=list(plan.done), warnings=list(plan.warnings))
        handed = Handed(one.folder, tasks=len(todo))
        return Outcome(result, left=plan.todo, notes=tuple(notes), handed=handed)
