"""What happened to a unit -> its files, the log, the result of the sweep and the observer."""

import logging
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from pythia_traj import schema
from pythia_traj.checkpoint import Checkpoint, Integrity
from pythia_traj.errors import (
    ConfigError,
    DataError,
    DeviceError,
    Interrupted,
    StoreError,
    SuiteError,
)
from pythia_traj.experiment import Vocabulary
from pythia_traj.store.events import EventLog, read_events
from pythia_traj.store.layout import Run
from pythia_traj.store.tables import UnitId
from pythia_traj.store.unit import write_unit
from pythia_traj.sweeps.failure import Failure
from pythia_traj.sweeps.journal import REMOVED
from pythia_traj.sweeps.plan import Plan, Unit
from pythia_traj.sweeps.shards import Shard
from pythia_traj.values import Rows

_VERSIONED = ("pythia-traj", "torch", "transformer-lens", "transformers", "numpy", "pyarrow")


class Observer(Protocol):
    """Receives the progress of a sweep; the command line draws its progress bar from this."""

    def planned(self, plan: Plan) -> None:
        """Before the first unit of a plan; units that are taken over are another plan."""

    def working(self, what: str) -> None:
        """The current work, in a few words."""

    def ended(self, unit: Unit, error: str | None) -> None:
        """A unit was written (error None), or failed, or was left out as defective."""


class Silent:
    """An observer that does nothing."""

    def planned(self, plan: Plan) -> None:
        """Nothing."""

    def working(self, what: str) -> None:
        """Nothing."""

    def ended(self, unit: Unit, error: str | None) -> None:
        """Nothing."""


