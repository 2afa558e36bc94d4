"""`local`: workers on this machine, one for each GPU, or several on the CPU."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pythia_traj.cluster.children import Children, End
from pythia_traj.cluster.executor import Outcome, Submission, worker_words
from pythia_traj.cluster.outcome import outcome_of
from pythia_traj.config import SweepConfig
from pythia_traj.errors import ConfigError, DeviceError, PythiaTrajError
from pythia_traj.standins import check_installed
from pythia_traj.store.layout import Run
from pythia_traj.sweeps.heartbeat import SILENT_SECONDS
from pythia_traj.sweeps.plan import Plan
from pythia_traj.sweeps.record import Observer

_VISIBLE = "CUDA_VISIBLE_DEVICES"

_LOOK_SECONDS = 0.25
"""Between two looks at the workers."""


def count_gpus() -> int:
    """The GPUs that this process may use; makes no CUDA context, which would take memory there.

    Raises:
        DeviceError: torch is not installed.
    """
    check_installed()
    import torch

    return torch.cuda.device_count()


@dataclass(frozen=True)
class Local:
    """Processes of this machine.

    Attributes:
        count_gpus: how many GPUs there are.
        program: `pythia-traj`; without the directory where it is started on Python's path.
        silent_seconds: a worker without a heartbeat for so long is ended.
        patience: seconds that workers have to end when they are told to stop.
    """

    count_gpus: Callable[[], int] = count_gpus
    program: Sequence[str] = (sys.executable, "-P", "-m", "pythia_traj.cli")
    silent_seconds: float = SILENT_SECONDS
    patience: float = 30.0

    name = "local"

    def workers(self, config: SweepConfig, jobs: int | None, per_gpu: int | None) -> int:
        """By default `per_gpu` for each GPU; without a GPU one.

        Raises:
            ConfigError: they are more than the GPUs are to have.
            DeviceError: the device does not exist here, or what measures is not installed.
        """
        check_installed()
        gpus = len(self._cards(config.device))
        if not gpus:
            if per_gpu is not None:
                raise ConfigError(
                    f"--per-gpu {per_gpu}: the workers use the CPU: leave it out, and give --jobs"
                )
            return 1 if jobs is None else jobs
        most = gpus * (per_gpu or 1)
        if jobs is not None and jobs > most:
            there = "1 GPU" if gpus == 1 else f"{gpus} GPUs"
            raise ConfigError(
                f"--jobs {jobs}: {there} for {per_gpu or 1} worker each: give at most --jobs"
                f" {most}, or --per-gpu {-(-jobs // gpus)}"
            )
        return most if jobs is None else jobs

    def preview(self, config: SweepConfig, request: str, jobs: int) -> None:
        """None: it writes no script."""

    def run(self, submission: Submission, observer: Observer) -> Outcome:
        """Starts the workers and waits for them."""
        plan, run = submission.plan, Run.open(submission.config.out)
        ended: dict[str, End] = {}
        observer.planned(plan)
        with Children(run, [(signal.SIGTERM, self.patience)]) as children:
            self._start(submission, children)
            while True:
                # Counted before the logs are read: the last look is after the last worker's end.
                running = children.running
                _look(children, plan, ended, observer)
                if not running:
                    break
                for child in running:
                    child.kill_if_silent(self.silent_seconds)
                observer.working(f"{len(running)} of {submission.jobs} workers")
                time.sleep(_LOOK_SECONDS)
        _raise_refusal(children)
        return outcome_of(submission, ended, _notes(children))

    def _cards(self, device: str) -> list[str]:
        """What a process is told to see of each GPU that is to be used; none for the CPU."""
        if device.startswith("cpu"):
            return []
        count = self.count_gpus()
        visible = os.environ.get(_VISIBLE)
        named = [str(i) for i in range(count)] if visible is None else visible.split(",")
        cards = [name.strip() for name in named[:count]]
        _, colon, number = device.partition(":")
        if device != "auto" and int(number or 0) >= len(cards):
            there = ", ".join(["auto", "cpu", *(f"cuda:{i}" for i in range(len(cards)))])
            raise DeviceError(f"this machine has no device {device!r}: use {there}")
        return [cards[int(number)]] if colon else cards

    def _start(self, submission: Submission, children: Children) -> None:
        jobs, config = submission.jobs, submission.config
        cards = self._cards(config.device)
        words = worker_words(config, submission.request, "cuda" if cards else "cpu")
        environment = {"OMP_NUM_THREADS": str(max(1, _cores() // jobs)), **os.environ}
        for i in range(jobs):
            if cards:
                environment[_VISIBLE] = cards[i // submission.per_gpu]
            shard = f"{i}/{jobs}"
            children.start(
                f"worker {shard}", [*self.program, *words, "--shard", shard], environment
            )


def _cores() -> int:
    """The cores that this process may use, where the system says so."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _raise_refusal(children: Children) -> None:
    """Raises the error of workers that all refused the request before they measured anything."""
    said = [child.last_lines()[-1:] for child in children.all]
    refused = all(child.process.returncode == 1 and not child.ended for child in children.all)
    if refused and all(line and line[0].startswith("error: ") for line in said):
        raise PythiaTrajError(said[0][0].removeprefix("error: "))


def _look(children: Children, plan: Plan, ended: dict[str, End], observer: Observer) -> None:
    """Adds what has ended since the last look; what one worker failed at, another may have done."""
    units = {unit.name: unit for unit in plan.todo}
    for child in children.all:
        for name, end in child.look().items():
            if name in units and name not in ended:
                observer.ended(units[name], end.why)
            if name in units and (name not in ended or end.state == "done"):
                ended[name] = end


def _notes(children: Children) -> Iterator[str]:
    for child in children.all:
        how = child.how_badly()
        if how is not None:
            lines = "".join(f"\n  {line}" for line in child.last_lines())
            yield f"{how}; the end of {child.output}:{lines}" if lines else how
