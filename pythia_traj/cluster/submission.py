"""`submit`: a request is planned, recorded, and given to an executor."""

from collections.abc import Mapping

from pythia_traj.cluster.executor import Executor, Outcome, Submission
from pythia_traj.cluster.inline import Inline
from pythia_traj.cluster.local import Local
from pythia_traj.cluster.scripts import KINDS
from pythia_traj.cluster.slurm.debug import Debug
from pythia_traj.cluster.slurm.slurm import Slurm
from pythia_traj.cluster.written import Written
from pythia_traj.config import SweepConfig
from pythia_traj.errors import ConfigError, nearest
from pythia_traj.outside import shown
from pythia_traj.store.layout import Run
from pythia_traj.sweeps.record import Observer, Silent, SweepResult
from pythia_traj.sweeps.requests import plan_sweep, record_request

_ALL: tuple[Executor, ...] = (
    Inline(),
    Local(),
    Slurm(),
    Debug(),
    *(Written(kind) for kind in KINDS),
)

EXECUTORS: Mapping[str, Executor] = {one.name: one for one in _ALL}
"""By name."""


def find_executor(name: str) -> Executor:
    """An executor by its name.

    Raises:
        ConfigError: there is none.
    """
    if name not in EXECUTORS:
        raise ConfigError(f"unknown executor {shown(name)}: {nearest(name, EXECUTORS)}")
    return EXECUTORS[name]


def count_workers(
    executor: Executor, config: SweepConfig, jobs: int | None, per_gpu: int | None
) -> int:
    """How many workers an executor would have; nothing is written or started.

    Raises:
        PythiaTrajError: it cannot do the request so.
    """
    for name, value in (("jobs", jobs), ("per-gpu", per_gpu)):
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: give at least 1")
    return executor.workers(config, jobs, per_gpu)


def submit(
    config: SweepConfig,
    executor: str | Executor = "local",
    *,
    jobs: int | None = None,
    per_gpu: int | None = None,
    observer: Observer | None = None,
) -> Outcome:
    """Does a request by workers, or hands it over to those who start them.

    Units that exist already are skipped. Where there are no others, nothing is started and nothing
    is written. An interruption loses at most the units in work: the same call goes on from there.

    Args:
        config: the request.
        executor: its name in `EXECUTORS`, or one of your own.
        jobs: how many workers; None leaves it to the executor.
        per_gpu: how many workers share a GPU; None is one.
        observer: receives the progress.

    Returns:
        what was done, skipped, failed, and left.

    Raises:
        PythiaTrajError: the request is wrong, or writing fails.
    """
    chosen = find_executor(executor) if isinstance(executor, str) else executor
    observer = observer or Silent()
    plan, models = plan_sweep(config)
    if not plan.todo:
        observer.planned(plan)
        return Outcome(
            SweepResult(config.out, skipped=list(plan.done), warnings=list(plan.warnings))
        )
    count = count_workers(chosen, config, jobs, per_gpu)
    request = record_request(Run.create(config.out), config, models, plan.steps)
    submission = Submission(config, request, plan, count, per_gpu or 1)
    return chosen.run(submission, observer)
