"""The bytes of a file of the Hub -> a buffer.

Several ranges come at a time, are resumed where they broke off, and hashed as they come. The buffer
is memory, or a file on disk that is mapped into memory; this module does not care. Ranges are
fetched by a few threads, in order; the thread that asked follows them with the digest, so that
checking costs no time of its own while the network is the slower.
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
"""Seconds that are counted as one, and how many of them are remembered."""

_TRICKLE_BYTES, _TRICKLE_SECONDS = 6_000, 60.0
"""Fewer bytes of one range in so many seconds are as none.

A connection that brings them is taken for dead.
"""

_POLL = 0.1
"""Seconds between looks at whether anybody waits for the file any more."""

Span = tuple[int, int]
"""First byte, and one after the last."""


class Meter:
    """Counts bytes that cross the network, for whoever shows a rate.

    Any number of threads may add.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[tuple[float, int]] = deque(maxlen=_SLOTS)
        self.total = 0

    def add(self, count: int) -> None:
        """So many bytes have arrived."""
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
"""Of this process."""


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


class _TricklingError(httpx2.RemoteProtocolError):
    """So few bytes come that the file would never be whole."""


class _Flow:
    """Notices when next to nothing comes: a time-out begins anew with every byte."""

    def __init__(self) -> None:
        self._since, self._count = time.monotonic(), 0

    def add(self, count: int) -> None:
        """So many bytes have arrived.

        Raises:
            _TricklingError: they are next to none.
        """
        self._count += count
        if (lasted := time.monotonic() - self._since) < _TRICKLE_SECONDS:
            return
        if self._count < _TRICKLE_BYTES:
            raise _TricklingError(f"only {self._count} bytes came in {lasted:.0f} s")
        self._since, self._count = time.monotonic(), 0


class _RangesIgnoredError(Exception):
    """The server sends the whole file whatever is asked for."""


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

        False where it had to fetch the whole file instead.

        Raises:
            httpx2.HTTPError: they cannot be had, for all retry.
        """
        return self._run(spans, lambda end: None)

    def complete(self, spans: Sequence[Span]) -> bool:
        """Fetches what is missing; says whether the whole buffer then is the file that was listed.

        Args:
            spans: ascending, disjoint; what lies between them is in the buffer already.

        Raises:
            httpx2.HTTPError: they cannot be had, for all retry.
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

        False where it had to begin again with the whole file.
        """
        # Once, before several threads want it: where the Hub does not say, each of them would find
        # that out for itself.
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
                    f"{self._source.name}: the system allows no further thread ({error}): end other"
                    " programs, or raise `ulimit -u`"
                ) from None
            return submitted[-1]

        with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="pythia-traj-fetch") as pool:
            try:
                yield submit
            except BaseException as error:
                self._failed.set()
                # Whoever has begun is waited for: it writes into the buffer.
                self._wait_for([future for future in submitted if not future.cancel()])
                self._failed.clear()
                first, self._error = self._error, None
                # What a signal raises is no failure of the transfer: nothing takes its place.
                raise (first or error if isinstance(error, Exception) else error) from None

    def _wait_for(self, futures: Sequence[Future[None]]) -> None:
        """Waits until they have ended.

        Connections that wait for the other side are ended where nobody wants them, or they wait too
        long.
        """
        while wait(futures, timeout=_POLL).not_done:
            is_unwanted = self._is_unwanted()
            for abort in list(self._aborts):
                if is_unwanted or abort.is_late:
                    abort()

    def _work(self, work: Callable[..., None], *arguments: int) -> None:
        """What one of the threads does; if it fails, the others end as well."""
        try:
            work(*arguments)
        except BaseException as error:
            # The others end because of this one: it is what has to be told.
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
            # More than was promised is not read: a buffer's neighbour is another range.
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
        """An answer to a range has to be that range.

        A naive reader would put the first bytes of a whole file into its place.
        """
        if answer.status >= 400:
            raise StatusError(answer.status, answer.headers)
        size = self._source.file.size
        packing = answer.headers.get("content-encoding", "identity")
        self._require(
            packing.strip().lower() in {"identity", ""}, "it is packed, and nobody asked for that"
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
"""An address, and the headers that may be sent there."""


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
            httpx2.HTTPError: the Hub does not say, for all retry; who asks after that is not
                kept waiting again.
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
        """For a refused address, which is then asked for anew, an error that passes.

        None for any other error.
        """
        if not (isinstance(error, StatusError) and error.status in {401, 403, 404, 410}):
            return None
        with self._lock:
            # Another thread may have a new one already.
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
