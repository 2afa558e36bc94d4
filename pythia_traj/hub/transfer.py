"""The bytes of a file of the Hub -> a buffer.

Several ranges come at a time, are resumed where they broke off, and hashed as they come. The buffer
is memory, or a file on disk that is mapped into memory; this module does not care. A few threads
fetch the ranges in order. The thread that asked follows them with the digest, so that checking
costs no extra time while the network is slower than the hash.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2

from pythia_traj.errors import CheckpointError
from pythia_traj.hub.client import Client
from pythia_traj.hub.connections import CONNECTIONS
from pythia_traj.hub.listed import Digest, RemoteFile, is_file
from pythia_traj.hub.retry import Attempts, StatusError, describe, log
from pythia_traj.hub.stream import Aborts, Answer, get
from pythia_traj.outside import shown

SEGMENT = 16 << 20
"""Bytes of a range.

Large enough to hide a request's latency, small enough that the digest is never far behind.
"""

_SLOT, _SLOTS = 0.1, 100
"""Seconds of one time slot, and how many slots are remembered."""

_TRICKLE_BYTES, _TRICKLE_SECONDS = 6_000, 60.0
"""With fewer bytes of one range in so many seconds, a connection counts as dead."""

_POLL = 0.1
"""Seconds between checks whether the file is still wanted."""

Span = tuple[int, int]
"""First byte, and one after the last."""


class Meter:
    """Counts bytes that cross the network, so that a rate can be shown.

    Any number of threads may add.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[tuple[float, int]] = deque(maxlen=_SLOTS)
        self.total = 0

    def add(self, count: int) -> None:
        """Counts bytes that have arrived."""
        now = time.monotonic()
        with self._lock:
            self.total += count
            if self._recent and now - self._recent[-1][0] < _SLOT:
                when, before = self._recent.pop()
                self._recent.append((when, before + count))
            else:
                self._recent.append((now, count))

    def rate(self, over: float = 3.0) -> float:
        """Bytes per second over the last seconds, ten at most."""
        since = time.monotonic() - over
        with self._lock:
            return sum(count for when, count in self._recent if when >= since) / over


METER = Meter()
"""The meter of this process."""


