"""Tokens with labels, split by document: what probes are fitted to and tested on.

Made once per sweep, the same at every step.
"""

import hashlib
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from pythia_traj.data import documents
from pythia_traj.data.labels import TASKS, own
from pythia_traj.data.labels.alignment import Labels, labels_of, tokenise
from pythia_traj.data.labels.python_syntax import NotPythonError
from pythia_traj.engines.streams import stream
from pythia_traj.errors import DataError, nearest
from pythia_traj.experiment import AtLeastTwo, Count, Data, Vocabulary

log = logging.getLogger(__name__)

SPLITS = {"train": 0.6, "validation": 0.15, "test": 0.25}
"""The share of the labelled tokens that each split has, as nearly as whole documents allow."""

_FEWEST_DOCUMENTS = 4
"""One to train on, one to choose strengths on, two to test on: a single one has no interval."""

_ENOUGH = 4
"""When to stop reading a large corpus.

That is when one sequence of each document gives so many times the requested tokens.
"""

_LONGEST = 100
"""How much is tokenised of a document of more than a million characters.

It is so many times the requested tokens.
"""

_ROUNDED = 32
"""Sequences are padded to the next multiple of so many tokens."""


@dataclass(frozen=True)
class _Sequence:
    """A piece of a document: its tokens, and which of them are used, with their labels."""

    document: int
    ids: np.ndarray
    positions: np.ndarray
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a group's labelled tokens stand, and which ones they are.

    Attributes:
        rows, positions: in the group's token ids [place].
        numbers: of the tokens, in the order that `LabelledTokens.labels` has [place].
    """

    rows: np.ndarray
    positions: np.ndarray
    numbers: np.ndarray


@dataclass(frozen=True)
class LabelledTokens(Data["BoundLabelledTokens"]):
    """Tokens of one labelling, split by document.

    Copies of a document, and documents that the tokenizer reads alike, are one document: they stand
    in one split.

    Attributes:
        task: python_class, python_depth, python_in_string, python_definition, starts_with_space,
            capitalised, previous_class, position; or a file of labels: .jsonl or .parquet with
            spans, .conllu; or a dataset: hf:org/name@commit, hf:DIR.
        n: labelled tokens: 60 % to train on, 15 % to choose strengths on, 25 % to test on, split by
            document.
        length: tokens of a sequence.
        corpus: the text that a named task labels, as for loss; python tasks leave out documents
            that are not Python.
        column: of the corpus, that holds the text.
        labels: column of a file's labels: spans, upos, xpos, deprel, or a dataset's.
        controls: control tasks, each a draw of its own.
        bos: whether BOS is prepended.
    """

    identified: ClassVar = ("task", "corpus")

    task: str = "python_class"
    n: Count = 10_000
    length: Count = 128
    corpus: str = "stdlib"
    column: str = "text"
    labels: str = ""
    controls: AtLeastTwo = 2
    bos: bool = False

    def spec(self, *, seed: int) -> dict[str, Any]:
        """The content of the labelled text, and the seed of the draw.

        For Python's syntax it also says which Python reads it.
        """
        if own.is_own(self.task):
            return {**documents.identify(self.task), "seed": seed}
        _check(self.task)
        python = (
            {"python": f"{sys.version_info[0]}.{sys.version_info[1]}"}
            if self.task.startswith("python_")
            else {}
        )
        content = documents.identify(self.corpus)
        return {"labels": self.task, "version": 1, **python, **content, "seed": seed}

    def bind(self, vocabulary: Vocabulary, *, seed: int) -> "BoundLabelledTokens":
        """Reads, labels, cuts, draws and splits.

        Sequences are drawn one from each document, then a second from each, until there are enough
        labelled tokens.

        Raises:
            DataError: the model has no tokenizer, the task is unknown, the sequences exceed the
                context, or there are too few documents or classes.
        """
        return BoundLabelledTokens(self, vocabulary, seed=seed)


class BoundLabelledTokens:
    """The tokens, with their labels.

    In all arrays training tokens come first, then validation, then test, each by document.

    A control task gives each token *type* one label, drawn from the training labels' distribution
    (Hewitt and Liang 2019): a probe can only learn it by heart.

    Attributes:
        parameters: what was asked for.
        classes: the labels' names, those that occur in training.
        labels: int64 [token], numbers of classes.
        controls: the same of each control task [draw, token].
        types: token ids [token].
        documents: numbers of documents [token].
        sizes: tokens of training, validation and test.
        groups: sequences of one padded length: int64 [item, pos].
        places: where their labelled tokens stand, by the name of a group.
        facts: counts, and the digest of tokens, labels and splits, for the record.
    """

    def __init__(self, parameters: LabelledTokens, vocabulary: Vocabulary, *, seed: int) -> None:
        self.parameters, task = parameters, parameters.task
        n, length, bos = parameters.n, parameters.length, parameters.bos
        vocabulary.check_length("a sequence", length, "length", vocabulary.n_ctx)
        if length < 1 + int(bos):
            raise DataError("a sequence of BOS alone has no labels: set length to at least 2")
        rng = stream(seed, "labelled-tokens")
        self._skipped = 0
        by_document = self._read(vocabulary)
        drawn = _draw(rng, by_document, n)
        split = _split(rng, drawn, task, self._copies)
        classes = sorted({label for s in drawn if split[s.document] == 0 for label in s.labels})
        if len(classes) < 2:
            raise DataError(
                f"task {task} has one class in its training documents: {', '.join(classes)}"
            )
        self.classes = tuple(classes)
        self._arrange(vocabulary, drawn, split, bos)
        self.controls = self._control_labels(rng, parameters.controls)
        self.facts = self._facts(split)
        if self._skipped:
            log.warning(
                "task %s: %d documents are not Python and are not used", task, self._skipped
            )

    def split(self, name: str) -> slice:
        """Where the tokens of `train`, `validation` or `test` stand."""
        number = list(SPLITS).index(name)
        start = sum(self.sizes[:number])
        return slice(start, start + self.sizes[number])

    def _read(self, vocabulary: Vocabulary) -> list[list[_Sequence]]:
        """The labelled sequences of each document and its copies.

        Reading stops where there are enough to draw from.
        """
        length = self.parameters.length - int(self.parameters.bos)
        found: dict[str, list[_Sequence]] = {}
        numbers: dict[str, int] = {}
        contents: dict[str, Any] = {}
        enough = 0
        for document, ids, labels_ in self._labelled(vocabulary, length):
            first = document not in found
            sequences = found.setdefault(document, [])
            sequences += _cut(numbers.setdefault(document, len(numbers)), ids, labels_, length)
            contents.setdefault(document, hashlib.sha256()).update(
                len(ids).to_bytes(8, "little") + ids.tobytes()
            )
            enough += len(sequences[0].labels) if first and sequences else 0
            if enough >= _ENOUGH * self.parameters.n:
                break
        self._copies = _join_copies(
            found, {name: content.digest() for name, content in contents.items()}, numbers
        )
        return [sequences for sequences in found.values() if sequences]

    def _labelled(
        self, vocabulary: Vocabulary, length: int
    ) -> Iterator[tuple[str, np.ndarray, Labels]]:
        """Name of the document, token ids and labels of each text."""
        task, enough = self.parameters.task, _LONGEST * self.parameters.n
        if own.is_own(task):
            for text in own.read(task, self.parameters.labels):
                pieces = tokenise(vocabulary, text.text, length, enough=enough)
                yield text.document, pieces.ids, labels_of(pieces, text.spans)
            return
        _check(task)
        texts = documents.read(self.parameters.corpus, self.parameters.column)
        for number, document in enumerate(texts):
            pieces = tokenise(vocabulary, document, length, enough=enough)
            try:
                yield str(number), pieces.ids, TASKS[task](pieces)
            except NotPythonError:
                self._skipped += 1

    def _arrange(
        self, vocabulary: Vocabulary, drawn: list[_Sequence], split: np.ndarray, bos: bool
    ) -> None:
        """Pads sequences into groups, and puts their labelled tokens in order."""
        names = {name: number for number, name in enumerate(self.classes)}
        # Stable: sequences of one document stay together.
        drawn = sorted(drawn, key=lambda s: (split[s.document], s.document))
        flat: list[tuple[int, int, int, int]] = []  # label, type, document, split
        self.groups: dict[str, np.ndarray] = {}
        rows: dict[str, list[np.ndarray]] = {}
        places: dict[str, list[tuple[int, int, int]]] = {}
        for sequence in drawn:
            ids = vocabulary.text_with_bos(sequence.ids) if bos else sequence.ids
            more = len(ids) - len(sequence.ids)
            width = min(-len(ids) // _ROUNDED * -_ROUNDED, vocabulary.n_ctx)
            group = f"text/{width}"
            row = len(rows.setdefault(group, []))
            # A token does not see what follows it, so the padding can be anything.
            rows[group].append(np.pad(ids, (0, width - len(ids))))
            for position, label in zip(sequence.positions.tolist(), sequence.labels, strict=True):
                if label in names:  # a class that does not occur in training cannot be learnt
                    places.setdefault(group, []).append((row, position + more, len(flat)))
                    part = int(split[sequence.document])
                    flat.append(
                        (names[label], int(sequence.ids[position]), sequence.document, part)
                    )
        self.groups = {group: np.stack(sequences) for group, sequences in rows.items()}
        self.places = {
            group: Place(*np.array(found, dtype=np.int64).T) for group, found in places.items()
        }
        self.labels, self.types, numbers, parts = np.array(flat, dtype=np.int64).T.copy()
        self.documents = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
        self.sizes = tuple(int((parts == part).sum()) for part in range(len(SPLITS)))
        self._unlearnt = sum(len(s.labels) for s in drawn) - len(flat)

    def _control_labels(self, rng: np.random.Generator, draws: int) -> np.ndarray:
        """One label for each type, drawn as the training tokens' are distributed [draw, token]."""
        counts = np.bincount(self.labels[self.split("train")], minlength=len(self.classes))
        types, which = np.unique(self.types, return_inverse=True)
        by_type = rng.choice(len(self.classes), size=(draws, len(types)), p=counts / counts.sum())
        return by_type[:, which].astype(np.int64)

    def _facts(self, split: np.ndarray) -> dict[str, Any]:
        digest = hashlib.sha256()
        for array in (
            *self.groups.values(),
            self.labels,
            self.types,
            self.documents,
            self.controls,
        ):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr((self.classes, self.sizes)).encode())
        names = Counter(self.labels.tolist())
        in_split = {name: len(np.unique(self.documents[self.split(name)])) for name in SPLITS}
        return {
            "sha256": digest.hexdigest(),
            "tokens": dict(zip(SPLITS, self.sizes, strict=True)),
            "documents": in_split,
            "classes": {name: names[number] for number, name in enumerate(self.classes)},
            "not_in_training": self._unlearnt,
            "not_python": self._skipped,
            "copies": self._copies,
        }


