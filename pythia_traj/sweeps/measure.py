"""Units of one step -> rows: which of them share a forward pass, and what each experiment gets."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from pythia_traj.config import ExperimentRequest, SweepConfig
from pythia_traj.errors import DataError, DeviceError, PythiaTrajError, StoreError
from pythia_traj.keys import Extent
from pythia_traj.store.compacted import open_unit
from pythia_traj.store.layout import Run
from pythia_traj.store.parquet import DamagedError, Whole
from pythia_traj.stream.flaws import say_non_finite
from pythia_traj.stream.session import Session, SessionReferences
from pythia_traj.sweeps.datasets import Datasets
from pythia_traj.sweeps.failure import Failure
from pythia_traj.sweeps.forward import Reader, measure_shared
from pythia_traj.sweeps.plan import Unit
from pythia_traj.sweeps.sources import non_finite_weights
from pythia_traj.values import Rows


class Measurer:
    """Measures the units of one model."""

    def __init__(self, config: SweepConfig, run: Run, session: Session, data: Datasets) -> None:
        self._requests, self._run = config.experiments, run
        self._session, self._data = session, data
        self._of_references: dict[str, dict[int, Any]] = {}
        self._recorded: dict[str, dict[int, Mapping[str, str]]] = {}
        """By label and step, the tensors that are not finite.

        The record of the rows that were compared with says so.
        """

    def passes(self, units: Iterable[Unit]) -> Iterator[list[Unit]]:
        """Units that are measured together.

        Units of one processing follow each other, so that each kind is swapped in once.
        """
        by_processing: dict[str, list[Unit]] = {}
        for unit in units:
            kind = repr(self._requests[unit.label].experiment.processing)
            by_processing.setdefault(kind, []).append(unit)
        for processing in sorted(by_processing):
            by_label = {unit.label: unit for unit in by_processing[processing]}
            sharing = self._data.sharing(by_label)
            yield from ([by_label[label] for label in labels] for labels in sharing)
            readers = {label for labels in sharing for label in labels}
            yield from ([unit] for unit in by_processing[processing] if unit.label not in readers)

    def measure(self, units: Sequence[Unit]) -> Mapping[str, Rows | Failure]:
        """By label, the rows of units that belong together, or why an experiment failed.

        Such a failure comes from an experiment that shares their pass.

        Values computed from weights or activations that are not finite are dropped, even finite
        ones: the failure then names the weights or activations, not an error of an experiment or of
        LAPACK.

        Raises:
            Exception: anything that an experiment on its own raises; a PythiaTrajError about the
                checkpoint or the request.
        """
        try:
            measured = self._measure(units)
        except (StoreError, DeviceError, DataError):
            # The machine or the request is wrong, whatever the weights hold: the sweep ends.
            raise
        except Exception:
            if any(self._flaw(unit) is None for unit in units):
                raise
            measured = {unit.label: Failure("") for unit in units}
        flaws = {unit.label: self._flaw(unit) for unit in units}
        return {label: _flawed(found, flaws[label]) for label, found in measured.items()}

    def flaws(self, unit: Unit) -> dict[int, Mapping[str, str]]:
        """By step, the tensors that are not finite, of the steps looked at for the unit."""
        processing = self._requests[unit.label].experiment.processing
        return self._recorded.get(unit.label, {}) | self._session.flaws(processing)

    def _flaw(self, unit: Unit) -> str | None:
        found = non_finite_weights(unit, self.flaws(unit))
        if found is not None:
            return say_non_finite(*found)
        if self._session.saw_overflow:
            return (
                f"the activations of step {unit.step} are not finite: numbers became too large for"
                " the dtype"
            )
        return None

    def _measure(self, units: Sequence[Unit]) -> dict[str, Rows | Failure]:
        first = self._requests[units[0].label].experiment
        model = self._session.model(units[0].step, first.processing)
        if not first.reads:
            return {units[0].label: self._call(units[0], model)}
        found: dict[str, Rows | Failure] = {}
        readers = []
        for unit in units:
            try:
                readers.append(self._reader(unit.label))
            except Exception as error:
                found[unit.label] = Failure.of(error)
        measure_shared(model, readers)
        return found | {reader.label: self._outcome(reader) for reader in readers}

    def _reader(self, label: str) -> Reader:
        request = self._requests[label]
        reads = request.experiment.reads_with(request.parameters)
        return Reader(
            label, self._data.get(label), self._data.groups(label), reads, _bound(request)
        )

    def _outcome(self, reader: Reader) -> Rows | Failure:
        try:
            return reader.failure or reader.values().rows(
                keep_items=self._requests[reader.label].experiment.items
            )
        except Exception as error:
            return Failure.of(error)

    def _call(self, unit: Unit, model: Any) -> Rows:
        """Runs an experiment that gets the model, with the other arguments of its signature."""
        request = self._requests[unit.label]
        handed: list[Any] = [model]
        for name in request.experiment.positional[1:]:
            if name == "reference_models":
                steps = {
                    name: step
                    for name, step in unit.references.items()
                    if name in request.references
                }
                made = self._of_references.setdefault(unit.label, {})
                handed.append(
                    SessionReferences(self._session, steps, request.experiment.processing, made)
                )
            elif name == "reference_rows":
                handed.append(self._reference_rows(unit))
            else:
                handed.append(self._data.get(unit.label))
        rows = _bound(request)(*handed)
        if not isinstance(rows, Rows):
            raise TypeError(
                f"experiment {request.experiment.name} returned {type(rows).__name__}, not Rows"
            )
        rows.check(Extent(model.cfg.n_layers, model.cfg.n_heads, model.cfg.n_ctx, from_end=True))
        return rows

    def _reference_rows(self, unit: Unit) -> dict[str, Any]:
        """The metric rows of this label at its references, without a reference to itself."""
        found = {}
        for name, step in unit.row_references.items():
            if step == unit.step:
                continue
            whole = self._measured(unit, step)
            if whole is None:
                raise PythiaTrajError(f"{unit.name} compares with step {step}, whose unit failed")
            if flaw := (whole.footer.model_extra or {}).get("integrity", {}).get("non_finite"):
                # Another process may have measured it, so this one does not look at its weights.
                self._recorded.setdefault(unit.label, {})[step] = flaw
            found[name] = whole.table().to_pandas()
        return found

    def _measured(self, unit: Unit, step: int) -> Whole | None:
        """A unit's label at another step, as it would be measured now; None where it is missing."""
        for cached in (False, True):
            with suppress(FileNotFoundError, DamagedError):
                whole = open_unit(self._run, unit.model, unit.label, step, cached=cached)
                # Rows measured with other parameters may still be there.
                if whole.footer.digest == unit.reference_digests[step]:
                    return whole
        return None


def _flawed(found: Rows | Failure, flaw: str | None) -> Rows | Failure:
    if flaw is None:
        return found
    return Failure(flaw) if isinstance(found, Failure) else found.without_values(flaw)


def _bound(request: ExperimentRequest) -> Any:
    """An experiment's function with the label's parameters.

    A label's seed is only for its data, unless the function has a seed too.
    """
    return partial(request.experiment.function, **request.experiment.own(request.parameters))
