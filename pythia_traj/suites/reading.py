"""Weight files that are on this machine already, on their way into the model.

They are read into buffers, not mapped: if a mapped file becomes shorter, the system kills the
process that reads it, without a message. A buffer is whole and does not change while it is read. A
file that another program writes meanwhile is an error of its step. A checkpoint that would take
more than a quarter of the free memory is mapped all the same, because its model needs the rest. No
byte of such a map is used after its file has changed.
"""

import mmap
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psutil

from pythia_traj.checkpoint import Room, WeightFile
from pythia_traj.errors import CheckpointError
from pythia_traj.outside import open_file
from pythia_traj.suites.buffers import Buffers

_SHARE = 4
"""All buffers together take at most this part of the free memory.

A checkpoint's model takes as much as the checkpoint, or twice that.
"""

_PIECE = 64 << 20
"""Bytes that are read at once; a stop waits for at most so many."""

Stamp = tuple[int, int, int, int]
"""What identifies a file's content without reading it."""


class Reading:
    """Buffers for the checkpoints of a directory.

    Attributes:
        ahead: how many checkpoints are opened ahead; a mapped one the system reads ahead.
    """

    medium = "disk"

    def __init__(self, ahead: int = 0, buffers: Buffers | None = None) -> None:
        """Without buffers all files are mapped."""
        self.ahead, self._buffers, self._stopped = ahead, buffers, threading.Event()

    @classmethod
    def within(cls, room: Room, checkpoint: int) -> "Reading":
        """Buffers, as many as the memory allows.

        Args:
            checkpoint: bytes of one checkpoint.
        """
        count = psutil.virtual_memory().available // _SHARE // max(checkpoint, 1)
        if count == 0:
            return cls(room.prefetch)
        return cls(min(room.prefetch, count - 1), Buffers(room.allocate))

    def stop(self) -> None:
        """Ends all reading."""
        self._stopped.set()

    @contextmanager
    def hold(self, paths: Sequence[Path]) -> Iterator[list[WeightFile]]:
        """The files, whole, until the block ends.

        Raises:
            CheckpointError: one of them is missing, empty, not a regular file, or being written.
        """
        with ExitStack() as stack:
            opened = [_open(path, stack) for path in paths]
            stamps = [stamp_of(os.fstat(descriptor)) for descriptor in opened]
            if self._has_room(sum(stamp[2] for stamp in stamps)):
                buffers: Buffers = self._buffers  # type: ignore[assignment]
                held = stack.enter_context(buffers.hold([stamp[2] for stamp in stamps]))
                files = [
                    WeightFile(path.name, data, is_current=partial(_is_current, path, stamp))
                    for path, data, stamp in zip(paths, held, stamps, strict=True)
                ]
                for path, descriptor, file, stamp in zip(paths, opened, files, stamps, strict=True):
                    self._read(path, descriptor, file.data, stamp)
            else:
                files = [
                    WeightFile(
                        path.name,
                        _map(path, descriptor),
                        path,
                        is_current=_of_map(path, descriptor, stamp),
                    )
                    for path, descriptor, stamp in zip(paths, opened, stamps, strict=True)
                ]
            try:
                yield files
            finally:
                # A map closes when the last tensor in it is gone: closing it here would fail while
                # one is alive.
                files.clear()

    def _has_room(self, size: int) -> bool:
        """Whether a buffer is free, or the free memory allows another one."""
        if self._buffers is None:
            return False
        return self._buffers.have(size) or size <= psutil.virtual_memory().available // 2

    def _read(self, path: Path, descriptor: int, data: memoryview, stamp: Stamp) -> None:
        at = 0
        while at < len(data):
            if self._stopped.is_set():
                raise CheckpointError(f"stopped while reading {path}")
            try:
                count = os.preadv(descriptor, [data[at : at + _PIECE]], at)
            except OSError as error:
                raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
            if count == 0:
                raise CheckpointError(
                    f"{path} became shorter while it was read: wait until it is written"
                )
            at += count
        if stamp_of(os.fstat(descriptor)) != stamp:
            raise CheckpointError(f"{path} was changed while it was read: wait until it is written")


def map_file(path: Path) -> memoryview:
    """A file's bytes as a map: nothing is read before it is used.

    It is closed when the last view of it is gone.

    For files that no other program writes: the system kills a process that reads a map of a file
    that became shorter.

    Raises:
        CheckpointError: it is empty, is not a regular file or cannot be read.
    """
    return map_stamped(path)[0]


def map_stamped(path: Path) -> tuple[memoryview, Stamp]:
    """The same, and what identified the content when it was opened."""
    with ExitStack() as stack:
        descriptor = _open(path, stack)
        return _map(path, descriptor), stamp_of(os.fstat(descriptor))


def _open(path: Path, stack: ExitStack) -> int:
    """A descriptor of a regular file that is not empty; the stack closes it."""
    try:
        file = stack.enter_context(open_file(path, error=CheckpointError))
    except FileNotFoundError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if os.fstat(file.fileno()).st_size == 0:
        raise CheckpointError(f"{path} is empty: fetch it again")
    return file.fileno()


def _map(path: Path, descriptor: int) -> memoryview:
    try:
        # A private map: torch refuses to share read-only memory without a warning. Nothing ever
        # writes to it.
        mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    mapped.madvise(mmap.MADV_WILLNEED)
    return memoryview(mapped)


def stamp_of(status: os.stat_result) -> Stamp:
    """Device, inode, size and time of change of a file."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _is_current(path: Path, stamp: Stamp) -> bool:
    """Whether the file is unchanged; a removed file counts as unchanged."""
    try:
        return stamp_of(path.stat()) == stamp
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _of_map(path: Path, descriptor: int, stamp: Stamp) -> Callable[[], bool]:
    """The same for a map, which stays with its file even if that is moved."""

    def is_current() -> bool:
        return stamp_of(os.fstat(descriptor)) == stamp and _is_current(path, stamp)

    return is_current
