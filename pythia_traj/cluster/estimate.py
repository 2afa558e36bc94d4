"""What a submission will take: units, bytes of weights, hours. Reads no weights, writes nothing.

Hours come from what units of this run have taken, or from what a benchmark measured on the card
that is here; where neither is there, they are not known.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pythia_traj.checkpoint import PublishedModel
from pythia_traj.cluster.local import count_gpus
from pythia_traj.config import SweepConfig
from pythia_traj.errors import StoreError
from pythia_traj.outside import read_json
from pythia_traj.standins import missing
from pythia_traj.store.done import read_unit
from pythia_traj.store.layout import Run
from pythia_traj.store.parquet import DamagedError
from pythia_traj.suites.catalog import SIZES
from pythia_traj.sweeps.plan import Plan, Unit
from pythia_traj.sweeps.shards import Shard, steps_of

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
"""Beside the package, where it is used from a checkout of the repository."""

_BENCHMARKED = 2 * SIZES["160m"].n_parameters
"""Bytes of the weights that benchmarks/step_cost.py measures with."""

_SAMPLE = 20
"""The most footers that are read of a label, evenly spaced: of 100,000 units that is enough."""

OWN = "units of this run"


@dataclass(frozen=True)
class Line:
    """One label of one model.

    Attributes:
        seconds: of one worker for one unit; None if not known.
        told_by: where they are from.
    """

    model: str
    label: str
    todo: int
    done: int
    seconds: float | None = None
    told_by: str | None = None


@dataclass(frozen=True)
class Estimate:
    """What a submission will take.

    Attributes:
        lines: by model and label.
        weight_bytes: of the weights that all workers together read; None if not known.
        jobs: how many workers there are.
    """

    lines: tuple[Line, ...]
    weight_bytes: int | None
    jobs: int

    @property
    def worker_hours(self) -> float | None:
        """Of all workers together; None if a label to do has no known seconds."""
        todo = [(line.todo, line.seconds) for line in self.lines if line.todo]
        if any(seconds is None for _, seconds in todo):
            return None
        return sum(count * (seconds or 0.0) for count, seconds in todo) / 3600

    @property
    def hours(self) -> float | None:
        """From start to end, where the workers do equal parts."""
        return None if self.worker_hours is None else self.worker_hours / self.jobs

    @property
    def told_by(self) -> list[str]:
        """Where the seconds are from."""
        return sorted({line.told_by for line in self.lines if line.todo and line.told_by})


def gpu_name() -> str | None:
    """What the first GPU is called; None without one, or without torch."""
    if "torch" in missing() or not count_gpus():
        return None
    import torch

    return torch.cuda.get_device_name(0)


def estimate(
    config: SweepConfig,
    plan: Plan,
    models: Sequence[PublishedModel],
    jobs: int,
    *,
    benchmarks: Path = BENCHMARKS,
    card: Callable[[], str | None] = gpu_name,
) -> Estimate:
    """What is left to do of a request, and what that takes.

    Args:
        plan: what there is to do.
        models: those of the request.
        jobs: how many workers do it.
        benchmarks: the folder of `results-<card>.json`.
        card: says what the GPU is called.
    """
    run = Run.find(config.out)
    measured = None
    lines = []
    for published in models:
        for label in config.experiments:
            todo, done = (
                [unit for unit in units if (unit.model, unit.label) == (published.model, label)]
                for units in (plan.todo, plan.done)
            )
            seconds = _of_run(run, done) if todo and run is not None else None
            told_by = OWN
            if todo and seconds is None:
                if measured is None:
                    measured = _Measured.find(config, benchmarks, card)
                told_by = str(measured.path)
                seconds = measured.seconds(todo[0].experiment, published.weight_bytes(todo[0].step))
            known = told_by if seconds is not None else None
            lines.append(Line(published.model, label, len(todo), len(done), seconds, known))
    return Estimate(tuple(lines), _weight_bytes(config, plan, models, jobs), jobs)


def _of_run(run: Run, done: Sequence[Unit]) -> float | None:
    """The mean of what units of a label took, each its share of the pass that it was done in."""
    found = []
    for unit in done[:: max(1, len(done) // _SAMPLE)][:_SAMPLE]:
        try:
            footer = read_unit(run, unit.model, unit.label, unit.step)
        except DamagedError:
            continue
        facts = (footer.model_extra or {}) if footer is not None else {}
        seconds, others = facts.get("seconds"), facts.get("shared_with")
        if isinstance(seconds, Mapping) and isinstance(others, list):
            # Files are fetched beside the work: what the work waits for is counted as `wait`.
            spent = (value for phase, value in seconds.items() if phase != "fetch")
            numbers = [value for value in spent if isinstance(value, int | float)]
            found.append(sum(numbers) / (1 + len(others)))
    return sum(found) / len(found) if found else None


@dataclass(frozen=True)
class _Measured:
    """What benchmarks/step_cost.py measured on a card, `step_cost` of `results-<card>.json`.

    Attributes:
        path: the file; None where there is none for this card.
    """

    path: Path | None = None
    by_experiment: Mapping[str, Any] | None = None

    @classmethod
    def find(
        cls, config: SweepConfig, benchmarks: Path, card: Callable[[], str | None]
    ) -> "_Measured":
        # Asking for the card's name loads torch.
        if config.device.startswith("cpu") or not any(benchmarks.glob("results-*.json")):
            return cls()
        name = card()
        if name is None:
            return cls()
        path = benchmarks / f"results-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.json"
        try:
            return cls(path, read_json(path, error=StoreError)["step_cost"]["seconds"])
        except (FileNotFoundError, StoreError, KeyError, TypeError):
            return cls()

    def seconds(self, experiment: str, weight_bytes: int | None) -> float | None:
        """Of a step with default parameters, longer or shorter by the bytes of the weights."""
        if self.by_experiment is None or weight_bytes is None:
            return None
        try:
            median = float(self.by_experiment[experiment]["compute"]["median"])
        except (KeyError, TypeError, ValueError):
            return None
        return median * weight_bytes / _BENCHMARKED


def _weight_bytes(
    config: SweepConfig, plan: Plan, models: Sequence[PublishedModel], jobs: int
) -> int | None:
    """Each worker reads the weights of its steps, and of those that they are compared with."""
    by_name = {published.model: published for published in models}
    sizes = {
        name: _first(published.weight_bytes(step) for step in plan.steps[name])
        for name, published in by_name.items()
    }
    parts = [steps_of(Shard(i, jobs), plan.steps, sizes) for i in range(jobs)]
    worker_of = {
        (model, step): i
        for i, part in enumerate(parts)
        for model, steps in part.items()
        for step in steps
    }
    read = set()
    for unit in plan.todo:
        # What only references need is measured by whoever needs it.
        worker = worker_of.get((unit.model, unit.step), 0)
        request = config.experiments[unit.label]
        weights = request.references if request.experiment.wants_reference_models else ()
        steps = {unit.step, *(unit.references[name] for name in weights if name in unit.references)}
        read |= {(worker, unit.model, step) for step in steps}
    total = 0
    for _, model, step in read:
        size = by_name[model].weight_bytes(step)
        if size is None:
            return None
        total += size
    return total


def _first(sizes: Iterable[int | None]) -> int | None:
    return next((size for size in sizes if size is not None), None)
