"""Sequences that a model was trained on, or may have been: what memorisation is measured on.

A corpus is written as one word in a config:

    stdlib                 the standard library's modules that the toy suite is trained on
    rows.npy               token ids, one sequence a row
    rows.bin               token ids as plain uint16 in rows of `row_length`, as the Pile is
                           published for Pythia
    rows.jsonl, .parquet   one sequence or document a row: a list of ids in `tokens`, or text in
                           `column`
    notes.txt, hf:...      text, as data.documents reads it

Of token ids the sequence is the row's beginning, of text each document is cut into consecutive
sequences.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pythia_traj.data import documents, stdlib
from pythia_traj.data.containers import is_table, is_there, rows, shown_names
from pythia_traj.engines.means import Design
from pythia_traj.engines.streams import stream
from pythia_traj.errors import DataError
from pythia_traj.experiment import AtLeastTwo, Count, Data, Vocabulary
from pythia_traj.outside import in_one_line, shown

ROW_LENGTH = 2049
"""Tokens of a row of Pythia's training data: a context and the token after it."""

_ENOUGH = 16
"""Sequences of text to choose from for each that is asked for, before reading stops."""


@dataclass(frozen=True)
class TrainingSequences(Data["BoundTrainingSequences"]):
    """n sequences of `prompt + continuation` tokens, without BOS.

    They are drawn without replacement and in the corpus's order.

    Attributes:
        n: sequences, drawn from the corpus.
        prompt: tokens that the model is given.
        continuation: tokens that it adds.
        corpus: stdlib, or a file: .npy or .bin with token ids a row, .jsonl or .parquet with tokens
            or text, .txt, hf:org/name@commit.
        column: the column of a table that holds the text.
        row_length: tokens of a row of a .bin file.
    """

    identified: ClassVar = ("corpus",)

    n: Count = 128
    prompt: Count = 32
    continuation: Count = 32
    corpus: str = "stdlib"
    column: str = "text"
    row_length: AtLeastTwo = ROW_LENGTH

    def spec(self, *, seed: int) -> dict[str, Any]:
        """The corpus's content and the seed of the draw."""
        return {**_identify(self.corpus), "seed": seed}

    def bind(self, vocabulary: Vocabulary, *, seed: int) -> "BoundTrainingSequences":
        """Reads the corpus and draws the sequences.

        Raises:
            DataError: it cannot be read, has too few or too short sequences, or ids that the model
                does not have.
        """
        return BoundTrainingSequences(self, vocabulary, seed=seed)


class BoundTrainingSequences:
    """The sequences, drawn.

    Attributes:
        parameters: what was asked for.
        groups: `sequences` int64 [item, pos].
        design: which of them are of one document of text; rows of token ids are independent.
        facts: how many there were to draw from.
    """

    def __init__(self, parameters: TrainingSequences, vocabulary: Vocabulary, *, seed: int) -> None:
        self.parameters = parameters
        n, corpus, column = parameters.n, parameters.corpus, parameters.column
        prompt, continuation = parameters.prompt, parameters.continuation
        length = prompt + continuation
        vocabulary.check_length(
            f"a sequence of {prompt} + {continuation} tokens",
            length,
            "prompt + continuation",
            vocabulary.n_ctx,
        )
        found, of_document = _rows(
            vocabulary, corpus, column, parameters.row_length, length, _ENOUGH * n
        )
        if len(found) < n:
            raise DataError(
                f"{corpus} holds {len(found)} sequences of {length} tokens, {n} were asked for: set"
                " n lower"
            )
        drawn = np.sort(stream(seed, "training-sequences").permutation(len(found))[:n])
        tokens = found[drawn, :length].astype(np.int64)
        if tokens.min() < 0 or tokens.max() >= vocabulary.d_vocab:
            raise DataError(
                f"{corpus} has ids of {tokens.min()} to {tokens.max()}, the model has"
                f" {vocabulary.d_vocab} embeddings: they were not made for this model"
            )
        self.groups = {"sequences": tokens}
        self.design = Design.of(of_document[drawn])
        self.facts = {"sequences_to_draw_from": len(found)}


