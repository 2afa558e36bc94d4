"""What comes from outside, within limits.

Regular files of at most so many bytes, JSON of at most such a depth, checked by a model.

These bytes come from publishers of checkpoints, from servers and from disks that may be damaged.
Nothing here takes more time or memory than the limits allow. Every fault is one sentence, in an
error of the class that the caller names.
"""

import json
import math
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pythia_traj.errors import PythiaTrajError
from pythia_traj.printable import one_line

SMALL = 10_000_000
"""Bytes of a small file: a config, a suite's facts, a record of a run."""

LARGE = 100_000_000
"""Bytes of a tokenizer, an index, a header.

These are files that grow with the vocabulary or the number of tensors.
"""

_DEPTH = 64
"""How deep JSON may be nested. Files of this kind need less than ten."""

_SHOWN = 60
"""Characters of a value that a message quotes."""

_REASON = 300
"""Characters of a library's own message that ours quotes."""

_END = 8000
"""Bytes of a text's end."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

Model = TypeVar("Model", bound=BaseModel)


def open_file(
    path: Path, *, error: type[PythiaTrajError], what: object | None = None
) -> BufferedReader:
    """A regular file, open for reading; opening never waits, not even for a pipe.

    Args:
        error: what is raised.
        what: the file in messages, if not by its path.

    Raises:
        FileNotFoundError: it does not exist.
        PythiaTrajError: of the kind asked for: it is a pipe, a device or a directory, or cannot be
            opened.
    """
    name = path if what is None else what
    try:
        # Without O_NONBLOCK the opening of a pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except ValueError:
        raise error(
            f"{name} cannot be the name of a file: it holds a character not allowed in one"
        ) from None
    except OSError as caught:
        raise error(f"cannot read {name}: {caught.strerror}") from caught
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise error(f"{name} is not a regular file: replace it by one")
    return os.fdopen(descriptor, "rb")


def read_file(path: Path, *, error: type[PythiaTrajError], most: int = SMALL) -> bytes:
    """The bytes of a regular file.

    Args:
        error: what is raised.
        most: bytes; a larger file is refused before it is read.

    Raises:
        FileNotFoundError: it does not exist.
        PythiaTrajError: of the kind asked for: as `open_file`, or it is too large.
    """
    with open_file(path, error=error) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise error(
                f"{path} has {size} bytes, at most {most} are read: it is not what its name says"
            )
        try:
            data = file.read(most + 1)
        except OSError as caught:
            raise error(f"cannot read {path}: {caught.strerror}") from caught
    if len(data) > most:
        raise error(f"{path} has more than {most} bytes: it is not what its name says")
    return data


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a text that are not empty; none where it is not a regular file.

    Lines that begin before the file's last _END bytes are cut.
    """
    try:
        with open_file(path, error=PythiaTrajError) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _END))
            text = file.read(_END).decode(errors="replace")
    except (OSError, PythiaTrajError):
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]


def parse_json(data: bytes | str, what: object, *, error: type[PythiaTrajError]) -> Any:
    """JSON as plain values.

    Args:
        what: the document, for messages.

    Raises:
        PythiaTrajError: of the kind asked for: it is not UTF-8 or not JSON, is nested too deep,
            gives a name twice in one object, holds NaN, infinity, half of a surrogate pair, or a
            number of thousands of digits.
    """
    text = data if isinstance(data, str) else _decoded(data, what, error)
    try:
        parsed = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite
        )
    except RecursionError:
        raise error(f"{what} is nested too deep") from None
    except _NotPlainError as caught:
        raise error(f"{what} {one_line(str(caught))}") from None
    except ValueError as caught:
        reason = (
            "it holds a number of thousands of digits"
            if "digits" in str(caught)
            else "fetch or write it again"
        )
        raise error(f"{what} is not JSON: {reason}") from None
    if _SURROGATE.search(text.encode() if isinstance(data, str) else data) or _may_be_deep(text):
        _walk(parsed, what, error)
    return parsed


def read_json(path: Path, *, error: type[PythiaTrajError], most: int = SMALL) -> Any:
    """A JSON file as plain values.

    Raises:
        FileNotFoundError: it does not exist.
        PythiaTrajError: as `read_file` and `parse_json`.
    """
    return parse_json(read_file(path, error=error, most=most), path, error=error)


def checked(model: type[Model], value: Any, what: object, *, error: type[PythiaTrajError]) -> Model:
    """Plain values as a typed model.

    Raises:
        PythiaTrajError: of the kind asked for, naming the first part that does not fit, what it is
            and what was expected.
    """
    try:
        return model.model_validate(value)
    except ValidationError as caught:
        first = caught.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        at = f"{where} is {shown(first['input'])}: " if where and first["type"] != "missing" else ""
        missing = f"{where} is missing" if first["type"] == "missing" else first["msg"]
        raise error(one_line(f"{what}: {at}{missing}")) from None


def shown(value: Any) -> str:
    """A value as a message quotes it: short, whatever it is."""
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return "a number of more than 60 digits"
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        return f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


@contextmanager
def in_one_line(what: object, *, error: type[PythiaTrajError]) -> Iterator[None]:
    """Turns every error that a library raises on outside data into one sentence.

    Panics of a library written in Rust are included.

    Raises:
        PythiaTrajError: of the kind asked for; errors of ours pass as they are.
    """
    try:
        yield
    except PythiaTrajError:
        raise
    except BaseException as caught:
        # A panic is not an Exception, so that `except Exception` does not hide it.
        if not isinstance(caught, Exception) and type(caught).__name__ != "PanicException":
            raise
        raise error(one_line(f"{what}: {str(caught)[:_REASON] or type(caught).__name__}")) from None


class _NotPlainError(ValueError):
    """What JSON or Python's reader allows, and our files never have."""


def _decoded(data: bytes, what: object, error: type[PythiaTrajError]) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise error(f"{what} is not UTF-8 text: fetch or write it again") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise _NotPlainError(f"names {shown(twice)} twice in one object")
    return found


def _finite(text: str) -> float:
    number = float(text)
    return _refuse_constant(text) if math.isinf(number) else number


def _refuse_constant(text: str) -> Any:
    raise _NotPlainError(f"holds {text}, which is not a finite number")


def _may_be_deep(text: str) -> bool:
    return text.count("[") + text.count("{") > _DEPTH


def _walk(parsed: Any, what: object, error: type[PythiaTrajError]) -> None:
    """Checks all values, one level of nesting after the other, so that depth costs no stack."""
    level = [parsed]
    for _ in range(_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                _check_text(value.keys(), what, error)
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, str):
                _check_text((value,), what, error)
        if not below:
            return
        level = below
    raise error(f"{what} is nested deeper than {_DEPTH}: it is not what its name says")


def _check_text(texts: Any, what: object, error: type[PythiaTrajError]) -> None:
    for text in texts:
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise error(
                    f"{what} holds half of a surrogate pair, which is not text: write it again"
                ) from None
