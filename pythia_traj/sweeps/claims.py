"""Which worker has a step in hand: a file for each, with the worker's name in it.

A claim only saves work. Where two workers measure one step all the same, since one seemed dead or
the disk has no exclusive names, each writes its units whole, and both write the same rows.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from pythia_traj.store.layout import Run
from pythia_traj.store.writing import link_exclusively, writing
from pythia_traj.sweeps.existing import Existing
from pythia_traj.sweeps.heartbeat import is_alive
from pythia_traj.sweeps.plan import Unit

_LONGEST = 500
"""Bytes of a claim that are read; a worker's name is shorter."""


class Claims:
    """The claims of one worker."""

    def __init__(self, run: Run, worker: str) -> None:
        """`worker` is its name, that of its log, which must be there already."""
        self._run, self._worker = run, worker

    @contextmanager
    def taking(self, model: str, step: int) -> Iterator[bool]:
        """Claims a step until the block ends; False where a living worker has it in hand.

        Raises:
            StoreError: the run cannot be written.
        """
        path = self._run.claim_path(model, step)
        with writing(self._run.path):
            is_ours = self._take(path)
        try:
            yield is_ours
        finally:
            if is_ours and _holder(path) == self._worker:
                path.unlink(missing_ok=True)

    def is_held(self, model: str, step: int) -> bool:
        """Whether a living worker has a step in hand."""
        holder = _holder(self._run.claim_path(model, step))
        return holder is not None and is_alive(self._run, holder)

    def _take(self, path: Path) -> bool:
        if self._create(path):
            return True
        holder = _holder(path)
        if holder is None:
            return self._create(path)
        return not is_alive(self._run, holder) and self._inherit(path, holder)

    def _create(self, path: Path) -> bool:
        with self._run.replacing(path) as temporary:
            temporary.write_text(self._worker, encoding="utf-8")
            return link_exclusively(temporary, path)

    def _inherit(self, path: Path, dead: str) -> bool:
        """Takes the claim of a dead worker; False where another one was quicker.

        Only one can make the file that names the heir, and only it replaces the claim. To remove
        the claim instead would leave a moment in which two could make theirs.
        """
        heir = path.with_name(f"{path.name}.after-{sha256(dead.encode()).hexdigest()[:16]}")
        if not self._create(heir):
            other = _holder(heir)
            if other is not None and not is_alive(self._run, other):
                # It died as an heir: whoever comes next may try.
                heir.unlink(missing_ok=True)
            return False
        try:
            if _holder(path) != dead:
                return False
            with self._run.replacing(path) as temporary:
                temporary.write_text(self._worker, encoding="utf-8")
            return True
        finally:
            heir.unlink(missing_ok=True)


class InHand:
    """Which units a worker may measure now; `left` are those that others have in hand."""

    def __init__(self, claims: Claims, existing: Existing) -> None:
        self._claims, self._existing = claims, existing
        self.left: list[Unit] = []
        self.done: list[Unit] = []
        """By another worker, since the plan was made."""

    @contextmanager
    def taking(self, units: Sequence[Unit]) -> Iterator[list[Unit]]:
        """Of the units of one step, those that this worker has to measure until the block ends."""
        if all(unit.cached for unit in units):
            # Rows that only this worker compares with: it waits for none of another one's.
            yield list(units)
            return
        model, step = units[0].model, units[0].step
        left = {(unit.model, unit.step) for unit in self.left}
        if any((model, other) in left for unit in units for other in unit.row_references.values()):
            self.left += units
            yield []
            return
        with self._claims.taking(model, step) as is_ours:
            if not is_ours:
                self.left += units
                yield []
                return
            todo = [unit for unit in units if self._existing.why_todo(unit) is not None]
            self.done += [unit for unit in units if unit not in todo]
            yield todo


def _holder(path: Path) -> str | None:
    """The worker that a claim names; None where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST).decode(errors="replace")
    except FileNotFoundError:
        return None
