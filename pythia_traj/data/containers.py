"""What a file of documents or rows is, by its name, and reading it row by row within limits.

    .txt .text .md .rst .tex .py, or no suffix     UTF-8 text
    .jsonl .ndjson .jsonlines                      one JSON object a line
    .json                                          the same, or one array of objects
    .parquet .parq .pq                             a table

Upper and lower case are the same. A file with another name is refused: read as the wrong kind, it
would give wrong numbers.
"""

import codecs
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pythia_traj.errors import DataError
from pythia_traj.outside import LARGE, open_file, parse_json, read_file, shown
from pythia_traj.printable import one_line

SEPARATOR = "<|endoftext|>"
"""A line of its own between two documents of a text."""

TEXT = ("", ".txt", ".text", ".md", ".rst", ".tex", ".py")
"""Suffixes of plain text."""

LABELLED = ".conllu"
"""The suffix of sentences with labels, which data.labels reads: as text they are refused."""

LONGEST_DOCUMENT = 1 << 24
"""Characters of a document of a text; a longer one is read as several documents."""

_LONGEST_ROW = LARGE
"""Bytes of a line that holds a row."""

_CHUNK = 1 << 20
_ROWS_AT_ONCE = 64

Rows = Iterator[tuple[str, Any]]
"""Rows, each with where it is, for messages."""


def is_table(path: Path) -> bool:
    """Whether a file holds rows, by its name."""
    return path.suffix.lower() in _TABLES


def is_parquet(path: Path) -> bool:
    """Whether a file is a Parquet table, by its name."""
    return _TABLES.get(path.suffix.lower()) is _parquet


def is_text(path: Path) -> bool:
    """Whether a file holds plain text, by its name."""
    return path.suffix.lower() in TEXT


def refuse_unknown(path: Path) -> None:
    """Refuses a file whose name does not say what it is.

    Raises:
        DataError: the name does not say it; the message lists the suffixes that do.
    """
    if not is_table(path) and not is_text(path):
        raise DataError(
            f"cannot tell from its name what {path} holds: rows are read from {', '.join(_TABLES)},"
            f" text from {', '.join(TEXT[1:])} and files without a suffix; convert it, unpack it,"
            " or give it the name of what it is"
        )


def is_there(path: Path, *, folder: bool = False) -> bool:
    """Whether a path is that of a regular file, or of a folder.

    A name that no file can have is neither.
    """
    try:
        return path.is_dir() if folder else path.is_file()
    except OSError:
        return False  # it is too long, say


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """A regular file's bytes.

    Raises:
        DataError: it does not exist, is a pipe, a device or a directory, or cannot be read.
    """
    try:
        with open_file(path, error=DataError) as file:
            yield file
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def read_text(path: Path) -> Iterator[str]:
    """The documents of a text, in order.

    Lines that hold only `<|endoftext|>` separate them; a document of white space alone is left out.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    parts: list[str] = []
    length = 0
    is_begun = True
    for line in _lines(path):
        is_separator = is_begun and line.rstrip("\n") == SEPARATOR
        is_begun = line.endswith("\n")
        if not is_separator:
            parts.append(line)
            length += len(line)
        if is_separator or length >= LONGEST_DOCUMENT:
            if not _is_blank(parts):
                yield "".join(parts)
            parts, length = [], 0
    if not _is_blank(parts):
        yield "".join(parts)


def _is_blank(parts: list[str]) -> bool:
    return all(not part or part.isspace() for part in parts)


def _lines(path: Path) -> Iterator[str]:
    """Lines, a very long one in parts.

    Every kind of line break is a newline, as Python reads text.
    """
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder("utf-8-sig")(), translate=True
    )
    with opened(path) as file:
        number, is_last = 1, False
        while not is_last:
            chunk = file.readline(_CHUNK)
            is_last = not chunk
            try:
                text = decoder.decode(chunk, final=is_last)
            except UnicodeDecodeError:
                raise DataError(
                    f"{path} line {number} is not UTF-8 text: convert it first"
                ) from None
            number += chunk.endswith(b"\n")
            yield from io.StringIO(text)


def rows(
    path: Path, columns: Sequence[str], *, alone: bool = False
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a file of rows, in order, each with where it is, for messages.

    Args:
        columns: those that each row must have.
        alone: whether other columns may be left out.

    Raises:
        DataError: it cannot be read, or a row is not an object or lacks a column. The message names
            the row.
    """
    refuse_unknown(path)
    read = _TABLES.get(path.suffix.lower(), _json_lines)
    for where, row in read(path, columns if alone else None):
        yield where, _with_columns(row, columns, where)


def _with_columns(row: Any, columns: Sequence[str], where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(
            f"{where} is {shown(row)}: expected an object with {', '.join(columns) or 'columns'}"
        )
    for column in columns:
        if column not in row:
            raise DataError(f"{where} has no column {column!r}: its columns are {shown_names(row)}")
    return row


def shown_names(row: Sequence[str] | dict[str, Any]) -> str:
    """Names of columns, as a message lists them."""
    names = [str(name)[:40] for name in list(row)[:20]]
    return ", ".join([*names, "..."] if len(row) > len(names) else names) or "none"


def _json_lines(path: Path, _columns: Sequence[str] | None) -> Rows:
    with opened(path) as file:
        number = 0
        while line := file.readline(_LONGEST_ROW + 1):
            number += 1
            where = f"{path} line {number}"
            if len(line) > _LONGEST_ROW:
                raise DataError(
                    f"{where} has more than {_LONGEST_ROW} bytes: expected one object a line"
                )
            if line.strip(b" \t\r\n\xef\xbb\xbf"):
                yield where, parse_json(line, where, error=DataError)


def _json(path: Path, columns: Sequence[str] | None) -> Rows:
    with opened(path) as file:
        is_array = file.read(_CHUNK).lstrip(b" \t\r\n\xef\xbb\xbf").startswith(b"[")
    if not is_array:
        yield from _json_lines(path, columns)
        return
    found = parse_json(read_file(path, error=DataError, most=LARGE), path, error=DataError)
    yield from ((f"{path} row {number}", row) for number, row in enumerate(found, 1))


def _parquet(path: Path, columns: Sequence[str] | None) -> Rows:
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    number = 0
    with opened(path) as opening:
        try:
            file = pq.ParquetFile(opening)
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise DataError(
                    f"{path} names a column twice: its columns are {shown_names(names)}"
                )
            _with_columns(dict.fromkeys(names), columns or (), str(path))
            for batch in file.iter_batches(
                _ROWS_AT_ONCE, columns=None if columns is None else list(columns)
            ):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path} row {number}", row
        except UnicodeDecodeError:
            raise DataError(
                f"{path} holds text after row {number} that is not UTF-8: convert it first"
            ) from None
        except (ArrowException, OSError, ValueError) as error:
            raise DataError(one_line(f"{path} is not a Parquet file: {str(error)[:200]}")) from None


_TABLES: dict[str, Callable[[Path, Sequence[str] | None], Rows]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".jsonlines": _json_lines,
    ".json": _json,
    ".parquet": _parquet,
    ".parq": _parquet,
    ".pq": _parquet,
}
