"""Several runs as one, looked at again and again while they are written."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa

from pythia_traj.analysis.comparison.sides import unique_names
from pythia_traj.analysis.schedules import schedules_of
from pythia_traj.analysis.training import training_of
from pythia_traj.errors import StoreError
from pythia_traj.live.runs import NO_ROWS, Held, RunState, UnitKey, WatchedRun
from pythia_traj.reports.drawings import in_order
from pythia_traj.reports.notes import Note
from pythia_traj.reports.reading import apart, run_names, together
from pythia_traj.schema import PARTITIONS
from pythia_traj.store.read import as_frame
from pythia_traj.suites.schedules import Schedule
from pythia_traj.sweeps.status import Status

T = TypeVar("T")

MOST_UNITS = 400
"""Units that one look reads at most, so that what was read is shown in the meantime."""

MOST_ROWS = 1_000_000
"""Rows that are kept as frames, of some experiments, and again of some choices: 120 bytes each."""


@dataclass(frozen=True)
class Look:
    """What a look found.

    Attributes:
        number: from 1.
        opened: how many files were opened.
        waiting: how many units are still to be read.
        errors: why a run could not be looked at, such as that its directory is gone; what was read
            of it before stays.
    """

    number: int
    opened: int
    waiting: int
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnitOf:
    """A unit among those of all runs: the number of its run, and its model's name in that."""

    run: int
    model: str
    held: Held


@dataclass(frozen=True)
class State:
    """What several runs hold after a look; it never changes, so that threads may share it.

    Attributes:
        number: of the look; it grows.
        units: by model, label and step; a model that several runs have is called `run/model`.
        models: the table of models, with `origin`.
        notes: what a reader must know.
        status: of each run, by its name.
        waiting: how many units are still to be read.
        changed_at: for each experiment, the number of the last look at which its units changed.
    """

    number: int = 0
    units: Mapping[UnitKey, UnitOf] = field(default_factory=dict)
    models: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: tuple[Note, ...] = ()
    status: Mapping[str, Status] = field(default_factory=dict)
    waiting: int = 0
    changed_at: Mapping[str, int] = field(default_factory=dict)
    _frames: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)
    _found: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What was found in the units, once: states of the same units share it."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def experiments(self) -> list[str]:
        """Those with units, in the order of a report's sections."""
        return self._once("experiments", self._experiments)

    @property
    def labels(self) -> dict[str, list[str]]:
        """The labels of each experiment."""
        return self._once("labels", self._labels)

    @property
    def steps(self) -> list[int]:
        """All measured steps, ascending."""
        return self._once("steps", lambda: sorted({step for _, _, step in self.units}))

    @property
    def training(self) -> dict[str, dict[str, Any]]:
        """Where each model is at each step, in tokens and in loss, as `training_of` says it."""
        return self._once("training", self._training)

    @cached_property
    def schedules(self) -> dict[str, Schedule]:
        """How training went, of the models where that is known."""
        return schedules_of(self.models) if len(self.models) else {}

    def rows(self, experiment: str) -> pd.DataFrame:
        """The rows of one experiment, with controls, as `pythia_traj.load` gives them.

        The columns that only say where weights are from are left out: suite, revision, commit.
        """
        if experiment not in self.labels:
            return _frame_of({})
        with self._lock:
            if experiment not in self._frames:
                self._frames[experiment] = self._frame(experiment)
                while len(self._frames) > 1 and sum(map(len, self._frames.values())) > MOST_ROWS:
                    del self._frames[next(iter(self._frames))]
            return self._frames[experiment]

    def _frame(self, experiment: str) -> pd.DataFrame:
        units = {k: one.held for k, one in self.units.items() if one.held.experiment == experiment}
        return _frame_of({key: held.rows for key, held in units.items()})

    def _once(self, name: str, find: Callable[[], T]) -> T:
        if name not in self._found:
            self._found[name] = find()
        found: T = self._found[name]
        return found

    def _experiments(self) -> list[str]:
        there = pd.DataFrame({"experiment": [one.held.experiment for one in self.units.values()]})
        return in_order(there)

    def _labels(self) -> dict[str, list[str]]:
        found: dict[str, set[str]] = {}
        for (_, label, _), one in self.units.items():
            found.setdefault(one.held.experiment, set()).add(label)
        return {name: sorted(labels) for name, labels in found.items()}

    def _training(self) -> dict[str, dict[str, Any]]:
        if not self.units:
            return {}
        seen = {(model, step): one.held.tokens for (model, _, step), one in self.units.items()}
        steps = [(model, step, tokens) for (model, step), tokens in sorted(seen.items())]
        every = pd.DataFrame(steps, columns=["model", "step", "tokens"])
        losses = _frame_of({key: one.held.losses for key, one in self.units.items()})
        return training_of(pd.concat([losses, every], ignore_index=True))


