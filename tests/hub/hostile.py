"""Servers that answer for the Hub and say anything at all: raw bytes, for each kind of question.

What is not planned is answered as a Hub answers for one small repository, `me/tiny`: the branches
`main` and `step1`, one commit, and in it `config.json` and `model.safetensors`.
"""

import hashlib
import json
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pythia_traj.hub.retry import RetryPolicy
from tests.hub.fixtures import point_to
from tests.hub.routes import asked

REPO, COMMIT = "me/tiny", "c" * 40
CONTENT = b'{"model_type": "gpt_neox"}'
LISTED = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
FILE = {"type": "file", "path": "config.json", "size": len(CONTENT), "oid": LISTED}
WEIGHTS = {
    "type": "file",
    "path": "model.safetensors",
    "size": 8,
    "oid": "d" * 40,
    "lfs": {"oid": "e" * 64, "size": 8},
}
REFS = {"branches": [{"name": name, "targetCommit": COMMIT} for name in ("main", "step1")]}

QUICK = RetryPolicy(
    attempts=2, first=0.01, longest=0.02, retry_after=0.1, timeout=0.5, connect=0.5, total=3.0
)

Chunks = Iterable[bytes]
Says = bytes | Callable[["Asked"], Chunks]
"""What is sent: at once, or piece by piece for as long as somebody listens."""


@dataclass(frozen=True)
class Asked:
    """A request, and whom it came from.

    Its `kind` is one of `refs`, `tree`, `head`, `get`, `whoami` and `models`.
    """

    kind: str
    path: str
    headers: Mapping[str, str]
    origin: str
    """Of the server that was asked."""


@dataclass
class Hostile:
    """A server on 127.0.0.1."""

    endpoint: str
    says: dict[str, Says]
    requests: list[Asked] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def authorizations(self) -> set[str | None]:
        """What it was told of who asks."""
        return {request.headers.get("authorization") for request in self.requests}


def answer(
    body: Any = b"",
    *,
    status: int = 200,
    reason: str = "OK",
    length: int | None = None,
    **headers: str,
) -> bytes:
    """An answer as bytes; a value that is no bytes is sent as JSON.

    Underscores in names of headers are hyphens.
    """
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {
        "content-length": str(len(content) if length is None else length),
        "connection": "close",
    }
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [
        f"HTTP/1.1 {status} {reason}",
        *(f"{name}: {value}" for name, value in named.items() if value),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + content


def goes_on(pieces: Chunks, **headers: str) -> Callable[[Asked], Chunks]:
    """An answer whose length is not said, and which goes on for as long as there are pieces."""

    def say(_: Asked) -> Iterator[bytes]:
        yield answer(content_length="", **headers)
        yield from pieces

    return say


@contextmanager
def hostile(**says: Says) -> Iterator[Hostile]:
    """From `with` to its end."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = b""
            while not head.endswith(b"\r\n\r\n") and (line := self.rfile.readline(65536)):
                head += line
            if not head:
                return
            first, *lines = head.decode("latin-1").split("\r\n")
            method, path, _ = first.split(" ")
            headers = {
                name.lower(): value
                for name, _, value in (line.partition(": ") for line in lines)
                if name
            }
            kind = asked([part for part in path.partition("?")[0].split("/") if part]).kind
            kind = (
                {"HEAD": "head", "GET": "get"}[method] if kind in ("resolve", "unknown") else kind
            )
            request = Asked(kind, path, headers, server.endpoint)
            server.requests.append(request)
            planned = server.says.get(kind, _HONEST[kind])
            with suppress(ConnectionError):
                for chunk in (planned,) if isinstance(planned, bytes) else planned(request):
                    if server.stopped.is_set():
                        return
                    self.wfile.write(chunk)

    class Listening(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True
        request_queue_size = 128

    with Listening(("127.0.0.1", 0), Handler) as listening:
        server = Hostile(f"http://127.0.0.1:{listening.server_address[1]}", dict(says))
        thread = threading.Thread(
            target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        thread.start()
        try:
            yield server
        finally:
            server.stopped.set()
            listening.shutdown()
            thread.join()


@pytest.fixture
def alone(online: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of the test's own, and little retry."""
    monkeypatch.setenv("PYTHIA_TRAJ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("pythia_traj.hub.client.RetryPolicy", lambda: QUICK)


@pytest.fixture
def serve(alone: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Hostile]]:
    """Starts a server, to which the client is pointed until the test ends."""
    with ExitStack() as running:

        def start(**says: Says) -> Hostile:
            server = running.enter_context(hostile(**says))
            point_to(monkeypatch, server.endpoint)
            return server

        yield start


_HONEST: dict[str, bytes] = {
    "refs": answer(REFS),
    "tree": answer([FILE, WEIGHTS]),
    "head": answer(length=len(CONTENT), etag=f'"{LISTED}"', x_repo_commit=COMMIT),
    "get": answer(CONTENT),
    "whoami": answer({"name": "reader"}),
    "models": answer([]),
}
