"""What was asked of the hub and what became of it."""

import itertools
import threading
from dataclasses import dataclass

KINDS = (
    "refs",
    "revision",
    "tree",
    "paths-info",
    "commits",
    "resolve",
    "content",
    "whoami",
    "models",
    "create",
    "validate-yaml",
    "preupload",
    "lfs",
    "upload",
    "commit",
    "branch",
    "unknown",
)


@dataclass(frozen=True)
class Record:
    """One request and its answer."""

    origin: str
    """`hub` or `content`."""
    method: str
    path: str
    """As it was sent, that is, quoted."""
    query: str
    kind: str
    """One of `KINDS`."""
    range: str | None
    authorized: bool
    """Whether the request carried an Authorization header, valid or not."""
    status: int
    """0 if the connection was reset before any answer."""
    sent: int
    """Bytes of the body that were sent."""
    start: float
    """`time.time()` when the request had been read."""
    seconds: float
    """From then until the last byte was sent."""
    fault: str | None = None
    """The kind of the fault that spoiled the answer."""


class Log:
    """Records in the order in which the requests came in.

    A record can be written several times: first before the answer's last byte leaves, so that a
    client that has the answer finds the record, then with what really happened.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._records: dict[int, Record] = {}
        self._oldest = 0

    def number(self) -> int:
        """A place in the log for a request that has come in."""
        with self._lock:
            return next(self._numbers)

    def write(self, number: int, record: Record) -> None:
        with self._lock:
            if number >= self._oldest:
                self._records[number] = record

    def records(self) -> list[Record]:
        with self._lock:
            return [record for _, record in sorted(self._records.items())]

    def reset(self) -> None:
        """Forgets all requests, those still being answered too."""
        with self._lock:
            self._records.clear()
            self._oldest = next(self._numbers)
