"""The loop of a sweep: for each step swap the weights in, measure, write; a failed step fails its own units only."""

import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pythia_traj import schema
from pythia_traj.checkpoint import PublishedModel
from pythia_traj.config import SweepConfig
from pythia_traj.errors import CheckpointError, DataError, DeviceError, Interrupted, PythiaTrajError, StoreError
from pythia_traj.store.done import is_done
from pythia_traj.store.events import EventLog, read_events
from pythia_traj.store.layout import Run
from pythia_traj.store.unit import UnitId, write_unit
from pythia_traj.sweeps.plan import Plan, Unit, make_plan
from pythia_traj.sweeps.published import open_model
from pythia_traj.values import Rows

if TYPE_CHECKING:
    import torch

    from pythia_traj.sweeps.datasets import Datasets

_VERSIONED = ("pythia-traj", "torch", "transformer-lens", "transformers", "numpy", "pyarrow")


class Observer(Protocol):
    """Is told how a sweep goes on; the command line draws its progress bar from this."""

    def planned(self, plan: Plan) -> None:
        """Before the first unit."""

    def working(self, what: str) -> None:
        """What is being done now, in a few words."""

    def ended(self, unit: Unit, error: str | None) -> None:
        """A unit was written (error None) or failed."""


class _Silent:
    def planned(self, plan: Plan) -> None: ...
    def working(self, what: str) -> None: ...
    def ended(self, unit: Unit, error: str | None) -> None: ...


@dataclass
class SweepResult:
    """How a sweep ended.

    Attributes:
        out: the run.
        done: units written now.
        skipped: units that were there already.
        failed: units that failed, with the reason.
    """

    out: Path
    done: list[Unit] = field(default_factory=list)
    skipped: list[Unit] = field(default_factory=list)
    failed: list[tuple[Unit, str]] = field(default_factory=list)


def plan_sweep(config: SweepConfig) -> tuple[Plan, list[PublishedModel]]:
    """What a sweep would do; writes nothing, loads no model and opens no connection.

    Raises:
        PythiaTrajError: the request is wrong.
    """
    models = [open_model(name, config.source) for name in config.model]
    existing = Run.open(config.out) if (config.out / "run.json").exists() else None

    def done(unit: Unit) -> bool:
        if existing is None:
            return False
        places = (False, True) if unit.cached else (False,)
        return any(
            is_done(
                existing, unit.model, unit.label, unit.step, digest=unit.digest, source=dict(unit.source), cached=cached
            )
            for cached in places
        )

    return make_plan(config, models, done), models


def sweep(config: SweepConfig, *, observer: Observer | None = None) -> SweepResult:
    """Measures every model at every selected step with every experiment, and stores the rows; what is there already is skipped.

    Interrupting it at any moment loses at most the units in hand: the same call goes on from there.

    Args:
        config: the request.
        observer: is told how it goes on.

    Returns:
        what was done, skipped and failed.

    Raises:
        PythiaTrajError: the request is wrong, or nothing more can be written.
    """
    observer = observer or _Silent()
    plan, models = plan_sweep(config)
    device = _device(config) if plan.todo else None
    run = Run.create(config.out)
    run.remove_leftovers()
    run.record_request(
        {**config.resolved(), "out": None, "explicit_steps": {m: list(s) for m, s in plan.steps.items()}}
    )
    result = SweepResult(config.out, skipped=list(plan.done))
    observer.planned(plan)
    if device is None:
        return result
    worker = _Worker(config, run, device, observer, result)
    try:
        for published in models:
            todo = [unit for unit in plan.todo if unit.model == published.model]
            if todo:
                worker.measure_model(published, todo)
    except (Interrupted, KeyboardInterrupt) as stop:
        worker.log.write("stopped", signal=getattr(stop, "signum", signal.SIGINT))
        raise
    return result


def _device(config: SweepConfig) -> "torch.device":
    # Only a sweep that has something to do pays for torch.
    from pythia_traj.models.fit import pick_device

    return pick_device(config.device)


