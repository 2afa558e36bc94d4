"""A directory whose checkpoints are still being written, as a model that gets more steps."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pythia_traj.errors import CheckpointError
from pythia_traj.suites.local import LocalModel, described
from pythia_traj.suites.names import of_directory


@dataclass(frozen=True)
class GrowingModel(LocalModel):
    """The model that a training run writes.

    Its steps are those that have arrived. One that was removed afterwards stays a step, so that
    what is compared with it does not become another one; what identified its files is remembered.
    """

    revisions: dict[int, str]
    _sources: dict[int, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def begin(cls, directory: Path, *, name: str | None = None) -> "GrowingModel":
        """The model of a directory that need not exist yet; it has no steps.

        Raises:
            SuiteError: its name cannot be that of a model.
        """
        model = name or of_directory(directory)
        return cls(directory, model, "local", None, {})

    def described(self) -> "GrowingModel":
        """The same model, with what `suite.json` says by now.

        Raises:
            SuiteError: that is wrong.
        """
        return replace(self, **described(self.directory, max(self.revisions)))

    @property
    def steps(self) -> tuple[int, ...]:
        """Its steps, ascending."""
        return tuple(sorted(self.revisions))

    def add(self, arrived: Mapping[int, str]) -> None:
        """Adds steps, each with its folder's name."""
        self.revisions.update(arrived)
        for step in arrived:
            # One that is being removed has none to remember.
            with suppress(CheckpointError):
                self._sources[step] = super().source(step)

    def source(self, step: int) -> dict[str, Any]:
        """What identifies the step's files, or did before they were removed.

        Raises:
            CheckpointError: one of them is being removed, or access to it is denied.
        """
        if step in self._sources and not self.has(step):
            return self._sources[step]
        return super().source(step)

    def has(self, step: int) -> bool:
        """Whether the step's folder is still there."""
        return os.path.isdir(self.directory / self.revisions[step])  # noqa: PTH112 - pathlib's raises where it may not be looked at
