"""A forward proxy on this machine that notes whom it was asked for: tunnels, and plain requests."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_SECONDS = 10.0
_PLAIN = (
    "connection",
    "content-length",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
)


@dataclass
class Proxy:
    """Where it is, and what it was asked."""

    port: int
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Method and host with port, of each request."""
    authorizations: set[str | None] = field(default_factory=set)


@contextmanager
def forward_proxy() -> Iterator[Proxy]:
    """From `with` to its end."""
    proxy = Proxy(0)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self._note(parts.netloc)
            onward = HTTPConnection(parts.netloc, timeout=_SECONDS)
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in _PLAIN
            }
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            onward.request(self.command, target, headers=headers)
            answer = onward.getresponse()
            body = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _PLAIN:
                    self.send_header(name, value)
            length = (
                answer.getheader("Content-Length") if self.command == "HEAD" else str(len(body))
            )
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(body)
            onward.close()

        do_HEAD = do_GET

        def do_CONNECT(self) -> None:
            self._note(self.path)
            host, _, port = self.path.rpartition(":")
            try:
                onward = socket.create_connection((host, int(port)), timeout=_SECONDS)
            except OSError:
                self.send_error(502)
                return
            with onward:
                self.send_response_only(200)
                self.end_headers()
                self.close_connection = True
                back = threading.Thread(
                    target=_pass_on, args=(onward, self.connection), daemon=True
                )
                back.start()
                _pass_on(self.connection, onward)
                back.join()

        def _note(self, host: str) -> None:
            proxy.asked.append((self.command, host))
            proxy.authorizations.add(self.headers.get("Proxy-Authorization"))

        def log_message(self, *_: Any) -> None:
            """Nothing: what was asked is noted."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        proxy.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Until one side has ended."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for side in (source, target):
        with suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
