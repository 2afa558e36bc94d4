"""One GET whose body goes straight into a buffer.

The client's own session gives a body in small pieces, each copied several times while the
interpreter's lock is held: several connections then get in each other's way, and a fast network
waits for Python. Here the socket writes into the buffer itself. Proxies and redirects go through
the client's session, which handles them.
"""

import http.client
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx2
from huggingface_hub import get_session

from pythia_traj.hub.connections import Connections, host_of, new_connection

_CHUNK, _PAUSE = 1 << 20, 0.1
"""A call returns after so many bytes, or so many seconds.

Then the caller can check whether the bytes are still wanted.
"""

_HEAD = 2
"""Time-outs within which the head of an answer has to come.

A limit is needed, because each of its bytes starts the time-out of a socket again.
"""


@dataclass(frozen=True)
class Answer:
    """A status, headers (names in lower case), and a body to be read into buffers."""

    status: int
    headers: Mapping[str, str]
    read_into: Callable[[memoryview], int]
    """Fills the beginning of a buffer and says how much; 0 is the end."""


@contextmanager
def get(
    url: str,
    headers: Mapping[str, str],
    timeouts: httpx2.Timeout,
    aborts: "Aborts",
    connections: Connections,
) -> Iterator[Answer]:
    """The answer to a GET; the caller checks its status.

    Args:
        aborts: has an entry for as long as the connection is in use.
        connections: connections to use again; this one is added if its body was read to the end.

    Raises:
        httpx2.TransportError: no answer comes, or it breaks off.
    """
    url = _plain(url)
    if _needs_the_client(url):
        with _by_client(url, headers, timeouts) as answer:
            yield answer
        return
    with _by_socket(url, headers, timeouts, aborts, connections) as direct:
        if not 300 <= direct.status < 400:
            yield direct
            return
    with _by_client(url, headers, timeouts) as answer:
        yield answer


@contextmanager
def _by_socket(
    url: str,
    headers: Mapping[str, str],
    timeouts: httpx2.Timeout,
    aborts: "Aborts",
    connections: Connections,
) -> Iterator[Answer]:
    parts, abort = urlsplit(url), Abort()
    connection: http.client.HTTPConnection | None = None
    is_whole = False
    aborts.add(abort)
    try:
        connection, response = _ask(parts, headers, timeouts, abort, connections)
        body = _Body(response)
        # If the server is going to end the connection, the response closes the socket.
        with response:
            named = {name.lower(): value for name, value in response.getheaders()}
            yield Answer(response.status, named, body.read_into)
        is_whole = body.is_whole
    finally:
        aborts.discard(abort)
        abort.sock = None
        if connection is not None and is_whole and not abort.called:
            connections.give_back(host_of(parts), connection)
        elif connection is not None:
            connection.close()


