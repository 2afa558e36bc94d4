"""Where text comes from: Python's standard library, a file, or a Hugging Face dataset.

A corpus is written as one word in a config:

    stdlib                    the standard library's source, modules a toy model is not trained on
    notes.txt                 one document; documents are separated by lines that hold only
                              `<|endoftext|>`
    corpus.jsonl, .parquet    one document a row, in the column `text` or the one named;
                              data.containers has all suffixes
    hf:org/name@COMMIT        a dataset of the Hub at a commit; `:split` after the name chooses a
                              split (default train)
    hf:DIR                    a dataset saved with `Dataset.save_to_disk`
"""

import hashlib
import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pythia_traj.data import stdlib
from pythia_traj.data.containers import (
    LABELLED,
    is_parquet,
    is_table,
    is_there,
    opened,
    read_text,
    refuse_unknown,
    rows,
    shown_names,
)
from pythia_traj.errors import DataError
from pythia_traj.outside import in_one_line, shown

_HUB = re.compile(r"hf:(?P<name>[\w.-]+/[\w.-]+)(?::(?P<split>[\w.-]+))?@(?P<commit>[0-9a-f]{40})")


def identify(corpus: str) -> dict[str, Any]:
    """What identifies a corpus: the sha256 of its content, or a dataset's commit.

    Opens no connection.

    Raises:
        DataError: the corpus does not exist, its name does not say what it is, or it is a dataset
            without a commit.
    """
    if corpus == "stdlib":
        return {"source": "stdlib", "sha256": _digest_of_documents(stdlib.documents("heldout"))}
    if corpus.startswith("hf:"):
        directory = Path(corpus.removeprefix("hf:"))
        if is_there(directory, folder=True):
            return {"source": "hf-directory", "sha256": _digest_of_files(directory)}
        match = _hub_match(corpus)
        return {
            "source": f"hf:{match['name']}:{match['split'] or 'train'}",
            "commit": match["commit"],
        }
    path = _existing(corpus)
    if path.suffix != LABELLED:
        refuse_unknown(path)
    return {"source": "file", "sha256": digest_of_file(path).hex()}


def digest_of_file(path: Path) -> bytes:
    """The sha256 of a file, which may be larger than memory.

    Raises:
        DataError: it cannot be read.
    """
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").digest()


def read(corpus: str, column: str = "text") -> Iterator[str]:
    """The documents of a corpus, in its order.

    Raises:
        DataError: the corpus cannot be read, or has no such column.
    """
    if corpus == "stdlib":
        yield from (text for _, text in stdlib.documents("heldout"))
    elif corpus.startswith("hf:"):
        yield from _read_dataset(corpus, column)
    else:
        path = _existing(corpus)
        refuse_unknown(path)
        yield from _read_table(path, column) if is_table(path) else read_text(path)


def _existing(corpus: str) -> Path:
    path = Path(corpus)
    if not is_there(path):
        raise DataError(
            f"unknown corpus {corpus!r}: give stdlib, a .txt, .jsonl or .parquet file, or"
            " hf:org/name@commit"
        )
    return path


def _hub_match(corpus: str) -> re.Match[str]:
    match = _HUB.fullmatch(corpus)
    if match is None:
        raise DataError(
            f"cannot read {corpus!r} as a dataset: write hf:org/name@COMMIT or"
            " hf:org/name:split@COMMIT with the full commit (a branch can move, and results would"
            " no longer say what they were measured on), or hf: and a saved dataset's directory"
        )
    return match


def _read_table(path: Path, column: str) -> Iterator[str]:
    for where, row in rows(path, (column,), alone=True):
        # A table has an empty cell for a missing document.
        if not (is_parquet(path) and row[column] in (None, "")):
            yield _text_of(row, column, where)


def _text_of(row: Any, column: str, where: str) -> str:
    if column not in row:
        raise DataError(
            f"{where} has no text in column {column!r}: its columns are {shown_names(row)}"
        )
    if not isinstance(row[column], str):
        raise DataError(f"{where} has no text in column {column!r}: it holds {shown(row[column])}")
    return str(row[column])


def _read_dataset(corpus: str, column: str) -> Iterator[str]:
    with in_one_line(f"cannot read {corpus}", error=DataError):
        for number, row in enumerate(open_dataset(corpus)):
            yield _text_of(row, column, f"{corpus} row {number}")


def open_dataset(corpus: str) -> Any:
    """A dataset of the Hub, row by row, or a saved one.

    It is written as `hf:org/name@COMMIT`, `hf:org/name:split@COMMIT` or `hf:DIR`.

    Raises:
        DataError: it is not written in one of these ways, cannot be read, or holds several splits.
    """
    import datasets

    directory = Path(corpus.removeprefix("hf:"))
    if not is_there(directory, folder=True):
        match = _hub_match(corpus)
        name, split = match["name"], match["split"] or "train"
        with in_one_line(f"cannot read {corpus}", error=DataError):
            return datasets.load_dataset(
                name, split=split, revision=match["commit"], streaming=True
            )
    with in_one_line(f"cannot read {corpus}", error=DataError):
        dataset = datasets.load_from_disk(str(directory))
    if isinstance(dataset, datasets.DatasetDict):
        raise DataError(
            f"{directory} holds several splits: give one of {', '.join(dataset)} as"
            f" hf:{directory}/<split>"
        )
    return dataset


def _digest_of_documents(documents: tuple[tuple[str, str], ...]) -> str:
    digest = hashlib.sha256()
    for name, text in documents:
        digest.update(f"{name}\0{len(text)}\0{text}".encode())
    return digest.hexdigest()


def _digest_of_files(directory: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in islice(directory.rglob("*"), 100_000) if path.is_file()):
        digest.update(os.fsencode(f"{path.relative_to(directory)}\0") + digest_of_file(path))
    return digest.hexdigest()