def _identify(corpus: str) -> dict[str, Any]:
    if corpus == "stdlib":
        digest = hashlib.sha256()
        for name, text in stdlib.documents("train"):
            digest.update(f"{name}\0{len(text)}\0{text}".encode())
        return {"source": "stdlib:train", "sha256": digest.hexdigest()}
    path = Path(corpus)
    if _holds_ids(path):
        return {"source": "file", "sha256": documents.digest_of_file(path).hex()}
    return documents.identify(corpus)


def _holds_ids(path: Path) -> bool:
    """Whether a corpus is a file of token ids.

    A missing file is refused, whichever method is called first.
    """
    if path.suffix.lower() not in (".npy", ".bin"):
        return False
    if not is_there(path):
        raise DataError(f"{path} is not a file: give stdlib, .npy, .bin, .jsonl, .parquet or .txt")
    return True


def _rows(
    vocabulary: Vocabulary, corpus: str, column: str, row_length: int, length: int, enough: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of at least `length` tokens [sequence, pos], in the file where it holds ids.

    With them the document or row that each is from [sequence].
    """
    path = Path(corpus)
    if _holds_ids(path):
        ids = _numpy_rows(path) if path.suffix.lower() == ".npy" else _plain_rows(path, row_length)
        if ids.shape[1] < length:
            raise DataError(
                f"{corpus} has rows of {ids.shape[1]} tokens, {length} are needed: set prompt or"
                " continuation lower"
            )
        return ids, np.arange(len(ids))
    found = [np.empty((0, length), dtype=np.int64)]
    counts: list[int] = []
    for ids in _documents(vocabulary, corpus, column, enough * length):
        found.append(ids[: len(ids) // length * length].reshape(-1, length))
        counts.append(len(found[-1]))
        # The library's modules are in the order of their names: all of them are read, so that the
        # draw is mixed.
        if sum(counts) >= enough and corpus != "stdlib":
            break
    return np.concatenate(found), np.repeat(np.arange(len(counts)), counts)


def _numpy_rows(path: Path) -> np.ndarray:
    with in_one_line(f"{path} is not a NumPy file", error=DataError):
        ids: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(ids, np.ndarray):
        raise DataError(f"{path} is not a NumPy file of one array: save the ids with numpy.save")
    if ids.ndim != 2 or ids.dtype.kind not in "ui":
        raise DataError(
            f"{path} holds {ids.dtype} of shape {list(ids.shape)}: expected integers"
            " [sequence, token]"
        )
    return ids


def _plain_rows(path: Path, row_length: int) -> np.ndarray:
    size = path.stat().st_size
    if size == 0 or size % (2 * row_length):
        raise DataError(
            f"{path} has {size} bytes, not a multiple of {row_length} uint16 ids: set row_length"
        )
    return np.memmap(path, dtype="<u2", mode="r").reshape(-1, row_length)


def _documents(
    vocabulary: Vocabulary, corpus: str, column: str, enough: int
) -> Iterator[np.ndarray]:
    """Token ids of each document or row; of a very long one as many as are wanted."""
    path = Path(corpus)
    if is_table(path) and is_there(path):
        for where, row in rows(path, ()):
            if isinstance(row.get("tokens"), list):
                yield _ids(row["tokens"], where)
            elif isinstance(row.get(column), str):
                yield vocabulary.encode(row[column], enough=enough)
            else:
                raise DataError(
                    f"{where} has neither a list in tokens nor text in {column}: it has"
                    f" {shown_names(row)}"
                )
        return
    texts = (
        (text for _, text in stdlib.documents("train"))
        if corpus == "stdlib"
        else documents.read(corpus, column)
    )
    yield from (vocabulary.encode(text, enough=enough) for text in texts)


def _ids(tokens: list[Any], where: str) -> np.ndarray:
    for token in tokens:
        if type(token) is not int or not 0 <= token < 2**31:
            raise DataError(
                f"{where} has {shown(token)} among its tokens: they are integers from 0"
            )
    return np.asarray(tokens, dtype=np.int64)
