"""Token sequences cut from documents, the same shuffled, and the kinds of their tokens."""

import copy
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from tokenizers import Tokenizer

from pythia_traj.data import documents, stdlib
from pythia_traj.data.cutting import designs, draw, spaced, with_shuffled
from pythia_traj.data.token_bytes import own_bytes
from pythia_traj.engines.streams import stream
from pythia_traj.experiment import Count, D_co, Data, Vocabulary

TOKEN_CLASSES = ("word_after_space", "word", "number", "punctuation", "whitespace", "other")
"""Classes that any tokenizer's tokens fall into.

They are letters with a space in front, letters alone, digits (with or without a space), neither
letters nor digits (with or without a space), whitespace alone, and all else: mixtures, special
tokens, parts of a character.
"""

BAND_ENDS = (10, 100, 1000, 10_000)
"""The last rank of each band of frequency, the most frequent token having rank 1."""

FREQUENCY_BANDS = (
    "rank_1_10",
    "rank_11_100",
    "rank_101_1000",
    "rank_1001_10000",
    "rank_from_10001",
    "unseen",
)
"""Bands by the rank of a token's count; `unseen` where it does not occur."""

DEFAULT_LENGTH = 550
"""Default length of a sequence in tokens.

It is the shortest at which both in-context learning scores exist.
"""

_COUNTED_CHARACTERS = 1 << 20
"""Text to count frequencies in, before reading of the corpus stops: some 300,000 tokens."""


@dataclass(frozen=True)
class TextData(Data[D_co]):
    """What all data ask for whose sequences are cut from a corpus.

    Attributes:
        n: sequences of text, in the same order at every step.
        length: tokens of a sequence, BOS included; 550, or the model's context if that is shorter,
            if not given.
        null_n: sequences whose tokens are shuffled: so many of the n, evenly spaced.
        corpus: what text: stdlib, a .txt, .jsonl or .parquet file, hf:org/name@commit, hf:DIR.
        column: the column of a table that holds it.
        bos: whether BOS is prepended.
    """

    identified: ClassVar = ("corpus",)

    n: Count = 16
    length: Count | None = None
    null_n: Count = 8
    corpus: str = "stdlib"
    column: str = "text"
    bos: bool = False

    def spec(self, *, seed: int) -> dict[str, Any]:
        """The content of both parts of the corpus, and the seed of the draws."""
        return {**identify_split(self.corpus), "seed": seed}


@dataclass(frozen=True)
class TextTokens(TextData["BoundTextTokens"]):
    """Sequences of text, each from one document.

    Documents are tokenised and cut into consecutive sequences; what is left of a document at its
    end is dropped. Sequences are drawn without replacement: one from each of all documents (or the
    first 4 n, of a large corpus), then a second from each, until there are n. Those of one document
    resemble each other, so they come from as many documents as possible.
    """

    def bind(self, vocabulary: Vocabulary, *, seed: int) -> "BoundTextTokens":
        """Reads, tokenises and cuts the corpus.

        Raises:
            DataError: the model has no tokenizer, the corpus is shorter than n sequences, or the
                sequences exceed the context.
        """
        return BoundTextTokens(self, vocabulary, seed=seed)


class BoundTextTokens:
    """The sequences, the same shuffled, and the kinds of their tokens.

    Attributes:
        parameters: what was asked for.
        groups: `text` int64 [item, pos], and `shuffled` [null_n, pos]: some of them with
            tokens permuted within each sequence, which keeps their types and takes away their
            order. BOS stays in front.
        designs: of each group, which sequences are of one document.
        text_bytes: of each group, how many bytes of the text as it was given each token stands for,
            int64 as the group; 0 of BOS.
    """

    def __init__(self, parameters: TextTokens, vocabulary: Vocabulary, *, seed: int) -> None:
        self.parameters, self._vocabulary = parameters, vocabulary
        corpus, column, bos = parameters.corpus, parameters.column, parameters.bos
        null_n = parameters.null_n
        rng = stream(seed, "text")
        self._own_bytes = own_bytes(vocabulary)
        drawn = draw(
            vocabulary,
            measured(corpus, column),
            corpus,
            n=parameters.n,
            length=length_for(vocabulary, parameters.length),
            bos=bos,
            rng=rng,
            of_token=self._own_bytes,
        )
        # The same draws order the bytes as they do the tokens.
        again = copy.deepcopy(rng)
        self.groups = with_shuffled(vocabulary, drawn.tokens, null_n, bos, rng)
        self.designs = designs(self.groups, drawn.documents)
        shuffled = again.permuted(drawn.sizes[spaced(len(drawn.sizes), null_n)], axis=1)
        self.text_bytes = {
            name: np.pad(sizes, ((0, 0), (int(bos), 0)))
            for name, sizes in (("text", drawn.sizes), ("shuffled", shuffled))
        }

    @cached_property
    def token_classes(self) -> np.ndarray:
        """The class of each token, as an index of TOKEN_CLASSES: int64 [d_vocab]."""
        return np.array(
            [TOKEN_CLASSES.index(class_of(token)) for token in self._own_bytes], dtype=np.int64
        )

    @cached_property
    def token_bands(self) -> np.ndarray:
        """The band of each token by its frequency in training text: int64 [d_vocab].

        It is an index of FREQUENCY_BANDS. Frequencies are counted in about a million characters: of
        the standard library's training documents, or of any other corpus itself, since that does
        not say what the model is trained on.
        """
        if self.parameters.corpus == "stdlib":
            assert self._vocabulary.tokenizer is not None
            return bands(
                _counts_of_stdlib(self._vocabulary.tokenizer.to_str(), self._vocabulary.d_vocab)
            )
        texts = documents.read(self.parameters.corpus, self.parameters.column)
        return bands(_counts(self._vocabulary, texts))


