"""Which folders of a directory are steps, and which ones look as if they should be."""

import logging
import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from pythia_traj import schema
from pythia_traj.errors import CheckpointError, SuiteError
from pythia_traj.printable import one_line
from pythia_traj.suites.files import CONFIG, WEIGHTS, is_adapter, what_it_holds

log = logging.getLogger(__name__)

_STEP = re.compile(r"(?:step|checkpoint-)([0-9]+)")

_LIKE_A_STEP = re.compile(
    r"(?:step|iter|iteration|checkpoint|ckpt)s?[-_ .=]?([0-9]{1,20})(?![0-9])", re.IGNORECASE
)
"""Names that other tools give folders of checkpoints.

They are `global_step8`, `iter_0000008`, `step-8`, `checkpoint-8-merged` and the like.
"""

_FRAMEWORK = re.compile(r"global_step[0-9]+|pytorch_model_fsdp_[0-9]+")
"""Folders that DeepSpeed, GPT-NeoX and FSDP make."""

_NAMED = 3
"""Folders that a message names."""


def step_folders(directory: Path) -> dict[int, str]:
    """The name of each step's folder.

    A file or a broken link that has a step's name counts as a step; that step fails by itself.

    Raises:
        SuiteError: no folder is a step, one step has two, or a number is too large.
    """
    try:
        names = names_below(directory)
    except CheckpointError as error:
        raise SuiteError(str(error)) from error
    found = steps_among(directory, names)
    if not found:
        raise SuiteError(_why_none(directory, names))
    _warn_of_others(directory, names, found)
    return found


def steps_among(directory: Path, names: Iterable[str]) -> dict[int, str]:
    """Those of a directory's names that are steps, by step; may be none.

    Raises:
        SuiteError: one step has two folders, or a number is too large.
    """
    found: dict[int, str] = {}
    for name in names:
        match = _STEP.fullmatch(name)
        if match is None:
            continue
        step = int(match[1])
        if step > schema.MOST_STEP:
            raise SuiteError(
                f"{directory / name} is not a step: its number must be at most {schema.MOST_STEP};"
                " rename or remove it"
            )
        other = found.get(step)
        if other is None or not _is_folder(directory / other):
            found[step] = name
        elif _is_folder(directory / name):
            raise SuiteError(
                f"{directory} has step {step} twice, as {other} and {name}: keep one of them"
            )
    return found


def names_below(directory: Path) -> list[str]:
    """The files of a folder, and of the folders in it that a training framework makes.

    The names of the latter begin with the folder.

    Raises:
        CheckpointError: it cannot be read.
    """
    names = _listed(directory)
    inner = [name for name in names if _FRAMEWORK.fullmatch(name) and _is_folder(directory / name)]
    for name in inner:
        try:
            names += [f"{name}/{below}" for below in _listed(directory / name)]
        except CheckpointError:
            # Its files only make a better message.
            continue
    return names


def _listed(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208 - a million paths take a minute, their names a second
    except OSError as error:
        leads_nowhere = os.path.islink(directory) and not os.path.exists(directory)  # noqa: PTH110, PTH114 - no loop stops these
        what = "it is a link that leads nowhere" if leads_nowhere else error.strerror
        raise CheckpointError(f"cannot read {directory}: {what}") from error


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - pathlib's raises where a folder may not be looked into


def _why_none(directory: Path, names: Sequence[str]) -> str:
    what = (
        None
        if any(name in WEIGHTS for name in names) and not is_adapter(names)
        else what_it_holds(names)
    )
    if what is not None:
        return (
            f"{directory} is not a run of step0/, step512/ or checkpoint-500/ folders: it holds"
            f" {what}"
        )
    similar = _similar(directory, names, ())
    if similar:
        return (
            f"{directory} holds no step0/, step512/ or checkpoint-500/ folders, but"
            f" {_renamed(similar)}"
        )
    hint = " (it looks like one checkpoint: give its parent)" if CONFIG in names else ""
    return f"{directory} holds no step0/, step512/ or checkpoint-500/ folders{hint}"


def _warn_of_others(directory: Path, names: Sequence[str], steps: Collection[int]) -> None:
    similar = _similar(directory, names, steps)
    if similar:
        log.warning("%s", one_line(f"{directory} also holds {_renamed(similar)}; it is left out"))


def _similar(directory: Path, names: Sequence[str], steps: Collection[int]) -> dict[str, int]:
    """Folders that look like checkpoints of missing steps, by the step that each may be."""
    found: dict[str, int] = {}
    for name in names:
        match = _LIKE_A_STEP.search(name)
        if match is not None and int(match[1]) not in steps and _is_folder(directory / name):
            found[name] = int(match[1])
    return found


def _renamed(similar: dict[str, int]) -> str:
    """Such folders, and what to call them."""
    names = list(similar)
    named = ", ".join(names[:_NAMED]) + (
        f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    )
    return (
        f"{named}: rename {names[0]} to step{similar[names[0]]} if it is the checkpoint of a step"
    )