def _check(task: str) -> None:
    if task not in TASKS:
        raise DataError(
            f"unknown task {task!r}: {nearest(task, TASKS)} (or a .jsonl, .parquet or .conllu"
            " file of your own, or hf:DIR)"
        )


def _cut(document: int, ids: np.ndarray, labels: Labels, length: int) -> Iterator[_Sequence]:
    """Consecutive sequences; the last one may be shorter. Those without any label are left out."""
    for start in range(0, len(ids), length):
        part = labels[start : start + length]
        positions = [i for i, label in enumerate(part) if label is not None]
        if positions:
            names = tuple(label for label in part if label is not None)
            yield _Sequence(document, ids[start : start + length], np.array(positions), names)


def _join_copies(
    found: dict[str, list[_Sequence]], contents: dict[str, bytes], numbers: dict[str, int]
) -> int:
    """Makes documents of the same tokens one document, the first of them.

    Returns how many copies there were.

    A probe that has seen a text in training knows the labels of its copies by heart, and copies in
    a test are not independent documents.
    """
    originals: dict[bytes, str] = {}
    copies = 0
    for document, content in contents.items():
        original = originals.setdefault(content, document)
        if original != document and found[document]:
            found[original] += [
                replace(sequence, document=numbers[original]) for sequence in found[document]
            ]
            found[document] = []
            copies += 1
    return copies


