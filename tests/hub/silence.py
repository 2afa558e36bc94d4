"""Servers that are there and say nothing: a port, and a hub's answers to some requests."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.hub.answers import Answer, Request
from tests.hub.faults import Fault


@dataclass
class SilentPort:
    """A port of 127.0.0.1 that accepts every connection, reads what comes and never answers."""

    endpoint: str
    accepted: list[socket.socket] = field(default_factory=list)


@contextmanager
def silent_port() -> Iterator[SilentPort]:
    """From `with` to its end."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        port = SilentPort(f"http://127.0.0.1:{listening.getsockname()[1]}")

        def accept() -> None:
            while True:
                try:
                    port.accepted.append(listening.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield port
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in port.accepted:
                connection.close()


class Silence:
    """A hub's planned silence: requests that fit are read and never answered, until it ends."""

    def __init__(self, kind: str, path: str = "", method: str = "") -> None:
        """Which requests: of a kind of the log, with a part of the path, by a method."""
        self.kind, self.path, self.method = kind, path, method
        self.requests: list[Request] = []
        self.began: float | None = None
        self._over = threading.Event()

    def take(self, request: Request, answer: Answer) -> Fault | None:
        if (
            answer.kind != self.kind
            or self.path not in request.path
            or self.method not in ("", request.method)
        ):
            return None
        self.began = self.began or time.monotonic()
        self.requests.append(request)
        self._over.wait()
        return Fault("reset")

    def end(self) -> None:
        """Lets go of those who wait."""
        self._over.set()
