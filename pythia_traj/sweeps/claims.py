"""Which worker has a step in hand: a file for each, with the worker's name in it.

Who changes files of finished units (upkeep.py) has the whole run in hand, by one such file.

A claim only saves work. Where two workers measure one step all the same, since one seemed dead or
the disk has no exclusive names, each writes its units whole, and both write the same rows.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from pythia_traj.store.compacted import is_compacted
from pythia_traj.store.layout import Run
from pythia_traj.store.taking_out import take_out
from pythia_traj.store.writing import link_exclusively, writing
from pythia_traj.sweeps.existing import Existing
from pythia_traj.sweeps.heartbeat import is_alive
from pythia_traj.sweeps.plan import Unit

_LOOK_SECONDS = 1.0
"""Between two looks at files that another process has in hand."""

_LONGEST = 500
"""Bytes of a claim that are read; a worker's name is shorter."""


class Claims:
    """The claims of one worker."""

    def __init__(self, run: Run, worker: str) -> None:
        """`worker` is its name, that of its log, which must be there already."""
        self.run, self._worker = run, worker

    @contextmanager
    def taking(self, model: str, step: int) -> Iterator[bool]:
        """Claims a step until the block ends; False where a living worker has it in hand.

        Raises:
            StoreError: the run cannot be written.
        """
        with self._taking(self.run.claim_path(model, step)) as is_ours:
            yield is_ours

    @contextmanager
    def taking_finished(self) -> Iterator[bool]:
        """Claims the files of all finished units; False where a living process has them in hand.

        Raises:
            StoreError: the run cannot be written.
        """
        with self._taking(self.run.upkeep_path) as is_ours:
            yield is_ours

    @contextmanager
    def waiting_for_finished(self, working: Callable[[str], None]) -> Iterator[None]:
        """Claims the files of all finished units, when whoever has them has put them down.

        Args:
            working: is told that it waits.

        Raises:
            StoreError: the run cannot be written.
        """
        while True:
            with self.taking_finished() as is_ours:
                if is_ours:
                    yield
                    return
            working("waiting for another process that changes files of finished units")
            time.sleep(_LOOK_SECONDS)

    def is_held(self, model: str, step: int) -> bool:
        """Whether a living worker has a step in hand."""
        holder = _holder(self.run.claim_path(model, step))
        return holder is not None and is_alive(self.run, holder)

    @contextmanager
    def _taking(self, path: Path) -> Iterator[bool]:
        with writing(self.run.path):
            is_ours = self._take(path)
        try:
            yield is_ours
        finally:
            if is_ours and _holder(path) == self._worker:
                path.unlink(missing_ok=True)

    def _take(self, path: Path) -> bool:
        if self._create(path):
            return True
        holder = _holder(path)
        if holder is None:
            return self._create(path)
        return not is_alive(self.run, holder) and self._inherit(path, holder)

    def _create(self, path: Path) -> bool:
        with self.run.replacing(path) as temporary:
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
            if other is not None and not is_alive(self.run, other):
                # It died as an heir: whoever comes next may try.
                heir.unlink(missing_ok=True)
            return False
        try:
            if _holder(path) != dead:
                return False
            with self.run.replacing(path) as temporary:
                temporary.write_text(self._worker, encoding="utf-8")
            return True
        finally:
            heir.unlink(missing_ok=True)


def keeper(run: Run) -> str | None:
    """The living process that has the files of finished units in hand."""
    holder = _holder(run.upkeep_path)
    return holder if holder is not None and is_alive(run, holder) else None


class InHand:
    """Which units a worker may measure now; `left` are those that others have in hand."""

    def __init__(
        self, claims: Claims, existing: Existing, working: Callable[[str], None] = lambda _: None
    ) -> None:
        """`working` is told what is waited for."""
        self._claims, self._existing, self._working = claims, existing, working
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
            self.make_room(todo)
            yield todo

    def make_room(self, units: Iterable[Unit]) -> None:
        """Gives units files of their own where they are compacted: they are measured anew.

        Raises:
            StoreError: the run cannot be written.
        """
        run = self._claims.run
        steps: dict[tuple[str, str], set[int]] = defaultdict(set)
        for unit in units:
            if not unit.cached and is_compacted(run, unit.model, unit.label):
                steps[unit.model, unit.label].add(unit.step)
        if steps:
            with self._claims.waiting_for_finished(self._working):
                for (model, label), some in steps.items():
                    take_out(run, model, label, some)


def _holder(path: Path) -> str | None:
    """The worker that a claim names; None where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST).decode(errors="replace")
    except FileNotFoundError:
        return None
