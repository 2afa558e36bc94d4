"""`slurm`: an array of tasks, each a worker, submitted through submitit and not waited for."""

import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pythia_traj.cluster.executor import Handed, Outcome, Submission
from pythia_traj.cluster.slurm import arrays
from pythia_traj.cluster.slurm.arrays import Submitted
from pythia_traj.cluster.slurm.asking import fetch_parameters, parameters
from pythia_traj.cluster.slurm.batch import Batch, all_or_nothing, preview
from pythia_traj.cluster.slurm.client import ask, require
from pythia_traj.cluster.slurm.dealing import Deal, deal, refuse_impossible
from pythia_traj.cluster.slurm.queue import tasks
from pythia_traj.config import SweepConfig
from pythia_traj.errors import ConfigError, SchedulerError
from pythia_traj.store.layout import Run
from pythia_traj.store.records import Array
from pythia_traj.sweeps.heartbeat import SILENT_SECONDS
from pythia_traj.sweeps.record import Observer, SweepResult

_LARGEST_ARRAY = 1001
"""Tasks of an array, where Slurm does not say it: its default."""

_SIZE = re.compile(r"^MaxArraySize\s*=\s*([0-9]{1,9})\s*$", re.MULTILINE)

_LOOK_SECONDS = 0.25
"""Between two looks at the queue."""


@dataclass(frozen=True)
class Slurm:
    """The scheduler of the cluster that this machine submits to.

    Attributes:
        silent_seconds: a worker without a heartbeat for so long is ended by its task.
        settling: seconds to wait for a sign of whether the nodes see the run.
    """

    silent_seconds: float = SILENT_SECONDS
    settling: float = 5.0

    name = "slurm"

    def workers(self, config: SweepConfig, jobs: int | None, per_gpu: int | None) -> int:
        """As many as are asked for; one by default.

        Raises:
            ConfigError: Slurm cannot be asked for what `cluster` says, or lacks something.
        """
        return refuse_impossible(self.name, config, jobs, per_gpu)

    def preview(self, config: SweepConfig, request: str, jobs: int) -> str:
        """The script that sbatch would get where all shards have something to do."""
        return preview(config, jobs)

    def run(self, submission: Submission, observer: Observer) -> Outcome:
        """Submits the tasks that have something to do and that Slurm does not have already.

        Raises:
            SchedulerError: Slurm is not here or refuses them, or the nodes do not see the run;
                nothing is left submitted.
            ConfigError: other tasks of this request are in the queue.
        """
        for command in ("sbatch", "srun"):
            require(command)
        plan, run = submission.plan, Run.open(submission.config.out)
        observer.planned(plan)
        waiting = _waiting(run, submission)
        dealt = deal(submission, self.silent_seconds, without=waiting)
        shards, there = dealt.shards, dealt.left_out
        notes = (f"tasks in the queue already, not submitted again: {there}",) if there else ()
        submitted = self._submit(run, dealt) if shards else []
        result = SweepResult(run.path, skipped=list(plan.done), warnings=list(plan.warnings))
        jobs = tuple(one.array.job for one in submitted if one.array.job is not None)
        handed = Handed(run.jobs, jobs=jobs, tasks=len(shards))
        return Outcome(result, left=plan.todo, notes=notes, handed=handed)

    def _submit(self, run: Run, dealt: Deal) -> list[Submitted]:
        with all_or_nothing(run) as batch:
            after = _submit_fetch(dealt, batch)
            _submit_workers(dealt, after, batch)
            self._settle(run, batch.submitted[0])
        return batch.submitted

    def _settle(self, run: Run, first: Submitted) -> None:
        """Waits a little for a sign of whether the nodes see the run.

        Raises:
            SchedulerError: a task has failed before it could write its log.
        """
        until = time.monotonic() + self.settling
        while time.monotonic() < until:
            try:
                known = [task for task in tasks(run) if task.submission == first.folder.name]
            except SchedulerError:
                # It has taken the job all the same.
                return
            if first.logs:
                return
            for task in known:
                if task.ended_badly:
                    where = f" on {task.node}" if task.node else ""
                    raise SchedulerError(
                        f"task {task.id} has failed{where} before it could write its log: can the"
                        f" nodes see {run.path}, and has it room? Give --out on a disk that they"
                        " share"
                    )
            time.sleep(_LOOK_SECONDS)


def _waiting(run: Run, submission: Submission) -> set[int]:
    """The shards of the request that tasks in the queue are to do.

    Raises:
        ConfigError: these tasks do other shards, as there are another number of them.
    """
    submitted, found = arrays.read(run), set()
    for task in tasks(run):
        one = submitted.get(task.submission)
        if not task.comes or one is None or one.array.request != submission.request:
            continue
        if one.array.count not in (0, submission.jobs):
            raise ConfigError(
                f"--jobs {submission.jobs}: job {task.job} of this request is in the queue with"
                f" --jobs {one.array.count}: give the same, or first"
                f" pythia-traj cancel {shlex.quote(str(run.path))}"
            )
        found |= set(one.array.shards)
    return found


def _submit_fetch(dealt: Deal, batch: Batch) -> list[str]:
    """Submits the task that downloads; returns what those after it depend on."""
    if dealt.fetch is None:
        return []
    array = Array(request=dealt.submission.request, count=0, shards=[])
    asked = fetch_parameters(dealt.submission.config.cluster)
    return [f"afterok:{batch.submit(array, [dealt.fetch], asked).array.job}"]


def _submit_workers(dealt: Deal, after: Sequence[str], batch: Batch) -> None:
    """Submits the workers, in as many arrays as Slurm's limit makes of them."""
    submission, shards, largest = dealt.submission, dealt.shards, _largest_array()
    cluster = submission.config.cluster
    for start in range(0, len(shards), largest):
        part = list(shards[start : start + largest])
        array = Array(request=submission.request, count=submission.jobs, shards=part)
        asked = parameters(cluster, len(part), after)
        one = batch.submit(array, [dealt.task(shard) for shard in part], asked)
        if cluster.at_once is not None:
            # The limit is an array's: the next one begins when this one has ended.
            after = [f"afterany:{one.array.job}"]


def _largest_array() -> int:
    match = _SIZE.search(ask("scontrol", "show", "config"))
    return max(1, int(match[1])) if match is not None else _LARGEST_ARRAY
