"""The files of one table of a run: whole ones are read, the others are noted."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pythia_traj.errors import StoreError, nearest
from pythia_traj.outside import shown
from pythia_traj.store.done import COLUMNS, Damage, Found, list_tables, list_units
from pythia_traj.store.layout import Run
from pythia_traj.store.left_out import LeftOut
from pythia_traj.store.parquet import DamagedError, NewerError, Whole, read_parquet

T = TypeVar("T")

_THREADS = 4


class Files:
    """The files of a table, and which of them turned out to be damaged."""

    def __init__(self, run: Run, table: str | None) -> None:
        """Lists them by their names.

        Raises:
            StoreError: the run has no such table, or it holds tensors.
        """
        self._run, self._table = run, table
        self.left_out = LeftOut()
        """What turned out not to be whole, until now."""
        self.there = _list(run, table, self.left_out.damaged)
        """Sorted by model, label and step."""

    def read(
        self, wanted: Iterable[Found], use: Callable[[Found, Whole], T]
    ) -> Iterator[tuple[Found, T]]:
        """The result for each whole file, in their order; several are read at a time."""
        files = list(wanted)
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            made = pool.map(lambda found: self._read(found, use), files)
            for found, one in zip(files, made, strict=True):
                if one is not None:
                    yield found, one[0]

    def say_left_out(self) -> list[str]:
        """What was left out: damaged files, those of a newer schema, columns of later versions."""
        return self.left_out.say(self._run.path)

    def _read(self, found: Found, use: Callable[[Found, Whole], T]) -> tuple[T] | None:
        """None where it is damaged or gone."""
        try:
            self._run.arrive(found.path)
            whole = read_parquet(found.path, COLUMNS.get(self._table), step=found.step)
            if whole.unknown:
                self.left_out.unknown[found.path] = whole.unknown
            return (use(found, whole),)
        except FileNotFoundError:
            return None
        except NewerError as error:
            self.left_out.newer[found.path] = str(error)
            return None
        except DamagedError as error:
            self.left_out.damaged[found.path] = str(error)
            return None


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
