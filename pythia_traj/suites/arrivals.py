"""The checkpoints of a directory that a training run is writing, as they become whole.

A look costs names and times of change: no file is read before its folder has been still for a
moment. A folder that is still written, whatever of it, waits: the tokenizer may come after the
weights, and what is copied comes in any order.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pythia_traj.suites.folders import steps_among
from pythia_traj.suites.local import LocalCheckpoint
from pythia_traj.suites.whole import Stamps, stamps_of, why_incomplete

STILL_SECONDS = 2.0
"""A folder in which nothing has changed for so long is looked into."""

PATIENCE_SECONDS = 5.0
"""So long one waits for what may never come: a tokenizer, or the rest of a file at the end."""

_BEING_WRITTEN = "it is being written"


@dataclass(frozen=True)
class Look:
    """What a directory held when it was looked at.

    Attributes:
        arrived: steps that are whole now and were not before, each with its folder's name.
        pending: steps that are not whole, each with the reason.
        removed: steps that were removed before they were whole.
        is_still: whether for some seconds nothing has changed in the folders that are pending, and
            none was made or removed.
    """

    arrived: Mapping[int, str]
    pending: Mapping[int, str]
    removed: tuple[int, ...]
    is_still: bool


@dataclass
class _Folder:
    """A step's folder, as it was when it last changed."""

    name: str
    stamps: Stamps | None
    since: float


@dataclass
class Arrivals:
    """Looks at a directory again and again; the times of the looks are seconds on any clock.

    Attributes:
        directory: need not exist yet.
        there: the name of each step's folder at the last look.
    """

    directory: Path
    there: Mapping[int, str] = field(default_factory=dict)
    _folders: dict[int, _Folder] = field(default_factory=dict)
    _arrived: dict[int, Stamps | None] = field(default_factory=dict)
    _has_tokenizer: bool = True
    """Whether the checkpoint that arrived last has one: the next one will have one too."""
    _changed: float = 0.0

    def look(self, now: float) -> Look:
        """Which checkpoints have become whole since the last look.

        Raises:
            SuiteError: one step has two folders, or a number is too large.
        """
        before, self.there = self.there, steps_among(self.directory, _names(self.directory))
        if before != self.there:
            self._changed = now
        removed = tuple(sorted(step for step in self._folders if step not in self.there))
        for step in removed:
            del self._folders[step]
        arrived: dict[int, str] = {}
        pending: dict[int, str] = {}
        for step in sorted(self.there.keys() - self._arrived.keys()):
            why = self._look_into(step, now)
            if why is None:
                arrived[step] = self.there[step]
            else:
                pending[step] = why
        since = max(self._changed, *(self._folders[step].since for step in pending), 0.0)
        return Look(arrived, pending, removed, now - since >= PATIENCE_SECONDS)

    def again(self, steps: Iterable[int]) -> None:
        """Takes steps for new at the next look, because their files have changed."""
        for step in steps:
            self._arrived.pop(step, None)
            # Known, so that its removal is noticed.
            self._folders[step] = _Folder(self.there.get(step, ""), None, 0.0)

    def became(self, step: int) -> Literal["removed", "rewritten"] | None:
        """What has become of the checkpoint since it arrived; None where it is as it was."""
        stamps = stamps_of(self.directory / self.there[step]) if step in self.there else None
        if not stamps:
            return "removed"
        return None if stamps == self._arrived.get(step, stamps) else "rewritten"

    def _look_into(self, step: int, now: float) -> str | None:
        """Why a step is not whole; None where it has arrived."""
        name = self.there[step]
        stamps, folder = stamps_of(self.directory / name), self._folders.get(step)
        if folder is None or (folder.name, folder.stamps) != (name, stamps):
            self._folders[step] = _Folder(name, stamps, now)
            return _BEING_WRITTEN
        still = now - folder.since
        if still < STILL_SECONDS:
            return _BEING_WRITTEN
        checkpoint = LocalCheckpoint(self.directory / name, "", "", step, None)
        why = why_incomplete(checkpoint)
        if why is not None:
            return why
        has_tokenizer = checkpoint.tokenizer() is not None
        if self._has_tokenizer and not has_tokenizer and still < PATIENCE_SECONDS:
            return "it has no tokenizer.json yet"
        if stamps_of(self.directory / name) != stamps:
            return _BEING_WRITTEN
        self._has_tokenizer = has_tokenizer
        self._arrived[step] = stamps
        del self._folders[step]
        return None


def _names(directory: Path) -> list[str]:
    """The names in a directory; none where it does not exist, or cannot be read at the moment."""
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208 - names are all that is needed
    except OSError:
        return []
