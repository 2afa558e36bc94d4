"""A user's own task, in a JSONL or Parquet file.

Its columns are `clean`, `corrupted`, `answer` and `wrong`. Prompts are text or lists of token ids;
`answer` and `wrong` are one continuation each, text or a token id. A column `template` may name the
wording that a row belongs to; results have that name in their column `part`. A column `cluster` may
name what rows share, such as a subject: they are not independent, and stay in one half. Without it
rows are a cluster where their `clean` is the same.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainValidator
from pydantic_core import PydanticCustomError

from pythia_traj.data.containers import rows
from pythia_traj.data.tasks.prompt import Prompt, Text
from pythia_traj.errors import DataError
from pythia_traj.outside import checked

COLUMNS = ("clean", "corrupted", "answer", "wrong")

_LONGEST_NAME = 100
"""Characters of a template's name: it must fit a legend, and a prompt in its place is longer."""


def prompts(path: Path, d_vocab: int) -> Iterator[Prompt]:
    """The file's items, in order.

    Args:
        d_vocab: of the model in use: ids are below it.

    Raises:
        DataError: it cannot be read, a row lacks a column or holds neither text nor the model's
            token ids, or a template's name is too long or has a colon.
    """
    for where, row in rows(path, COLUMNS):
        given = {name: row[name] for name in COLUMNS}
        more = {name: row.get(name) for name in ("template", "cluster")}
        item = checked(_Item, {**given, **more}, where, error=DataError)
        for name in COLUMNS:
            _check_ids(getattr(item, name), d_vocab, f"{where}: {name}")
        yield Prompt(
            item.clean,
            item.corrupted,
            (item.answer,),
            (item.wrong,),
            item.template,
            item.cluster,
            where=where,
        )


def _check_ids(text: Text, d_vocab: int, what: str) -> None:
    if not isinstance(text, str) and max(text) >= d_vocab:
        raise DataError(f"{what} has token {max(text)}, the model has {d_vocab}, from 0")


def _plain(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError(
            "text", "it holds half of a surrogate pair, which is not text"
        ) from None
    return text


def _text(value: Any) -> Text:
    if isinstance(value, str):
        return _plain(value)
    ids = value if isinstance(value, list) and value else [value]
    if not all(type(token) is int and token >= 0 for token in ids):
        raise PydanticCustomError(
            "text", "neither text nor token ids, which are whole numbers from 0"
        )
    return tuple(ids)


def _name(value: Any) -> str:
    if value is None:
        return ""
    if type(value) not in (str, int):
        raise PydanticCustomError("name", "its name is text or a whole number")
    return _plain(str(value))


def _template(value: Any) -> str:
    name = _name(value)
    # Key refuses a colon, but only at the end of a step: with one, a column would hold two things.
    if ":" in name or len(name) > _LONGEST_NAME:
        raise PydanticCustomError(
            "template",
            f"a template has one name, of at most {_LONGEST_NAME} characters and without a colon",
        )
    return name


_Text = Annotated[Text, PlainValidator(_text)]


class _Item(BaseModel):
    """A row of the file."""

    model_config = ConfigDict(frozen=True)

    clean: _Text
    corrupted: _Text
    answer: _Text
    wrong: _Text
    template: Annotated[str, PlainValidator(_template)]
    cluster: Annotated[str, PlainValidator(_name)]
