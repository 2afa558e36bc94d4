"""Whether a training run has ended, by what a Hugging Face Trainer writes: `trainer_state.json`.

The Trainer writes one into each checkpoint. `Trainer.save_state`, which scripts call at the end,
writes one beside them. The newest one counts: a training that goes on from its last checkpoint
leaves an old one behind.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pythia_traj.errors import SuiteError
from pythia_traj.outside import LARGE, read_file
from pythia_traj.suites.reading import Stamp, stamp_of

STATE = "trainer_state.json"


class _State(BaseModel):
    """The part of a Trainer's state that is read."""

    model_config = ConfigDict(frozen=True)

    global_step: int
    max_steps: int = 0
    stateful_callbacks: Any = None

    @property
    def is_over(self) -> bool:
        """Whether its last step was made."""
        return 0 < self.max_steps <= self.global_step

    @property
    def was_stopped(self) -> bool:
        """Whether the Trainer was told to stop, as by early stopping."""
        found = self.stateful_callbacks
        for name in ("TrainerControl", "args", "should_training_stop"):
            found = found.get(name) if isinstance(found, dict) else None
        return found is True


@dataclass
class Ending:
    """Looks for the end of the training run that writes a directory."""

    directory: Path
    _read: dict[Path, tuple[Stamp, _State | None]] = field(default_factory=dict)

    def why(self, there: Mapping[int, str]) -> str | None:
        """Why the training has ended, in words; None while it goes on, as far as is known.

        Args:
            there: the name of each step's folder.
        """
        newest = max(there, default=-1)
        beside = self._state(self.directory / STATE)
        if beside is not None and newest <= beside.global_step:
            # Nobody writes it there before the end, not even where the training was stopped early.
            return f"{STATE} says that it ended at step {beside.global_step}"
        own = self._state(self.directory / there[newest] / STATE) if there else None
        if own is None:
            return None
        name = f"{there[newest]}/{STATE}"
        if own.is_over:
            return f"{name} says that step {own.global_step} was the last of {own.max_steps}"
        if own.was_stopped:
            return f"{name} says that it was stopped at step {own.global_step}"
        return None

    def _state(self, path: Path) -> _State | None:
        """A state, read again when its file has changed; None where there is none."""
        try:
            stamp = stamp_of(path.stat())
        except OSError:
            return None
        if path not in self._read or self._read[path][0] != stamp:
            self._read = {known: was for known, was in self._read.items() if known.exists()}
            self._read[path] = (stamp, _parsed(path))
        return self._read[path][1]


def _parsed(path: Path) -> _State | None:
    """None where the file is gone, half-written, or something else."""
    try:
        data = read_file(path, error=SuiteError, most=LARGE)
        # A loss that is not a number is written as NaN, which JSON does not have.
        return _State.model_validate(json.loads(data, parse_constant=lambda _: None))
    except (FileNotFoundError, SuiteError, ValueError, RecursionError, ValidationError):
        return None