def _draw(rng: np.random.Generator, by_document: list[list[_Sequence]], n: int) -> list[_Sequence]:
    """Sequences of documents in random order, one of each, then a second of each, and so on.

    They go on until n tokens have labels; the last sequence keeps labels only up to that number.
    """
    order = rng.permutation(len(by_document))
    shuffled = [[by_document[i][j] for j in rng.permutation(len(by_document[i]))] for i in order]
    drawn: list[_Sequence] = []
    count = 0
    for turn in range(max(map(len, shuffled), default=0)):
        for sequences in shuffled:
            if turn >= len(sequences) or count >= n:
                continue
            sequence = sequences[turn]
            left = n - count
            drawn.append(
                _Sequence(
                    sequence.document,
                    sequence.ids,
                    sequence.positions[:left],
                    sequence.labels[:left],
                )
            )
            count += len(drawn[-1].labels)
    return drawn


def _split(rng: np.random.Generator, drawn: list[_Sequence], task: str, copies: int) -> np.ndarray:
    """The split of each document, by its number.

    Documents are taken in random order until each split has its share of the tokens.
    """
    sizes = Counter[int]()
    for sequence in drawn:
        sizes[sequence.document] += len(sequence.labels)
    if len(sizes) < _FEWEST_DOCUMENTS:
        raise DataError(
            f"task {task} has labels in {len(sizes)} documents; training, validation and test need"
            f" {_FEWEST_DOCUMENTS} at least: documents are not split between them"
            f"{f' ({copies} more are copies)' if copies else ''}"
        )
    order = rng.permutation(sorted(sizes))
    reached = np.cumsum([sizes[document] for document in order.tolist()])
    train, validation, _ = SPLITS.values()
    last = len(order) - 2
    first_border = int(np.clip(np.searchsorted(reached, train * reached[-1]) + 1, 1, last - 1))
    second = int(np.searchsorted(reached, (train + validation) * reached[-1]) + 1)
    second_border = int(np.clip(second, first_border + 1, last))
    split = np.zeros(max(sizes) + 1, dtype=np.int64)
    split[order[first_border:second_border]] = 1
    split[order[second_border:]] = 2
    return split
