"""Where the bytes of a checkpoint are put when they come over the network: in memory, the default.

disk.py has the other way: files within a budget. Both hold all files of a checkpoint at once, so
that no thread waits for room while it holds some.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import psutil
from rich.filesize import decimal

from pythia_traj.checkpoint import Room, WeightFile
from pythia_traj.errors import ConfigError
from pythia_traj.hub.listed import RemoteFile
from pythia_traj.suites.buffers import Buffers

Fill = Callable[[RemoteFile, memoryview], None]
"""Writes a file's bytes into a buffer of its size; raises unless they are what was listed."""


class HubStaging(Protocol):
    """Where checkpoints of the Hub are put: `checkpoint.Staging`, with places for their files."""

    ahead: int
    medium: str
    holds_kept: bool
    """Whether it looks for files kept on disk itself, and holds them together with missing ones."""
    stopped: threading.Event

    def stop(self) -> None:
        """Ends all transfers."""

    def hold(
        self, repo: str, files: Sequence[RemoteFile], fill: Fill
    ) -> AbstractContextManager[list[WeightFile]]:
        """The files of one checkpoint, filled; their bytes are valid until the block ends."""


class InMemory:
    """Reused buffers, one a checkpoint: never more than are held at once."""

    medium = "network"
    holds_kept = False

    def __init__(
        self,
        ahead: int,
        allocate: Callable[[int], memoryview] | None = None,
        stopped: threading.Event | None = None,
    ) -> None:
        """Makes a buffer: for a GPU in pinned memory, which is copied from without waiting."""
        self.ahead, self.stopped = ahead, stopped or threading.Event()
        self._buffers = Buffers(allocate)

    @classmethod
    def within(
        cls, room: Room, *, checkpoint: int, stopped: threading.Event | None = None
    ) -> "InMemory":
        """Buffers that take at most half of the memory that is free now.

        They open no more ahead than that allows.

        Args:
            checkpoint: bytes of one checkpoint.

        Raises:
            ConfigError: not even one fits.
        """
        free = psutil.virtual_memory().available
        if checkpoint > free:
            raise ConfigError(
                f"a checkpoint of {decimal(checkpoint)} exceeds the {decimal(free)} of free"
                " memory: put it on disk instead, with --disk-budget"
            )
        return cls(
            max(0, min(room.prefetch, free // 2 // max(checkpoint, 1) - 1)), room.allocate, stopped
        )

    def stop(self) -> None:
        """Ends all transfers."""
        self.stopped.set()

    @contextmanager
    def hold(
        self, repo: str, files: Sequence[RemoteFile], fill: Fill
    ) -> Iterator[list[WeightFile]]:
        """The files, in a buffer that the next checkpoint uses afterwards."""
        with self._buffers.hold([file.size for file in files]) as buffers:
            held = []
            for file, data in zip(files, buffers, strict=True):
                fill(file, data)
                held.append(WeightFile(file.path, data))
            yield held
