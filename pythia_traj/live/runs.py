"""One run that is read again and again: only files that are new or have changed are opened."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pythia_traj import schema
from pythia_traj.analysis.selection import OF_ANSWERS
from pythia_traj.reports.notes import Note, notes_of
from pythia_traj.reports.reading import no_models, read_models
from pythia_traj.store.done import Found, list_units
from pythia_traj.store.files import Files
from pythia_traj.store.layout import Run, read_facts, say_newer
from pythia_traj.store.left_out import LeftOut
from pythia_traj.store.mixed import measured_by, say_mixed, say_versions
from pythia_traj.store.parquet import Whole, arrow_schema
from pythia_traj.store.read import Read
from pythia_traj.store.records import Footer
from pythia_traj.sweeps.status import Status, status

COLUMNS = (
    *("experiment", "step", "tokens"),
    *(column.name for column in (*schema.KEY_COLUMNS, *schema.VALUE_COLUMNS)),
)
"""The columns that are kept: those that figures read."""

NO_ROWS = arrow_schema(schema.METRICS).empty_table().select(COLUMNS)
"""Those of an experiment that is not there."""

_OF_LOSSES = (
    pc.field("metric").isin(["nll", *OF_ANSWERS])
    & pc.field("component").is_null()
    & pc.field("position").is_null()
)

UnitKey = tuple[str, str, int]
"""Model, label and step."""

Identity = tuple[int, int, int]
"""Of a file: when it was written, its size and its inode."""


@dataclass(frozen=True)
class Held:
    """A unit as it was read last.

    Attributes:
        experiment: its name.
        rows: its columns COLUMNS.
        losses: those of them that say what its loss on text is, or that it is none of text.
        footer: its provenance.
    """

    experiment: str
    rows: pa.Table
    losses: pa.Table
    footer: Footer

    @property
    def tokens(self) -> int | None:
        """The tokens seen until this step; None where they are not known."""
        return self.rows["tokens"][0].as_py() if len(self.rows) else None


@dataclass(frozen=True)
class RunState:
    """What is known of a run after a look; it never changes.

    Attributes:
        units: those that are whole.
        models: its table of models, with `origin`.
        notes: what a reader must know.
        status: how far it is.
        waiting: how many files are still to be opened.
    """

    units: Mapping[UnitKey, Held] = field(default_factory=dict)
    models: pd.DataFrame = field(default_factory=lambda: no_models())
    notes: tuple[Note, ...] = ()
    status: Status | None = None
    waiting: int = 0


class WatchedRun:
    """A run, and what was read of it until now."""

    def __init__(self, path: Path) -> None:
        """Opens it.

        Raises:
            StoreError: it is not a run, or one of an older schema.
        """
        self.path = path
        self._run = Run.open(path, newer=True)
        self._seen: dict[UnitKey, tuple[Path, Identity]] = {}
        self._left_out = LeftOut()
        self._unlisted: tuple[Path, ...] = ()
        self._models_of: object = None
        self._told: tuple[object, ...] = ()
        self._of_models: tuple[Note, ...] = ()
        self._newer_run = ""
        facts = read_facts(path, newer=True)
        if facts.schema_version > schema.VERSION:
            self._newer_run = f"the run {say_newer(facts)}"
        self.state = RunState()

    def look(self, most: int) -> int:
        """Looks at the names of all files, and opens those that are new or have changed.

        Args:
            most: how many units are read at most; the others wait for the next look.

        Returns:
            how many files of units were opened.

        Raises:
            StoreError: it is not a run any more, such as where its directory is gone.
            OSError: a disk does not answer. What was read before stays.
        """
        files = Files(self._run, None)
        there = {(one.model, one.label, one.step or 0): one for one in files.there}
        now = {key: (one.path, identity(one.path)) for key, one in there.items()}
        # After the names were listed: a run that is gone by then has not lost its units.
        read_facts(self.path, newer=True)
        gone = self._seen.keys() - now.keys()
        changed = [key for key, seen in now.items() if self._seen.get(key) != seen]
        chosen = list(islice(changed, most))
        units, seen = dict(self.state.units), dict(self._seen)
        for path in self._unlisted:
            self._left_out.forget(path)
        self._unlisted = tuple(files.left_out.damaged)
        for key in (*gone, *chosen):
            units.pop(key, None)
            if key in seen:
                self._left_out.forget(seen.pop(key)[0])
        for found, held in files.read((there[key] for key in chosen), _held):
            units[found.model, found.label, found.step or 0] = held
        self._left_out.add(files.left_out)
        self._settle(units, len(changed) - len(chosen), bool(gone or chosen))
        # Last: what was read by a look that failed on its way is read again.
        self._seen = seen | {key: now[key] for key in chosen}
        return len({now[key][0] for key in chosen})

    def _settle(self, units: Mapping[UnitKey, Held], waiting: int, is_changed: bool) -> None:
        """Makes a new state of what was read, where anything is new."""
        state = status(self._run)
        told = state, tuple(self._left_out.say(self.path)), waiting, self._models_now(units)
        if not is_changed and told == self._told:
            return
        self._told = told
        footers = {Found(m, self.path, lb, s): held.footer for (m, lb, s), held in units.items()}
        models = self._models(footers)
        self.state = RunState(
            units=units,
            models=models,
            notes=tuple(self._notes(units, footers, state)),
            status=state,
            waiting=waiting,
        )

    def _models_now(self, units: Iterable[UnitKey]) -> object:
        """What the table of models is made of."""
        files = [(one.path, identity(one.path)) for one in list_units(self._run, table="models")]
        return files, {model for model, _, _ in units}

    def _models(self, footers: Mapping[Found, Footer]) -> pd.DataFrame:
        """The table of models, read where its files or the models of the units have changed."""
        if self._newer_run:
            return no_models()
        of = self._told[-1]
        if of == self._models_of:
            return self.state.models
        models, notes = read_models(self._run, footers)
        self._models_of, self._of_models = of, tuple(notes)
        return models

    def _notes(
        self, units: Iterable[UnitKey], footers: Mapping[Found, Footer], state: Status
    ) -> Iterable[Note]:
        if self._newer_run:
            yield Note("warning", self._newer_run)
        yield from self._of_models
        left_out = self._left_out.say(self.path)
        steps = pd.DataFrame([(model, step) for model, _, step in units], columns=["model", "step"])
        said = (*say_versions(footers), *say_mixed(footers), *left_out)
        yield from notes_of(Read(steps, footers, said, tuple(left_out)), state)


def _held(found: Found, whole: Whole) -> Held:
    rows = whole.table(COLUMNS)
    by = measured_by(whole.footer)
    first = rows["experiment"][0].as_py() if len(rows) else None
    experiment = first or (by[0] if by else found.label)
    return Held(experiment, rows, rows.filter(_OF_LOSSES), whole.footer)


def identity(path: Path) -> Identity:
    """What tells a file from one that takes its place; zeros where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino
