"""The interface of executors: what they receive, and what they say of it.

An executor does a request that a run holds, or hands it over to something that will. It starts what
`pythia-traj worker` is, and knows neither models nor rows.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pythia_traj.config import SweepConfig
from pythia_traj.errors import ConfigError
from pythia_traj.sweeps.plan import Plan, Unit
from pythia_traj.sweeps.record import Observer, SweepResult

_HOW = ("device", "prefetch", "disk_budget", "keep", "refresh", "on_defect")
"""Settings that a worker is given, as they are not part of a request or differ between machines."""


@dataclass(frozen=True)
class Submission:
    """A request that a run holds, and by how many workers it is to be done.

    Attributes:
        config: the request; `out` is the run.
        request: its name in the run, `requests/<name>.json`.
        plan: what there is to do.
        jobs: how many workers do it, each one shard.
        per_gpu: how many of them share a GPU.
    """

    config: SweepConfig
    request: str
    plan: Plan
    jobs: int = 1
    per_gpu: int = 1


@dataclass(frozen=True)
class Handed:
    """What a scheduler was given, or is to be given.

    Attributes:
        path: the script that was written; or the folder that will hold the tasks' logs.
        submit: the line of shell that submits the script; None where nothing has to be submitted.
        jobs: the ids of the jobs that were submitted.
        tasks: how many tasks they have.
    """

    path: Path
    submit: str | None = None
    jobs: tuple[str, ...] = ()
    tasks: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a submission.

    Attributes:
        result: the units that were done, were there already, failed, or were left out.
        left: the planned units that are still to do.
        notes: what else there is to say, such as what happened to workers that ended badly, a line
            or more each.
        handed: where others do the work, what they were given.
    """

    result: SweepResult
    left: tuple[Unit, ...] = ()
    notes: tuple[str, ...] = ()
    handed: Handed | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing had to be done, so that nothing was started."""
        result = self.result
        return not (result.done or result.failed or result.defective or self.left)


class Executor(Protocol):
    """A way to do a request.

    Attributes:
        name: what `submit --executor` calls it.
    """

    @property
    def name(self) -> str:
        """See above."""

    def workers(self, config: SweepConfig, jobs: int | None, per_gpu: int | None) -> int:
        """How many workers it would have; nothing is written or started.

        Args:
            jobs: how many the user asks for; None leaves it to the executor.
            per_gpu: how many are to share a GPU; None is one.

        Raises:
            PythiaTrajError: it cannot do the request so; the message says what it can.
        """

    def preview(self, config: SweepConfig, request: str, jobs: int) -> str | None:
        """The job script that `run` would write or submit; None where there is none.

        Args:
            request: its name.
            jobs: how many workers there would be.
        """

    def run(self, submission: Submission, observer: Observer) -> Outcome:
        """Does a submission, or hands it over and returns.

        Raises:
            PythiaTrajError: the request is wrong, or writing fails.
            Interrupted: it was asked to stop; what was finished is stored, and nothing runs on.
        """


def worker_words(config: SweepConfig, request: str, device: str | None = None) -> list[str]:
    """What follows `pythia-traj` on the command line of a worker, without its shard.

    Args:
        request: its name in the run.
        device: in place of the config's.
    """
    words = ["worker", str(config.out.absolute()), "--request", request]
    for name in _HOW:
        value = device if name == "device" and device else getattr(config, name)
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            words += [option, str(value)]
    return words


def refuse_sharing(executor: str, per_gpu: int | None) -> None:
    """Refuses `--per-gpu` for an executor that shares no GPU among workers.

    Raises:
        ConfigError: it is given.
    """
    if per_gpu is not None:
        raise ConfigError(
            f"--per-gpu {per_gpu}: only --executor local shares GPUs among workers, not {executor}:"
            " leave it out"
        )
