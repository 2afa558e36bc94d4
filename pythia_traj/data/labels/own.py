"""A user's own labels: spans in a file, CoNLL-U, or a Hugging Face dataset of token classification.

    spans.jsonl, .parquet   columns `text` and `spans`:
                            [{"start": 0, "end": 4, "label": "PER"}, ...] or [[0, 4, "PER"], ...] in
                            characters, the end not included; with a column `document`, rows of one
                            document stay in one split
    words.conllu            labels are the column `upos`, or `xpos` or `deprel`; documents are what
                            `# newdoc` begins, else sentences
    hf:org/name@COMMIT      a dataset of the Hub (`:split` after the name chooses a split) or, as
                            hf:DIR, one saved with `Dataset.save_to_disk`: a column `tokens` and one
                            of class labels for them

Text without a span has no label. A label of null, -1 or -100 means none, as in the libraries of the
field, and so does `_` in CoNLL-U; a class named -1 must be written as text.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainValidator
from pydantic_core import PydanticCustomError

from pythia_traj.data.containers import LABELLED, is_table, rows
from pythia_traj.data.documents import open_dataset
from pythia_traj.data.labels import conllu
from pythia_traj.data.labels.alignment import Span
from pythia_traj.errors import DataError
from pythia_traj.outside import checked, in_one_line, shown

NO_LABEL = (-1, -100)
"""Numbers that stand for no label: of `datasets`, and of what trains on them."""


@dataclass(frozen=True)
class LabelledText:
    """A text with its labels, and the document it is a part of.

    Documents are never split between training and test.
    """

    document: str
    text: str
    spans: tuple[Span, ...]


def is_own(task: str) -> bool:
    """Whether this is written as a user's file or dataset, which need not exist."""
    return task.startswith("hf:") or is_table(Path(task)) or _is_conllu(Path(task))


def _is_conllu(path: Path) -> bool:
    return path.suffix.lower() == LABELLED


def read(task: str, labels: str = "") -> Iterator[LabelledText]:
    """The texts of a file or dataset, in order.

    Args:
        labels: the column that has the labels; empty for `spans`, `upos`, or the only one of class
            labels.

    Raises:
        DataError: it cannot be read, lacks a column, or a row holds a wrong text, label or span.
    """
    if task.startswith("hf:"):
        yield from _dataset(task, labels)
        return
    path = Path(task)
    if not path.is_file():
        raise DataError(f"{task} is not a file")
    yield from (
        _conllu(path, labels or "upos") if _is_conllu(path) else _rows(path, labels or "spans")
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("text", "expected text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError(
            "text", "it holds half of a surrogate pair, which is not text"
        ) from None
    return value


def _label(value: Any) -> str | int | None:
    if value is None or (type(value) is int and value in NO_LABEL):
        return None
    if type(value) is int:
        return int(value)
    if not isinstance(value, str):
        raise PydanticCustomError("label", "labels are text or whole numbers, null for none")
    if (
        not value
        or value != value.strip()
        or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in value)
    ):
        raise PydanticCustomError(
            "label", "a label has no control characters and no white space around it"
        )
    return value


def _span(value: Any) -> Span:
    parts = (
        [value.get(name) for name in ("start", "end", "label")]
        if isinstance(value, dict)
        else value
    )
    match parts:
        case [start, end, label] if type(start) is int and type(end) is int and 0 <= start < end:
            found = _label(label)
            return start, end, None if found is None else str(found)
    raise PydanticCustomError(
        "span", 'expected a span such as {{"start": 0, "end": 4, "label": "PER"}}'
    )


def _name(value: Any) -> str | None:
    if not (value is None or type(value) in (str, int)):
        raise PydanticCustomError("document", "a document is named by text or a whole number")
    return None if value is None else str(value)


_Text = Annotated[str, PlainValidator(_text)]
_Label = Annotated[str | int | None, PlainValidator(_label)]
_Name = Annotated[str | None, PlainValidator(_name)]


