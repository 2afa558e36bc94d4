"""A file as the Hub lists it, checked by form, and whether bytes are that file.

Names, sizes and digests come from a server that may be hostile, and a digest becomes the name of a
file on this machine.
"""

import hashlib
import re
from dataclasses import dataclass

COMMIT = re.compile(r"[0-9a-f]{40}")
"""How the Hub names a commit."""

DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""How the Hub names a content: by its git blob id, or by the sha256 of a large file."""

LARGEST = 2**63 - 1
"""Bytes of a file, as file systems count them."""

_LONGEST = 1024
"""Characters of a path in a repository."""

_OUTSIDE = re.compile(r"/|.*[\x00-\x1f\x7f-\x9f\\]|(.*/)?\.{1,2}(/|$)|.*//|.*/$|$", re.DOTALL)
"""Names that a file of a repository never has, and that could lead elsewhere.

They include absolute paths, `..` and control characters.
"""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit, as the Hub lists it.

    Attributes:
        path: its name, as its author chose it.
        size: in bytes.
        blob: the name of its content: the sha256 of a large file, the git blob id (sha1) of a small
            one.

    Raises:
        ValueError: its name, size or digest is impossible.
    """

    path: str
    size: int
    blob: str

    def __post_init__(self) -> None:
        if not (is_inside(self.path) and _is_size(self.size) and _is_digest(self.blob)):
            raise ValueError("a file is listed with an impossible name, size or digest")

    @property
    def sha256(self) -> str | None:
        """The sha256 of the content, if the Hub names it by that."""
        return self.blob if len(self.blob) == 64 else None


class Digest:
    """The digest by which the Hub names a file.

    It is the sha256 of a large file, and the git blob id of a small one.
    """

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        if file.sha256 is not None:
            self._hash = hashlib.sha256()
        else:
            self._hash = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)

    def update(self, data: memoryview) -> None:
        """Adds bytes, in order of the file."""
        self._hash.update(data)

    @property
    def matches(self) -> bool:
        """Whether the bytes so far are the whole file."""
        return self._hash.hexdigest() == self._file.blob


def is_file(data: memoryview, file: RemoteFile) -> bool:
    """Whether these bytes are the file that was listed."""
    if len(data) != file.size:
        return False
    digest = Digest(file)
    digest.update(data)
    return digest.matches


def is_inside(path: object) -> bool:
    """Whether a name is possible for a file in a repository, and does not lead elsewhere."""
    return isinstance(path, str) and len(path) <= _LONGEST and _OUTSIDE.match(path) is None


def _is_size(size: object) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= LARGEST


def _is_digest(text: object) -> bool:
    return isinstance(text, str) and DIGEST.fullmatch(text) is not None