@dataclass
class SweepResult:
    """How a sweep ended.

    Attributes:
        out: the run.
        done: units written now.
        skipped: units that existed already, or that another worker has done meanwhile.
        left: units that other workers have in hand.
        failed: units that failed, with the reason.
        defective: units that were left out because published weights are not their step's, with
            what is wrong.
        known_defects: of those done, the units that were measured in spite of a defect, with what
            is wrong.
        warnings: existing rows that could be misunderstood.
    """

    out: Path
    done: list[Unit] = field(default_factory=list)
    skipped: list[Unit] = field(default_factory=list)
    left: list[Unit] = field(default_factory=list)
    failed: list[tuple[Unit, str]] = field(default_factory=list)
    defective: list[tuple[Unit, str]] = field(default_factory=list)
    known_defects: list[tuple[Unit, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def _repr_html_(self) -> str:
        """In a notebook."""
        from pythia_traj.sweeps.shown import result_as_html

        return result_as_html(self)


@dataclass(frozen=True)
class Circumstances:
    """The circumstances under which units were measured together, as they are recorded.

    Attributes:
        checkpoint: the checkpoint they were measured on.
        vocabulary: the vocabulary that the data was made for.
        device: see models.device.describe_device.
        seconds: of each phase, for all units together.
        fetched: bytes of the weight files that were opened for them.
        waited_for: what took longer: `network`, `disk` or `compute`.
        labels: those of all units that shared the pass.
        origin: where the model was published.
    """

    checkpoint: Checkpoint
    vocabulary: Vocabulary
    device: Mapping[str, Any]
    seconds: Mapping[str, float]
    fetched: int
    waited_for: str
    labels: Sequence[str]
    origin: str


class Recorder:
    """Keeps the record of one process's part in a sweep."""

    def __init__(
        self,
        run: Run,
        observer: Observer,
        result: SweepResult,
        request: str,
        shard: Shard,
    ) -> None:
        """`request` is the name of the current request."""
        self._run, self._observer, self._result, self._request = run, observer, result, request
        self._redone: dict[Unit, str] = {}
        self._shard = shard
        self._attempts = Counter(
            event.get("unit") for event in read_events(run) if event.get("event") == "started"
        )
        self._versions = {name: version(name) for name in _VERSIONED}
        self.log = EventLog(run)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Puts the library's log messages, such as a retried request, into the run's log."""
        logger, handler = logging.getLogger("pythia_traj"), _Notes(self.log)
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Notes that work on the request begins, and how it ends.

        If the request turns out to be impossible, notes that none of its units are left. But once
        something was measured, a device that is too small or gone does not make it impossible.
        """
        told = {"told_by": self._shard.told_by} if self._shard.told_by else {}
        self.log.write("requested", request=self._request, shard=str(self._shard), **told)
        try:
            yield
        except (Interrupted, KeyboardInterrupt) as stop:
            self.log.write("stopped", signal=getattr(stop, "signum", signal.SIGINT))
            raise
        except Exception as error:
            is_refusal = isinstance(error, ConfigError | DataError | SuiteError) or (
                isinstance(error, DeviceError) and not (self._result.done or self._result.failed)
            )
            # A disk that is full takes no line either.
            with suppress(StoreError):
                if is_refusal:
                    self.log.write("refused", request=self._request, error=str(error))
                else:
                    self.log.write("stopped", error=Failure.of(error).message)
            raise
        self.log.write("finished")

    def planned(self, plan: Plan) -> None:
        """A plan is about to be done."""
        self._redone |= plan.redone
        self._observer.planned(plan)

    def started(self, units: Iterable[Unit]) -> None:
        """Work on units begins."""
        for unit in units:
            self._attempts[unit.name] += 1
            why = {"why": self._redone[unit]} if unit in self._redone else {}
            self.log.write("started", unit=unit.name, digest=unit.digest, **why)

    def done(
        self,
        unit: Unit,
        rows: Rows,
        files: tuple[Mapping[str, Any], Integrity],
        data: Mapping[str, Any],
        under: Circumstances,
        *,
        softmax: int | None,
    ) -> None:
        """Writes a measured unit.

        Args:
            files: what identifies the files it was measured on, and their known defects.
            data: the facts of its data.
            softmax: over how many rows of the vocabulary its softmax was; None over none.

        Raises:
            StoreError: the disk is full, read-only or forbidden.
        """
        checkpoint = under.checkpoint
        identity = UnitId(
            model=unit.model,
            label=unit.label,
            experiment=unit.experiment,
            suite=checkpoint.suite,
            revision=checkpoint.revision,
            commit=checkpoint.commit,
            step=unit.step,
            tokens=checkpoint.tokens,
        )
        seconds = {phase: round(value, 4) for phase, value in under.seconds.items()}
        shared = [label for label in under.labels if label != unit.label]
        start = time.perf_counter()
        source, integrity = files
        footer = self._footer(unit, source, integrity, under, softmax)
        footer |= {"data": data, "seconds": seconds, "shared_with": shared}
        path = write_unit(self._run, identity, rows, footer, tables=unit.tables, cached=unit.cached)
        seconds["write"] = round(time.perf_counter() - start, 4)
        file = str(path.relative_to(self._run.path))
        facts: dict[str, Any] = {
            "file": file,
            "rows": len(rows.metrics),
            "seconds": seconds,
            "shared_with": shared,
        }
        if under.fetched:
            facts |= {
                "bytes": under.fetched,
                "megabytes_per_second": _rate(under.fetched, seconds.get("fetch", 0.0)),
            }
        facts["waited_for"] = under.waited_for
        self.log.write("done", unit=unit.name, digest=unit.digest, **facts)
        self._result.done.append(unit)
        if integrity.verdict == "known-defect":
            self._result.known_defects.append((unit, integrity.why))
        self._observer.ended(unit, None)

    def failed(self, units: Iterable[Unit], failure: Failure) -> None:
        """Notes that units failed, and why."""
        more = {"traceback": failure.trace} if failure.trace else {}
        for unit in units:
            self.log.write(
                "failed", unit=unit.name, digest=unit.digest, error=failure.message, **more
            )
            self._result.failed.append((unit, failure.message))
            self._observer.ended(unit, failure.message)

    def defective(self, units: Iterable[Unit], reason: str) -> None:
        """Notes that units were left out because the published files have a defect."""
        for unit in units:
            self.log.write("defective", unit=unit.name, digest=unit.digest, error=reason)
            self._result.defective.append((unit, reason))
            self._observer.ended(unit, reason)

    def takes_up(self, request: str) -> None:
        """Work on another request begins, which holds the one before."""
        if request != self._request:
            self._request = request
            self.log.write("requested", request=request, shard=str(self._shard))

    def removed(self, units: Iterable[Unit], why: str) -> None:
        """Notes that units cannot be measured, because a checkpoint was removed."""
        for unit in units:
            self.log.write(REMOVED, unit=unit.name, digest=unit.digest, error=why)
            self._observer.ended(unit, None)

    def put_off(self, units: Iterable[Unit], why: str) -> None:
        """Notes that units are measured later, because a checkpoint was written anew."""
        for unit in units:
            self.log.write("note", level="warning", message=f"{unit.name}: {why}")
            self._observer.ended(unit, None)

    def _footer(
        self,
        unit: Unit,
        source: Mapping[str, Any],
        integrity: Integrity,
        under: Circumstances,
        softmax: int | None,
    ) -> dict[str, Any]:
        """Provenance: what the unit was made of, from which files, where and how."""
        vocabulary, tokenizer = under.vocabulary, under.vocabulary.tokenizer
        return {
            "schema": schema.VERSION,
            "digest": unit.digest,
            "made_of": unit.made_of,
            "source": source,
            "origin": under.origin,
            "experiment_source": None if unit.definition is None else asdict(unit.definition),
            "integrity": integrity.as_dict(),
            "bos": unit.made_of["parameters"].get("bos"),
            "vocabulary": {
                "rows": vocabulary.d_vocab,
                "tokenizer": tokenizer.get_vocab_size() if tokenizer else None,
                "softmax": softmax,
            },
            **under.device,
            "versions": self._versions,
            "host": self.log.host,
            "job": self.log.job,
            "worker": self.log.worker,
            "shard": str(self._shard),
            "attempt": self._attempts[unit.name],
        }


class _Notes(logging.Handler):
    """Log records of the library as events of the run."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.write("note", level=record.levelname.lower(), message=record.getMessage())


def _rate(count: int, seconds: float) -> float | None:
    """Megabytes per second."""
    return round(count / seconds / 1e6, 1) if seconds else None
