"""Units, opened one after the other; a compacted file once for many of them."""

from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from pythia_traj.store.compacted import CompactedFile, open_unit
from pythia_traj.store.done import Found
from pythia_traj.store.layout import Run
from pythia_traj.store.parquet import COLUMNS, DamagedError, Whole, read_parquet

_KEPT = 8
"""How many compacted files stay open, with their bytes: one for each of so many labels."""


class Opener:
    """Opens units, and remembers the compacted files that it opened last."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._remembered = lru_cache(maxsize=_KEPT)(self._opened)

    def open(self, found: Found, table: str | None) -> Whole:
        """A unit's rows, wherever they are by now; of the table of models a model's.

        Args:
            found: the unit, as it was listed.
            table: the table that it was listed in; None is the metrics.

        Raises:
            FileNotFoundError: they are nowhere.
            DamagedError: the file that holds them is damaged; the text does not name it.
        """
        if found.step is None:
            self._run.arrive(found.path)
            return read_parquet(found.path, COLUMNS.get(table))
        if found.is_compacted:
            # Where it is not in there, it is being moved, or has a file of its own again.
            with suppress(FileNotFoundError):
                part = self._compacted(found.path, table).unit(found.step)
                if part is not None:
                    return part
        return open_unit(self._run, found.model, found.label, found.step, table=table)

    def _compacted(self, path: Path, table: str | None) -> CompactedFile:
        """Raises DamagedError, FileNotFoundError."""
        found = self._remembered(path, table)
        if isinstance(found, DamagedError):
            raise found
        return found

    def _opened(self, path: Path, table: str | None) -> CompactedFile | DamagedError:
        """A damaged file is read once, too, and not for each of its units."""
        self._run.arrive(path)
        try:
            return CompactedFile(path, table)
        except DamagedError as error:
            return error
