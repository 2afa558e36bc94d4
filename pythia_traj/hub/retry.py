"""How often, and after how long, a failed request is tried again.

All retries are ours: nothing here calls a function of the Hub's client that retries by itself, so
attempts are counted once.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx2
from huggingface_hub.errors import HfHubHTTPError

from pythia_traj.hub.pauses import pause_asked
from pythia_traj.printable import one_line

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class _Plain(_Adapter):
    """Says everything on one line, without control characters and credentials.

    Much of it comes from servers.
    """

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        """One line; without another handler, Python shows it on standard error as it is."""
        if self.isEnabledFor(level):
            super().log(level, "%s", one_line(str(msg) % args if args else str(msg)), **options)


log = _Plain(logging.getLogger(__name__), {})

_PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Statuses that say nothing about the request itself."""

_LEAST = 0.5
"""Seconds below which a server's wish to wait is ignored."""

_WITHIN_REASON = 10**15
"""Seconds that a message quotes as a number."""

_CERTIFICATES = (
    "if your network has its own certificate authority, name the file of its certificate in"
    " SSL_CERT_FILE"
)

_POLL = 0.1
"""Seconds between checks whether a pause is still useful."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long a network may fail before a question or a range is given up.

    Every byte of a range starts the count of attempts and the total again. So a transfer goes on
    for as long as bytes arrive, even if a server sends one just before each time-out.

    Attributes:
        attempts: failures in a row, without a byte between them, after which it is given up.
        first, longest: seconds before the second attempt, which double with each further one, and
            their limit.
        retry_after: seconds for all pauses together that a server asks for, with `Retry-After` or
            `RateLimit`, before one answer. They are not failures: neither attempts nor the total
            count them. A pause that would exceed the limit ends the attempts at once.
        timeout: seconds without a byte after which a connection counts as dead.
        connect: seconds to make a connection.
        total: seconds without a byte after which it is given up, even with attempts left.
    """

    attempts: int = 6
    first: float = 0.5
    longest: float = 30.0
    retry_after: float = 900.0
    timeout: float = 30.0
    connect: float = 10.0
    total: float = 240.0

    @property
    def timeouts(self) -> httpx2.Timeout:
        """The time-outs of every request, so that none waits for ever."""
        return httpx2.Timeout(self.timeout, connect=self.connect)

    @property
    def attempt(self) -> float:
        """The longest that an attempt without a byte takes: connection, encryption, answer."""
        return 2 * self.connect + self.timeout

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures: longer each time, with jitter."""
        # Half of it is random, so that workers that failed together do not return together.
        return min(self.first * 2.0 ** (failures - 1), self.longest) * random.uniform(0.5, 1.0)  # noqa: S311


class StatusError(httpx2.HTTPError):
    """An answer whose status says that something went wrong."""

    def __init__(self, status: int, headers: Mapping[str, str], more: str = "") -> None:
        super().__init__(f"{_phrase(status)}{more}")
        self.status, self.headers = status, headers


class BusyError(StatusError):
    """An answer that asks for a longer wait than the policy allows."""


class GivenUpError(httpx2.HTTPError):
    """A request that never succeeded, after the last retry.

    Attributes:
        last: the error of the last attempt.
        attempts: how many there were without a byte between them.
        seconds: from the first of them to the end of the last.
        host: the host that was asked, if it is not the Hub's endpoint.
    """

    def __init__(self, last: Exception, attempts: int, seconds: float, host: str | None) -> None:
        super().__init__(describe(last))
        self.last, self.attempts, self.seconds, self.host = last, attempts, seconds, host

    @property
    def is_silence(self) -> bool:
        """Whether no answer came, rather than a wrong one."""
        return isinstance(self.last, httpx2.TimeoutException)

    @property
    def is_busy(self) -> bool:
        """Whether the server asked for a longer wait than the policy allows."""
        return isinstance(self.last, BusyError)

    @property
    def effort(self) -> str:
        """How often and how long it was tried."""
        return f"{self.attempts} attempt{'s' if self.attempts > 1 else ''} in {self.seconds:.0f} s"


class Attempts:
    """The attempts at one request, for as long as it is wanted.

    Counts failures in a row and waits between them.

    Attributes:
        host: the host that is asked, if it is not the Hub's endpoint.
    """

    def __init__(
        self,
        retry: RetryPolicy,
        what: str,
        is_unwanted: Callable[[], bool] = lambda: False,
        *,
        paused: float = 0.0,
    ) -> None:
        """Counts from zero.

        Args:
            what: the request, as the log names it.
            is_unwanted: whether the request is not wanted any more.
            paused: seconds already waited because this server asked for it.
        """
        self._patience, self._what, self._failures = retry, what, 0
        self._is_unwanted = is_unwanted
        self._since = time.monotonic()
        self._paused, self._pauses = paused, 0
        self.host: str | None = None

    @property
    def total(self) -> float:
        """Seconds that one attempt may take, even while bytes arrive."""
        return self._patience.total

    def heard(self) -> None:
        """Bytes have arrived that do not help the next attempt: only the total starts again."""
        self._since = time.monotonic()

    def progressed(self) -> None:
        """Progress was made: all counts start again."""
        self._failures = self._pauses = 0
        self._paused = 0.0
        self.heard()

    def failed(self, error: Exception) -> None:
        """Waits for the next attempt, and logs it.

        Raises:
            GivenUpError: too many failures in a row, or they took too long.
            the error itself, if it will not pass, or the request is not wanted any more.
        """
        if not passing(error):
            raise error
        status, headers = _answer_to(error)
        asked = None if status is None else pause_asked(status, headers)
        if asked is not None and status is not None and asked >= _LEAST:
            self._pause(error, status, asked)
        else:
            self._fail(error)
        if self._is_unwanted():
            raise error

    def _fail(self, error: Exception) -> None:
        """One more failure, and a pause that is longer each time."""
        self._failures += 1
        pause = self._patience.pause(self._failures)
        lasted = time.monotonic() - self._since
        # The next attempt, too, has to end within the total.
        next_ends = lasted + pause + self._patience.attempt
        if self._failures >= self._patience.attempts or next_ends > self._patience.total:
            raise GivenUpError(error, self._failures, lasted, self.host) from error
        reason, attempts = describe(error), self._patience.attempts
        log.warning(
            "%s: %s; attempt %d of %d in %.1f s",
            self._what,
            reason,
            self._failures + 1,
            attempts,
            pause,
        )
        self._wait(pause)

    def _pause(self, error: Exception, status: int, asked: float) -> None:
        """Waits as the server asks: not a failure, and with a limit of its own."""
        self._pauses += 1
        # Never less than after as many failures, so that a server that asks for one second again
        # and again is not asked every second.
        pause, most = max(asked, self._patience.pause(self._pauses)), self._patience.retry_after
        if self._paused + pause > most:
            before = f", after {self._paused:.0f} s" if self._paused else ""
            seconds = f"{asked:.0f} s" if asked <= _WITHIN_REASON else "longer than any date"
            told = (
                f" and asks to wait {seconds}{before}: at most {most:.0f} s are waited for one"
                " answer"
            )
            last = BusyError(status, {}, told)
            raise GivenUpError(
                last, self._failures + 1, time.monotonic() - self._since, self.host
            ) from error
        log.warning(
            "%s: %s: waiting %.0f s, as the server asks"
            " (%.0f s waited before that, at most %.0f s in all)",
            self._what,
            describe(error),
            pause,
            self._paused,
            most,
        )
        self._wait(pause)
        self._paused += pause
        self._since += pause

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._is_unwanted():
            time.sleep(min(left, _POLL))


def passing(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    status = _answer_to(error)[0]
    if status is not None:
        return status in _PASSING
    if _is_about_certificates(error):
        return False
    return isinstance(error, httpx2.TransportError) and not isinstance(
        error, httpx2.UnsupportedProtocol
    )


def describe(error: Exception) -> str:
    """An error of the network in a few words."""
    if isinstance(error, HfHubHTTPError):
        # Not in the server's own words, which may be anything.
        return _phrase(error.response.status_code)
    text = one_line(str(error)) or type(error).__name__
    return f"{text}; {_CERTIFICATES}" if _is_about_certificates(error) else text


def _phrase(status: int) -> str:
    known = {int(entry): f" {entry.phrase}" for entry in HTTPStatus}
    return f"{status}{known.get(status, '')}"


def _is_about_certificates(error: Exception) -> bool:
    return isinstance(error, httpx2.TransportError) and "CERTIFICATE_VERIFY_FAILED" in str(error)


def _answer_to(error: Exception) -> tuple[int | None, Mapping[str, str]]:
    """Status and headers of the answer that an error is about, if it is about one."""
    if isinstance(error, StatusError):
        return error.status, error.headers
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code, error.response.headers
    return None, {}
