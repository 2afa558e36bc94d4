"""One origin: a listening socket and a thread for each connection, HTTP/1.1 with keep-alive."""

import contextlib
import http
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.hub.answers import EMPTY, Answer, Request
from tests.hub.faults import Fault, Faults, parts, spoil
from tests.hub.log import Log, Record
from tests.hub.sending import Sender, reset
from tests.hub.throttle import Throttle

Respond = Callable[[Request], Answer]


@dataclass
class Traffic:
    """What both origins share."""

    faults: Faults = field(default_factory=Faults)
    log: Log = field(default_factory=Log)
    latency: float = 0.0
    closing: threading.Event = field(default_factory=threading.Event)


class Origin(socketserver.ThreadingTCPServer):
    """Serves what `respond` answers on a port of 127.0.0.1, from its creation until `close`."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self,
        name: str,
        respond: Respond,
        traffic: Traffic,
        *,
        throttle: Throttle | None = None,
        port: int = 0,
    ) -> None:
        self.name = name
        self.respond = respond
        self.traffic = traffic
        self.throttle = throttle
        self._connections: list[tuple[socket.socket, threading.Thread]] = []
        self.accepted = 0
        super().__init__(("127.0.0.1", port), Connection)
        self._accepting = threading.Thread(target=self._accept, name=f"{name} origin", daemon=True)
        self._accepting.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def _accept(self) -> None:
        # Not serve_forever, which polls: that costs time at each end, and wakes a core that a
        # benchmark wants.
        while True:
            try:
                connection, address = self.get_request()
            except ConnectionAbortedError:
                continue  # A client that has left already.
            except OSError:
                if self.traffic.closing.is_set():
                    return
                raise
            self.accepted += 1
            self.process_request(connection, address)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name=f"{self.name} answer",
            daemon=True,
        )
        self._connections = [
            (connection, answer) for connection, answer in self._connections if answer.is_alive()
        ]
        self._connections.append((request, thread))
        thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that leave early are part of the game; any other error is one of the hub's own.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def end_connections(self) -> None:
        """Closes those that are open now, as a server does with idle ones."""
        for connection, thread in self._connections:
            with contextlib.suppress(OSError):  # It may have ended by itself.
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()

    def close(self) -> None:
        """Ends all connections, in mid-answer too, and waits for the origin's threads."""
        self.traffic.closing.set()
        self.socket.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self.end_connections()
        self.server_close()


class Connection(BaseHTTPRequestHandler):
    """Reads requests, has them answered, sends the answers and writes the log.

    An answer is spoiled first if a fault is planned.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Origin

    def do_GET(self) -> None:
        started, clock = time.time(), time.monotonic()
        traffic = self.server.traffic
        number = traffic.log.number()
        request = self._read()
        answer = self.server.respond(request)
        fault = traffic.faults.take(request, answer)
        if fault is not None:
            answer = spoil(fault, request, answer, self.server.respond)
        record = _record(request, answer, fault, started)

        def note(sent: int) -> None:
            traffic.log.write(number, replace(record, sent=sent, seconds=time.monotonic() - clock))

        if traffic.latency:
            traffic.closing.wait(traffic.latency)
        self._answer(request, answer, fault, note)

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, *_: Any) -> None:
        """Nothing: the hub has a log of its own."""

    def _read(self) -> Request:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(self.server.name, self.command, address.path, address.query, headers, body)

    def _answer(
        self, request: Request, answer: Answer, fault: Fault | None, note: Callable[[int], None]
    ) -> None:
        if fault is not None and fault.kind == "reset":
            note(0)
            self._reset()
            return
        body = EMPTY if request.method == "HEAD" else answer.body
        sender = Sender(self.connection, self.server.throttle, self.server.traffic.closing, note)
        try:
            ending = sender.send(_head(answer), parts(body, fault))
        finally:
            note(sender.sent)
        if ending is not None and ending.reset:
            self._reset()
        elif ending is not None:
            self.close_connection = True

    def _reset(self) -> None:
        self.close_connection = True
        self.rfile.close()  # A socket stays open as long as a file made from it.
        reset(self.connection)


def _head(answer: Answer) -> bytes:
    headers = {**answer.headers, "Content-Length": str(len(answer.body))}
    lines = [f"HTTP/1.1 {answer.status} {http.HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _record(request: Request, answer: Answer, fault: Fault | None, started: float) -> Record:
    return Record(
        origin=request.origin,
        method=request.method,
        path=request.path,
        query=request.query,
        kind=answer.kind,
        range=request.range,
        authorized="authorization" in request.headers,
        status=0 if fault is not None and fault.kind == "reset" else answer.status,
        sent=0,
        start=started,
        seconds=0.0,
        fault=None if fault is None else fault.kind,
    )
