"""Labels from a token's own characters, the token before it, or its place.

A probe should find them easily.
"""

import unicodedata

from pythia_traj.data.labels.alignment import Labels, Pieces


def starts_with_space(pieces: Pieces) -> Labels:
    """Space or none: how a token begins."""
    return ["space" if string.startswith(" ") else "none" for string in pieces.strings()]


def capitalised(pieces: Pieces) -> Labels:
    """Capital or small: the first character, where it is a letter that has both forms."""
    found: Labels = []
    for anchor in pieces.anchors().tolist():
        letter = pieces.text[anchor]
        found.append(
            "capital"
            if letter.isupper() or letter.istitle()
            else "small"
            if letter.islower()
            else None
        )
    return found


def previous_class(pieces: Pieces) -> Labels:
    """The kind of the token before, by its characters alone.

    It is letters, digits, punctuation, white space, or a mixture of them. The first token of a
    sequence has no label.
    """
    classes = [_identity_class(string) for string in pieces.strings()]
    before = [None, *classes[:-1]]
    return [
        None if place == 0 else name
        for name, place in zip(before, pieces.places.tolist(), strict=True)
    ]


def position(pieces: Pieces) -> Labels:
    """The token's place in its sequence, from 0, BOS not counted.

    Labels are 0, 1, 2-3, 4-7, and so on in powers of two.
    """
    return [_interval(place) for place in pieces.places.tolist()]


def _interval(place: int) -> str:
    low = 1 << (place.bit_length() - 1) if place else 0
    return str(place) if place < 2 else f"{low}-{2 * low - 1}"


def _identity_class(string: str) -> str:
    # An accent belongs to its letter's kind.
    word = unicodedata.normalize("NFC", string.strip())
    if not word:
        return "white space"
    kinds = {_KINDS.get(unicodedata.category(character)[0], "other") for character in word}
    return kinds.pop() if len(kinds) == 1 else "mixture"


_KINDS = {"L": "letters", "N": "digits", "P": "punctuation", "S": "punctuation"}
"""By the first letter of a character's Unicode category."""