class _Row(BaseModel):
    """A row of a file of spans."""

    model_config = ConfigDict(frozen=True, strict=True)

    text: _Text
    spans: list[Annotated[Span, PlainValidator(_span)]] | None
    document: _Name = None


class _Words(BaseModel):
    """A row of a dataset of token classification."""

    model_config = ConfigDict(frozen=True, strict=True)

    tokens: list[_Text]
    labels: list[_Label]
    document: _Name = None


def _rows(path: Path, column: str) -> Iterator[LabelledText]:
    for number, (place, row) in enumerate(rows(path, ("text", column)), 1):
        where = place + (f", spans in column {column}" if column != "spans" else "")
        given = {"text": row["text"], "spans": row[column], "document": row.get("document")}
        found = checked(_Row, given, where, error=DataError)
        spans = tuple(found.spans or ())
        for start, end, _ in spans:
            if end > len(found.text):
                raise DataError(
                    f"{where}: the span from {start} to {end} goes beyond its text of"
                    f" {len(found.text)} characters"
                )
        yield LabelledText(found.document or f"row {number}", found.text, spans)


def _conllu(path: Path, column: str) -> Iterator[LabelledText]:
    for document, words in conllu.read(path, column):
        given = {"tokens": [word.form for word in words], "labels": [word.label for word in words]}
        checked(
            _Words, given, f"{path}, the sentence from line {words[0].line} on", error=DataError
        )
        yield LabelledText(
            document, *_written((word.form, word.label, word.space) for word in words)
        )


def _written(words: Iterable[tuple[str, str | None, bool]]) -> tuple[str, tuple[Span, ...]]:
    """Words as a text with spans: form, label, and whether a space follows."""
    text, spans = "", []
    for form, label, space in words:
        if label is not None:
            spans.append((len(text), len(text) + len(form), label))
        text += form + (" " if space else "")
    return text.rstrip(" "), tuple(spans)


def _dataset(corpus: str, column: str) -> Iterator[LabelledText]:
    dataset = open_dataset(corpus).with_format(None)  # a saved one may be set to give tensors
    features = dataset.features or {}
    if "tokens" not in features:
        raise DataError(
            f"{corpus} has no column 'tokens': its columns are"
            f" {', '.join(features) or 'not declared'}"
        )
    named = {name: _names(feature) for name, feature in features.items()}
    column = column or _only([name for name, names in named.items() if names], corpus)
    if column not in named:
        raise DataError(f"{corpus} has no column {column!r}: its columns are {', '.join(named)}")
    names = named[column]
    with in_one_line(f"cannot read {corpus}", error=DataError):
        for number, row in enumerate(dataset, 1):
            where = f"{corpus} row {number}"
            given = {
                "tokens": row["tokens"],
                "labels": row[column],
                "document": row.get("document"),
            }
            found = checked(_Words, given, f"{where}, labels in column {column}", error=DataError)
            if len(found.tokens) != len(found.labels):
                raise DataError(
                    f"{where}: {len(found.tokens)} tokens, {len(found.labels)} {column}"
                )
            labels = [_class(label, names, f"{where}, column {column}") for label in found.labels]
            text, spans = _written(
                (word, label, True) for word, label in zip(found.tokens, labels, strict=True)
            )
            yield LabelledText(found.document or f"row {number}", text, spans)


def _names(feature: Any) -> Sequence[str] | None:
    """The names of a column's labels, where the dataset has them."""
    inner = (
        feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
    )
    return getattr(inner, "names", None)


def _class(label: str | int | None, names: Sequence[str] | None, where: str) -> str | None:
    if label is None or not names:
        return None if label is None else str(label)
    if not (isinstance(label, int) and 0 <= label < len(names)):
        raise DataError(
            f"{where}: label {shown(label)} is none of the {len(names)} that the dataset names,"
            " from 0"
        )
    return names[label]


def _only(columns: list[str], corpus: str) -> str:
    if len(columns) != 1:
        raise DataError(
            f"{corpus} has {len(columns)} columns of class labels ({', '.join(columns)}): set"
            " labels to one"
        )
    return columns[0]
