"""Text from elsewhere fit for a terminal, a log or a table: no control characters, no credentials.

Servers, files and the environment all speak through our messages. A terminal obeys escape
sequences, and a log is read by others than the owner of a password.
"""

import os
import re

_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]"
)
"""What cannot be printed: control characters, marks that reverse text, lone surrogates."""

_IN_ADDRESS = re.compile(r"(?<=:/)(/?)[^\s/?#]+@")
"""User and password of an address, and of one that went through a path, which has one slash."""

_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{8,}|(?<=Bearer )\S+")
"""Tokens of the Hub, wherever they stand."""

_SIGNATURE = re.compile(
    r"([?&][\w.-]*(?:signature|token|credential|policy|secret|password)[\w.-]*=)[^&\s]+",
    re.IGNORECASE,
)
"""Parameters of an address that give access to all who know it."""

_SHORTEST_SECRET = 8
"""Characters of the shortest token that is replaced: replacing less would damage other text."""


def printable(text: str) -> str:
    r"""Text with control characters shown as `\x1b`, and credentials as `***`.

    Tab and newline stay as they are.

    >>> printable("https://me:secret@hub.example/x \x1b[31m")
    'https://***@hub.example/x \\x1b[31m'
    """
    return _CONTROL.sub(_escaped, without_credentials(text))


def one_line(text: str) -> str:
    """The same on one line."""
    return printable(" ".join(text.split()))


def without_credentials(text: str) -> str:
    """Text without passwords in addresses, tokens and signatures."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        secret = os.environ.get(name, "").strip()
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    text = _IN_ADDRESS.sub(r"\1***@", text)
    text = _SIGNATURE.sub(r"\1***", text)
    return _TOKEN.sub("***", text)


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
