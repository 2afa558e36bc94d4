"""Tensors that are the same in every checkpoint: causal masks and the like, 3 to 15 % of a file.

They cross the network once. They are learnt, not assumed: their names, types, shapes and contents
are taken from a file that was fetched whole and is what the Hub lists. In a later file they are
filled in where name, type and shape are the same, so that the digest of the whole file can still be
checked. If it disagrees, they are fetched after all; if it disagrees again, the file is corrupt.
"""

import threading
from collections.abc import Iterable
from hashlib import sha256

from pythia_traj.architectures.finding import is_constant
from pythia_traj.errors import CheckpointError
from pythia_traj.hub.retry import log
from pythia_traj.hub.transfer import SEGMENT, Source, Span, Transfer
from pythia_traj.suites.tensors import TensorEntry, header_end, tensor_entries

_HEADER = 128 << 10
"""Bytes that hold the header of nearly every file."""

_GAP = 1 << 20
"""A gap smaller than this is fetched with its surroundings: another request would cost more."""

_MOST = 256 << 20
"""Bytes of contents that are kept, because a file may call all of its tensors masks."""


class Masks:
    """The masks learnt so far. Any number of threads may ask and add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._digests: dict[tuple[str, str, tuple[int, ...]], str] = {}
        self._contents: dict[tuple[str, tuple[int, ...]], dict[str, bytes]] = {}
        self._kept = 0

    def learn(self, entries: Iterable[TensorEntry], data: memoryview) -> None:
        """Keeps the constant tensors of a file that is known to be right."""
        for entry in entries:
            if is_constant(entry.name) and entry.end - entry.start <= _MOST - self._kept:
                with self._lock:
                    digest = self._digest_of(entry, bytes(data[entry.start : entry.end]))
                    self._digests[entry.name, entry.dtype, entry.shape] = digest

    def _digest_of(self, entry: TensorEntry, content: bytes) -> str:
        """The sha256 of a content; keeps the content.

        The layers' masks are alike, so that usually one is hashed and one is kept.
        """
        alike = self._contents.setdefault((entry.dtype, entry.shape), {})
        for digest, known in alike.items():
            if known == content:
                return digest
        digest = sha256(content).hexdigest()
        alike[digest] = content
        self._kept += len(content)
        return digest

    def fill(self, entries: Iterable[TensorEntry], buffer: memoryview) -> list[Span]:
        """Puts the known contents into their places, and returns the spans."""
        filled = []
        for entry in entries:
            with self._lock:
                digest = self._digests.get((entry.name, entry.dtype, entry.shape), "")
                content = self._contents.get((entry.dtype, entry.shape), {}).get(digest)
            if content is not None and len(content) == entry.end - entry.start:
                buffer[entry.start : entry.end] = content
                filled.append((entry.start, entry.end))
        return sorted(filled)


def fetch_file(source: Source, buffer: memoryview, masks: Masks) -> None:
    """Fetches a file into a buffer of its size, and checks that it is the file that the Hub listed.

    If it is not, it is fetched whole once more.

    Raises:
        CheckpointError: it is corrupt.
        httpx2.HTTPError: it cannot be fetched.
    """
    size = source.file.size
    if size > SEGMENT and source.file.path.endswith(".safetensors"):
        if _fetch_without_masks(Transfer(source, buffer), source, buffer, masks):
            return
    elif Transfer(source, buffer).complete([(0, size)]):
        return
    log.warning("%s: its content is not what the Hub lists; fetching it once more", source.name)
    if not Transfer(source, buffer).complete([(0, size)]):
        raise CheckpointError(
            f"{source.name} is corrupt: fetched twice, its content is not what the Hub lists"
        )


def _fetch_without_masks(
    transfer: Transfer, source: Source, buffer: memoryview, masks: Masks
) -> bool:
    size, name = source.file.size, source.name
    in_parts = transfer.fetch([(0, _HEADER)])
    try:
        start = header_end(buffer[:8], size, name)
        if start > _HEADER and in_parts:
            in_parts = transfer.fetch([(_HEADER, start)])
        entries = tensor_entries(buffer, size, name)
    except CheckpointError:
        # It may have been damaged on the way: the digest will tell.
        return False
    # A server that ignores ranges has sent everything. Otherwise the known contents are put where
    # nothing was received.
    begun = max(start, _HEADER) if in_parts else size
    known = masks.fill((entry for entry in entries if entry.start >= begun), buffer)
    here = [(0, begun), *(span for span in _joined(known) if span[1] - span[0] >= _GAP)]
    if transfer.complete(_between(here, size)):
        masks.learn(entries, buffer)
        return True
    if len(here) == 1:
        return False
    log.warning(
        "%s: with the usual masks its content is not what the Hub lists; fetching its own", name
    )
    if not transfer.complete(here[1:]):
        return False
    masks.learn(entries, buffer)
    return True


def _joined(spans: list[Span]) -> list[Span]:
    """Spans without a gap between them as one."""
    joined: list[Span] = []
    for start, end in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _between(spans: list[Span], size: int) -> list[Span]:
    """The parts of a file that ascending spans leave out."""
    edges = [0, *(edge for span in sorted(spans) for edge in span), size]
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]
