"""Small questions to the Hub, whose answers come whole.

They are asked patiently, but not for long if the Hub has stopped answering. One step of a model
needs several answers in turn. With the full wait for each, a silent Hub would cost minutes for
each.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import httpx2
from huggingface_hub.errors import HfHubHTTPError

from pythia_traj.hub.retry import Attempts, GivenUpError, RetryPolicy, StatusError

_Answer = TypeVar("_Answer")


class Questions:
    """The questions to one Hub. Any number of threads may ask.

    A question that was given up without any answer is not asked again for the time that its
    attempts may take in all. Until another one is answered, each is asked once, with the time-out
    of a connection. If a server asked to wait longer than the policy allows, its further wishes to
    wait are refused until one question is answered.
    """

    def __init__(self, retry: RetryPolicy, is_unwanted: Callable[[], bool]) -> None:
        self._patience, self._is_unwanted = retry, is_unwanted
        self._is_silent = self._is_busy = False
        self._unanswered: dict[str, tuple[float, GivenUpError]] = {}

    def ask(self, what: str, ask: Callable[[httpx2.Timeout, Attempts], _Answer]) -> _Answer:
        """The answer to a question.

        Args:
            what: the question as the log names it, and by which it is known again.
            ask: asks it once, within time-outs, and may report to the attempts what arrives.

        Raises:
            GivenUpError: no attempt was answered well.
            httpx2.HTTPError: a refusal.
        """
        until, known = self._unanswered.get(what, (0.0, None))
        if known is not None and time.monotonic() < until:
            raise known.with_traceback(None)
        retry = self._patience
        if self._is_silent:
            retry = replace(retry, attempts=1, timeout=min(retry.timeout, retry.connect))
            retry = replace(retry, total=min(retry.total, retry.attempt))
        paused = retry.retry_after if self._is_busy else 0.0
        attempts = Attempts(retry, what, self._is_unwanted, paused=paused)
        try:
            answer = _repeated(attempts, lambda: ask(retry.timeouts, attempts))
        except GivenUpError as error:
            self._is_silent, self._is_busy = error.is_silence, error.is_busy
            if error.is_silence:
                self._unanswered[what] = time.monotonic() + self._patience.total, error
            raise
        except (HfHubHTTPError, StatusError):
            self._is_silent = self._is_busy = False
            raise
        self._is_silent = self._is_busy = False
        return answer


def _repeated(attempts: Attempts, ask: Callable[[], _Answer]) -> _Answer:
    while True:
        try:
            return ask()
        except (httpx2.TransportError, HfHubHTTPError, StatusError) as error:
            attempts.failed(error)
