"""Names of models: how a request gives one, and how results store it.

Results store it as the text of a path's partition, which every reader must take for text.
"""

import os
import re
from pathlib import Path

from pythia_traj.errors import SuiteError

HUB = "hub"
"""The source that is not a directory."""

LONGEST = 200
"""Characters of a name: file systems allow 255 bytes for a folder, `model=` in front included."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

_OTHER = re.compile(r"[^A-Za-z0-9._-]+")

_NUMBER = re.compile(r"[-+.0-9]*[eE][-+]?[0-9]+|0[xX][0-9A-Fa-f]+")

_NO_TEXT = {"true", "false", "inf", "nan", "infinity", "null", "none", "__hive_default_partition__"}


def in_results(text: str) -> str:
    """A model's name made of the name of its directory or repository.

    >>> in_results("lr=0.001,wd=0.1")
    'lr-0.001-wd-0.1'
    >>> in_results("1e-3")
    'model-1e-3'
    """
    name = _OTHER.sub("-", text).strip("-.")
    return name if _is_text(name) else f"model-{name}" if name else "model"


def check_name(name: str) -> str:
    """A name that a user gave a model, checked.

    Raises:
        SuiteError: it cannot be a model's name.
    """
    if not _NAME.fullmatch(name) or not _is_text(name) or len(name) > LONGEST:
        raise SuiteError(
            f"{name[:LONGEST]!r} cannot name a model: a name is at most {LONGEST} letters, digits,"
            " '.', '_' and '-', and not a number, date or truth value"
        )
    return name


def of_directory(directory: Path) -> str:
    """The name of the model whose checkpoints lie in a directory.

    Raises:
        SuiteError: it is too long for a partition.
    """
    name = in_results(directory.resolve().name)
    if len(name) > LONGEST:
        raise SuiteError(
            f"the name of {directory} has {len(name)} characters, at most {LONGEST} can name a"
            " model: give it another one with NAME=DIRECTORY"
        )
    return name


def find_directory(asked: str, source: str = HUB) -> tuple[str | None, Path] | None:
    """The directory of a model in a request, and the name that the request gives it.

    A request says `DIRECTORY` or `NAME=DIRECTORY`. A directory that has the whole text as its name
    comes first, even if it has commas or equals signs.

    Args:
        source: `hub`, or the directory below which the models' directories lie.

    Returns:
        None if no directory has that name.
    """
    name, equals, rest = asked.partition("=")
    for given, path in ((None, asked), (name, rest if equals else "")):
        # Shells leave the ~ in NAME=~/runs as it is; a folder of that name comes first.
        places = (
            (path, os.path.expanduser(path))  # noqa: PTH111
            if source == HUB
            else (os.path.join(source, path),)  # noqa: PTH118
        )
        for place in places if path else ():
            if os.path.isdir(place):  # noqa: PTH112 - pathlib's raises where a name is too long, or may not be looked at
                return given, Path(place)
    return None


def _is_text(name: str) -> bool:
    """Whether readers take it for text.

    Some guess a partition's type, and turn `1e-3` into a number and `2024-01-01` into a date.
    """
    return (
        bool(re.search(r"[A-Za-z]", name))
        and not _NUMBER.fullmatch(name)
        and name.lower() not in _NO_TEXT
    )
