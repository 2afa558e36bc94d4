"""Token sequences cut from documents, the same shuffled, and the kinds of their tokens."""

import copy
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from pythia_traj.data import documents, stdlib
from pythia_traj.data.token_bytes import bytes_of_tokens, given_bytes
from pythia_traj.engines.means import Design
from pythia_traj.engines.streams import stream
from pythia_traj.errors import DataError
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

_DOCUMENTS = 4
"""Documents to choose from for each sequence that is asked for, before reading stops."""

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
        self._own_bytes = _own_bytes(vocabulary)
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


class Sequences(NamedTuple):
    """Sequences, each from one document.

    Attributes:
        tokens: int64 [sequence, pos].
        sizes: how many bytes of the text each token stands for, int64 [sequence, pos]; 0 if they
            were not asked for.
        documents: numbers of the documents [sequence].
    """

    tokens: np.ndarray
    sizes: np.ndarray
    documents: np.ndarray

    @staticmethod
    def none(length: int) -> "Sequences":
        """No sequences of a length."""
        tokens = np.empty((0, length), dtype=np.int64)
        return Sequences(tokens, tokens, tokens.sum(1))

    @staticmethod
    def joined(parts: "Iterable[Sequences]") -> "Sequences":
        """One after the other."""
        return Sequences(*(np.concatenate(field) for field in zip(*parts, strict=True)))

    def part(self, sequences: slice | np.ndarray) -> "Sequences":
        """Some of them."""
        return Sequences(*(field[sequences] for field in self))


def draw(
    vocabulary: Vocabulary,
    texts: Iterable[str],
    corpus: str,
    *,
    n: int,
    length: int,
    bos: bool,
    rng: np.random.Generator,
    of_token: list[bytes] | None = None,
) -> Sequences:
    """Sequences of texts, drawn without replacement and in their order: [n, length - bos].

    They are without BOS, and of as many documents as possible (see TextTokens).

    Args:
        corpus: the texts' name in the message that there are too few of them.
        of_token: the bytes of each token, to count how many each stands for.

    Raises:
        DataError: the model has no tokenizer, the texts are shorter than n sequences, or the
            sequences exceed the context.
    """
    vocabulary.check_length("a sequence", length, "length", vocabulary.n_ctx)
    text_length = length - int(bos)
    if text_length < 2:
        raise DataError(
            f"sequences of {length} tokens predict nothing: set length to at least {2 + int(bos)}"
        )
    found = _candidates(vocabulary, texts, text_length, n, of_token)
    if len(found.tokens) < n:
        raise DataError(
            f"{corpus} holds {len(found.tokens)} sequences of {text_length} tokens, {n} were asked"
            " for: set n or length lower"
        )
    return found.part(_spread(found.documents, n, rng))


def _candidates(
    vocabulary: Vocabulary,
    texts: Iterable[str],
    length: int,
    n: int,
    of_token: list[bytes] | None,
) -> "Sequences":
    """The sequences to draw n from.

    Of a document they are its first ones: twice as many as would be its share if it were the last,
    and as many as are still lacking, so that one long document among short ones is enough.
    """
    found = [Sequences.none(length)]
    documents = count = 0
    for number, text in enumerate(texts):
        most = max(2 * -(-n // (documents + 1)), n - count)
        found.append(_of_document(vocabulary, text, number, length, most, of_token))
        count += len(found[-1].tokens)
        documents += bool(len(found[-1].tokens))
        if documents == _DOCUMENTS * n:
            break
    return Sequences.joined(found)


def _spread(documents: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """N of all sequences, one from each document, then a second from each: ascending [n]."""
    order = rng.permutation(len(documents))
    by_document = np.argsort(documents[order], kind="stable")
    counts = np.unique(documents, return_counts=True)[1]
    turn = np.empty(len(order), dtype=np.int64)
    turn[by_document] = np.concatenate([np.arange(count) for count in counts])
    return np.sort(order[np.argsort(turn, kind="stable")[:n]])


def designs(groups: Mapping[str, np.ndarray], documents: np.ndarray) -> dict[str, Design]:
    """Which sequences of each group are of one document.

    Args:
        groups: sequences, as they are or shuffled; each group has all of them, or some that are
            evenly spaced.
        documents: numbers of the documents [sequence].
    """
    return {
        name: Design.of(documents[spaced(len(documents), len(group))])
        for name, group in groups.items()
    }


def spaced(n: int, some: int) -> np.ndarray:
    """The places of some of n sequences, evenly spaced; all if there are no more [place]."""
    places: np.ndarray = np.arange(min(n, some)) * n // min(n, some)
    return places


def with_shuffled(
    vocabulary: Vocabulary, tokens: np.ndarray, null_n: int, bos: bool, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """`text`, and `shuffled`: null_n of the sequences, each with its tokens permuted.

    BOS is put in front of both, if it is asked for.
    """
    shuffled = rng.permuted(tokens[spaced(len(tokens), null_n)], axis=1)
    return {
        name: vocabulary.with_bos(group) if bos else group
        for name, group in (("text", tokens), ("shuffled", shuffled))
    }


def _own_bytes(vocabulary: Vocabulary) -> list[bytes]:
    """The bytes of each token of the vocabulary.

    Without a tokenizer every token is empty.
    """
    return (
        []
        if vocabulary.tokenizer is None
        else bytes_of_tokens(vocabulary.tokenizer, vocabulary.d_vocab)
    )


def cut(
    vocabulary: Vocabulary,
    texts: Iterable[str],
    length: int,
    enough: int,
    of_token: list[bytes] | None = None,
) -> Sequences:
    """Consecutive sequences of `length` tokens of each document, until there are enough.

    Raises:
        DataError: the model has no tokenizer, or one of another model.
    """
    found = [Sequences.none(length)]
    left = enough
    for number, text in enumerate(texts):
        found.append(_of_document(vocabulary, text, number, length, left, of_token))
        left -= len(found[-1].tokens)
        if left <= 0:
            break
    return Sequences.joined(found)


def _of_document(
    vocabulary: Vocabulary,
    text: str,
    number: int,
    length: int,
    most: int,
    of_token: list[bytes] | None,
) -> Sequences:
    """The first sequences of a document, at most so many."""
    ids = vocabulary.encode(text, enough=most * length)[: most * length]
    tokens = _in_rows(ids, length)
    given = np.zeros_like(ids) if of_token is None else given_bytes(vocabulary, text, ids, of_token)
    return Sequences(tokens, _in_rows(given, length), np.full(len(tokens), number))


def _in_rows(of_tokens: np.ndarray, length: int) -> np.ndarray:
    return of_tokens[: len(of_tokens) // length * length].reshape(-1, length)


def draw_positions(n: int, positions: int, among: range, rng: np.random.Generator) -> np.ndarray:
    """Positions of each of n sequences, drawn without replacement: int64 [n, position], ascending.

    If there are fewer, all are taken.
    """
    return np.sort(
        rng.permuted(np.tile(np.arange(among.start, among.stop), (n, 1)), axis=1)[:, :positions]
    )


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
