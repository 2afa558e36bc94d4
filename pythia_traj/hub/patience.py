"""How often, and after how long, what went wrong on the network is tried again.

All retries are ours: nothing here calls a function of the Hub's client that tries again by itself, so attempts are counted once.
"""

import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import httpx2
from huggingface_hub.errors import HfHubHTTPError

log = logging.getLogger(__name__)

_PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Statuses that say nothing about the request itself."""

_POLL = 0.1
"""Seconds between looks at whether a pause has lost its purpose."""


@dataclass(frozen=True)
class Patience:
    """How long a network may fail before a question or a range is given up.

    Every byte of a range begins the count of attempts and the total anew. So a server that sends one now and then, before each time-out,
    is never given up: a transfer goes on for as long as bytes arrive.

    Attributes:
        attempts: failures in a row, without a byte between them, that are borne.
        first, longest: seconds before the second attempt, which double with each further one, and their limit.
        retry_after: the longest time a server may ask for.
        timeout: seconds without a byte before a connection is taken for dead.
        connect: seconds for a connection to come about.
        total: seconds without a byte after which it is given up however many attempts are left; what a server asked for in
            `Retry-After` does not count.
    """

    attempts: int = 6
    first: float = 0.5
    longest: float = 30.0
    retry_after: float = 300.0
    timeout: float = 30.0
    connect: float = 10.0
    total: float = 240.0

    @property
    def timeouts(self) -> httpx2.Timeout:
        """For every request: none waits for ever."""
        return httpx2.Timeout(self.timeout, connect=self.connect)

    @property
    def attempt(self) -> float:
        """The longest that one attempt without a byte takes: a connection, its encryption, the answer."""
        return 2 * self.connect + self.timeout

    def pause(self, failures: int, asked: float | None) -> float:
        """Seconds to wait after so many failures: what the server asked for, else longer each time, with jitter."""
        if asked is not None:
            return min(asked, self.retry_after)
        # Half of it at random, so that many workers that failed together do not return together.
        return min(self.first * 2.0 ** (failures - 1), self.longest) * random.uniform(0.5, 1.0)  # noqa: S311


class StatusError(httpx2.HTTPError):
    """An answer whose status says that something went wrong."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        known = {int(entry): f" {entry.phrase}" for entry in HTTPStatus}
        super().__init__(f"{status}{known.get(status, '')}")
        self.status, self.headers = status, headers


class GivenUpError(httpx2.HTTPError):
    """What was tried again and never succeeded.

    Attributes:
        last: the error of the last attempt.
        attempts: how many there were without a byte between them.
        seconds: from the first of them to the end of the last.
        host: who was asked, where that is not the Hub's endpoint.
    """

    def __init__(self, last: Exception, attempts: int, seconds: float, host: str | None) -> None:
        super().__init__(describe(last))
        self.last, self.attempts, self.seconds, self.host = last, attempts, seconds, host

    @property
    def is_silence(self) -> bool:
        """Whether nothing was heard, rather than something wrong."""
        return isinstance(self.last, httpx2.TimeoutException)

    @property
    def effort(self) -> str:
        """How hard it was tried."""
        return f"{self.attempts} attempt{'s' if self.attempts > 1 else ''} in {self.seconds:.0f} s"


class Attempts:
    """The attempts at one thing: counts failures in a row and waits between them, until nobody wants it any more.

    Attributes:
        host: who is asked, where that is not the Hub's endpoint.
    """

    def __init__(self, patience: Patience, what: str, is_unwanted: Callable[[], bool] = lambda: False) -> None:
        self._patience, self._what, self._failures = patience, what, 0
        self._is_unwanted = is_unwanted
        self._since = time.monotonic()
        self.host: str | None = None

    def heard(self) -> None:
        """Bytes have arrived, of no use for the next attempt: only the total begins anew."""
        self._since = time.monotonic()

    def progressed(self) -> None:
        """Something was achieved: the count begins anew."""
        self._failures = 0
        self.heard()

    def failed(self, error: Exception) -> None:
        """Waits for the next attempt, saying so in the log.

        Raises:
            GivenUpError: too many came in a row, or they took too long.
            the error itself, when it will not pass, or nobody waits for the next attempt.
        """
        self._failures += 1
        if not passing(error):
            raise error
        asked = _retry_after(error)
        pause = self._patience.pause(self._failures, asked)
        lasted = time.monotonic() - self._since
        # The next attempt has to end within the total as well.
        next_ends = lasted + (pause if asked is None else 0) + self._patience.attempt
        if self._failures >= self._patience.attempts or next_ends > self._patience.total:
            raise GivenUpError(error, self._failures, lasted, self.host) from error
        reason = describe(error)
        log.warning(
            "%s: %s; attempt %d of %d in %.1f s", self._what, reason, self._failures + 1, self._patience.attempts, pause
        )
        until = time.monotonic() + pause
        while (left := until - time.monotonic()) > 0 and not self._is_unwanted():
            time.sleep(min(left, _POLL))
        if asked is not None:
            self._since += pause
        if self._is_unwanted():
            raise error


def passing(error: Exception) -> bool:
    """Whether the same request may well succeed later."""
    status = _answer_to(error)[0]
    if status is not None:
        return status in _PASSING
    return isinstance(error, httpx2.TransportError) and not isinstance(error, httpx2.UnsupportedProtocol)


def describe(error: Exception) -> str:
    """An error of the network in a few words."""
    if isinstance(error, HfHubHTTPError):
        return f"{error.response.status_code} {error.response.reason_phrase}"
    return str(error) or type(error).__name__


def _answer_to(error: Exception) -> tuple[int | None, Mapping[str, str]]:
    """Status and headers of the answer that an error is about, if it is about one."""
    if isinstance(error, StatusError):
        return error.status, error.headers
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code, error.response.headers
    return None, {}


def _retry_after(error: Exception) -> float | None:
    """What the server asked for, in seconds; a date is not understood and answered with the usual pause."""
    try:
        seconds = float(_answer_to(error)[1].get("retry-after", ""))
    except ValueError:
        return None
    return None if math.isnan(seconds) else max(seconds, 0.0)
