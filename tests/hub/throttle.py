"""A share of bytes per second for all connections together."""

import threading
import time


class Throttle:
    """A token bucket. `bytes_per_second` may be set at any time; None is no limit."""

    SLICE = 0.02
    """Seconds of traffic sent at once, and what an idle bucket gathers.

    It is short, so that connections share fairly.
    """

    def __init__(self, bytes_per_second: float | None, closing: threading.Event) -> None:
        self.bytes_per_second = bytes_per_second
        self._closing = closing
        self._lock = threading.Lock()
        self._paid_until = 0.0

    def grant(self, wanted: int) -> int:
        """Waits its turn; returns how many of the wanted bytes may be sent now, at least one."""
        rate = self.bytes_per_second
        if rate is None:
            return wanted
        granted = min(wanted, max(1, int(rate * self.SLICE)))
        with self._lock:
            now = time.monotonic()
            self._paid_until = max(self._paid_until, now - self.SLICE) + granted / rate
            wait = self._paid_until - now
        if wait > 0:
            self._closing.wait(wait)
        return granted
