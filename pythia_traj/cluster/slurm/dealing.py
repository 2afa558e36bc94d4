"""A submission -> its tasks: which shards have something to do, and what a task is told."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pythia_traj.cluster.executor import Submission, refuse_sharing, worker_words
from pythia_traj.cluster.slurm.asking import finishing_seconds
from pythia_traj.cluster.slurm.task import Task
from pythia_traj.config import SweepConfig
from pythia_traj.errors import ConfigError
from pythia_traj.hub.model import HubModel
from pythia_traj.outside import shown
from pythia_traj.store.layout import Run
from pythia_traj.stream.published import open_model
from pythia_traj.sweeps.heartbeat import SILENT_SECONDS
from pythia_traj.sweeps.requests import find_request
from pythia_traj.sweeps.shards import shards_with


@dataclass(frozen=True)
class Deal:
    """The tasks of a submission.

    Attributes:
        shards: the numbers of those that have something to do.
        left_out: how many others have something to do, which somebody else has already.
        fetch: the task that comes before them, where there is one.
    """

    submission: Submission
    shards: Sequence[int]
    left_out: int
    fetch: Task | None
    silent_seconds: float

    def task(self, shard: int) -> Task:
        """The worker that does a shard."""
        config = self.submission.config
        cluster, part = config.cluster, f"{shard}/{self.submission.jobs}"
        words = worker_words(config, self.submission.request)
        return Task(
            run=config.out.absolute(),
            name=f"worker {part}",
            commands=((*words, "--shard", part),),
            environment={"HF_HUB_OFFLINE": "1"} if cluster.fetch else {},
            defaults={} if cluster.cpus is None else {"OMP_NUM_THREADS": str(cluster.cpus)},
            # What is fetched first, or is to be kept, lies where all nodes see it.
            scratch=not (cluster.fetch or config.keep),
            limit=cluster.seconds,
            patience=finishing_seconds(cluster),
            silent_seconds=self.silent_seconds,
        )


def deal(
    submission: Submission,
    silent_seconds: float = SILENT_SECONDS,
    *,
    without: Collection[int] = (),
) -> Deal:
    """Says which tasks there are.

    Args:
        without: shards that somebody else has already.

    Raises:
        PythiaTrajError: the request that the run holds cannot be read.
    """
    run = Run.open(submission.config.out)
    recorded = find_request(run, submission.request)
    wanted = {(unit.model, unit.step) for unit in submission.plan.todo if not unit.cached}
    every = shards_with(wanted, submission.jobs, recorded.steps, recorded.weight_bytes)
    own = {shard: steps for shard, steps in every.items() if shard not in without}
    fetch = None
    if submission.config.cluster.fetch is not None:
        fetch = _fetch(submission, set().union(*own.values()))
    return Deal(submission, [*own], len(every) - len(own), fetch, silent_seconds)


def refuse_impossible(
    executor: str, config: SweepConfig, jobs: int | None, per_gpu: int | None
) -> int:
    """How many tasks there are to be; refuses what Slurm cannot be asked for.

    Raises:
        ConfigError: it cannot be, something is missing, a GPU is named, or the run's path cannot
            stand in a script.
    """
    refuse_sharing(executor, per_gpu)
    config.cluster.refuse_unknown("slurm")
    config.cluster.need(
        "slurm",
        time="how long a task may take, such as 4:00:00; one that needs longer goes on by itself",
    )
    if ":" in config.device:
        raise ConfigError(
            f"--device {config.device}: each task sees a GPU of its own: give cuda, auto or cpu"
        )
    path = str(config.out.absolute())
    if "%" in path or "\\" in path or not path.isprintable():
        raise ConfigError(
            f"{shown(path)}: Slurm writes no logs below a path with %, a backslash or a control"
            " character: rename the run"
        )
    return 1 if jobs is None else jobs


def _fetch(submission: Submission, mine: Collection[tuple[str, int]]) -> Task | None:
    """The task that downloads what there is to do of some steps, and what that compares with."""
    config = submission.config
    steps: dict[str, set[int]] = defaultdict(set)
    for unit in submission.plan.todo:
        if unit.cached or (unit.model, unit.step) in mine:
            steps[unit.model] |= {unit.step, *unit.references.values()}
    budget = [] if config.disk_budget is None else ["--disk-budget", str(config.disk_budget)]
    commands = []
    for name in config.model:
        published = open_model(name, config.source)
        if isinstance(published, HubModel) and steps[published.model]:
            numbers = ",".join(map(str, sorted(steps[published.model])))
            commands.append(("fetch", str(name), "--steps", numbers, *budget))
    if not commands:
        return None
    return Task(
        config.out.absolute(),
        "fetch",
        tuple(commands),
        scratch=False,
        limit=config.cluster.seconds,
        patience=finishing_seconds(config.cluster),
    )
