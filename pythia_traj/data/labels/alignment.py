"""Which characters a model's token stands for, and so which label it has.

The rule: **a token has the label of its first character that is no white space**; a token of white space alone, that of its first
character. Byte-level tokens mostly begin with the space before their word, which is not what they are about. A character that is split over
several tokens (a multi-byte one) gives its label to all of them.

A token's characters run from where the token before it ended: tokenizers differ in whether they count the space in front of a word as
part of it, and those that do not give tokens of white space no characters at all.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

Span = tuple[int, int, str]
"""First character, the one after the last, label. Characters are Unicode code points, as Python's strings have them."""

Labels = list[str | None]
"""Of tokens; None for one that has no label."""


@dataclass(frozen=True)
class Pieces:
    """The tokens of a text.

    Attributes:
        text: all of it.
        ids: int64 [token].
        begins, ends: the characters of each token [token]; those of one that is a part of a character are that character.
        places: position of each token in the sequence it will be read in, BOS not counted [token].
    """

    text: str
    ids: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    places: np.ndarray

    def strings(self) -> list[str]:
        """What each token stands for."""
        return [self.text[begin:end] for begin, end in zip(self.begins.tolist(), self.ends.tolist(), strict=True)]

    def anchors(self) -> np.ndarray:
        """The character that each token has its label from [token]."""
        found = self.begins.copy()
        for i, string in enumerate(self.strings()):
            stripped = string.lstrip()
            if stripped:
                found[i] += len(string) - len(stripped)
        return np.asarray(np.minimum(found, max(0, len(self.text) - 1)))


def tokenise(tokenizer: Tokenizer, text: str, length: int) -> Pieces:
    """Tokenises a text that is going to be cut into sequences of `length` tokens."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    offsets = np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    before = np.concatenate([[0], offsets[:-1, 1]]) if len(offsets) else np.empty(0, dtype=np.int64)
    ids = np.asarray(encoding.ids, dtype=np.int64)
    return Pieces(text, ids, np.minimum(offsets[:, 0], before), offsets[:, 1], np.arange(len(ids)) % length)


def labels_of(pieces: Pieces, spans: Iterable[Span]) -> Labels:
    """The label of each token; where spans overlap, the later one's."""
    names: dict[str, int] = {}
    of_character = np.full(len(pieces.text) + 1, -1, dtype=np.int32)
    for start, end, label in spans:
        of_character[start:end] = names.setdefault(label, len(names))
    known = list(names)
    return [known[number] if number >= 0 else None for number in of_character[pieces.anchors()].tolist()]
