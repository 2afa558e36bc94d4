"""Connections to the hosts of files that are kept open from one range to the next.

A new one costs two round trips, four with encryption, and begins slowly. Only a connection whose
last answer was read to its very end is kept: the rest of one answer must never be read as the next.
"""

import http.client
import os
import selectors
import threading
import time
from contextlib import suppress
from ssl import SSLSocket
from urllib.parse import SplitResult

from pythia_traj.hub.network import ssl_context

CONNECTIONS = 4
"""Ranges fetched at once, and so the connections to a host that are worth keeping."""

_IDLE = 30.0
"""Seconds after which an unused one is closed: routers forget it without telling either side."""

Host = tuple[str, str]
"""Scheme, and name with port."""


class Connections:
    """The connections of one client that wait for their next request.

    Any number of threads may take and return them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Host, list[tuple[float, http.client.HTTPConnection]]] = {}
        self._process = os.getpid()

    def take(self, host: Host) -> http.client.HTTPConnection | None:
        """One that is still open; it is the caller's until it is returned or closed."""
        with self._lock:
            self._close_old()
            waiting = self._waiting.get(host, [])
            while waiting:
                _, connection = waiting.pop()
                if not _is_spent(connection):
                    return connection
                connection.close()
        return None

    def give_back(self, host: Host, connection: http.client.HTTPConnection) -> None:
        """Takes one back whose last answer was read to its end."""
        with self._lock:
            self._close_old()
            waiting = self._waiting.setdefault(host, [])
            if len(waiting) < CONNECTIONS:
                waiting.append((time.monotonic(), connection))
                return
        connection.close()

    def close(self) -> None:
        """Closes all that wait."""
        with self._lock:
            for waiting in self._waiting.values():
                for _, connection in waiting:
                    connection.close()
            self._waiting.clear()

    def _close_old(self) -> None:
        # A process that was forked has the same sockets as its parent: they are the parent's to
        # use.
        inherited, self._process = self._process != os.getpid(), os.getpid()
        now = time.monotonic()
        for host, waiting in list(self._waiting.items()):
            kept = []
            for since, connection in waiting:
                if inherited or now - since > _IDLE:
                    connection.close()
                else:
                    kept.append((since, connection))
            self._waiting[host] = kept
            if not kept:
                del self._waiting[host]


def host_of(parts: SplitResult) -> Host:
    """The host that an address names."""
    return parts.scheme, parts.netloc.rpartition("@")[2]


def new_connection(host: Host, seconds: float | None) -> http.client.HTTPConnection:
    """One that is not connected yet."""
    scheme, name = host
    if scheme == "https":
        return http.client.HTTPSConnection(name, timeout=seconds, context=ssl_context())
    return http.client.HTTPConnection(name, timeout=seconds)


def _is_spent(connection: http.client.HTTPConnection) -> bool:
    """Whether the other side has closed it, or sent something without being asked.

    In both cases the socket has something to read.
    """
    sock = connection.sock
    if isinstance(sock, SSLSocket) and sock.pending():
        return True
    with suppress(OSError, ValueError), selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(0))
    return True
