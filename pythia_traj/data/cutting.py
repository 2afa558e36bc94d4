"""Documents cut into sequences, and sequences drawn from as many documents as possible."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from pythia_traj.data.token_bytes import given_bytes
from pythia_traj.engines.means import Design
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary

_DOCUMENTS = 4
"""Documents to choose from for each sequence that is asked for, before reading stops."""


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
