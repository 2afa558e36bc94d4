"""A user's own labels: spans in a JSONL or Parquet file, CoNLL-U, or a Hugging Face dataset of token classification.

    spans.jsonl, .parquet   columns `text` and `spans`: [{"start": 0, "end": 4, "label": "PER"}, ...] or [[0, 4, "PER"], ...] in
                            characters, the end not included; with a column `document`, rows of one document stay in one split
    words.conllu            labels are the column `upos`, or `xpos` or `deprel`; documents are what `# newdoc` begins, else sentences
    hf:org/name@COMMIT      a dataset of the Hub (`:split` after the name chooses a split) or, as hf:DIR, one saved with
                            `Dataset.save_to_disk`: a column `tokens` and one of class labels for them

What no span covers has no label.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pythia_traj.data.documents import open_dataset, read_rows
from pythia_traj.data.labels.alignment import Span
from pythia_traj.errors import DataError, nearest

SUFFIXES = (".jsonl", ".json", ".parquet", ".conllu")

_CONLLU_COLUMNS = ("upos", "xpos", "deprel")


@dataclass(frozen=True)
class LabelledText:
    """A text with its labels, and the document it is a part of: documents are never split between training and test."""

    document: str
    text: str
    spans: tuple[Span, ...]


def is_own(task: str) -> bool:
    """Whether this is written as a user's file or dataset, be it there or not."""
    return task.startswith("hf:") or Path(task).suffix in SUFFIXES


def read(task: str, labels: str = "") -> Iterator[LabelledText]:
    """The texts of a file or dataset, in order.

    Args:
        labels: the column that has the labels; empty for `spans`, `upos`, or the only one of class labels.

    Raises:
        DataError: it cannot be read, lacks a column, or has spans outside its text.
    """
    if task.startswith("hf:"):
        yield from _dataset(task, labels)
        return
    path = Path(task)
    if not path.is_file():
        raise DataError(f"there is no file {task}")
    yield from _conllu(path, labels or "upos") if path.suffix == ".conllu" else _rows(path, labels or "spans")


def _rows(path: Path, column: str) -> Iterator[LabelledText]:
    for number, row in enumerate(read_rows(path, ("text", column)), 1):
        where = f"{path} row {number}"
        text = row["text"]
        if not isinstance(text, str):
            raise DataError(f"{where}, column text: {text!r} is no text")
        spans = tuple(_span(value, len(text), f"{where}, column {column}") for value in row[column] or ())
        document = row.get("document")
        yield LabelledText(f"row {number}" if document is None else str(document), text, spans)


def _span(value: Any, length: int, where: str) -> Span:
    parts = [value.get(name) for name in ("start", "end", "label")] if isinstance(value, dict) else value
    match parts:
        case [int(start), int(end), str() | int() as label] if 0 <= start < end <= length:
            return start, end, str(label)
    raise DataError(f'{where}: {value!r} is no span such as {{"start": 0, "end": 4, "label": "PER"}} within its text')


def _conllu(path: Path, column: str) -> Iterator[LabelledText]:
    try:
        import conllu
    except ImportError:
        raise DataError(f"{path} needs the package conllu: pip install 'pythia-traj[conllu]'") from None
    if column not in _CONLLU_COLUMNS:
        raise DataError(f"labels {column!r} of {path}: {nearest(column, _CONLLU_COLUMNS)}")
    document = None
    with path.open(encoding="utf-8") as lines:
        try:
            for number, sentence in enumerate(conllu.parse_incr(lines), 1):
                if "newdoc" in sentence.metadata or "newdoc id" in sentence.metadata:
                    document = sentence.metadata.get("newdoc id") or f"document {number}"
                yield _sentence(sentence, column, document or f"sentence {number}")
        except (conllu.exceptions.ParseException, UnicodeDecodeError) as error:
            raise DataError(f"{path} is no CoNLL-U: {error}") from None


def _sentence(sentence: Any, column: str, document: str) -> LabelledText:
    """A sentence's text, made of its words; one that stands for several syntactic words (`du` = `de le`) has no label."""
    text, spans, inside = "", [], 0
    for word in sentence:
        number, after = word["id"], (word.get("misc") or {}).get("SpaceAfter")
        several = isinstance(number, tuple) and number[1] == "-"
        if isinstance(number, tuple) and not several:
            continue  # an empty node: nothing of the text
        if not several and number <= inside:
            continue  # within a word that was written already
        start = len(text)
        text += word["form"]
        if several:
            inside = number[2]
        elif word.get(column):
            spans.append((start, len(text), str(word[column])))
        text += "" if after == "No" else " "
    return LabelledText(document, text.rstrip(" "), tuple(spans))


def _dataset(source: str, column: str) -> Iterator[LabelledText]:
    dataset = open_dataset(source)
    features = dataset.features or {}
    if "tokens" not in features:
        raise DataError(f"{source} has no column 'tokens': its columns are {', '.join(features) or 'not declared'}")
    named = {name: getattr(getattr(feature, "feature", None), "names", None) for name, feature in features.items()}
    column = column or _only([name for name, names in named.items() if names], source)
    if column not in named:
        raise DataError(f"{source} has no column {column!r}: its columns are {', '.join(named)}")
    names = named[column]
    for number, row in enumerate(dataset, 1):
        text, spans = "", []
        if len(row["tokens"]) != len(row[column]):
            raise DataError(f"{source} row {number}: {len(row['tokens'])} tokens, {len(row[column])} {column}")
        for word, label in zip(row["tokens"], row[column], strict=True):
            start = len(text)
            text += word
            spans.append((start, len(text), names[label] if names else str(label)))
            text += " "
        document = row.get("document")
        yield LabelledText(f"row {number}" if document is None else str(document), text.rstrip(" "), tuple(spans))


def _only(columns: list[str], source: str) -> str:
    if len(columns) != 1:
        raise DataError(
            f"{source} has {len(columns)} columns of class labels ({', '.join(columns)}): set labels to one"
        )
    return columns[0]
