"""Kinds of values that a request's settings have.

Words, numbers of bytes, whole numbers, what an experiment's parameter takes: each is checked by
form before it is used. What a path, a table or a generator of random numbers cannot take is refused
here, by a message that names the setting.
"""

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from annotated_types import Ge, Le
from pydantic import (
    BeforeValidator,
    ByteSize,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from pythia_traj.errors import ConfigError
from pythia_traj.outside import shown
from pythia_traj.parameters import Parameter
from pythia_traj.suites.names import find_directory


def _words(value: Any) -> list[str] | None:
    """A word or a list of them, numbers taken for words; None where it is something else."""
    words = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(word, bool) or not isinstance(word, str | Path | int) for word in words):
        return None
    return [shown(word) if isinstance(word, int) else str(word) for word in words]


def as_words(value: Any) -> Any:
    """A comma-separated word, or a list of them, as a tuple of words."""
    words = _words(value)
    return (
        value
        if words is None
        else tuple(part.strip() for word in words for part in word.split(",") if part.strip())
    )


def as_steps(value: Any) -> Any:
    """A list of steps as the expression that selects them."""
    words = _words(value)
    return value if words is None else ",".join(words)


def as_models(value: Any, source: str) -> Any:
    """The same, but a word that is an existing directory, as `lr=0.001,wd=0.1`, stays whole."""
    words = _words(value)
    if words is None:
        return value
    return tuple(
        model
        for word in words
        for model in ((word,) if find_directory(word, source) is not None else as_words(word))
    )


def storable(value: Any) -> Any:
    """JSON without halves of surrogate pairs, which are escaped here.

    They stand for bytes of a path that are not UTF-8.
    """
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {storable(name): storable(inner) for name, inner in value.items()}
    return [storable(inner) for inner in value] if isinstance(value, list) else value


_MOST = 2**63 - 1
"""The largest whole number that a table or a generator of random numbers takes."""

_LONGEST = 4096
"""Characters of a path: no system takes longer ones."""

_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")
"""Characters that neither our JSON nor a table can hold."""


_SIZE = re.compile(r"\s*[0-9]*\.?[0-9]+\s*[A-Za-z]*\s*", re.ASCII)
"""A number and a unit only: of a longer text ByteSize would read the beginning."""


def _size(value: Any, read: ValidatorFunctionWrapHandler) -> int:
    """What ByteSize reads; refused if the value is more than a number and a unit."""
    is_size = (
        _SIZE.fullmatch(value) is not None
        if isinstance(value, str)
        else type(value) in {int, ByteSize}
    )
    try:
        size: int | None = read(value) if is_size else None
    except ValidationError:
        size = None
    if size is None or size > _MOST:
        raise PydanticCustomError(
            "byte_size",
            "give a number of bytes from 0 to 2**63 - 1, such as 500MB, 20GB, 20GiB or 20000000000",
        )
    return size


Bytes = Annotated[ByteSize, WrapValidator(_size)]
"""A number of bytes: a whole number, or one with a decimal or binary unit."""


def size_in_bytes(name: str, value: Any) -> int | None:
    """A number of bytes that was given under a name; None where none was.

    >>> size_in_bytes("disk_budget", "20GB"), size_in_bytes("disk_budget", "20 GiB")
    (20000000000, 21474836480)

    Raises:
        ConfigError: it is something else.
    """
    try:
        return TypeAdapter(Bytes | None).validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"{name}: {shown(value)}: {reason(error.errors()[0])}") from None


def _no_bool(value: Any) -> Any:
    """Refuses yes and no, which Pydantic would take for 1 and 0."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value


Whole = Annotated[int, Ge(0), Le(_MOST), BeforeValidator(_no_bool)]
"""A whole number from 0 on that any table holds."""

Counted = Annotated[int, Ge(1), Le(_MOST), BeforeValidator(_no_bool)]
"""A whole number from 1 on."""

Ahead = Annotated[int, Ge(0), Le(1000), BeforeValidator(_no_bool)]
"""How many checkpoints are fetched ahead."""


def check_word(name: str, word: str) -> None:
    """Whether the system can take it for a path, which has no NUL or half of a surrogate pair."""
    try:
        length = len(os.fsencode(word))
    except UnicodeEncodeError:
        length = -1
    if length < 0 or "\0" in word:
        raise ConfigError(
            f"{name}: {shown(word)} holds a character that a name cannot have:"
            " NUL, or half of a surrogate pair"
        )
    if not word.strip() or length > _LONGEST:
        raise ConfigError(
            f"{name}: {shown(word)} is {'too long' if word.strip() else 'empty'}:"
            f" give {_EXPECTED[name]}"
        )


DEVICE = re.compile(r"auto|cpu(:0)?|cuda(:[0-9]{1,4})?")
"""What names a device, on whichever machine."""


def check_device(name: str) -> None:
    """Refuses what names a device on no machine.

    Raises:
        ConfigError: it is something else.
    """
    if not DEVICE.fullmatch(name):
        raise ConfigError(f"unknown device {shown(name)}: use {_EXPECTED['device']}")


_EXPECTED = {
    "model": "a directory of checkpoints or a name",
    "source": "hub, or a directory",
    "device": "auto, cpu, cuda or cuda:1",
    "out": "the run's directory",
}


def check_value(label: str, parameter: Parameter, value: Any) -> Any:
    """What an experiment gets for a value that it was given, or for its default.

    Raises:
        ConfigError: it is of another type or range, or cannot be stored with results.
    """
    given = f"{label}.{parameter.name}: {shown(value)}"
    takes_numbers = _takes(parameter.annotation, int) or _takes(parameter.annotation, float)
    if takes_numbers and not _takes(parameter.annotation, bool) and _holds_bool(value):
        # Pydantic would quietly take it for 1 or 0.
        raise ConfigError(f"{given} is not a number")
    try:
        checked = TypeAdapter(parameter.annotation).validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"{given}: {reason(error.errors()[0])}") from None
    except PydanticUserError:
        raise ConfigError(
            f"{given}: its annotation {shown(parameter.annotation)} cannot be checked"
        ) from None
    if not _is_plain(checked):
        raise ConfigError(
            f"{given}: only words, yes or no, finite numbers below 2**63, and lists of them are"
            " stored with results"
        )
    return checked


def _takes(annotation: Any, kind: type) -> bool:
    return annotation is kind or any(_takes(inner, kind) for inner in get_args(annotation))


def _holds_bool(value: Any) -> bool:
    return any(
        isinstance(one, bool) for one in (value if isinstance(value, list | tuple) else [value])
    )


def _is_plain(value: Any) -> bool:
    """Whether JSON and a table's cells hold it as it is."""
    if isinstance(value, list | tuple):
        return all(_is_plain(inner) for inner in value)
    if isinstance(value, Mapping):
        return all(
            isinstance(name, str) and _is_plain(name) and _is_plain(inner)
            for name, inner in value.items()
        )
    if isinstance(value, str):
        return not _NO_TEXT.search(value)
    if isinstance(value, int):
        return abs(value) <= _MOST
    return value is None or (isinstance(value, float) and math.isfinite(value))


def reason(error: Any) -> str:
    """What Pydantic says is wrong, as a clause."""
    message = str(error["msg"])
    return message[:1].lower() + message[1:]
