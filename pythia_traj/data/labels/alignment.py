"""Which characters a model's token stands for, and so which label it has.

The rule: **a token has the label of its first character that is not white space**; a token of white
space alone, that of its first character. Byte-level tokens mostly begin with the space before their
word, which does not decide the label. A character that is split over several tokens (a multi-byte
one) gives its label to all of them.

A token's characters run from where the token before it ended: some tokenizers count the space in
front of a word as part of it, and the others give tokens of white space no characters at all.

A tokenizer that normalises names fewer characters than the text has: of an e and a combining
accent, which it reads as one, the e alone. A character that no token names belongs to the token
before it, and gives no label.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pythia_traj.vocabulary import Vocabulary

Span = tuple[int, int, str | None]
"""First character, the one after the last, label or None.

Characters are Unicode code points, as Python's strings have them.
"""

Labels = list[str | None]
"""Of tokens; None for one that has no label."""


@dataclass(frozen=True)
class Pieces:
    """The tokens of a text.

    Attributes:
        text: all of it.
        ids: int64 [token].
        begins, ends: the characters of each token [token]; those of one that is a part of a
            character are that character.
        named: where those begin and end that the tokenizer itself names as the token's [token, 2].
        places: position of each token in the sequence it will be read in, BOS not counted [token].
    """

    text: str
    ids: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    named: np.ndarray
    places: np.ndarray

    def strings(self) -> list[str]:
        """What each token stands for."""
        return [
            self.text[begin:end]
            for begin, end in zip(self.begins.tolist(), self.ends.tolist(), strict=True)
        ]

    def anchors(self) -> np.ndarray:
        """The character that each token has its label from [token]."""
        found = self.begins.copy()
        for i, (start, end) in enumerate(self.named.tolist()):
            string = self.text[start:end]
            stripped = string.lstrip()
            if stripped:
                found[i] = start + len(string) - len(stripped)
        return np.asarray(np.minimum(found, max(0, len(self.text) - 1)))


def tokenise(vocabulary: Vocabulary, text: str, length: int, *, enough: float = math.inf) -> Pieces:
    """Tokenises a text that is going to be cut into sequences of `length` tokens.

    Args:
        enough: tokens that are wanted, as for `Vocabulary.encode`: of what lies behind them in a
            text of more than a million characters nothing is read.

    Raises:
        DataError: the model has no tokenizer, it fails, or belongs to another model.
    """
    found = vocabulary.encode_with_characters(text, enough=enough)
    ends = _up_to_the_next(found.text, found.characters)
    before = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    begins = np.minimum(found.characters[:, 0], before)
    places = np.arange(len(found.ids)) % length
    return Pieces(found.text, found.ids, begins, ends, found.characters, places)


def _up_to_the_next(text: str, offsets: np.ndarray) -> np.ndarray:
    """The ends of tokens [token], each with the characters after it that no token names.

    White space is left out.
    """
    edges = np.bincount(offsets[:, 0], minlength=len(text) + 1) - np.bincount(
        offsets[:, 1], minlength=len(text) + 1
    )
    unnamed = np.flatnonzero(np.cumsum(edges)[: len(text)] == 0)
    following = np.arange(len(text) + 1)
    for character in unnamed[::-1].tolist():
        if not text[character].isspace():
            following[character] = following[character + 1]
    return np.asarray(following[offsets[:, 1]])


def labels_of(tokens: Pieces, spans: Iterable[Span]) -> Labels:
    """The label of each token; where spans overlap, the later one's."""
    names: dict[str, int] = {}
    of_character = np.full(len(tokens.text) + 1, -1, dtype=np.int32)
    for start, end, label in spans:
        of_character[start:end] = -1 if label is None else names.setdefault(label, len(names))
    known = list(names)
    return [
        known[number] if number >= 0 else None for number in of_character[tokens.anchors()].tolist()
    ]
