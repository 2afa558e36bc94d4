"""The files of one table of a run: whole ones are read, the others are noted."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from pythia_traj.errors import StoreError, nearest
from pythia_traj.outside import shown
from pythia_traj.store.done import Damage, Found, list_tables, list_units
from pythia_traj.store.layout import Run
from pythia_traj.store.left_out import LeftOut
from pythia_traj.store.opening import Opener
from pythia_traj.store.parquet import DamagedError, NewerError, Whole

T = TypeVar("T")

_THREADS = 4


class Files:
    """The files of a table, and which of them turned out to be damaged."""

    def __init__(self, run: Run, table: str | None) -> None:
        """Lists them by their names.

        Raises:
            StoreError: the run has no such table, or it holds tensors.
        """
        self._run, self._table, self._opener = run, table, Opener(run)
        self.left_out = LeftOut()
        """What turned out not to be whole, until now."""
        self.there = _list(run, table, self.left_out.damaged)
        """Sorted by model, label and step."""

    def read(
        self, wanted: Iterable[Found], use: Callable[[Found, Whole], T]
    ) -> Iterator[tuple[Found, T]]:
        """The result for each whole unit, in their order; several files are read at a time.

        A file of several units is opened once for all of them that are wanted.
        """
        files = [list(units) for _, units in groupby(wanted, key=lambda found: found.path)]
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            for made in pool.map(lambda units: self._read_file(units, use), files):
                yield from made

    def say_left_out(self) -> list[str]:
        """What was left out: damaged files, those of a newer schema, columns of later versions."""
        return self.left_out.say(self._run.path)

    def _read_file(
        self, units: Sequence[Found], use: Callable[[Found, Whole], T]
    ) -> list[tuple[Found, T]]:
        """The results for units of one file; without those that are damaged or gone."""
        path, made = units[0].path, []
        for found in units:
            try:
                whole = self._opener.open(found, self._table)
                if whole.unknown:
                    self.left_out.unknown[path] = whole.unknown
                made.append((found, use(found, whole)))
            except FileNotFoundError:
                if found.is_compacted:
                    self.left_out.damaged[path] = "units that were compacted into it are missing"
            except DamagedError as error:
                self._note(path, error)
        return made

    def _note(self, path: Path, error: DamagedError) -> None:
        left = self.left_out
        (left.newer if isinstance(error, NewerError) else left.damaged)[path] = str(error)


def _list(run: Run, table: str | None, unreadable: Damage) -> list[Found]:
    if table is not None and table not in list_tables(run):
        known = list_tables(run)
        if known:
            raise StoreError(f"{run.path} has no table {shown(table)}: {nearest(table, known)}")
        return []
    found = list_units(run, table=table, unreadable=unreadable)
    if not found and table is not None and list_units(run, table=table, suffix=".safetensors"):
        raise StoreError(
            f"{table} holds tensors, not rows: read the .safetensors files below"
            f" {run.folder(table)}"
        )
    return sorted(found, key=lambda one: (one.model, one.label, one.step or 0))
