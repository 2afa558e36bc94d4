"""The bytes of a file of the Hub -> a buffer: several ranges at a time, resumed where they broke off, hashed as they come.

The buffer is memory, or a file on disk that is mapped into memory; this module does not care. Ranges are fetched by a few threads, in
order; the thread that asked follows them with the digest, so that checking costs no time of its own while the network is the slower.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2
from huggingface_hub import get_session

from pythia_traj.errors import CheckpointError
from pythia_traj.hub.client import Client, RemoteFile
from pythia_traj.hub.patience import Attempts, describe, log

CONNECTIONS = 4
"""Ranges on their way at once."""

SEGMENT = 16 << 20
"""Bytes of a range: large enough to hide a request's latency, small enough that the digest is never far behind."""

Span = tuple[int, int]
"""First byte, and one after the last."""


class Meter:
    """Counts bytes that cross the network, for whoever shows a rate. Any number of threads may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: list[tuple[float, int]] = []
        self.total = 0

    def add(self, count: int) -> None:
        """So many bytes have arrived."""
        with self._lock:
            self.total += count
            self._recent.append((time.monotonic(), count))

    def rate(self, over: float = 3.0) -> float:
        """Bytes per second over the last seconds."""
        since = time.monotonic() - over
        with self._lock:
            self._recent = [(when, count) for when, count in self._recent if when >= since]
            return sum(count for _, count in self._recent) / over


METER = Meter()
"""Of this process."""


class Digest:
    """The digest by which the Hub knows a file: the sha256 of a large one, the git blob id of a small one."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        if file.sha256 is not None:
            self._hash = hashlib.sha256()
        else:
            self._hash = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)

    def update(self, data: memoryview) -> None:
        """Adds bytes, in order of the file."""
        self._hash.update(data)

    @property
    def matches(self) -> bool:
        """Whether the bytes so far are the file."""
        return self._hash.hexdigest() == self._file.blob


def is_file(data: memoryview, file: RemoteFile) -> bool:
    """Whether bytes that are there are the file that was listed."""
    if len(data) != file.size:
        return False
    digest = Digest(file)
    digest.update(data)
    return digest.matches


