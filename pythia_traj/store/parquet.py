"""A table -> a Parquet file, and back if it is whole: exactly what was written.

Beside the provenance a file's footer holds a checksum of the bytes before it: changed bits can give
another number without any reader's complaint, and this check costs less than decoding.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from io import BufferedReader
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from pythia_traj import schema
from pythia_traj.errors import StoreError
from pythia_traj.outside import checked, open_file, parse_json
from pythia_traj.printable import one_line
from pythia_traj.store.records import Footer, as_json

FOOTER_KEY = b"pythia_traj"

_CHECKSUM_KEY = b"pythia_traj_crc32"

TYPES = {
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
    "string": pa.string(),
    "bool": pa.bool_(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "list<int32>": pa.list_(pa.int32()),
    "list<float32>": pa.list_(pa.float32()),
    "list<string>": pa.list_(pa.string()),
}

_MAGIC, _TAIL = b"PAR1", 8
"""A file begins and ends with these; before the last one stands the length of the footer."""

_UNREADABLE = (
    pa.ArrowException,
    OSError,
    ValueError,
    MemoryError,
    OverflowError,
    KeyError,
    IndexError,
)
"""What pyarrow raises for a file that is not Parquet, or incomplete."""

_ROWS, _ROWS_PER_BYTE = 1_000_000, 100
"""A file can hold so many rows, and so many more for each byte.

A file that claims more would fill the memory.
"""


class DamagedError(StoreError):
    """A file of a run is damaged; the text says how, without its name."""


class NewerError(DamagedError):
    """A file is of a newer schema, in which a column may have another meaning."""


@dataclass(frozen=True)
class Whole:
    """A whole Parquet file of a run, its bytes in memory."""

    footer: Footer
    file: pq.ParquetFile
    is_proven: bool
    """Whether a checksum confirms it; else only decoding can tell."""
    lacking: tuple[schema.Column, ...] = ()
    """The columns that were added to its table after it was written: null in all its rows."""
    unknown: tuple[str, ...] = ()
    """The columns that a later version added to its table: they are left out."""

    @property
    def columns(self) -> pa.Schema:
        """Those of its rows."""
        return pa.schema([*self._known, *arrow_schema(self.lacking)])

    @property
    def _known(self) -> list[pa.Field]:
        return [field for field in self.file.schema_arrow if field.name not in self.unknown]

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Its rows, or these columns of them.

        Raises:
            DamagedError: they cannot be decoded.
        """
        if columns is None and self.unknown:
            columns = self.columns.names
        try:
            table = self.file.read(columns=columns, use_threads=False)
            table.validate()
        except _UNREADABLE as error:
            raise DamagedError(f"its rows cannot be read ({_first_line(error)})") from None
        for field in arrow_schema(self.lacking):
            if columns is None or field.name in columns:
                table = table.append_column(field, pa.nulls(len(table), field.type))
        return table.replace_schema_metadata(None)


def write_parquet(path: Path, table: pa.Table, footer: Mapping[str, Any]) -> None:
    """Writes a table with its provenance. Raises OSError."""
    # pandas' own metadata is not written: the schema alone says what the columns are.
    provenance = as_json(footer).encode()
    table = table.replace_schema_metadata({FOOTER_KEY: provenance})
    with (
        pa.OSFile(str(path), "wb") as sink,
        pq.ParquetWriter(sink, table.schema, compression="zstd") as writer,
    ):
        writer.write_table(table)
        # The file holds everything so far except the footer.
        checksum = zlib.crc32(provenance, _checksum_of_file(path))
        writer.add_key_value_metadata({_CHECKSUM_KEY: f"{checksum}".encode()})


def read_parquet(
    path: Path,
    columns: Sequence[schema.Column] | None,
    *,
    step: int | None = None,
    unit: Sequence[schema.Column] = schema.UNIT_COLUMNS,
) -> Whole:
    """Opens a file, and checks that it is whole.

    Args:
        columns: those of its table; None for a table of an experiment's own, which has a unit's
            columns and then others.
        step: of the unit it belongs to.
        unit: a unit's columns.

    Raises:
        FileNotFoundError: it does not exist.
        NewerError: it is of a newer schema.
        DamagedError: it is damaged.
    """
    data = _bytes(path)
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        metadata, found = file.metadata, file.schema_arrow
        keys = metadata.metadata or {}
    except _UNREADABLE as error:
        raise DamagedError(f"it is not a Parquet file ({_first_line(error)})") from None
    footer = _footer_of(keys)
    lacking, unknown = _lacking(found, columns or ()), _unknown(found, columns, footer)
    known = pa.schema([field for field in found if field.name not in unknown])
    _check_columns(known, columns and columns[: len(columns) - len(lacking)], unit)
    if metadata.num_rows > _ROWS + _ROWS_PER_BYTE * len(data):
        raise DamagedError(f"it says that {len(data)} bytes are {metadata.num_rows} rows")
    is_proven = _CHECKSUM_KEY in keys
    checksum = zlib.crc32(keys[FOOTER_KEY], zlib.crc32(_before_footer(data)))
    if is_proven and keys[_CHECKSUM_KEY] != f"{checksum}".encode():
        raise DamagedError("its bytes have changed since they were written")
    if step is not None:
        _check_step(metadata, found.get_field_index("step"), step)
    return Whole(footer, file, is_proven, lacking, unknown)


