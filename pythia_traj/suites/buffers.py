"""Reused memory for checkpoints on their way into the model."""

import mmap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise

from rich.filesize import decimal

from pythia_traj.errors import CheckpointError

_PAGE = 4096


def anonymous(size: int) -> memoryview:
    """Memory of the process, which it takes from the system page by page as it is written.

    Raises:
        CheckpointError: the memory is too small; the sizes come from outside and may be wrong.
    """
    try:
        # Private: a shared mapping would count as a file's, and every limit and measurement of a
        # process's own memory would miss it.
        return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    except (OSError, OverflowError):
        raise CheckpointError(
            f"files of {decimal(size)} do not fit into the memory of this machine"
        ) from None


class Buffers:
    """Buffers of one checkpoint each: never more than are held at once.

    Any number of threads may take them.
    """

    def __init__(self, allocate: Callable[[int], memoryview] | None = None) -> None:
        """Makes a buffer: for a GPU in pinned memory, which is copied from without waiting."""
        self._allocate = allocate or anonymous
        self._lock = threading.Lock()
        self._free: list[memoryview] = []

    @contextmanager
    def hold(self, sizes: Sequence[int]) -> Iterator[list[memoryview]]:
        """Room for files of these sizes in one buffer, which the next checkpoint uses afterwards.

        Each file begins at a multiple of 4096 bytes.
        """
        starts = list(accumulate((-(-size // _PAGE) * _PAGE for size in sizes), initial=0))
        buffer = self._take(starts[-1])
        try:
            yield [
                buffer[start : start + size]
                for (start, _), size in zip(pairwise(starts), sizes, strict=True)
            ]
        finally:
            with self._lock:
                self._free.append(buffer)

    def have(self, size: int) -> bool:
        """Whether a free buffer is large enough."""
        with self._lock:
            return any(len(buffer) >= size for buffer in self._free)

    def _take(self, size: int) -> memoryview:
        with self._lock:
            fitting = [buffer for buffer in self._free if len(buffer) >= size]
            if fitting:
                best = min(fitting, key=len)
                # By identity: buffers with the same bytes in them are equal.
                self._free = [buffer for buffer in self._free if buffer is not best]
                return best
            # Buffers that are too small are dropped, to make room for a larger one.
            self._free.clear()
        return self._allocate(size)