@dataclass(frozen=True)
class Source:
    """A file at a commit of a repository."""

    client: Client
    repo: str
    commit: str
    file: RemoteFile
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set when nobody waits for it any more."""

    @property
    def name(self) -> str:
        """The file in a message."""
        return f"{self.repo}/{self.file.path} at {self.commit[:12]}"


class _RangesIgnoredError(Exception):
    """The server sends the whole file whatever is asked for."""


class Transfer:
    """Fetches one file, whose size is known, into a buffer of that size."""

    def __init__(self, source: Source, buffer: memoryview) -> None:
        self._source, self._buffer = source, buffer
        self._address = _Address(source)
        self._failed = threading.Event()

    def fetch(self, spans: Sequence[Span]) -> None:
        """Fetches spans of the file and leaves the rest of the buffer alone.

        Raises:
            httpx2.HTTPError: they cannot be had, for all patience.
        """
        self._run(spans, lambda end: None)

    def complete(self, spans: Sequence[Span]) -> bool:
        """Fetches what is missing of the file, and says whether the whole buffer then is the file that was listed.

        Args:
            spans: ascending, disjoint; what lies between them is in the buffer already.

        Raises:
            httpx2.HTTPError: they cannot be had, for all patience.
        """
        digest, hashed = Digest(self._source.file), 0

        def follow(end: int) -> None:
            nonlocal hashed
            digest.update(self._buffer[hashed:end])
            hashed = end

        if not self._run(spans, follow):
            return is_file(self._buffer, self._source.file)
        digest.update(self._buffer[hashed:])
        return digest.matches

    def _run(self, spans: Sequence[Span], follow: Callable[[int], None]) -> bool:
        """Fetches spans, calling `follow` with the end of each piece in order; False where it had to begin again with the whole file."""
        try:
            with self._workers() as submit:
                pending = [(piece, submit(piece)) for span in spans for piece in _pieces(span)]
                for (_, end), future in pending:
                    future.result()
                    follow(end)
        except _RangesIgnoredError:
            log.warning("%s: the server ignores ranges: fetching it whole, which cannot be resumed", self._source.name)
            self._fetch_whole()
            return False
        return True

    @contextmanager
    def _workers(self) -> Iterator[Callable[[Span], Future[None]]]:
        """A few threads; if one fails, or the asking thread does, the others stop."""
        with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="pythia-traj-fetch") as pool:
            try:
                yield lambda piece: pool.submit(self._fetch_piece, piece)
            except BaseException:
                self._failed.set()
                pool.shutdown(wait=True, cancel_futures=True)
                self._failed.clear()
                raise

    def _fetch_piece(self, piece: Span) -> None:
        """One range, resumed until it is whole."""
        position, end = piece
        attempts = self._attempts()
        while position < end and not self._failed.is_set():
            before = position
            try:
                for count in self._receive(position, end):
                    position += count
                self._require(position == end or self._failed.is_set(), f"it ended {end - position} bytes early")
            except (httpx2.TransportError, httpx2.HTTPStatusError) as error:
                if position > before:
                    attempts.progressed()
                attempts.failed(self._address.refused(error) or error)

    def _fetch_whole(self) -> None:
        """The file by one request without a range, from the start again when it breaks off."""
        attempts = self._attempts()
        size = self._source.file.size
        while True:
            try:
                received = sum(self._receive(0, size, ranged=False))
                self._require(received == size, f"it ended {size - received} bytes early")
                return
            except (httpx2.TransportError, httpx2.HTTPStatusError) as error:
                attempts.failed(self._address.refused(error) or error)

    def _receive(self, position: int, end: int, *, ranged: bool = True) -> Iterator[int]:
        """Writes what one answer brings into the buffer, and yields how much as it comes."""
        url, headers = self._address.get()
        headers = {**headers, "accept-encoding": "identity"}
        if ranged:
            headers["range"] = f"bytes={position}-{end - 1}"
        timeouts = self._source.client.patience.timeouts
        with get_session().stream("GET", url, headers=headers, timeout=timeouts, follow_redirects=True) as answer:
            answer.raise_for_status()
            self._check(answer, position, end, ranged)
            for chunk in answer.iter_raw():
                if self._source.stopped.is_set():
                    raise CheckpointError(f"{self._source.name}: stopped")
                if self._failed.is_set():
                    return
                # More than was promised is dropped: a buffer's neighbour is another range.
                kept = memoryview(chunk)[: end - position]
                self._buffer[position : position + len(kept)] = kept
                METER.add(len(kept))
                position += len(kept)
                yield len(kept)
                if position == end:
                    return

    def _check(self, answer: httpx2.Response, position: int, end: int, ranged: bool) -> None:
        """An answer to a range has to be that range: a naive reader would put the first bytes of a whole file into its place."""
        size = self._source.file.size
        if answer.status_code == 206:
            sent = answer.headers.get("content-range")
            self._require(ranged and sent == f"bytes {position}-{end - 1}/{size}", f"it sent {sent}")
            return
        length = answer.headers.get("content-length")
        self._require(
            answer.status_code == 200 and length in {None, str(size)},
            f"it sent {length} bytes, status {answer.status_code}",
        )
        if ranged and (position, end) != (0, size):
            raise _RangesIgnoredError

    def _attempts(self) -> Attempts:
        return Attempts(self._source.client.patience, self._source.name, self._source.stopped)

    def _require(self, condition: bool, otherwise: str) -> None:
        if not condition:
            raise httpx2.RemoteProtocolError(f"not what was asked for: {otherwise}")


class _Address:
    """Where a file's bytes are: for a large one a signed address on another host, which expires."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._known: tuple[str, dict[str, str]] | None = None

    def get(self) -> tuple[str, dict[str, str]]:
        """The address, and the headers that may be sent there."""
        with self._lock:
            if self._known is None:
                self._known = self._source.client.address(
                    self._source.repo, self._source.commit, self._source.file.path
                )
            return self._known

    def refused(self, error: Exception) -> Exception | None:
        """For a refused address, which is then asked for anew, an error that passes; None for any other error."""
        if not (isinstance(error, httpx2.HTTPStatusError) and error.response.status_code in {401, 403, 404, 410}):
            return None
        with self._lock:
            self._known = None
        return httpx2.ReadError(f"the address is not valid any more ({describe(error)})")


def _pieces(span: Span) -> Iterator[Span]:
    start, end = span
    for position in range(start, end, SEGMENT):
        yield position, min(position + SEGMENT, end)