class _Worker:
    """One process's part in a sweep."""

    def __init__(
        self, config: SweepConfig, run: Run, device: "torch.device", observer: Observer, result: SweepResult
    ) -> None:
        self.config, self.run, self.device, self.observer, self.result = config, run, device, observer, result
        self.attempts = Counter(event.get("unit") for event in read_events(run) if event.get("event") == "started")
        self.log = EventLog(run)
        self.versions = {name: version(name) for name in _VERSIONED}

    def measure_model(self, published: PublishedModel, todo: Sequence[Unit]) -> None:
        """All units of one model, step by step in the plan's order."""
        from pythia_traj.sweeps.session import Session

        experiments = [self.config.experiments[unit.label].experiment for unit in todo]
        with_references = any(experiment.wants_reference_models for experiment in experiments)
        data = self._prepare(published, todo, copies=2 if with_references else 1)
        if data is None:
            return
        self.data = data
        self.session = Session(published, self.device, self.config.dtype, with_references=with_references)
        try:
            for step, units in groupby(todo, key=lambda unit: unit.step):
                self._measure_step(published, step, list(units))
        finally:
            self.session.close()

    def _prepare(self, published: PublishedModel, todo: Sequence[Unit], *, copies: int) -> "Datasets | None":
        """Refuses a model that cannot fit, then makes the data, both before any weights are read.

        They are made for the first checkpoint whose config and tokenizer can be read. Where none can, all units fail, each for its own
        checkpoint's reason, and there is no data.
        """
        from pythia_traj.models.fit import DTYPES, check_fits
        from pythia_traj.sweeps.datasets import Datasets

        reasons: dict[int, str] = {}
        for step in dict.fromkeys(unit.step for unit in todo):
            checkpoint = published.checkpoint(step)
            try:
                dtype = DTYPES[self.config.dtype]
                check_fits(checkpoint.config(), model=published.model, dtype=dtype, device=self.device, copies=copies)
                data = Datasets(self.config, checkpoint)
            except CheckpointError as error:
                reasons[step] = str(error)
                continue
            self.observer.working("preparing data")
            for label in dict.fromkeys(unit.label for unit in todo):
                data.get(label)
            return data
        for step, units in groupby(todo, key=lambda unit: unit.step):
            self._failed(units, reasons[step])
        return None

    def _measure_step(self, published: PublishedModel, step: int, units: list[Unit]) -> None:
        """One step: units that share data and processing share a forward pass, the others come one by one."""
        for unit in units:
            self.log.write("started", unit=unit.name, digest=unit.digest)
        for together in self._passes(units):
            self.observer.working(f"step {step}: {', '.join(unit.label for unit in together)}")
            self.session.take_seconds()
            start = time.perf_counter()
            try:
                measured = self._measure(together)
            except (StoreError, DeviceError, DataError):
                raise
            except PythiaTrajError as error:
                self._failed(together, str(error))
                continue
            except Exception as error:
                # An experiment is anybody's code: whatever it raises fails its units, not the sweep; the log keeps the traceback.
                self._failed(together, f"{type(error).__name__}: {error}", traceback.format_exc())
                continue
            seconds = self.session.take_seconds()
            seconds["compute"] = time.perf_counter() - start - sum(seconds.values())
            for unit in together:
                self._write(published, unit, measured[unit.label], seconds, [other.label for other in together])

    def _passes(self, units: Iterable[Unit]) -> Iterator[list[Unit]]:
        """Units to be measured together, those of one processing after each other, so that each kind is swapped in once."""
        groups: dict[tuple[str, str], list[Unit]] = {}
        for unit in units:
            request = self.config.experiments[unit.label]
            experiment = request.experiment
            own = self.data.key(request) if experiment.reads else unit.label
            groups.setdefault((repr(experiment.processing), own), []).append(unit)
        yield from (groups[key] for key in sorted(groups, key=lambda key: key[0]))

    def _measure(self, units: list[Unit]) -> Mapping[str, Rows]:
        first = self.config.experiments[units[0].label].experiment
        model = self.session.model(units[0].step, first.processing)
        if not first.reads:
            return {units[0].label: self._call(units[0], model)}
        from pythia_traj.sweeps.forward import Reader, measure_shared

        readers = []
        for unit in units:
            request = self.config.experiments[unit.label]
            measure = partial(
                request.experiment.function, **_own_parameters(request.parameters, request.experiment.parameters)
            )
            readers.append(Reader(unit.label, request.experiment.reads, measure))
        values = measure_shared(model, self.data.get(units[0].label), readers)
        return {
            unit.label: values[unit.label].rows(keep_items=self.config.experiments[unit.label].experiment.items)
            for unit in units
        }

    def _call(self, unit: Unit, model: Any) -> Rows:
        """Runs an experiment that gets the model, with what else its signature asks for."""
        from pythia_traj.sweeps.session import ReferenceModels

        request = self.config.experiments[unit.label]
        experiment = request.experiment
        handed: list[Any] = [model]
        for name in experiment.positional[1:]:
            if name == "reference_models":
                handed.append(ReferenceModels(self.session, dict(unit.references), experiment.processing))
            elif name == "reference_rows":
                handed.append(self._reference_rows(unit))
            else:
                handed.append(self.data.get(unit.label))
        rows = experiment.function(*handed, **_own_parameters(request.parameters, experiment.parameters))
        if not isinstance(rows, Rows):
            raise TypeError(f"experiment {experiment.name} returned {type(rows).__name__}, not Rows")
        return rows

    def _reference_rows(self, unit: Unit) -> dict[str, Any]:
        """The metric rows of this label at its references, but for a reference to the unit itself."""
        import pandas as pd

        found = {}
        for name, step in unit.references.items():
            if step == unit.step:
                continue
            paths = [self.run.unit_path(unit.model, unit.label, step, cached=cached) for cached in (False, True)]
            path = next((path for path in paths if path.exists()), None)
            if path is None:
                raise PythiaTrajError(f"{unit.name} compares with step {step}, whose unit failed")
            found[name] = pd.read_parquet(path, partitioning=None)
        return found

    def _write(
        self, published: PublishedModel, unit: Unit, rows: Rows, seconds: Mapping[str, float], shared: Sequence[str]
    ) -> None:
        checkpoint = published.checkpoint(unit.step)
        identity = UnitId(
            unit.model,
            unit.label,
            checkpoint.suite,
            checkpoint.revision,
            checkpoint.commit,
            unit.step,
            checkpoint.tokens,
        )
        rounded = {phase: round(value, 4) for phase, value in seconds.items()}
        start = time.perf_counter()
        path = write_unit(self.run, identity, rows, self._footer(unit, rounded, shared), cached=unit.cached)
        rounded["write"] = round(time.perf_counter() - start, 4)
        facts = {
            "rows": len(rows.metrics),
            "seconds": rounded,
            "shared_with": [label for label in shared if label != unit.label],
        }
        self.log.write("done", unit=unit.name, digest=unit.digest, file=str(path.relative_to(self.run.path)), **facts)
        self.result.done.append(unit)
        self.observer.ended(unit, None)

    def _footer(self, unit: Unit, seconds: Mapping[str, float], shared: Sequence[str]) -> dict[str, Any]:
        """Provenance: what the unit was made of, from which files, where and how."""
        from pythia_traj.sweeps.session import describe_device

        vocabulary = self.data.vocabulary
        tokenizer = vocabulary.tokenizer
        return {
            "schema": schema.VERSION,
            "digest": unit.digest,
            "made_of": unit.made_of,
            "source": unit.source,
            "bos": self.config.experiments[unit.label].parameters.get("bos"),
            "vocabulary": {
                "rows": vocabulary.d_vocab,
                "tokenizer": tokenizer.get_vocab_size() if tokenizer else None,
                "softmax": vocabulary.d_vocab,
            },
            **describe_device(self.device),
            "versions": self.versions,
            "seconds": seconds,
            "shared_with": [label for label in shared if label != unit.label],
            "integrity": "not verified: a local directory publishes no digests",
            "host": self.log.host,
            "job": self.log.job,
            "worker": self.log.worker,
            "attempt": self.attempts[unit.name] + 1,
        }

    def _failed(self, units: Iterable[Unit], error: str, trace: str | None = None) -> None:
        for unit in units:
            self.log.write(
                "failed", unit=unit.name, digest=unit.digest, error=error, **({"traceback": trace} if trace else {})
            )
            self.result.failed.append((unit, error))
            self.observer.ended(unit, error)


def _own_parameters(given: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters the function itself has: a label's seed is its data's alone unless the function asks for one."""
    return {name: value for name, value in given.items() if name in declared}
