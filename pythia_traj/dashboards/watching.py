"""A thread that looks at runs again and again."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pythia_traj.live.watched import Look, State, Watched

SECONDS = 1.0
"""Between two looks, at least."""

QUIET = 1.0
"""Seconds after a reader asked for something, in which only that is done."""

_SHARE = 8
"""A look that takes long is followed by a pause of so many times its length."""

_ENDING = 5.0
"""Seconds that a look or a drawing in hand gets at the end."""

_BROKEN = "an error that the server's terminal shows; start the dashboard again to see new rows"


class Watching:
    """Looks at runs in a thread of its own; `watched.state` is what they hold.

    Attributes:
        watched: the runs.
        error: why the last look failed, such as that a run's directory is gone; empty if it did
            not.
    """

    def __init__(self, watched: Watched, between: Callable[[State], bool] | None = None) -> None:
        """Does not look yet.

        Args:
            watched: the runs.
            between: what is done after a look that found nothing, again and again until it says
                that nothing is left; rows that change end it.
        """
        self.watched = watched
        self._between = between or (lambda _: False)
        self._asked_at = 0.0
        self.error = ""
        self._ended = threading.Event()

    def asked(self) -> None:
        """A reader asks for something: nothing else is done meanwhile."""
        self._asked_at = time.monotonic()

    @contextmanager
    def running(self) -> Iterator["Watching"]:
        """Looks until the block ends."""
        thread = threading.Thread(target=self._run, name="pythia-traj-watching", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join(_ENDING)

    def _run(self) -> None:
        try:
            self._look_again_and_again()
        finally:
            if not self._ended.is_set():
                # An error that nobody foresaw: a reader must not take old rows for new ones.
                self.error = _BROKEN

    def _look_again_and_again(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            begun = time.monotonic()
            look = self._look()
            took = time.monotonic() - begun
            # What was found is shown between two looks, however much is still to be read.
            pause = 0.01 if look.waiting else max(SECONDS, _SHARE * took)
            is_quiet = time.monotonic() - self._asked_at > QUIET
            if not look.opened and is_quiet and self._between(self.watched.state):
                pause = 0.01

    def _look(self) -> Look:
        look = self.watched.look()
        self.error = "; ".join(look.errors)
        return look
