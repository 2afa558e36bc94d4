"""A sweep's progress in a notebook: a bar below the cell, where no observer was given."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pythia_traj.notebook import Spot, bar, spot
from pythia_traj.sweeps.plan import Plan, Unit
from pythia_traj.sweeps.record import Observer, Silent

_EVERY = 0.2
"""Seconds between two pictures: each one is a message to the browser, and is not kept."""


class NotebookBar:
    """An observer that draws a bar in one place."""

    def __init__(self, place: Spot) -> None:
        self._place, self._begun = place, time.monotonic()
        self._done = self._total = self._failed = 0
        self._doing, self._drawn = "planning", 0.0

    def planned(self, plan: Plan) -> None:
        """Adds to the total."""
        self._total += len(plan.todo)
        self._draw()

    def working(self, what: str) -> None:
        """Shows what is being done."""
        self._doing = what
        self._draw()

    def ended(self, unit: Unit, error: str | None) -> None:
        """One unit further."""
        self._done += 1
        self._failed += error is not None
        self._draw()

    def said(self, sentence: str) -> None:
        """Shows a sentence, until there is something to do."""
        self.working(sentence)

    def end(self) -> None:
        """Shows how it ended."""
        seconds = time.monotonic() - self._begun
        failed = f", {self._failed} not measured" if self._failed else ""
        self._place.show(bar(self._done, self._total, f"{seconds:.1f} s{failed}"))

    def _draw(self) -> None:
        now = time.monotonic()
        if now - self._drawn >= _EVERY:
            self._drawn = now
            failed = f"{self._failed} not measured; " if self._failed else ""
            self._place.show(bar(self._done, self._total, failed + self._doing))


@contextmanager
def watched_by(observer: Observer | None) -> Iterator[Observer]:
    """The observer that was given; without one a bar in a notebook, and nothing elsewhere."""
    place = spot() if observer is None else None
    if place is None:
        yield observer or Silent()
        return
    drawn = NotebookBar(place)
    try:
        yield drawn
    finally:
        drawn.end()
