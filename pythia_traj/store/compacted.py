"""Many units of one model and label in one file: how they are found and read.

    RUN/metrics/model=<model>/label=<label>/compacted.parquet
    RUN/tables/<table>/model=<model>/label=<label>/compacted.parquet
    RUN/compacted/model=<model>/label=<label>/compacted.json   the index: which units these are
    RUN/compacted/model=<model>/label=<label>/next/            files that are about to be put there

A compacted file is what any Parquet reader expects in that folder, with the rows of its units one
after the other. Its footer holds the provenance of each, so the file can be read without the index,
which exists so that counting units opens no file.

Where a unit's rows are, for each table by itself:

1. in the unit's own file, `step-000512.parquet`, if it is there;
2. else in the compacted file beside it;
3. else in `next/`, while the index says that a compaction is not finished.

compacting.py moves rows in such an order that these three places hold them at every moment.
"""

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pythia_traj import schema
from pythia_traj.outside import LARGE, checked, parse_json, read_file
from pythia_traj.store.layout import COMPACTED, Run
from pythia_traj.store.parquet import COLUMNS, DamagedError, Whole, read_parquet, write_groups
from pythia_traj.store.records import Footer, Index, Share, Together

INDEX = "compacted.json"

NEXT = "next"
"""The folder of files that are about to take their places."""

_GROUP_ROWS = 100_000
"""A row group ends with the unit that makes it so long."""

_LOOKS = 3
"""How often the three places are looked through; a compaction moves rows once between two looks."""

_KEPT = 256
"""The compacted files whose contents are remembered, without their rows."""


@dataclass(frozen=True)
class UnitRows:
    """A unit that goes into a compacted file."""

    step: int
    footer: Mapping[str, Any]
    rows: pa.Table


@dataclass(frozen=True)
class Contents:
    """What a compacted file holds, without its rows.

    Attributes:
        common: what the provenance of all its units has in common.
        shares: by step, in the order of their rows.
    """

    common: Mapping[str, Any]
    shares: Mapping[int, Share]

    @classmethod
    def of(cls, whole: Whole) -> "Contents":
        """Those of an open file.

        Raises:
            DamagedError: its provenance does not fit its rows.
        """
        if not whole.is_proven:
            raise DamagedError("it has no checksum")
        found = checked(Together, whole.footer.model_extra, "its provenance", error=DamagedError)
        shares = {share.step: share for share in found.units}
        if len(shares) != len(found.units):
            raise DamagedError("it has a unit twice")
        if sum(share.rows for share in found.units) != whole.file.metadata.num_rows:
            raise DamagedError("its units have other numbers of rows than it has")
        return cls(found.common, shares)

    def footer(self, step: int) -> Footer:
        """The provenance of a unit.

        Raises:
            DamagedError: it is damaged.
        """
        footer = {**self.common, **self.shares[step].own}
        return checked(Footer, footer, "its provenance", error=DamagedError)


class CompactedFile:
    """A whole compacted file, its bytes in memory."""

    def __init__(self, path: Path, table: str | None) -> None:
        """Reads and checks it.

        Raises:
            FileNotFoundError: it does not exist.
            DamagedError: it is damaged.
        """
        self._whole = read_parquet(path, COLUMNS.get(table))
        self.contents = Contents.of(self._whole)
        rows = [share.rows for share in self.contents.shares.values()]
        self._firsts = dict(zip(self.contents.shares, accumulate(rows, initial=0), strict=False))
        """The number of each unit's first row."""
        metadata = self._whole.file.metadata
        groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self._ends = list(accumulate(groups))
        """After how many rows each row group ends."""
        self._decoded = _Decoded(self._whole.file)

    def unit(self, step: int) -> Whole | None:
        """A unit as a file of its own would give it; None where it is not in here.

        Raises:
            DamagedError: its provenance is damaged.
        """
        share = self.contents.shares.get(step)
        if share is None:
            return None
        first = self._firsts[step]
        group = bisect_right(self._ends, first)
        return _Part(
            footer=self.contents.footer(step),
            file=self._whole.file,
            is_proven=True,
            lacking=self._whole.lacking,
            unknown=self._whole.unknown,
            decoded=self._decoded,
            group=group,
            first=first - (self._ends[group - 1] if group else 0),
            count=share.rows,
        )


