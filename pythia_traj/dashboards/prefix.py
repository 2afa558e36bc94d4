"""A page below another path, as proxies serve it.

Some proxies take the path away before they ask (JupyterHub's `/user/me/proxy/8050`), some leave it
there (Open OnDemand's `/node/host/8050`): both are answered.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from pythia_traj.errors import ConfigError

_PATH = re.compile(r"(/[A-Za-z0-9._~@%+-]+)*/?")

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
"""As WSGI has it."""


def checked_prefix(prefix: str) -> str:
    """A prefix as a path with a slash at both ends.

    >>> checked_prefix("/user/me"), checked_prefix("/")
    ('/user/me/', '/')

    Raises:
        ConfigError: it is not a path.
    """
    if not prefix.startswith("/") or not _PATH.fullmatch(prefix) or "/.." in prefix:
        raise ConfigError(f"prefix {prefix!r}: give a path such as /user/me/proxy/8050")
    return prefix if prefix.endswith("/") else f"{prefix}/"


def under_prefix(application: Application, prefix: str) -> Application:
    """An application that also answers to its paths below a prefix."""
    # As WSGI gives paths: `%40` is decoded, each byte a character.
    below = unquote_to_bytes(prefix).decode("latin-1")

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if below != "/" and (path + "/").startswith(below):
            environ = environ | {"PATH_INFO": "/" + path[len(below) :]}
        return application(environ, start_response)

    return answer
