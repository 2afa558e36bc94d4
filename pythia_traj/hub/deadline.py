"""An end to answers that never end: seconds in which one has to come, whatever it is waiting for.

Time-outs of a connection begin anew with every byte, so that a server that sends one now and then
would be listened to for ever; and none of them covers the look-up of a name.
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
    """What a piece of work returns or raises; it is left alone where it takes longer.

    Raises:
        TooSlowError: it takes longer.
    """
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            # Whatever it is, it is raised where the result is waited for.
            future.set_exception(error)

    try:
        # Nothing ends a thread that waits for a socket: it must not keep the process.
        threading.Thread(target=run, name="pythia-traj-ask", daemon=True).start()
    except RuntimeError:
        run()  # No more threads can be started: then without a limit, rather than not at all.
    while not wait([future], timeout=max(0.0, min(deadline.left, _POLL))).done:
        if deadline.left <= 0:
            raise TooSlowError("its answer comes too slowly")
    return future.result()