class _Decoded:
    """The row group that was read last: the units of one are asked for one after the other."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        self._last: tuple[object, pa.Table] = (None, None)

    def group(self, number: int, columns: Sequence[str] | None) -> pa.Table:
        asked = (number, None if columns is None else tuple(columns))
        before, rows = self._last
        if before != asked:
            found = self._file.read_row_group(number, columns=columns, use_threads=False)
            rows = found.combine_chunks()
            self._last = asked, rows
        return rows


@dataclass(frozen=True, kw_only=True)
class _Part(Whole):
    """A unit's rows in a compacted file: so many from the first on, in one row group."""

    decoded: _Decoded
    group: int
    first: int
    count: int

    def _read(self, columns: Sequence[str] | None) -> pa.Table:
        if not self.count:
            found = self.file.schema_arrow.empty_table()
            return found if columns is None else found.select(columns)
        rows = self.decoded.group(self.group, columns).slice(self.first, self.count)
        if len(rows) != self.count:
            raise ValueError("a unit's rows are in two row groups")
        return _with_own_words(rows)


def _with_own_words(rows: pa.Table) -> pa.Table:
    """Rows whose dictionaries hold their own words, in the order in which they first occur.

    So they are in a unit's own file, and a reader's categories are in that order.
    """
    for i, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):
            words = rows[i].cast(field.type.value_type).dictionary_encode()
            rows = rows.set_column(i, field, words)
    return rows


def write_compacted(path: Path, columns: pa.Schema, units: Iterable[UnitRows]) -> None:
    """Writes units, in their order, into one file.

    Raises:
        OSError: the disk is full, read-only or forbidden.
    """
    written: list[tuple[int, int, Mapping[str, Any]]] = []

    def groups() -> Iterator[pa.Table]:
        waiting: list[pa.Table] = []
        for unit in units:
            written.append((unit.step, len(unit.rows), unit.footer))
            waiting.append(unit.rows)
            if sum(map(len, waiting)) >= _GROUP_ROWS:
                yield pa.concat_tables(waiting).unify_dictionaries()
                waiting.clear()
        if any(map(len, waiting)):
            yield pa.concat_tables(waiting).unify_dictionaries()

    write_groups(path, columns, groups(), lambda: _provenance(written))


def _provenance(written: Sequence[tuple[int, int, Mapping[str, Any]]]) -> dict[str, Any]:
    footers = [footer for _, _, footer in written]
    common = {
        name: value
        for name, value in (footers[0] if footers else {}).items()
        if all(name in other and other[name] == value for other in footers)
    }
    return {
        "schema": schema.VERSION,
        "versions": {"pythia-traj": version("pythia-traj")},
        "common": common,
        "units": [
            {
                "step": step,
                "rows": rows,
                "own": {name: value for name, value in footer.items() if name not in common},
            }
            for step, rows, footer in written
        ],
    }


def contents(path: Path, table: str | None) -> Contents:
    """Which units a compacted file holds, and their provenance, after checking that it is whole.

    It is read once as long as it stays the same.

    Raises:
        FileNotFoundError: it does not exist.
        DamagedError: it is damaged.
    """
    return _contents(path, table, _identity(path))


@lru_cache(maxsize=_KEPT)
def _contents(path: Path, table: str | None, _: object) -> Contents:
    return CompactedFile(path, table).contents


def read_index(run: Run, model: str, label: str) -> Index | None:
    """The index of a model's label; None where there is none.

    Raises:
        DamagedError: it is damaged.
    """
    path = run.compaction(model, label) / INDEX
    try:
        run.arrive(path)
        document = parse_json(
            read_file(path, error=DamagedError, most=LARGE), "it", error=DamagedError
        )
    except FileNotFoundError:
        return None
    return checked(Index, document, "it", error=DamagedError)


