"""What is asked and answered, as values: a request, an answer, a body in memory or in a file."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote

MAIN = "main"


@dataclass(frozen=True)
class Request:
    """A request.

    `path` is still quoted, because a quoted slash belongs to a name. Header names are in lower
    case.
    """

    origin: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def names(self) -> list[str]:
        """The path's segments, unquoted."""
        return [unquote(segment) for segment in self.path.strip("/").split("/")]

    @property
    def parameters(self) -> dict[str, list[str]]:
        return parse_qs(self.query)

    def parameter(self, name: str, default: str = "") -> str:
        return self.parameters.get(name, [default])[0]

    @property
    def range(self) -> str | None:
        return self.headers.get("range")

    def without_range(self) -> Self:
        return replace(
            self, headers={name: value for name, value in self.headers.items() if name != "range"}
        )


@dataclass(frozen=True)
class FileSlice:
    """`length` bytes of a file from `start`."""

    file: Path
    start: int
    length: int

    def __len__(self) -> int:
        return self.length

    def part(self, start: int, stop: int) -> "FileSlice":
        return FileSlice(self.file, self.start + start, max(0, min(stop, self.length) - start))

    def read(self) -> bytes:
        with self.file.open("rb") as stream:
            stream.seek(self.start)
            return stream.read(self.length)


@dataclass(frozen=True)
class MemorySlice:
    """A body in memory, with the same interface as one in a file."""

    content: bytes

    def __len__(self) -> int:
        return len(self.content)

    def part(self, start: int, stop: int) -> "MemorySlice":
        return MemorySlice(self.content[start:stop])

    def read(self) -> bytes:
        return self.content


Body = FileSlice | MemorySlice
EMPTY = MemorySlice(b"")


@dataclass(frozen=True)
class Answer:
    """An answer and what it is an answer to: `kind` is one of `KINDS` in the log."""

    status: int
    kind: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = EMPTY


def as_json(
    kind: str, value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    content = MemorySlice(json.dumps(value).encode())
    return Answer(
        status,
        kind,
        {"Content-Type": "application/json; charset=utf-8", **(headers or {})},
        content,
    )


def error(kind: str, status: int, message: str, code: str = "", **headers: str) -> Answer:
    """An error as the Hub words it: in the body for people, in headers for the client."""
    said = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **headers}
    return as_json(kind, {"error": message}, status=status, headers=said)


def file_answer(
    kind: str, request: Request, file: Path, size: int, headers: Mapping[str, str]
) -> Answer:
    """A file, or the part of it that the request's Range names.

    A Range that is no single range of bytes is ignored, as RFC 9110 allows; one that begins after
    the end is answered by 416.
    """
    common = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    wanted = _parse_range(request.range or "", size)
    if wanted is None:
        return Answer(200, kind, common, FileSlice(file, 0, size))
    start, stop = wanted
    if start >= stop:
        return Answer(416, kind, {**common, "Content-Range": f"bytes */{size}"})
    return Answer(
        206,
        kind,
        {**common, "Content-Range": f"bytes {start}-{stop - 1}/{size}"},
        FileSlice(file, start, stop - start),
    )


def _parse_range(header: str, size: int) -> tuple[int, int] | None:
    """The half-open interval that a Range header asks for.

    Empty if it cannot be had; None if the header is to be ignored.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if match is None or match.group() == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size
