"""A wish to stop between two units, so that the one in hand is finished.

Schedulers announce the end of a task some time before it comes. An interruption by SIGTERM or
Ctrl-C, by contrast, drops the unit in hand at once.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from pythia_traj.errors import Interrupted

ANNOUNCED = signal.SIGUSR2
"""The signal by which the end of a task is announced: `submitit`'s, and ours to a worker."""


class Stop:
    """Whether somebody wishes that no other unit is begun."""

    def __init__(self) -> None:
        self._signum: int | None = None

    def ask(self, signum: int) -> None:
        """Wishes it, as that signal says."""
        self._signum = signum

    def check(self) -> None:
        """Between two units.

        Raises:
            Interrupted: somebody wishes to stop.
        """
        if self._signum is not None:
            raise Interrupted(self._signum)


@contextmanager
def stopping() -> Iterator[Stop]:
    """What the signal asks to stop, until the block ends; for the main thread."""
    stop = Stop()
    before = signal.signal(ANNOUNCED, lambda signum, _: stop.ask(signum))
    try:
        yield stop
    finally:
        signal.signal(ANNOUNCED, before)
