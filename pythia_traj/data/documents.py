"""Where text comes from: Python's standard library, a file, or a Hugging Face dataset.

A source is written as one word in a config:

    stdlib                    the standard library's source, the modules a toy model is not trained on
    notes.txt                 one document; documents are separated by lines that hold only `<|endoftext|>`
    corpus.jsonl, .parquet    one document a row, in the column `text` or the one named
    hf:org/name@COMMIT        a dataset of the Hub at a commit; `:split` after the name chooses a split (default train)
    hf:DIR                    a dataset saved with `Dataset.save_to_disk`
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pythia_traj.data import stdlib
from pythia_traj.errors import DataError

SEPARATOR = "<|endoftext|>"

_HUB = re.compile(r"hf:(?P<name>[\w.-]+/[\w.-]+)(?::(?P<split>[\w.-]+))?@(?P<commit>[0-9a-f]{40})")


def identify(source: str) -> dict[str, Any]:
    """What identifies a source: the sha256 of its content, or a dataset's commit. Opens no connection.

    Raises:
        DataError: the source does not exist, or is a dataset without a commit.
    """
    if source == "stdlib":
        return {"source": "stdlib", "sha256": _digest_of_documents(stdlib.documents("heldout"))}
    if source.startswith("hf:"):
        directory = Path(source.removeprefix("hf:"))
        if directory.is_dir():
            return {"source": "hf-directory", "sha256": _digest_of_files(directory)}
        match = _hub_match(source)
        return {"source": f"hf:{match['name']}:{match['split'] or 'train'}", "commit": match["commit"]}
    path = _existing(source)
    return {"source": "file", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def read(source: str, column: str = "text") -> Iterator[str]:
    """The documents of a source, in its order.

    Raises:
        DataError: the source cannot be read, or has no such column.
    """
    if source == "stdlib":
        yield from (text for _, text in stdlib.documents("heldout"))
    elif source.startswith("hf:"):
        yield from _read_dataset(source, column)
    else:
        path = _existing(source)
        readers = dict.fromkeys((".jsonl", ".json", ".parquet"), _read_table)
        yield from readers.get(path.suffix, _read_text)(path, column)


def _existing(source: str) -> Path:
    path = Path(source)
    if not path.is_file():
        raise DataError(
            f"there is no text {source!r}: give stdlib, a .txt, .jsonl or .parquet file, or hf:org/name@commit"
        )
    return path


def _hub_match(source: str) -> re.Match[str]:
    match = _HUB.fullmatch(source)
    if match is None:
        raise DataError(
            f"cannot read {source!r} as a dataset: write hf:org/name@COMMIT or hf:org/name:split@COMMIT with the full commit "
            "(a branch can move, and results would no longer say what they were measured on), or hf: and a saved dataset's directory"
        )
    return match


def _read_text(path: Path, _column: str) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}): convert it first") from None
    documents = re.split(rf"^{re.escape(SEPARATOR)}$\n?", text, flags=re.MULTILINE)
    yield from (document for document in documents if document.strip())


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a `.jsonl` or `.parquet` file, in order; each has at least these columns.

    Raises:
        DataError: it cannot be read, or lacks a column.
    """
    if path.suffix == ".parquet":
        yield from _parquet_rows(path, columns)
        return
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            if any("\udc80" <= character <= "\udcff" for character in line):
                raise DataError(f"{path} line {number} is not UTF-8 text: convert it first")
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError:
                    raise DataError(f"{path} line {number} is not JSON: expected one object a line") from None
                yield _with_columns(row, columns, f"{path} line {number}")


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        file = pq.ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path} is no Parquet file: {error}") from None
    _with_columns(dict.fromkeys(file.schema_arrow.names), columns, str(path))
    for batch in file.iter_batches():
        yield from batch.to_pylist()


def _with_columns(row: Any, columns: Sequence[str], where: str) -> dict[str, Any]:
    there = list(row) if isinstance(row, dict) else []
    for column in columns:
        if column not in there:
            raise DataError(f"{where} has no column {column!r}: its columns are {', '.join(there) or 'none'}")
    return dict(row)


def _read_table(path: Path, column: str) -> Iterator[str]:
    for number, row in enumerate(read_rows(path, (column,)), 1):
        text = row[column]
        if path.suffix == ".parquet" and not text:
            continue  # a null, or an empty document
        yield _text_of(row, column, f"{path} row {number}")


def _text_of(row: Any, column: str, where: str) -> str:
    if not isinstance(row.get(column), str):
        raise DataError(f"{where} has no text in column {column!r}: its columns are {', '.join(row)}")
    return str(row[column])


def _read_dataset(source: str, column: str) -> Iterator[str]:
    for number, row in enumerate(open_dataset(source)):
        yield _text_of(row, column, f"{source} row {number}")


def open_dataset(source: str) -> Any:
    """A dataset of the Hub, row by row, or a saved one: `hf:org/name@COMMIT`, `hf:org/name:split@COMMIT` or `hf:DIR`.

    Raises:
        DataError: it is written in no such way, or holds several splits.
    """
    import datasets

    directory = Path(source.removeprefix("hf:"))
    if not directory.is_dir():
        match = _hub_match(source)
        name, split = match["name"], match["split"] or "train"
        return datasets.load_dataset(name, split=split, revision=match["commit"], streaming=True)
    dataset = datasets.load_from_disk(str(directory))
    if isinstance(dataset, datasets.DatasetDict):
        raise DataError(f"{directory} holds several splits: give one of {', '.join(dataset)} as hf:{directory}/<split>")
    return dataset


def _digest_of_documents(documents: tuple[tuple[str, str], ...]) -> str:
    digest = hashlib.sha256()
    for name, text in documents:
        digest.update(f"{name}\0{len(text)}\0{text}".encode())
    return digest.hexdigest()


def _digest_of_files(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in islice(directory.rglob("*"), 100_000) if path.is_file()):
        digest.update(f"{path.relative_to(directory)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
