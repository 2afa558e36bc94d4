"""Where the bytes of a checkpoint are put when they come over the network: in memory, the default.

disk.py has the other way: files within a budget. Both hold all files of a checkpoint at once, so that nobody ever waits for room while
holding some.
"""

import mmap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import accumulate
from typing import Protocol

import psutil

from pythia_traj.checkpoint import Room, WeightFile
from pythia_traj.errors import ConfigError
from pythia_traj.hub.client import RemoteFile

Fill = Callable[[RemoteFile, memoryview], None]
"""Writes a file's bytes into a buffer of its size."""


class HubStaging(Protocol):
    """A way in for checkpoints of the Hub: `checkpoint.Staging`, and the place for their files."""

    ahead: int
    source: str
    holds_kept: bool
    """Whether it finds what is kept on disk by itself, and holds it together with what is missing."""
    stopped: threading.Event

    def stop(self) -> None:
        """Ends whatever is on its way."""

    def hold(self, repo: str, files: Sequence[RemoteFile], fill: Fill) -> AbstractContextManager[list[WeightFile]]:
        """The files of one checkpoint, filled; their bytes are valid until the block ends."""


def anonymous(size: int) -> memoryview:
    """Memory of the process, which it takes from the system page by page as it is written."""
    # Private: a shared mapping would count as a file's, and every limit and measurement of a process's own memory would miss it.
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


class InMemory:
    """Buffers that are used again and again, one a checkpoint: as many as are held at once, never more."""

    source = "network"
    holds_kept = False

    def __init__(
        self,
        ahead: int,
        allocate: Callable[[int], memoryview] | None = None,
        stopped: threading.Event | None = None,
    ) -> None:
        """How a buffer is made: for a GPU, of pinned memory, from which it copies without waiting."""
        self.ahead, self.stopped = ahead, stopped or threading.Event()
        self._allocate = allocate or anonymous
        self._lock = threading.Lock()
        self._free: list[memoryview] = []

    @classmethod
    def within(cls, room: Room, *, checkpoint: int, stopped: threading.Event | None = None) -> "InMemory":
        """Buffers that take at most half of the memory that is free now, looking no farther ahead than that allows.

        Args:
            checkpoint: bytes of one checkpoint.

        Raises:
            ConfigError: not even one fits.
        """
        free = psutil.virtual_memory().available
        if checkpoint > free:
            raise ConfigError(
                f"a checkpoint of {checkpoint / 1e9:.1f} GB exceeds the {free / 1e9:.1f} GB of free memory: "
                "put it on disk instead, with --disk-budget"
            )
        return cls(max(0, min(room.prefetch, free // 2 // max(checkpoint, 1) - 1)), room.allocate, stopped)

    def stop(self) -> None:
        """Ends whatever is on its way."""
        self.stopped.set()

    @contextmanager
    def hold(self, repo: str, files: Sequence[RemoteFile], fill: Fill) -> Iterator[list[WeightFile]]:
        """The files in one buffer, each at a multiple of 4096 bytes; the next checkpoint's afterwards."""
        starts = list(accumulate((-(-file.size // 4096) * 4096 for file in files), initial=0))
        buffer = self._take(starts[-1])
        try:
            held = []
            for file, start in zip(files, starts[:-1], strict=True):
                data = buffer[start : start + file.size]
                fill(file, data)
                held.append(WeightFile(file.path, data))
            yield held
        finally:
            with self._lock:
                self._free.append(buffer)

    def _take(self, size: int) -> memoryview:
        with self._lock:
            fitting = [buffer for buffer in self._free if len(buffer) >= size]
            if fitting:
                best = min(fitting, key=len)
                # By identity: buffers with the same bytes in them are equal.
                self._free = [buffer for buffer in self._free if buffer is not best]
                return best
            # Those that are too small make room for one that is not.
            self._free.clear()
        return self._allocate(size)