def check_tensors(path: Path) -> None:
    """Checks that a safetensors file is whole, as far as its header tells: no tensor is read.

    Raises:
        FileNotFoundError: it does not exist.
        DamagedError: it is damaged.
    """
    with _opened(path):
        try:
            with safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
        except (SafetensorError, OSError, ValueError) as error:
            raise DamagedError(f"it is not a safetensors file ({_first_line(error)})") from None
    if FOOTER_KEY.decode() not in metadata:
        raise DamagedError("it has no provenance: another program wrote it")


@lru_cache(maxsize=8)
def arrow_schema(columns: tuple[schema.Column, ...]) -> pa.Schema:
    """Columns as pyarrow knows them."""
    return pa.schema([pa.field(c.name, TYPES[c.type], nullable=c.nullable) for c in columns])


def _bytes(path: Path) -> bytes:
    """The bytes of a file that begins and ends as Parquet files do.

    Any other file is not read, however large it is.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise DamagedError("it is empty")
        first = file.read(len(_MAGIC))
        file.seek(max(0, size - _TAIL))
        last = file.read()
        if first != _MAGIC or not last.endswith(_MAGIC) or len(last) < _TAIL:
            raise DamagedError("it is not a Parquet file, or only the beginning of one")
        file.seek(0)
        return file.read()


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    try:
        with open_file(path, error=DamagedError, what="it") as file:
            yield file
    except FileNotFoundError:
        if path.is_symlink():
            raise DamagedError("it is a link that leads nowhere") from None
        raise
    except OSError as error:
        raise DamagedError(f"it cannot be read ({error.strerror})") from None


def _footer_of(keys: Mapping[bytes, bytes]) -> Footer:
    """The provenance of a file.

    Raises DamagedError, and NewerError where it says that the file is of a newer schema.
    """
    if FOOTER_KEY not in keys:
        raise DamagedError("it has no provenance: another program wrote it")
    footer = checked(
        Footer,
        parse_json(keys[FOOTER_KEY], "its provenance", error=DamagedError),
        "its provenance",
        error=DamagedError,
    )
    if footer.schema_number > schema.VERSION:
        raise NewerError(
            f"it is of schema {footer.schema_number}, this version reads {schema.VERSION}"
        )
    return footer


def _unknown(
    found: pa.Schema, columns: Sequence[schema.Column] | None, footer: Footer
) -> tuple[str, ...]:
    """The last columns of a table that a later version added.

    Versions only ever add columns, and only such as may be null: a file of this or an earlier
    version that has more was changed by another program.
    """
    more = [] if columns is None else list(found)[len(columns) :]
    by = footer.versions.get("pythia-traj")
    if by in (None, _own_version()) or not all(field.nullable for field in more):
        return ()
    return tuple(field.name for field in more)


@cache
def _own_version() -> str:
    return version("pythia-traj")


def _lacking(found: pa.Schema, columns: Sequence[schema.Column]) -> tuple[schema.Column, ...]:
    """The last columns of a table that a file is older than."""
    known = len(columns)
    while known and columns[known - 1].added and columns[known - 1].name not in found.names:
        known -= 1
    return tuple(columns[known:])


def _check_columns(
    found: pa.Schema, columns: Sequence[schema.Column] | None, unit: Sequence[schema.Column]
) -> None:
    expected = arrow_schema(tuple(columns or unit))
    if columns is not None and found.equals(expected):
        return
    if columns is not None and len(found) > len(expected):
        raise DamagedError(
            f"it has a column {found.names[len(expected)]!r} that is none of its table's"
        )
    for position, field in enumerate(expected):
        if field.name not in found.names:
            raise DamagedError(f"it has no column {field.name}")
        own = found.field(position)
        if own.name != field.name or not own.equals(field):
            raise DamagedError(f"column {field.name} is of another type than that of its table")
    if len(set(found.names)) != len(found):
        raise DamagedError("it has a column twice")


def _check_step(metadata: pq.FileMetaData, column: int, step: int) -> None:
    """A file copied under another step's name would give the wrong step's numbers."""
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(column).statistics
        if (
            statistics is not None
            and statistics.has_min_max
            and (statistics.min, statistics.max) != (step, step)
        ):
            raise DamagedError(f"its name says step {step}, its rows are of step {statistics.min}")


def _before_footer(data: bytes) -> memoryview:
    (length,) = struct.unpack("<I", data[-_TAIL : -len(_MAGIC)])
    return memoryview(data)[: max(0, len(data) - _TAIL - length)]


def _checksum_of_file(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _first_line(error: BaseException) -> str:
    return one_line(str(error).partition("\n")[0])[:200] or type(error).__name__
