"""The files of one table of a run: whole ones are read, the others are noted."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pythia_traj.errors import StoreError, nearest
from pythia_traj.outside import shown
from pythia_traj.store.done import COLUMNS, Damage, Found, list_tables, list_units
from pythia_traj.store.layout import Run
from pythia_traj.store.parquet import DamagedError, NewerError, Whole, read_parquet

T = TypeVar("T")

_THREADS = 4

_NAMED = 3
"""Damaged files that a warning names; `pythia-traj status --check` names all."""


OTHER_TYPES = "its columns are of other types than those of other units: choose by label= or step="
"""Said of a whole file: a sweep would not change it."""


class Files:
    """The files of a table, and which of them turned out to be damaged."""

    def __init__(self, run: Run, table: str | None) -> None:
        """Lists them by their names.

        Raises:
            StoreError: the run has no such table, or it holds tensors.
        """
        self._run, self._table = run, table
        self.damaged: Damage = {}
        self._newer: Damage = {}
        self._unknown: dict[Path, tuple[str, ...]] = {}
        self.there = _list(run, table, self.damaged)
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
        """What was left out: damaged files, those of a newer schema, and columns of later versions.

        Columns keep their meaning in versions of one schema, so only the unknown ones are left out.
        """
        said = self._say_damaged()
        if self._newer:
            why = next(iter(self._newer.values()))
            said.append(
                f"left out {_files(len(self._newer))} of a newer pythia-traj ({why}), as a column"
                " may have another meaning there: install that version to read them"
            )
        if self._unknown:
            names = dict.fromkeys(name for some in self._unknown.values() for name in some)
            said.append(
                f"a newer pythia-traj wrote {_files(len(self._unknown))} with columns that this"
                f" version does not know, which are left out: {', '.join(names)}"
            )
        return said

    def _say_damaged(self) -> list[str]:
        if not self.damaged:
            return []
        names = [
            f"{path.relative_to(self._run.path)} ({why})" for path, why in self.damaged.items()
        ]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        is_redone = any(why != OTHER_TYPES for why in self.damaged.values())
        advice = "; the next sweep makes them again" if is_redone else ""
        return [
            f"left out {_files(len(names), 'damaged ')}: {', '.join(names[:_NAMED])}{more}{advice}"
        ]

    def _read(self, found: Found, use: Callable[[Found, Whole], T]) -> tuple[T] | None:
        """None where it is damaged or gone."""
        try:
            self._run.arrive(found.path)
            whole = read_parquet(found.path, COLUMNS.get(self._table), step=found.step)
            if whole.unknown:
                self._unknown[found.path] = whole.unknown
            return (use(found, whole),)
        except FileNotFoundError:
            return None
        except NewerError as error:
            self._newer[found.path] = str(error)
            return None
        except DamagedError as error:
            self.damaged[found.path] = str(error)
            return None


def _files(count: int, which: str = "") -> str:
    return f"1 {which}file" if count == 1 else f"{count} {which}files"


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
