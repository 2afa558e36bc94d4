"""Asks a served page as a browser does, and as browsers never do."""

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """A reader of one server.

    Attributes:
        port: the server's, on this machine.
        prefix: the path under which it is asked.
        cookie: what the reader sends of it.
    """

    port: int
    prefix: str = "/"
    cookie: str = ""
    address: str = "127.0.0.1"
    _known: dict[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, url: str, **more: Any) -> "Client":
        return cls(urlsplit(url).port or 80, **more)

    def get(
        self,
        path: str = "",
        host: str | bytes | None = "localhost",
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str | bytes] | None = None,
    ) -> Answer:
        """One request; `path` is below the prefix."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=30)
        try:
            connection.putrequest(method, self.prefix + path, skip_host=True)
            if host is not None:
                connection.putheader("Host", host)
            if self.cookie:
                connection.putheader("Cookie", self.cookie)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            found = connection.getresponse()
            return Answer(found.status, found.headers, found.read())
        finally:
            connection.close()

    def post(self, body: bytes, **more: Any) -> Answer:
        """A question to Dash, whatever it is."""
        kind = {"Content-Type": "application/json"}
        return self.get("_dash-update-component", method="POST", body=body, headers=kind, **more)

    def ask(self, output: str, **values: Any) -> Answer:
        """A question as the page asks it.

        Args:
            output: `component.property`, the first that is answered.
            **values: of the components that are read, `choice={...}`; others are null.
        """
        found = self._dependency(output)
        given = [
            [{**one, "value": values.get(one["id"])} for one in found[kind]]
            for kind in ("inputs", "state")
        ]
        outputs = [
            dict(zip(("id", "property"), name.rsplit(".", 1), strict=True))
            for name in found["output"].strip(".").split("...")
        ]
        several = found["output"].startswith("..")
        body = {
            "output": found["output"],
            "outputs": outputs if several else outputs[0],
            "inputs": given[0],
            "state": given[1],
            "changedPropIds": [f"{one['id']}.{one['property']}" for one in given[0]][:1],
        }
        return self.post(json.dumps(body).encode())

    def offered(self, asked: object) -> Any:
        """What there is to choose and to draw."""
        return self.ask("offered.data", asked=asked).json["response"]["offered"]["data"]

    def drawings(self, what: str, query: str = "", **more: object) -> Answer:
        """The question for drawings."""
        given = "&".join([query, *(f"{name}={value}" for name, value in more.items())])
        return self.get(f"drawings/{what}?{given}")

    def _dependency(self, output: str) -> dict[str, Any]:
        if not self._known:
            found = self.get("_dash-dependencies").json
            self._known.update({one["output"].strip(".").split("...")[0]: one for one in found})
        return self._known[output]


def raw(port: int, data: bytes) -> bytes:
    """What a server says to some bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while block := connection.recv(1 << 16):
            found += block
        return found
