"""One model's part in a sweep: for each step swap the weights in, measure, write.

A failed step fails only its own units.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from pythia_traj.checkpoint import Integrity, PublishedModel, Room
from pythia_traj.config import SweepConfig
from pythia_traj.errors import (
    CheckpointError,
    DataError,
    DeviceError,
    PythiaTrajError,
    StoreError,
)
from pythia_traj.store.layout import Run
from pythia_traj.stream.prefetch import Prefetcher
from pythia_traj.sweeps.claims import InHand
from pythia_traj.sweeps.existing import facts_of, record_model
from pythia_traj.sweeps.failure import Failure
from pythia_traj.sweeps.plan import Unit
from pythia_traj.sweeps.record import Circumstances, Observer, Recorder
from pythia_traj.sweeps.sources import integrity_of, source_of, with_non_finite
from pythia_traj.sweeps.stopping import Stop
from pythia_traj.values import Rows

if TYPE_CHECKING:
    import torch

    from pythia_traj.stream.agreement import Agreement, Known
    from pythia_traj.stream.session import Session
    from pythia_traj.sweeps.datasets import Datasets
    from pythia_traj.sweeps.measure import Measurer

    Prepared = tuple[Agreement, Datasets | None]


@dataclass(frozen=True)
class Desk:
    """What the models of one process's part in a sweep share.

    Attributes:
        in_hand: which units it may measure now, beside other workers.
        stop: whether another one is to be begun at all.
    """

    config: SweepConfig
    run: Run
    device: "torch.device"
    observer: Observer
    recorder: Recorder
    in_hand: InHand
    stop: Stop


class ModelSweep:
    """One model's part in a sweep."""

    def __init__(
        self,
        desk: Desk,
        published: PublishedModel,
        steps: Sequence[int],
        todo: Sequence[Unit],
        labels: Iterable[str] | None = None,
        *,
        grows: bool = False,
    ) -> None:
        """Does nothing yet.

        Args:
            steps: all steps of the request, including those that are done.
            todo: its units.
            labels: those that it will measure in all its rounds; by default those of `todo`.
            grows: whether the model gets more steps while it is measured (see `add`).
        """
        self._grows = grows
        self._known: Known | None = None
        """What a model that grows is known by."""
        self.config, self.run, self.device = desk.config, desk.run, desk.device
        self.observer, self.recorder, self.in_hand = desk.observer, desk.recorder, desk.in_hand
        self.stop = desk.stop
        self.published, self.steps, self.todo = published, steps, todo
        self._prepared: Prepared | PythiaTrajError | None = None
        self.labels = list(dict.fromkeys(labels or (unit.label for unit in todo)))
        requests = [self.config.experiments[label] for label in self.labels]
        self._references = {
            name
            for one in requests
            if one.experiment.wants_reference_models
            for name in one.references
        }

    def prepare(self) -> None:
        """Makes the data; of all models, this comes before the first one's weights are read.

        Other errors than those of the request are raised in this model's turn.

        Raises:
            DataError: the request cannot be met.
        """
        try:
            self._prepared = self._prepare()
        except DataError:
            raise
        except PythiaTrajError as error:
            self._prepared = error

    def measure(self, further: Iterable[Sequence[Unit]] = ()) -> None:
        """All its units, step by step in the plan's order, then those of further rounds.

        Args:
            further: units of each round, asked for when the round before is done; the model stays
                built.
        """
        from pythia_traj.models.device import release_memory
        from pythia_traj.stream.session import Session
        from pythia_traj.sweeps.measure import Measurer

        if self._prepared is None or isinstance(self._prepared, PythiaTrajError):
            raise self._prepared or RuntimeError("prepare comes first")
        agreement, data = self._prepared
        if data is not None and agreement.pattern is not None:
            config = self._known.config if self._known else agreement.pattern.config()
            facts = facts_of(self.published, config)
            record_model(self.run, self.published, facts)
        session = Session(
            self.published,
            self.device,
            self.config.dtype,
            agreement=agreement,
            references=len(self._references),
        )
        measurer = None if data is None else Measurer(self.config, self.run, session, data)
        try:
            for units in chain([self.todo], further):
                todo = self._without_refused(units)
                if measurer is not None and data is not None and todo:
                    self._measure_round(todo, session, measurer, data)
        finally:
            release_memory(self.device)

    @property
    def problem(self) -> PythiaTrajError | None:
        """What `measure` would raise at once."""
        return self._prepared if isinstance(self._prepared, PythiaTrajError) else None

    @property
    def has_model(self) -> bool:
        """Whether a step was found whose config and tokenizer can be read."""
        return isinstance(self._prepared, tuple) and self._prepared[1] is not None

    def add(self, steps: Iterable[int]) -> None:
        """Takes in steps that were published since; those of another model are refused."""
        if self._known is None or not isinstance(self._prepared, tuple):
            return
        agreement, data = self._prepared
        why_not = {step: self._known.why_not(self.published.checkpoint(step)) for step in steps}
        refused = {step: why for step, why in why_not.items() if why is not None}
        refused = {**agreement.refused, **refused}
        self._prepared = replace(agreement, refused=refused), data
        record_model(self.run, self.published, facts_of(self.published, self._known.config))

    def _without_refused(self, units: Sequence[Unit]) -> list[Unit]:
        """The units of the model's own steps; those of others have failed."""
        assert isinstance(self._prepared, tuple)
        agreement, _ = self._prepared
        for step, of_step in groupby(units, key=lambda unit: unit.step):
            if step in agreement.refused:
                self.recorder.failed(list(of_step), Failure(agreement.refused[step]))
        return [unit for unit in units if unit.step not in agreement.refused]

    def _measure_round(
        self, todo: Sequence[Unit], session: "Session", measurer: "Measurer", data: "Datasets"
    ) -> None:
        from pythia_traj.models.tensors import buffers_for

        room = Room(
            self.config.prefetch,
            self.config.disk_budget,
            self.config.keep,
            buffers_for(self.device),
        )
        steps = [unit.step for unit in todo]
        with (
            Prefetcher(self.published, steps, room, self.observer.working) as prefetcher,
            session.reading(prefetcher),
        ):
            for step, units in groupby(todo, key=lambda unit: unit.step):
                self.stop.check()
                with self.in_hand.taking(list(units)) as ours:
                    self._measure_step(step, ours, session, measurer, data)

    def _prepare(self) -> "Prepared":
        """Finds the steps of one model, refuses a model that does not fit, then makes the data.

        The data is None where no step's config and tokenizer can be read.
        """
        from pythia_traj.stream.agreement import Known, agree
        from pythia_traj.sweeps.datasets import Datasets

        agreement = agree(
            self.published,
            self.steps,
            dtype=self.config.dtype,
            device=self.device,
            copies=2 if self._references else 1,
        )
        if agreement.pattern is None:
            return agreement, None
        if self._grows:
            self._known = Known(agreement.pattern)
        data = Datasets(self.config, agreement.pattern)
        self.observer.working("preparing data")
        data.prepare(self.labels)
        return agreement, data

    def _measure_step(
        self,
        step: int,
        units: list[Unit],
        session: "Session",
        measurer: "Measurer",
        data: "Datasets",
    ) -> None:
        """One step: units that read the same tokens with one processing share a forward pass.

        The others come one by one.
        """
        units = self._without_defects(units)
        self.recorder.started(units)
        for together in measurer.passes(units):
            self.stop.check()
            self._measure_together(step, together, session, measurer, data)

    def _without_defects(self, units: Sequence[Unit]) -> list[Unit]:
        """The units to measure; the others are noted with what is wrong with their files."""
        if self.config.on_defect == "measure":
            return list(units)
        sound = []
        for unit in units:
            try:
                integrity = integrity_of(self.published, unit)
            except CheckpointError:
                # A missing checkpoint fails where it is opened.
                integrity = None
            if integrity is None or integrity.verdict != "known-defect":
                sound.append(unit)
            elif self.config.on_defect == "fail":
                self.recorder.failed([unit], Failure(integrity.why))
            else:
                self.recorder.defective([unit], self._with_older_rows(unit, integrity.why))
        return sound

    def _with_older_rows(self, unit: Unit, reason: str) -> str:
        """The reason, and the place of rows that were measured before it was known."""
        path = self.run.unit_path(unit.model, unit.label, unit.step, cached=unit.cached)
        return (
            f"{reason}; {path} was measured before that was known: delete it"
            if path.exists()
            else reason
        )

    def _measure_together(
        self,
        step: int,
        together: list[Unit],
        session: "Session",
        measurer: "Measurer",
        data: "Datasets",
    ) -> None:
        """Measures and writes units of one pass; their results are freed before the next pass."""
        from pythia_traj.models.device import describe_device

        labels = [unit.label for unit in together]
        self.observer.working(f"step {step}: {', '.join(labels)}")
        session.take_traffic()
        start = time.perf_counter()
        try:
            # Identified before the files are read: if they change meanwhile, the next sweep
            # measures them again; and if they are removed meanwhile, their rows are as good.
            files = {
                unit.label: (source_of(self.published, unit), integrity_of(self.published, unit))
                for unit in together
            }
            measured = measurer.measure(together)
        except (StoreError, DeviceError, DataError):
            raise
        except Exception as error:
            # Experiments are third-party code: whatever one raises fails its units, not the sweep.
            self.recorder.failed(together, Failure.of(error))
            return
        traffic = session.take_traffic()
        compute = time.perf_counter() - start - traffic.spent
        under = Circumstances(
            checkpoint=self.published.checkpoint(step),
            vocabulary=data.vocabulary,
            device=describe_device(self.device),
            seconds={**traffic.seconds, "compute": compute},
            fetched=traffic.bytes,
            waited_for=traffic.medium if traffic.seconds.get("wait", 0.0) > compute else "compute",
            labels=labels,
            origin=self.published.origin,
        )
        for unit in together:
            found = measured[unit.label]
            if isinstance(found, Failure):
                self.recorder.failed([unit], found)
            else:
                source, known = files[unit.label]
                integrity = with_non_finite(known, unit, measurer.flaws(unit))
                self._write(unit, found, (source, integrity), data, under)

    def _write(
        self,
        unit: Unit,
        rows: Rows,
        files: tuple[Mapping[str, Any], Integrity],
        data: "Datasets",
        under: Circumstances,
    ) -> None:
        """Writes a measured unit; one whose rows a table cannot hold fails."""
        facts, softmax = data.facts(unit.label), data.softmax(unit.label)
        try:
            self.recorder.done(unit, rows, files, facts, under, softmax=softmax)
        except PythiaTrajError:
            raise
        except Exception as error:
            # A word for a layer, columns of unequal length.
            self.recorder.failed([unit], Failure.of(error, doing="its rows cannot be written: "))
