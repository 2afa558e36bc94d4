"""The rows of a run, a few files at a time: for what does not fit into memory.

What `load` says or refuses once it has read everything is said or refused here at the end.
"""

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import pyarrow as pa

from pythia_traj.store.done import Found
from pythia_traj.store.layout import Run
from pythia_traj.store.read import Part, Reader
from pythia_traj.store.records import Footer

_FILES = 32
"""How many files are in memory together."""


class Parts:
    """Rows as `load` chooses them, in parts.

    A table of an experiment's own is one part: only all of its files can tell its columns.
    """

    def __init__(
        self, run: Run, *, table: str | None = None, controls: bool = False, **where: Any
    ) -> None:
        """Lists the files.

        Raises:
            StoreError: as `load`, as far as names tell.
        """
        self._reader = Reader(run, table, controls, where)
        self.columns: pa.Schema = self._reader.columns
        """Those of every part; of a table of an experiment's own, known with its part."""
        self._footers: dict[Found, Footer] = {}
        self._words: dict[str, set[str]] = self._reader.words(self.columns.empty_table())
        self._hidden = 0

    def in_order(self) -> Iterator[pa.Table]:
        """The rows by model, label and step, in parts of several files.

        Raises:
            StoreError: a column is unknown.
        """
        if not self._reader.is_stores:
            rows, parts = self._reader.read()
            self._note(rows, parts)
            self.columns = rows.schema
            yield rows
            return
        wanted = self._reader.wanted()
        for first in range(0, len(wanted), _FILES):
            yield self._read(wanted[first : first + _FILES])

    def by(self, key: Callable[[Found], Any]) -> Iterator[tuple[Any, pa.Table]]:
        """The rows of the store's own table, those of files with equal keys together, sorted.

        Raises:
            StoreError: a column is unknown.
        """
        for value, some in groupby(sorted(self._reader.wanted(), key=key), key):
            yield value, self._read(list(some))

    def said(self, *, mixed: bool = False) -> list[str]:
        """What a reader of the rows must know, when all are read.

        Raises:
            StoreError: as `load`: no row holds a word that was asked for, or several versions of
                one experiment measured them.
        """
        if self._reader.files.there:
            self._reader.refuse_unknown(self._words)
        notes, _ = self._reader.said(self._footers, hidden=self._hidden, mixed=mixed)
        return notes

    def _read(self, some: list[Found]) -> pa.Table:
        parts = dict(self._reader.open(some))
        rows = pa.concat_tables(
            [self.columns.empty_table(), *(part.rows for part in parts.values())],
            promote_options="permissive",
        )
        self._note(rows, parts)
        return rows

    def _note(self, rows: pa.Table, parts: dict[Found, Part]) -> None:
        self._footers |= {found: part.footer for found, part in parts.items() if len(part.rows)}
        self._hidden += sum(part.hidden for part in parts.values())
        for name, words in self._reader.words(rows).items():
            self._words.setdefault(name, set()).update(words)