@dataclass(frozen=True)
class Source:
    """A file at a commit of a repository."""

    client: Client
    repo: str
    commit: str
    file: RemoteFile
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set when the file is not wanted any more."""

    @property
    def name(self) -> str:
        """The file as messages name it."""
        return f"{self.repo}/{self.file.path} at {self.commit[:12]}"


class _TricklingError(httpx2.RemoteProtocolError):
    """Bytes come so slowly that the file would never be whole."""


class _Flow:
    """Notices when almost nothing comes: a time-out alone starts again with every byte."""

    def __init__(self) -> None:
        self._since, self._count = time.monotonic(), 0

    def add(self, count: int) -> None:
        """Counts bytes that have arrived.

        Raises:
            _TricklingError: they come too slowly.
        """
        self._count += count
        if (lasted := time.monotonic() - self._since) < _TRICKLE_SECONDS:
            return
        if self._count < _TRICKLE_BYTES:
            raise _TricklingError(f"only {self._count} bytes came in {lasted:.0f} s")
        self._since, self._count = time.monotonic(), 0


class _RangesIgnoredError(Exception):
    """The server sends the whole file when a range is asked for."""


class Transfer:
    """Fetches one file, whose size is known, into a buffer of that size."""

    def __init__(self, source: Source, buffer: memoryview) -> None:
        self._source, self._buffer = source, buffer
        self._address = _Address(source)
        self._failed = threading.Event()
        self._error: BaseException | None = None
        self._aborts: Aborts = set()

    def fetch(self, spans: Sequence[Span]) -> bool:
        """Fetches spans of the file and leaves the rest of the buffer alone.

        False if it had to fetch the whole file instead.

        Raises:
            httpx2.HTTPError: they still fail after the last retry.
        """
        return self._run(spans, lambda end: None)

    def complete(self, spans: Sequence[Span]) -> bool:
        """Fetches the missing spans; says whether the whole buffer is then the listed file.

        Args:
            spans: ascending, disjoint; the buffer already has the bytes between them.

        Raises:
            httpx2.HTTPError: they still fail after the last retry.
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
        """Fetches spans, calling `follow` with the end of each piece in order.

        False if it had to begin again with the whole file.
        """
        # Once, before several threads want it: if the Hub does not give the address, each of them
        # would have to fail for itself.
        self._address.get()
        try:
            with self._workers() as submit:
                pieces = [piece for span in spans for piece in _pieces(span)]
                pending = [(end, submit(self._fetch_piece, start, end)) for start, end in pieces]
                for end, future in pending:
                    self._wait_for([future])
                    future.result()
                    follow(end)
        except _RangesIgnoredError:
            log.warning(
                "%s: the server ignores ranges: fetching it whole, which cannot be resumed",
                self._source.name,
            )
            with self._workers() as submit:
                whole = submit(self._fetch_whole)
                self._wait_for([whole])
                whole.result()
            return False
        return True

    @contextmanager
    def _workers(self) -> Iterator[Callable[..., Future[None]]]:
        """A few threads; if one fails, or the asking thread does, the others stop."""
        submitted: list[Future[None]] = []

        def submit(work: Callable[..., None], *arguments: int) -> Future[None]:
            try:
                submitted.append(pool.submit(self._work, work, *arguments))
            except RuntimeError as error:
                raise CheckpointError(
                    f"{self._source.name}: the system allows no more threads ({error}): end other"
                    " programs, or raise `ulimit -u`"
                ) from None
            return submitted[-1]

        with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="pythia-traj-fetch") as pool:
            try:
                yield submit
            except BaseException as error:
                self._failed.set()
                # Threads that have begun are waited for: they write into the buffer.
                self._wait_for([future for future in submitted if not future.cancel()])
                self._failed.clear()
                first, self._error = self._error, None
                # What a signal raises is not a failure of the transfer: it is raised as it is.
                raise (first or error if isinstance(error, Exception) else error) from None

    def _wait_for(self, futures: Sequence[Future[None]]) -> None:
        """Waits until they have ended.

        Connections that wait for the other side are ended if the file is not wanted any more, or
        if they wait too long.
        """
        while wait(futures, timeout=_POLL).not_done:
            is_unwanted = self._is_unwanted()
            for abort in list(self._aborts):
                if is_unwanted or abort.is_late:
                    abort()

    def _work(self, work: Callable[..., None], *arguments: int) -> None:
        """The work of one thread; if it fails, the others end as well."""
        try:
            work(*arguments)
        except BaseException as error:
            # The others end because of this error: it is the one to report.
            self._error = self._error or error
            self._failed.set()
            raise

    def _fetch_piece(self, position: int, end: int) -> None:
        """One range, resumed until it is whole."""
        attempts = self._attempts()
        while position < end and not self._failed.is_set():
            before, address = position, self._address.get()
            attempts.host = _host(address)
            try:
                for count in self._receive(address, position, end):
                    position += count
                self._require(
                    position == end or self._failed.is_set(),
                    f"it ended {end - position} bytes early",
                )
            except (httpx2.TransportError, StatusError) as error:
                if position > before and not isinstance(error, _TricklingError):
                    attempts.progressed()
                attempts.failed(self._address.refused(address, error) or error)

    def _fetch_whole(self) -> None:
        """The file by one request without a range, from the start again when it breaks off."""
        attempts = self._attempts()
        size = self._source.file.size
        while True:
            received, address = 0, self._address.get()
            attempts.host = _host(address)
            try:
                for count in self._receive(address, 0, size, ranged=False):
                    received += count
                self._require(received == size, f"it ended {size - received} bytes early")
                return
            except (httpx2.TransportError, StatusError) as error:
                if received and not isinstance(error, _TricklingError):
                    attempts.heard()
                attempts.failed(self._address.refused(address, error) or error)

    def _receive(
        self, address: "_Found", position: int, end: int, *, ranged: bool = True
    ) -> Iterator[int]:
        """Writes what one answer brings into the buffer, and yields how much as it comes."""
        url, headers = address
        headers = {**headers, "accept-encoding": "identity"}
        if ranged:
            headers["range"] = f"bytes={position}-{end - 1}"
        client = self._source.client
        with get(url, headers, client.retry.timeouts, self._aborts, client.connections) as answer:
            self._check(answer, position, end, ranged)
            flow = _Flow()
            # More than was promised is not read: another range follows in the buffer.
            while position < end and (count := answer.read_into(self._buffer[position:end])):
                METER.add(count)
                position += count
                yield count
                flow.add(count)
                if self._source.stopped.is_set():
                    raise CheckpointError(f"{self._source.name}: stopped")
                if self._failed.is_set():
                    return

    def _check(self, answer: Answer, position: int, end: int, ranged: bool) -> None:
        """Checks that the answer to a range is that range.

        Without this check, the first bytes of a whole file would be taken for the range.
        """
        if answer.status >= 400:
            raise StatusError(answer.status, answer.headers)
        size = self._source.file.size
        packing = answer.headers.get("content-encoding", "identity")
        self._require(
            packing.strip().lower() in {"identity", ""}, "it is packed, which was not asked for"
        )
        if answer.status == 206:
            sent = answer.headers.get("content-range")
            self._require(
                ranged and sent == f"bytes {position}-{end - 1}/{size}", f"it sent {shown(sent)}"
            )
            return
        length = answer.headers.get("content-length")
        right = answer.status == 200 and length in {None, str(size)}
        self._require(right, f"it sent {shown(length)} bytes, status {answer.status}")
        if ranged and (position, end) != (0, size):
            raise _RangesIgnoredError

    def _attempts(self) -> Attempts:
        return Attempts(self._source.client.retry, self._source.name, self._is_unwanted)

    def _is_unwanted(self) -> bool:
        return self._failed.is_set() or self._source.stopped.is_set()

    def _require(self, condition: bool, otherwise: str) -> None:
        if not condition:
            raise httpx2.RemoteProtocolError(f"not what was asked for: {otherwise}")


_Found = tuple[str, dict[str, str]]
"""An address, and the headers that may be sent to it."""


class _Address:
    """Where a file's bytes are: for a large one a signed address on another host, which expires."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._known: _Found | None = None
        self._error: httpx2.HTTPError | None = None

    def get(self) -> _Found:
        """The address.

        Raises:
            httpx2.HTTPError: the Hub still does not give it after the last retry; later callers
                fail at once.
        """
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._known is None:
                try:
                    self._known = self._source.client.address(
                        self._source.repo, self._source.commit, self._source.file.path
                    )
                except httpx2.HTTPError as error:
                    self._error = error
                    raise
            return self._known

    def refused(self, found: _Found, error: Exception) -> Exception | None:
        """An error that may pass, if the address was refused: it is then asked for again.

        None for any other error.
        """
        if not (isinstance(error, StatusError) and error.status in {401, 403, 404, 410}):
            return None
        with self._lock:
            # Another thread may already have a new one.
            if self._known is found:
                self._known = None
        return httpx2.ReadError(f"the address is not valid any more ({describe(error)})")


def _host(found: _Found) -> str:
    url = httpx2.URL(found[0])
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def _pieces(span: Span) -> Iterator[Span]:
    start, end = span
    for position in range(start, end, SEGMENT):
        yield position, min(position + SEGMENT, end)
