"""Who is answered: only requests to the server's own names, with its token where it has one.

A page of another site may name an address of its own that leads to this machine (DNS rebinding):
its requests then carry that site's host name, and are refused.
"""

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address
from urllib.parse import urlencode

from flask import Flask, Response, redirect, request

_ELSEWHERE = ("cross-site", "same-site")
"""What a browser says of requests that another server's page makes."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")

_COOKIE = "pythia_traj"


@dataclass(frozen=True)
class Guard:
    """What a request must have.

    Attributes:
        names: host names and addresses under which the server is reached.
        prefix: the path of the page, `/` or `/x/`.
        token: what a reader must know; empty for nothing.
    """

    names: frozenset[str]
    prefix: str
    token: str

    @classmethod
    def of(cls, host: str, names: Iterable[str] = (), prefix: str = "/") -> "Guard":
        """That of a server on an address: with a token unless only this machine can reach it.

        Args:
            host: the address that it is bound to.
            names: further names under which it is reached, such as that of a JupyterHub.
            prefix: the path of the page.
        """
        further = frozenset(one.lower().strip("[]") for one in names)
        alone = is_loopback(host) and not further
        known = {*LOOPBACK, host.lower().strip("[]"), *further}
        return cls(frozenset(known), prefix, "" if alone else secrets.token_urlsafe(24))

    @property
    def cookie(self) -> str:
        """The name of the cookie that holds the token.

        It is this server's own: a browser sends those of all ports of a host to each of them.
        """
        return f"{_COOKIE}_{sha256(self.token.encode()).hexdigest()[:12]}"

    def protect(self, server: Flask, scripts: Iterable[str]) -> None:
        """Checks each request of a server, and sends its policy with each answer.

        Args:
            server: a Flask server.
            scripts: the hashes of the scripts that are in the page itself.
        """
        policy = _policy(scripts)

        @server.before_request
        def _check() -> Response | tuple[str, int] | None:
            if _name_of(request.host) not in self.names:
                return "this server does not answer to that host name", 403
            if request.method not in ("GET", "HEAD", "POST"):
                return "this server only answers GET and POST", 405
            if request.method == "POST" and request.headers.get("Sec-Fetch-Site") in _ELSEWHERE:
                return "questions come from this server's own page", 403
            if not self.token or self._knows(request.cookies.get(self.cookie, "")):
                return None
            given = request.args.get("token", "")
            if not self._knows(given):
                return "give the address that the server printed: it holds a token", 403
            # The token does not stay in the address, which a reader may pass on.
            rest = [(name, one) for name, one in request.args.items(multi=True) if name != "token"]
            answer = redirect(f"{self.prefix}?{urlencode(rest)}" if rest else self.prefix)
            # Lax: a strict one is not sent by who comes from a link in another site's page, and no
            # question that a foreign page may ask with it changes anything.
            answer.set_cookie(self.cookie, given, httponly=True, samesite="Lax", path=self.prefix)
            return answer  # type: ignore[return-value]

        @server.after_request
        def _headers(answer: Response) -> Response:
            answer.headers["Content-Security-Policy"] = policy
            answer.headers["X-Content-Type-Options"] = "nosniff"
            answer.headers["Referrer-Policy"] = "no-referrer"
            answer.headers.setdefault("Cache-Control", "no-store")
            return answer

    def _knows(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server on this address.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _name_of(host: str) -> str:
    """The name in a Host header, without the port."""
    name = host.lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


def _policy(scripts: Iterable[str]) -> str:
    """The content security policy: nothing from elsewhere, no script but the server's own."""
    return "; ".join(
        [
            "default-src 'none'",
            " ".join(["script-src 'self'", *scripts]),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'self'",
        ]
    )