def index_state(run: Run, labels: Iterable[tuple[str, str]]) -> dict[tuple[str, str], object]:
    """What changes with the index of each label; labels without an index are left out."""
    found = {label: _identity(run.compaction(*label) / INDEX) for label in labels}
    return {label: state for label, state in found.items() if state is not None}


def is_compacted(run: Run, model: str, label: str) -> bool:
    """Whether units of a model's label may be compacted; only names are looked at."""
    paths = (run.label_folder(model, label) / COMPACTED, run.compaction(model, label) / INDEX)
    return any(map(os.path.lexists, paths))


def compacted_steps(run: Run, model: str, label: str, table: str | None) -> set[int]:
    """The steps of the units whose rows are compacted.

    Where the index is missing or damaged, the compacted file says it.

    Raises:
        DamagedError: that is damaged too.
    """
    with suppress(DamagedError):
        index = read_index(run, model, label)
        if index is not None:
            return {one.step for one in index.units if table is None or table in one.tables}
    path = run.label_folder(model, label, table=table) / COMPACTED
    try:
        run.arrive(path)
        held = contents(path, table)
    except FileNotFoundError:
        return set()
    return set(held.shares)


def places(run: Run, model: str, label: str, table: str | None) -> Iterator[Path]:
    """Where compacted rows can be, one after the other."""
    yield run.label_folder(model, label, table=table) / COMPACTED
    with suppress(DamagedError):
        index = read_index(run, model, label)
        if index is not None and not index.finished:
            yield next_folder(run, model, label, table) / COMPACTED


def next_folder(run: Run, model: str, label: str, table: str | None) -> Path:
    """The folder that is about to take the place of a model's label."""
    return run.compaction(model, label) / NEXT / run.folder(table).relative_to(run.path)


def open_unit(
    run: Run, model: str, label: str, step: int, *, table: str | None = None, cached: bool = False
) -> Whole:
    """A unit's rows, wherever they are.

    Args:
        table: those of this table, not the metrics.
        cached: look among the rows that only references need, which are never compacted.

    Raises:
        FileNotFoundError: they are nowhere.
        DamagedError: the file that holds them is damaged; the text does not name it.
    """
    own = run.unit_path(model, label, step, table=table, cached=cached)
    for _ in range(_LOOKS):
        try:
            run.arrive(own)
            return read_parquet(own, COLUMNS.get(table), step=step)
        except FileNotFoundError:
            if cached:
                raise
        for path in places(run, model, label, table):
            with suppress(FileNotFoundError):
                run.arrive(path)
                part = CompactedFile(path, table).unit(step)
                if part is not None:
                    return part
    raise FileNotFoundError(own)


def read_unit_footer(
    run: Run, model: str, label: str, step: int, *, table: str | None = None, cached: bool = False
) -> Footer:
    """A unit's provenance, after checking that the file that holds it is whole.

    A compacted file is read once for all its units.

    Raises:
        FileNotFoundError: the unit is nowhere.
        DamagedError: the file is damaged; the text does not name it.
    """
    own = run.unit_path(model, label, step, table=table, cached=cached)
    if not cached and not os.path.lexists(own):
        for path in places(run, model, label, table):
            with suppress(FileNotFoundError):
                held = contents(path, table)
                if step in held.shares:
                    return held.footer(step)
    whole = open_unit(run, model, label, step, table=table, cached=cached)
    if not whole.is_proven:
        whole.table()
    return whole.footer


def holder_of(path: Path) -> Path:
    """The file that holds a unit's rows: its own, or the compacted one beside it."""
    compacted = path.with_name(COMPACTED)
    return path if os.path.lexists(path) or not os.path.lexists(compacted) else compacted


def _identity(path: Path) -> object:
    """What changes when a file is replaced; None where it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
