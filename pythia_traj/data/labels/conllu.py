"""CoNLL-U, line by line: words with their labels, and the document that each sentence is a part of.

Ten columns separated by tabs, a word a line; `#` begins a comment, an empty line ends a sentence
(universaldependencies.org/format.html). `_` means no label. Any other line is refused with its
number: with a column missing, a word would silently lose its label.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pythia_traj.data.containers import opened
from pythia_traj.errors import DataError, nearest
from pythia_traj.outside import shown

COLUMNS = {"upos": 3, "xpos": 4, "deprel": 7}
"""Where the labels stand that a file may give, by name."""

_FORM, _MISC, _WIDTH = 1, 9, 10

_LONGEST = 1 << 20
"""Bytes of a line."""

_ID = re.compile(r"(?P<first>[0-9]{1,9})(?:(?P<sign>[-.])(?P<last>[0-9]{1,9}))?")
_NEW_DOCUMENT = re.compile(r"#\s*newdoc(?:\s+id\s*=\s*(?P<name>.*))?")


@dataclass(frozen=True)
class Word:
    """A word as it is written.

    Attributes:
        label: None for a word without one, such as one that stands for several syntactic words
            (`du` = `de le`).
        space: whether a space follows.
        line: its number in the file.
    """

    form: str
    label: str | None
    space: bool
    line: int


@dataclass
class _Sentence:
    words: list[Word] = field(default_factory=list)
    last: int = 0
    inside: int = 0
    """The last syntactic word that an earlier written word stands for."""


def read(path: Path, column: str) -> Iterator[tuple[str, list[Word]]]:
    """Each sentence's document and words, in order.

    Raises:
        DataError: the column is unknown, a line does not follow the format, or no word has a label.
    """
    if column not in COLUMNS:
        raise DataError(f"labels {column!r} of {path}: {nearest(column, COLUMNS)}")
    document, count, labelled = None, 0, False
    sentence = _Sentence()
    for number, line in _lines(path):
        new = _NEW_DOCUMENT.fullmatch(line)
        if new:
            document = new["name"] or f"document at line {number}"
        elif line.strip() and not line.startswith("#"):
            _add(sentence, line, COLUMNS[column], number, f"{path} line {number}")
        elif not line.strip() and sentence.words:
            count += 1
            labelled = labelled or any(word.label is not None for word in sentence.words)
            yield document or f"sentence {count}", sentence.words
            sentence = _Sentence()
    if not labelled:
        others = ", ".join(name for name in COLUMNS if name != column)
        raise DataError(
            f"no word of {path} has a label in its column {column}: set labels to {others}, or"
            " annotate it"
        )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines without their end, and an empty one after the last."""
    number = 0
    with opened(path) as file:
        while data := file.readline(_LONGEST):
            number += 1
            if len(data) == _LONGEST:
                raise DataError(
                    f"{path} line {number} has more than {_LONGEST} bytes: it is not CoNLL-U"
                )
            try:
                yield number, data.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                raise DataError(
                    f"{path} line {number} is not UTF-8 text: convert it first"
                ) from None
    yield number + 1, ""


def _add(sentence: _Sentence, line: str, column: int, number: int, where: str) -> None:
    """Adds the word of a line to its sentence, if the word is written in the text."""
    columns = line.split("\t")
    if len(columns) != _WIDTH:
        raise DataError(
            f"{where} has {len(columns)} columns separated by tabs: CoNLL-U has {_WIDTH}"
        )
    found = _ID.fullmatch(columns[0])
    if found is None:
        raise DataError(
            f"{where}: {shown(columns[0])} is not the id of a word, such as 3, 3-4 or 3.1"
        )
    if not columns[_FORM].strip():
        raise DataError(f"{where} has no word in its column form")
    if found["sign"] == ".":
        return  # an empty node: not part of the text
    several = found["sign"] == "-"
    first = int(found["first"])
    if first != sentence.last + 1 or (several and int(found["last"]) < first):
        raise DataError(
            f"{where}: id {columns[0]} after {sentence.last}: words are counted from 1, an empty"
            " line ends a sentence"
        )
    sentence.last = sentence.last if several else first
    if not several and first <= sentence.inside:
        return  # within a word that was written already
    sentence.inside = int(found["last"]) if several else sentence.inside
    label = None if several or columns[column] in ("_", "") else columns[column]
    sentence.words.append(
        Word(columns[_FORM], label, "SpaceAfter=No" not in columns[_MISC].split("|"), number)
    )
