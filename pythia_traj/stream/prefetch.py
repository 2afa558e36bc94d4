"""Checkpoints opened ahead: while experiments run on one step, the next ones arrive.

One background thread opens them in the order in which they will be asked for. An error in one is
raised when that one is asked for. At most 1 + `ahead` are open at any time: the one in use, those
that wait, the one that is arriving. If the system allows no more threads, each is opened when it is
asked for.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue

from pythia_traj.checkpoint import Checkpoint, PublishedModel, Room, Staging, WeightFile

log = logging.getLogger(__name__)


@dataclass
class Opened:
    """A checkpoint whose files are open.

    Attributes:
        files: its weight files, empty if it could not be opened.
        seconds: how long opening it took.
        waited: how long the caller waited for it.
        medium: where it came from: `network` or `disk`.
        error: why it could not be opened.
    """

    files: Sequence[WeightFile] = ()
    seconds: float = 0.0
    waited: float = 0.0
    medium: str = "disk"
    error: Exception | None = None

    @property
    def bytes(self) -> int:
        """Bytes of all its files."""
        return sum(len(file.data) for file in self.files)

    _held: ExitStack = field(default_factory=ExitStack, repr=False)


class Prefetcher:
    """Opens the checkpoints of a model ahead, from `with` to its end."""

    def __init__(
        self,
        published: PublishedModel,
        steps: Sequence[int],
        room: Room,
        on_wait: Callable[[str], None] = lambda what: None,
    ) -> None:
        """Prepares to open these steps, in this order.

        Args:
            on_wait: is called with what is waited for, each time that a wait begins.

        Raises:
            ConfigError: they cannot fit the room.
        """
        self._on_wait = on_wait
        self._published, self._steps = published, list(dict.fromkeys(steps))
        self._staging = published.staging(room, self._steps)
        # In memory: a thread that waits for room on disk while it holds some could wait for ever.
        self._room_aside = Room(prefetch=0, allocate=room.allocate)
        self._aside: Staging | None = None
        # Ctrl-C and SIGTERM raise at any Python instruction. A condition or a semaphore is written
        # in Python and could stay locked then, so that this class would wait for itself. These are
        # not written in Python.
        self._lock = threading.Lock()
        self._slots: SimpleQueue[None] = SimpleQueue()
        self._arrived: SimpleQueue[None] = SimpleQueue()
        for _ in range(1 + self._staging.ahead):
            self._slots.put(None)
        self._ready: dict[int, Opened] = {}
        self._passed: set[int] = set()
        self._closed = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Prefetcher":
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            left, self._ready = list(self._ready.values()), {}
        for opened in left:
            self._let_go(opened)
        self._staging.stop()
        if self._aside is not None:
            self._aside.stop()
        self._slots.put(None)
        if self._thread is not None:
            self._thread.join()

    @contextmanager
    def open(self, checkpoint: Checkpoint) -> Iterator[Opened]:
        """A checkpoint's files, valid until the block ends.

        A step that is asked for out of turn is opened now.

        Raises:
            Exception: what opening it raised.
        """
        start = time.perf_counter()
        expected = checkpoint.step in self._steps and checkpoint.step not in self._passed
        opened = self._take(checkpoint) if expected else self._open_now(checkpoint)
        opened.waited = time.perf_counter() - start
        try:
            with _lent(opened):
                yield opened
        finally:
            if expected:
                self._slots.put(None)

    @contextmanager
    def open_aside(self, checkpoint: Checkpoint) -> Iterator[Opened]:
        """The files of a checkpoint that is not in turn: a reference's.

        Raises:
            Exception: what opening it raised.
        """
        opened = self._open_now(checkpoint)
        opened.waited = opened.seconds
        with _lent(opened):
            yield opened

    def _take(self, checkpoint: Checkpoint) -> Opened:
        """The checkpoint of a step in turn, when it is ready.

        Earlier steps must not be asked for after it.
        """
        step = checkpoint.step
        passed = self._steps[: self._steps.index(step)]
        with self._lock:
            is_running = self._thread is not None or self._start()
            self._passed.update(passed, [step])
            left = [self._ready.pop(other) for other in passed if other in self._ready]
        for opened in left:
            self._let_go(opened)
        if not is_running:
            self._slots.get()
            return self._open(checkpoint, self._staging)
        if step not in self._ready:
            self._on_wait(f"step {step}: waiting for the {self._staging.medium}")
        while step not in self._ready:
            self._arrived.get()
        return self._ready.pop(step)

    def _start(self) -> bool:
        """Starts the background thread; says whether it could. The next step tries again."""
        thread = threading.Thread(target=self._run, name="pythia-traj-prefetch", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if not self._passed:
                log.warning(
                    "nothing is opened ahead: the system allows no more threads (%s)", error
                )
            return False
        self._thread = thread
        return True

    def _run(self) -> None:
        """The background thread."""
        for i, step in enumerate(self._steps):
            self._slots.get()
            with self._lock:
                if self._closed:
                    return
                # A later step was asked for meanwhile: this one will not be wanted.
                if any(other in self._passed for other in self._steps[i + 1 :]):
                    self._slots.put(None)
                    continue
            opened = self._open(self._published.checkpoint(step), self._staging)
            with self._lock:
                unwanted = self._closed or any(
                    other in self._passed for other in self._steps[i + 1 :]
                )
                if not unwanted:
                    self._ready[step] = opened
                    self._arrived.put(None)
            if unwanted:
                self._let_go(opened)

    def _open_now(self, checkpoint: Checkpoint) -> Opened:
        # Made when it is needed, so that checkpoints that go by disk are not refused because they
        # are too large for the memory.
        if self._aside is None:
            self._aside = self._published.staging(self._room_aside, self._steps)
        return self._open(checkpoint, self._aside)

    def _open(self, checkpoint: Checkpoint, staging: Staging) -> Opened:
        opened, start = Opened(medium=staging.medium), time.perf_counter()
        try:
            opened.files = opened._held.enter_context(checkpoint.open(staging))
        except Exception as error:
            # It is raised where this step is asked for, not in this thread.
            opened.error = error
        opened.seconds = time.perf_counter() - start
        return opened

    def _let_go(self, opened: Opened) -> None:
        opened._held.close()
        self._slots.put(None)


@contextmanager
def _lent(opened: Opened) -> Iterator[None]:
    """Raises what opening raised; closes the files at the end."""
    try:
        if opened.error is not None:
            raise opened.error
        yield
    finally:
        opened._held.close()
        opened.files = ()
