"""Sequences that a model was trained on, or may have been: what memorisation is measured on.

A source is written as one word in a config:

    stdlib              the standard library's modules that the toy suite is trained on
    rows.npy            token ids, one sequence a row
    rows.bin            token ids as plain uint16 in rows of `row_length`, as the Pile is published for Pythia
    rows.jsonl, .parquet   one sequence or document a row: a list of ids in `tokens`, or text in `column`
    notes.txt, hf:...   text, as data.documents reads it

Of token ids the sequence is the row's beginning, of text each document is cut into consecutive sequences.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pythia_traj.data import documents, stdlib
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary

ROW_LENGTH = 2049
"""Tokens of a row of Pythia's training data: a context and the token after it."""

_ENOUGH = 16
"""Sequences of text to choose from for each that is asked for, before reading of the source stops."""


class TrainingSequences:
    """n sequences of `prompt + continuation` tokens, drawn without replacement and in the source's order; no BOS.

    Attributes:
        groups: `sequences` int64 [item, pos].
        facts: how many there were to draw from.
    """

    identified = ("source",)

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        seed: int,
        n: int = 128,
        prompt: int = 32,
        continuation: int = 32,
        source: str = "stdlib",
        column: str = "text",
        row_length: int = ROW_LENGTH,
    ) -> None:
        """Reads the source and draws the sequences.

        Raises:
            DataError: it cannot be read, has too few or too short sequences, or ids that the model does not have.
        """
        length = prompt + continuation
        if length > vocabulary.n_ctx:
            raise DataError(
                f"{prompt} + {continuation} tokens exceed the model's context of {vocabulary.n_ctx}: set prompt or continuation lower"
            )
        rows = _rows(vocabulary, source, column, row_length, length, _ENOUGH * n)
        if len(rows) < n:
            raise DataError(f"{source} holds {len(rows)} sequences of {length} tokens, {n} were asked for: set n lower")
        drawn = np.sort(np.random.default_rng(seed).permutation(len(rows))[:n])
        tokens = rows[drawn, :length].astype(np.int64)
        if tokens.min() < 0 or tokens.max() >= vocabulary.d_vocab:
            raise DataError(
                f"{source} has ids of {tokens.min()} to {tokens.max()}, the model has {vocabulary.d_vocab} embeddings: "
                "they were not made for this model"
            )
        self.groups = {"sequences": tokens}
        self.facts = {"sequences_to_draw_from": len(rows)}

    @classmethod
    def spec(cls, *, seed: int, source: str = "stdlib", **_: Any) -> dict[str, Any]:
        """The source's content and the seed of the draw."""
        return {**_identify(source), "seed": seed}


def _identify(source: str) -> dict[str, Any]:
    if source == "stdlib":
        digest = hashlib.sha256()
        for name, text in stdlib.documents("train"):
            digest.update(f"{name}\0{len(text)}\0{text}".encode())
        return {"source": "stdlib:train", "sha256": digest.hexdigest()}
    path = Path(source)
    if _holds_ids(path):
        # Larger than memory, as training data are.
        with path.open("rb") as file:
            return {"source": "file", "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    return documents.identify(source)


def _holds_ids(path: Path) -> bool:
    """Whether a source is a file of token ids; one that is not there is refused, whatever is asked of it first."""
    if path.suffix not in (".npy", ".bin"):
        return False
    if not path.is_file():
        raise DataError(f"there is no file {path}: give stdlib, .npy, .bin, .jsonl, .parquet or .txt")
    return True


def _rows(vocabulary: Vocabulary, source: str, column: str, row_length: int, length: int, enough: int) -> np.ndarray:
    """Sequences of at least `length` tokens [sequence, pos], in the file where it holds ids."""
    path = Path(source)
    if _holds_ids(path):
        rows = _numpy_rows(path) if path.suffix == ".npy" else _plain_rows(path, row_length)
        if rows.shape[1] < length:
            raise DataError(
                f"{source} has rows of {rows.shape[1]} tokens, {length} are needed: set prompt or continuation lower"
            )
        return rows
    found: list[np.ndarray] = []
    count = 0
    for ids in _documents(vocabulary, source, column):
        pieces = ids[: len(ids) // length * length].reshape(-1, length)
        found.append(pieces)
        count += len(pieces)
        # The library's modules lie in the order of their names: all of them are looked at, so that the draw is as mixed.
        if count >= enough and source != "stdlib":
            break
    return np.concatenate(found) if found else np.empty((0, length), dtype=np.int64)


def _numpy_rows(path: Path) -> np.ndarray:
    try:
        rows: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is no NumPy file: {error}") from None
    if rows.ndim != 2 or rows.dtype.kind not in "ui":
        raise DataError(f"{path} holds {rows.dtype} of shape {list(rows.shape)}: expected integers [sequence, token]")
    return rows


def _plain_rows(path: Path, row_length: int) -> np.ndarray:
    size = path.stat().st_size
    if size == 0 or size % (2 * row_length):
        raise DataError(f"{path} has {size} bytes, which are no rows of {row_length} uint16 ids: set row_length")
    return np.memmap(path, dtype="<u2", mode="r").reshape(-1, row_length)


def _documents(vocabulary: Vocabulary, source: str, column: str) -> Iterator[np.ndarray]:
    """Token ids of each document or row."""
    path = Path(source)
    if path.suffix in (".jsonl", ".json", ".parquet") and path.is_file():
        for number, row in enumerate(documents.read_rows(path, ()), 1):
            if isinstance(row.get("tokens"), list):
                yield _ids(row["tokens"], f"{path} row {number}")
            elif isinstance(row.get(column), str):
                yield _encode(vocabulary, row[column])
            else:
                raise DataError(
                    f"{path} row {number} has neither a list in tokens nor text in {column}: it has {', '.join(row)}"
                )
        return
    texts = (text for _, text in stdlib.documents("train")) if source == "stdlib" else documents.read(source, column)
    yield from (_encode(vocabulary, text) for text in texts)


def _ids(tokens: list[Any], where: str) -> np.ndarray:
    if not all(type(token) is int for token in tokens):
        raise DataError(f"{where} has tokens that are no integers")
    return np.asarray(tokens, dtype=np.int64)


def _encode(vocabulary: Vocabulary, text: str) -> np.ndarray:
    if vocabulary.tokenizer is None:
        raise DataError(
            "the checkpoint has no tokenizer.json, so text cannot be tokenised for it: put one beside its config.json, or give token ids"
        )
    return np.asarray(vocabulary.tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)
