"""A time limit for answers: seconds in which one has to come, whatever it waits for.

Time-outs of a connection begin again with every byte, so that a server could send one now and then
for ever; and none of them covers the look-up of a name.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

import httpx2

SLOWEST = 10_000
"""Bytes per second below which an answer's time runs out."""

_POLL = 1.0
"""Seconds between looks at whether bytes have bought more time."""

_Result = TypeVar("_Result")


class TooSlowError(httpx2.ReadTimeout):
    """An answer that came too slowly for too long."""


class Deadline:
    """So many seconds, and one more for each `SLOWEST` bytes that arrive.

    Attributes:
        began: when it was set.
    """

    def __init__(self, seconds: float) -> None:
        self.began = time.monotonic()
        self._until = self.began + seconds

    @property
    def left(self) -> float:
        """Seconds until it ends."""
        return self._until - time.monotonic()

    def received(self, count: int) -> None:
        """So many bytes have arrived.

        Raises:
            TooSlowError: too late.
        """
        if self.left < 0:
            raise TooSlowError("its answer comes too slowly")
        self._until += count / SLOWEST


def within(deadline: Deadline, work: Callable[[], _Result]) -> _Result:
    """What a piece of work returns or raises; the wait for it ends at the deadline.

    Raises:
        TooSlowError: it takes longer.
    """
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            # Every error is raised in the thread that waits for the result.
            future.set_exception(error)

    try:
        # A thread that waits for a socket cannot be ended: it must not keep the process alive.
        threading.Thread(target=run, name="pythia-traj-ask", daemon=True).start()
    except RuntimeError:
        run()  # The system starts no more threads: better without a limit than not at all.
    while not wait([future], timeout=max(0.0, min(deadline.left, _POLL))).done:
        if deadline.left <= 0:
            raise TooSlowError("its answer comes too slowly")
    return future.result()
