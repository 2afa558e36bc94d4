"""What the environment says of the Hub: where it is and who asks.

It is checked by form before any request. A copied address or token often has quotes or line breaks
around it. The Hub's client takes them as they are, and then fails far from the cause. A user and a
password in the address are for that origin alone, and never shown.
"""

import os
import re
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from pythia_traj.errors import HubError

DEFAULT = "https://huggingface.co"

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")

_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?:(?P<user>[^@/?#\\]*)@)?"
    r"(?P<host>[a-z0-9_-][a-z0-9._-]*|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[a-z0-9._~%!$&'()*+,;=:-]+)*)/*",
    re.IGNORECASE | re.ASCII,
)

_LONGEST = 4096
"""Characters of a token or an address."""

_LAST_PORT = 65535


@dataclass(frozen=True)
class Endpoint:
    """Where the Hub is.

    Attributes:
        address: without user and password, and without a slash at its end.
        authorization: the header for user and password; None without them.
    """

    address: str
    authorization: str | None = None


def endpoint(given: str) -> Endpoint:
    """The Hub at an address, as `HF_ENDPOINT` gives it; at the usual one if that is empty.

    Raises:
        HubError: it is not an address.
    """
    if not given.strip():
        return Endpoint(DEFAULT)
    _refuse_wrappings("HF_ENDPOINT", given)
    match = _ADDRESS.fullmatch(given)
    if match is None or int(match["port"] or 0) > _LAST_PORT:
        # An address that may hold a password is not quoted.
        quoted = "" if "@" in given or "?" in given else f" {given[:80]!r}"
        raise HubError(
            f"HF_ENDPOINT{quoted} is not the address of a Hub: give one such as {DEFAULT}, or"
            " unset it"
        )
    host = f"{match['host']}:{match['port']}" if match["port"] else match["host"]
    address = f"{match['scheme'].lower()}://{host}{match['path']}"
    if match["user"] is None:
        return Endpoint(address)
    user, colon, password = match["user"].partition(":")
    both = f"{unquote(user)}:{unquote(password) if colon else ''}"
    encoded = b64encode(both.encode()).decode("ascii")
    return Endpoint(address, f"Basic {encoded}")


def check_importable() -> None:
    """Whether the Hub's client can be imported.

    On import it reads `HF_ENDPOINT`, and ends with a traceback if that is not an address.

    Raises:
        HubError: it cannot.
    """
    given = os.environ.get("HF_ENDPOINT", "")
    try:
        _ = urlsplit(given).port
    except ValueError:
        endpoint(given)


def check_tokens() -> None:
    """Checks the tokens in the environment.

    Raises:
        HubError: one of them cannot be sent.
    """
    for name in TOKENS:
        check_token(name, os.environ.get(name, ""))


def check_token(name: str, given: str) -> None:
    """Checks that a token can be sent; an empty one means no token.

    Args:
        name: what gives it, for messages.

    Raises:
        HubError: it cannot.
    """
    if given.strip():
        _refuse_wrappings(name, given)


def _refuse_wrappings(name: str, given: str) -> None:
    """Refuses characters that were copied along with a value, without showing the value."""
    if given.strip()[0] in "\"'" or given.strip()[-1] in "\"'":
        raise HubError(f"{name} is in quotes: set it without them, or unset it")
    if "\n" in given or "\r" in given:
        raise HubError(f"{name} holds a line break: set it without one, or unset it")
    if not given.isascii():
        raise HubError(f"{name} is not ASCII: copy it again, or unset it")
    if any(character.isspace() for character in given):
        raise HubError(f"{name} holds blanks: set it without them, or unset it")
    if not given.isprintable():
        raise HubError(f"{name} holds control characters: copy it again, or unset it")
    if len(given) > _LONGEST:
        raise HubError(f"{name} has more than {_LONGEST} characters: copy it again, or unset it")