def _frame_of(tables: Mapping[UnitKey, pa.Table]) -> pd.DataFrame:
    """The rows of some units in the order of their names, with their partitions."""
    parts = [_with_partitions(tables[key], *key[:2]) for key in sorted(tables)]
    parts = parts or [_with_partitions(NO_ROWS, "", "")]
    return as_frame(pa.concat_tables(parts).unify_dictionaries(), PARTITIONS)


def _with_partitions(rows: pa.Table, *words: str) -> pa.Table:
    codes = pa.repeat(pa.scalar(0, pa.int32()), len(rows))
    for i, (name, word) in enumerate(zip(PARTITIONS, words, strict=True)):
        rows = rows.add_column(i, name, pa.DictionaryArray.from_arrays(codes, pa.array([word])))
    return rows


class Watched:
    """Runs that are looked at again and again; `state` is what they held at the last look."""

    def __init__(self, runs: Sequence[Path]) -> None:
        """Opens them.

        Raises:
            StoreError: one is not a run, or one of an older schema, which can be converted.
            AnalysisError: none is given, or one twice.
        """
        self.names = run_names(runs)
        self._runs = [WatchedRun(path) for path in self.names]
        self.state = State()

    def path_of(self, unit: UnitOf) -> Path:
        """The directory of a unit's run."""
        return self._runs[unit.run].path

    def look(self, most: int = MOST_UNITS) -> Look:
        """Looks at all runs, and opens the files that are new or have changed.

        Args:
            most: how many units of a run are read; the others wait for the next look.
        """
        number, opened, errors = self.state.number + 1, 0, []
        before = [run.state for run in self._runs]
        for run in self._runs:
            try:
                opened += run.look(most)
            except (StoreError, OSError) as error:
                errors.append(str(error))
        is_same = self.state.number and all(
            run.state is state for run, state in zip(self._runs, before, strict=True)
        )
        self.state = replace(self.state, number=number) if is_same else self._together(number)
        return Look(number, opened, self.state.waiting, tuple(errors))

    def _together(self, number: int) -> State:
        states = [run.state for run in self._runs]
        pairs = [
            (i, model)
            for i, one in enumerate(states)
            for model in sorted({*map(str, one.models["model"]), *(key[0] for key in one.units)})
        ]
        unique = unique_names([(self._runs[i].path, model) for i, model in pairs])
        called = dict(zip(pairs, unique, strict=True))
        units = {
            (called[i, model], label, step): UnitOf(i, model, held)
            for i, one in enumerate(states)
            for (model, label, step), held in one.units.items()
        }
        before, names = self.state, [*self.names.values()]
        changed = _changed(before, units, number)
        kept = {name: before.changed_at.get(name) == at for name, at in changed.items()}
        return State(
            number=number,
            units=units,
            models=together([_renamed(one.models, i, called) for i, one in enumerate(states)]),
            notes=_notes(dict(zip(names, states, strict=True))),
            status={
                name: one.status for name, one in zip(names, states, strict=True) if one.status
            },
            waiting=sum(one.waiting for one in states),
            changed_at=changed,
            _frames={name: frame for name, frame in before._frames.items() if kept.get(name)},
            _found=before._found if changed == before.changed_at else {},
        )


def _notes(states: Mapping[str, RunState]) -> tuple[Note, ...]:
    """Those of all runs, which are named where there are several, and on how these differ."""
    if len(states) == 1:
        return tuple(note for one in states.values() for note in one.notes)
    own = [
        replace(note, words=f"{name}: {note.words}")
        for name, one in states.items()
        for note in one.notes
    ]
    # One unit of each label: within a run, its own notes say what differs.
    first = {
        (name, label): held
        for name, one in states.items()
        for (_, label, _), held in one.units.items()
    }
    settings = ((run, label, held.footer.settings) for (run, label), held in first.items())
    return (*own, *apart(settings))


def _changed(before: State, units: Mapping[UnitKey, UnitOf], number: int) -> dict[str, int]:
    """For each experiment, the number of the look at which its units changed last."""
    was, now = ({key: id(one.held) for key, one in of.items()} for of in (before.units, units))
    different = {key for key in was.keys() | now.keys() if was.get(key) != now.get(key)}
    touched = {
        of[key].held.experiment for of in (before.units, units) for key in different if key in of
    }
    there = {one.held.experiment for one in units.values()}
    return {
        name: number if name in touched else before.changed_at.get(name, number) for name in there
    }


def _renamed(models: pd.DataFrame, run: int, called: Mapping[tuple[int, str], str]) -> pd.DataFrame:
    """A table of models with their names among those of all runs."""
    return models.assign(model=[called[run, str(model)] for model in models["model"]])
