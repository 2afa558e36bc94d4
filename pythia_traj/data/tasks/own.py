"""A user's own task: a JSONL or Parquet file with the columns `clean`, `corrupted`, `answer` and `wrong`.

Prompts are text or lists of token ids; `answer` and `wrong` are one continuation each, text or a token id.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pythia_traj.data.documents import read_rows
from pythia_traj.data.tasks.prompt import Prompt, Text
from pythia_traj.errors import DataError

COLUMNS = ("clean", "corrupted", "answer", "wrong")


def prompts(path: Path) -> Iterator[Prompt]:
    """The file's items, in order.

    Raises:
        DataError: it cannot be read, or a row lacks a column.
    """
    for number, row in enumerate(read_rows(path, COLUMNS), 1):
        clean, corrupted, answer, wrong = (_text(row[name], f"{path} row {number}, column {name}") for name in COLUMNS)
        yield Prompt(clean, corrupted, (answer,), (wrong,), str(row.get("template") or ""))


def _text(value: Any, where: str) -> Text:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if isinstance(value, list) and value and all(isinstance(token, int) for token in value):
        return tuple(value)
    raise DataError(f"{where}: {value!r} is neither text nor token ids")