def _ask(
    parts: SplitResult,
    headers: Mapping[str, str],
    timeouts: httpx2.Timeout,
    abort: "Abort",
    connections: Connections,
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Sends a request and waits for the head of its answer.

    It goes over a connection that was kept, if there is one.
    """
    host = host_of(parts)
    kept = connections.take(host)
    if kept is not None:
        try:
            return kept, _exchange(kept, parts, headers, timeouts, abort)
        except httpx2.ReadError as error:
            # Servers close a connection that has waited for long. If that and the request cross,
            # the request itself did not fail.
            if abort.called or not isinstance(error.__cause__, ConnectionError | ssl.SSLError):
                raise
    new = new_connection(host, timeouts.connect)
    return new, _exchange(new, parts, headers, timeouts, abort)


def _exchange(
    connection: http.client.HTTPConnection,
    parts: SplitResult,
    headers: Mapping[str, str],
    timeouts: httpx2.Timeout,
    abort: "Abort",
) -> http.client.HTTPResponse:
    """A request and the head of its answer, over a connection that is closed if no head comes."""
    try:
        if connection.sock is None:
            with _as_transport_errors(httpx2.ConnectError, httpx2.ConnectTimeout):
                connection.connect()
        # The connection forgets its socket if the server is going to close it.
        abort.sock = connection.sock
        abort.until = None if timeouts.read is None else time.monotonic() + _HEAD * timeouts.read
        connection.sock.settimeout(timeouts.read)
        with _as_transport_errors(httpx2.ReadError, httpx2.ReadTimeout):
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            connection.request("GET", target, headers=dict(headers))
            response = connection.getresponse()
            abort.until = None
            return response
    except BaseException:
        connection.close()
        raise


class Abort:
    """Ends a request from another thread, except while it waits for the connection itself."""

    def __init__(self) -> None:
        self.called = False
        self.sock: socket.socket | None = None
        self.until: float | None = None

    def __call__(self) -> None:
        """Ends it now."""
        self.called = True
        if self.sock is not None:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    @property
    def is_late(self) -> bool:
        """Whether the head of the answer should have come by now."""
        return self.until is not None and time.monotonic() > self.until


Aborts = set[Abort]
"""Calls that end the open connections, even one that waits for the other side."""


class _Body:
    """A response's body; what has arrived is not lost when the connection breaks."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self._left = None if response.chunked else response.length
        self._broken: httpx2.TransportError | None = None
        self._buffered: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the connection is ready for the next request.

        It is if all the promised bytes were read, and no more have come.
        """
        return (
            self._left == 0
            and self._buffered == 0
            and self._broken is None
            and not self._response.will_close
        )

    def read_into(self, buffer: memoryview) -> int:
        if self._broken is not None:
            raise self._broken
        # A read after the end would wait for an answer to a request that was never sent.
        most = _CHUNK if self._left is None else min(_CHUNK, self._left)
        buffer, filled, until = buffer[:most], 0, time.monotonic() + _PAUSE
        while filled < len(buffer) and time.monotonic() < until:
            try:
                with _as_transport_errors(httpx2.ReadError, httpx2.ReadTimeout):
                    count = self._read_once(buffer[filled:])
            except httpx2.TransportError as error:
                if not filled:
                    raise
                self._broken = error
                break
            if not count:
                break
            filled += count
            if self._left is not None:
                self._left -= count
        return filled

    def _read_once(self, buffer: memoryview) -> int:
        """Reads once from the socket, and says how much came.

        The response's own method waits until the buffer is full, and loses it all at an error.
        """
        if self._response.chunked:
            return self._response.readinto(buffer)
        stream: Any = self._response.fp
        if stream is None:
            return 0
        if self._buffered is None:
            # Bytes that came with the headers, or the first ones after them.
            self._buffered = len(stream.peek(1))
        if self._buffered:
            count = int(stream.readinto(buffer[: self._buffered]))
            self._buffered -= count
            return count
        return int(stream.raw.readinto(buffer))


@contextmanager
def _by_client(url: str, headers: Mapping[str, str], timeouts: httpx2.Timeout) -> Iterator[Answer]:
    with get_session().stream(
        "GET", url, headers=dict(headers), timeout=timeouts, follow_redirects=True
    ) as response:
        chunks = response.iter_raw()
        left = memoryview(b"")

        def read_into(buffer: memoryview) -> int:
            nonlocal left
            if not left:
                left = memoryview(next(chunks, b""))
            count = min(len(left), len(buffer))
            buffer[:count] = left[:count]
            left = left[count:]
            return count

        yield Answer(response.status_code, dict(response.headers), read_into)


@contextmanager
def _as_transport_errors(
    broken: type[httpx2.TransportError], late: type[httpx2.TransportError]
) -> Iterator[None]:
    """Raises the standard library's errors as the client's."""
    try:
        yield
    except TimeoutError as error:
        raise late(str(error) or "nothing came for too long") from error
    except (OSError, http.client.HTTPException) as error:
        raise broken(str(error) or type(error).__name__) from error


def _plain(url: str) -> str:
    """An address as it can be sent: in ASCII, without control characters.

    Raises:
        httpx2.UnsupportedProtocol: it is not the address of a web server.
    """
    try:
        plain = httpx2.URL(url)
        # An impossible name is noticed here, before it is looked up.
        plain.host.encode("idna")
        if plain.scheme in {"http", "https"} and plain.host and (plain.port or 0) < 1 << 16:
            return str(plain.copy_with(fragment=None, username=None, password=None))
    except (httpx2.InvalidURL, ValueError):
        pass
    raise httpx2.UnsupportedProtocol("the address of the file is not a web server's")


def _needs_the_client(url: str) -> bool:
    """Whether a proxy is set for an address."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    is_named = bool(proxies.get(parts.scheme) or proxies.get("all"))
    return is_named and not urllib.request.proxy_bypass(parts.netloc)