def identify_split(corpus: str) -> dict[str, Any]:
    """What identifies a corpus of which one part is measured and another trained or counted on."""
    found = documents.identify(corpus)
    if corpus != "stdlib":
        return found
    digest = hashlib.sha256()
    for name, text in stdlib.documents("train"):
        digest.update(f"{name}\0{len(text)}\0{text}".encode())
    return {**found, "train_sha256": digest.hexdigest()}


def length_for(vocabulary: Vocabulary, length: int | None) -> int:
    """Tokens of a sequence: the requested number.

    By default DEFAULT_LENGTH, or the context where it is shorter.
    """
    return min(DEFAULT_LENGTH, vocabulary.n_ctx) if length is None else length


def measured(corpus: str, column: str = "text") -> Iterator[str]:
    """Documents to measure on, where nothing is trained or counted.

    They are all documents of a corpus; of the library, those of `heldout`.
    """
    return heldout(corpus, column) if corpus == "stdlib" else iter(documents.read(corpus, column))


def heldout_of(corpus: str) -> str:
    """What `heldout` yields, in words."""
    return (
        corpus
        if corpus == "stdlib"
        else f"{corpus}, of whose documents one in ten is measured and the others are not,"
    )


def training(corpus: str, column: str = "text") -> Iterator[str]:
    """Documents of a corpus that are not measured: nine in ten, the same at every call.

    Those of the standard library come in the order of a hash of their names, so that the first of
    them are as mixed as all; those of another corpus in its order, split by a hash of their text,
    so that copies of a document are on one side.
    """
    return _part(corpus, column, "train")


def heldout(corpus: str, column: str = "text") -> Iterator[str]:
    """The other documents of a corpus, one in ten, in the same order."""
    return _part(corpus, column, "heldout")


def _part(corpus: str, column: str, part: Literal["train", "heldout"]) -> Iterator[str]:
    if corpus == "stdlib":
        yield from (
            text for _, text in sorted(stdlib.documents(part), key=lambda found: _hash(found[0]))
        )
    else:
        for text in documents.read(corpus, column):
            if (_hash(text)[0] % 10 == 0) == (part == "heldout"):
                yield text


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def class_of(token: bytes) -> str:
    """Which of TOKEN_CLASSES a token belongs to, by its bytes."""
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return "other"
    if not text or (text.startswith("<|") and text.endswith("|>")):
        return "other"
    body = text.removeprefix(" ")
    if text.isspace():
        return "whitespace"
    if body.isalpha():
        return "word_after_space" if body != text else "word"
    if body.isdecimal():
        return "number"
    return "other" if any(c.isalnum() or c.isspace() for c in body) else "punctuation"


def bands(counts: np.ndarray) -> np.ndarray:
    """The band of each token by its count, as an index of FREQUENCY_BANDS.

    Of equal counts the lower id has the lower rank.
    """
    ranks = np.empty(len(counts), dtype=np.int64)
    ranks[np.argsort(-counts, kind="stable")] = np.arange(1, len(counts) + 1)
    return np.where(counts > 0, np.searchsorted(BAND_ENDS, ranks), len(FREQUENCY_BANDS) - 1)


@lru_cache(maxsize=4)
def _counts_of_stdlib(tokenizer: str, d_vocab: int) -> np.ndarray:
    return _counts(Vocabulary(d_vocab, 0, Tokenizer.from_str(tokenizer)), training("stdlib"))


def _counts(vocabulary: Vocabulary, texts: Iterable[str]) -> np.ndarray:
    """How often each token occurs in so many characters of the texts: int64 [d_vocab]."""
    counts = np.zeros(vocabulary.d_vocab, dtype=np.int64)
    left = _COUNTED_CHARACTERS
    for text in texts:
        counts += np.bincount(vocabulary.encode(text[:left]), minlength=vocabulary.d_vocab)
        left -= len(text)
        if left <= 0:
            break
    return counts
