"""How often, and after how long, what went wrong on the network is tried again."""

import json
import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

import httpx2
from huggingface_hub.errors import HfHubHTTPError

log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

_PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Statuses that say nothing about the request itself."""

_POLL = 0.1
"""Seconds between looks at whether a pause has lost its purpose."""


@dataclass(frozen=True)
class Patience:
    """How long a network may fail before a file is given up.

    Attributes:
        attempts: failures in a row, without a byte between them, that are borne.
        first, longest: seconds before the second attempt, which double with each further one, and their limit.
        retry_after: the longest time a server may ask for.
        timeout: seconds without a byte before a connection is taken for dead.
        connect: seconds for a connection to come about.
    """

    attempts: int = 6
    first: float = 0.5
    longest: float = 30.0
    retry_after: float = 300.0
    timeout: float = 30.0
    connect: float = 10.0

    @property
    def timeouts(self) -> httpx2.Timeout:
        """For every request: none waits for ever."""
        return httpx2.Timeout(self.timeout, connect=self.connect)

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


class Attempts:
    """The attempts at one thing: counts failures in a row and waits between them, until nobody wants it any more."""

    def __init__(self, patience: Patience, what: str, is_unwanted: Callable[[], bool] = lambda: False) -> None:
        self._patience, self._what, self._failures = patience, what, 0
        self._is_unwanted = is_unwanted

    def progressed(self) -> None:
        """Something was achieved: the count begins anew."""
        self._failures = 0

    def failed(self, error: Exception) -> None:
        """Waits for the next attempt, saying so in the log.

        Raises:
            the error itself, when it will not pass, or too many came in a row.
        """
        self._failures += 1
        if not passing(error) or self._failures >= self._patience.attempts:
            raise error
        pause = self._patience.pause(self._failures, _retry_after(error))
        reason = describe(error)
        log.warning(
            "%s: %s; attempt %d of %d in %.1f s", self._what, reason, self._failures + 1, self._patience.attempts, pause
        )
        until = time.monotonic() + pause
        while (left := until - time.monotonic()) > 0 and not self._is_unwanted():
            time.sleep(min(left, _POLL))
        if self._is_unwanted():
            raise error


def patiently(
    patience: Patience, what: str, ask: Callable[[], _Answer], is_unwanted: Callable[[], bool] = lambda: False
) -> _Answer:
    """The answer to a question that may be asked again, until nobody waits for it any more."""
    attempts = Attempts(patience, what, is_unwanted)
    while True:
        try:
            return ask()
        except (httpx2.TransportError, HfHubHTTPError) as error:
            attempts.failed(error)
        except (json.JSONDecodeError, UnicodeDecodeError):
            # Damaged on the way, or a page of whoever stands between.
            attempts.failed(httpx2.RemoteProtocolError("the answer is not JSON"))


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
