"""Weight files on disk, within a budget.

They are downloaded once and used by any number of processes; the oldest are evicted when room is
needed. A file is known by its content, so that revisions that share it share it here. stored.py
knows how one file is named, locked and removed.

The system drops the locks of a killed process: the next process that needs room removes its
half-written file, and no process waits for a dead one. On a disk without locks nothing is evicted,
and each writer has parts of its own. `<cache>/weights/.lock` is held while a process makes room,
begins a file or removes one.
"""

import errno
import fcntl
import mmap
import os
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from rich.filesize import decimal

from pythia_traj.checkpoint import Room, WeightFile
from pythia_traj.errors import CheckpointError, ConfigError, StoreError
from pythia_traj.hub import cache, stored
from pythia_traj.hub.cache import cache_directory, cannot_write, plain_name
from pythia_traj.hub.listed import RemoteFile
from pythia_traj.hub.locks import lock
from pythia_traj.hub.retry import log
from pythia_traj.hub.staging import Fill
from pythia_traj.hub.verified import map_verified, remember_written
from pythia_traj.suites.reading import map_file

_LOCK = ".lock"
"""Held while a process makes room, begins a file or removes one."""

_POLL = 0.1
"""Seconds between looks at whether another process has finished or made room."""

_WITHOUT_LOCKS = threading.Lock()
"""Keeps at least the threads of this process apart if the disk has no locks."""


class OnDisk:
    """Files within a budget.

    Args:
        ahead: how many checkpoints are to be opened ahead.
        budget: bytes that the files may take together: with `keep` all kept files, without it all
            others. None means that only the disk limits them.
        keep: the files stay: no process ever evicts them to make room.
    """

    medium = "network"

    holds_kept = True

    def __init__(
        self,
        ahead: int = 0,
        *,
        budget: int | None = None,
        keep: bool = False,
        stopped: threading.Event | None = None,
    ) -> None:
        self.ahead, self.stopped = ahead, stopped or threading.Event()
        self._cache = cache_directory()
        self.root, self._budget, self._keep = self._cache / stored.WEIGHTS, budget, keep
        self._has_locks = True
        self._own = f".{uuid.uuid4().hex}"

    @classmethod
    def within(
        cls, room: Room, *, checkpoint: int, total: int, stopped: threading.Event | None = None
    ) -> "OnDisk":
        """A staging within a room, which opens no more ahead than its budget allows.

        Args:
            checkpoint: bytes of one checkpoint.
            total: bytes of all that are asked for.

        Raises:
            ConfigError: the budget is smaller than the files that are needed at once.
        """
        if room.disk_budget is None:
            return cls(room.prefetch, keep=room.keep, stopped=stopped)
        needed, what = (
            (total, "all the checkpoints to be kept,")
            if room.keep
            else (checkpoint, "a checkpoint")
        )
        if needed > room.disk_budget:
            raise ConfigError(
                f"a disk budget of {decimal(room.disk_budget)} cannot hold {what} of"
                f" {decimal(needed)}: give more, or leave --disk-budget and --keep out, and"
                " nothing is put on disk"
            )
        ahead = min(room.prefetch, room.disk_budget // max(checkpoint, 1) - 1)
        return cls(ahead, budget=room.disk_budget, keep=room.keep, stopped=stopped)

    def stop(self) -> None:
        """Ends all transfers."""
        self.stopped.set()

    @contextmanager
    def hold(
        self, repo: str, files: Sequence[RemoteFile], fill: Fill
    ) -> Iterator[list[WeightFile]]:
        """The files, mapped; they are not evicted before the block ends.

        Raises:
            CheckpointError: the budget is smaller than they are, or one of them is damaged and in
                use.
            StoreError: the disk or the budget is full, or the disk cannot be written.
        """
        wanted = {self._path(repo, file): file for file in files}
        with ExitStack() as stack:
            acquired = self._acquire(wanted)
            for (descriptor, is_new), path in zip(acquired, wanted, strict=True):
                stack.callback(os.close, descriptor)
                if is_new:
                    stack.callback(self._abandon, path)
            for (descriptor, is_new), (path, file) in zip(acquired, wanted.items(), strict=True):
                if is_new:
                    self._write(path, descriptor, file, fill)
                elif map_verified(path, file) is None:
                    raise CheckpointError(
                        f"{path} is damaged and in use by another process: end that one first"
                    )
                stored.mark_used(descriptor)
            yield [
                WeightFile(file.path, map_file(path := self._path(repo, file)), path)
                for file in files
            ]

    @contextmanager
    def hold_if_there(self, repo: str, file: RemoteFile) -> Iterator[Path | None]:
        """The file's path if it is here, and None if not.

        It is not evicted before the block ends.
        """
        path = self._path(repo, file)
        descriptor = stored.use(path)
        try:
            if descriptor is not None:
                stored.mark_used(descriptor)
            yield path if descriptor is not None else None
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _path(self, repo: str, file: RemoteFile) -> Path:
        return self.root / plain_name(repo.replace("/", "--")) / file.blob

    def remove(self, path: Path) -> bool:
        """Removes a file unless it is in use; says whether it did."""
        with self._locked():
            removed = stored.evict(path, without_locks=True)
            if removed:
                stored.unlink(stored.keep_mark(path))
            return removed

    def files(self) -> list[stored.Stored]:
        """All that is kept, the oldest first."""
        return stored.files(self._cache)

    def _acquire(self, wanted: Mapping[Path, RemoteFile]) -> list[tuple[int, bool]]:
        """A descriptor that holds each file, and whether it is a new part that has to be filled."""
        needed = sum(file.size for file in wanted.values())
        if self._budget is not None and needed > self._budget:
            raise CheckpointError(
                f"a disk budget of {decimal(self._budget)} cannot hold this checkpoint of"
                f" {decimal(needed)}"
            )
        while True:
            held: list[tuple[int, bool]] = []
            with self._locked(), ExitStack() as undo:
                for path, file in wanted.items():
                    descriptor = stored.use(path)
                    is_new = descriptor is None
                    if descriptor is None:
                        descriptor = self._begin(path, file.size)
                    if descriptor is None:
                        break
                    undo.callback(os.close, descriptor)
                    if is_new:
                        undo.callback(self._abandon, path)
                    elif self._keep and not stored.is_regular(stored.keep_mark(path)):
                        self._make_room(file.size)
                    if self._keep:
                        stored.mark_kept(path)
                    held.append((descriptor, is_new))
                else:
                    undo.pop_all()
                    return held
            # Another process writes one of them, or all room is in use: both will end. Nothing is
            # held while waiting.
            if self.stopped.wait(_POLL):
                raise CheckpointError("stopped while waiting for room on the disk")

    def _begin(self, path: Path, size: int) -> int | None:
        """A new, exclusively locked part of the full size.

        None if another process writes it, or without room for it.
        """
        part = self._part(path)
        for place in (path, part):
            if os.path.lexists(place) and not stored.is_regular(place):
                raise StoreError(
                    f"{place} is in the way, and pythia-traj did not put it there:"
                    " move it elsewhere"
                )
        if (stored.is_regular(part) and not stored.evict(part)) or not self._make_room(size):
            return None
        descriptor = self._create(part)
        stored.unlink(stored.keep_mark(path))  # Left by an earlier file that was removed by hand.
        lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            # The room is taken at once, so that a full disk is noticed before the first byte is
            # fetched.
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            stored.unlink(part)
            os.close(descriptor)
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise cannot_write(part, error) from None
            raise StoreError(
                f"the disk of {self.root} is full: {decimal(size)} are needed; free some, set"
                " PYTHIA_TRAJ_CACHE to another disk, or leave --disk-budget and --keep out"
            ) from None
        return descriptor

    def _create(self, part: Path) -> int:
        """A new file in a folder of its repository."""
        try:
            with cache.opened(self._cache, stored.WEIGHTS, part.parent.name, make=True) as folder:
                return os.open(
                    part.name,
                    os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
                    0o644,
                    dir_fd=folder,
                )
        except FileExistsError as error:
            raise cannot_write(part, error) from None
        except OSError as error:
            raise cannot_write(part.parent, error) from None

    def _write(self, path: Path, descriptor: int, file: RemoteFile, fill: Fill) -> None:
        """Fills a part, makes its lock a shared one, and gives it its name."""
        mapped = mmap.mmap(descriptor, file.size)
        fill(file, memoryview(mapped))
        mapped.flush()
        remember_written(descriptor, file)
        with self._locked():
            lock(descriptor, fcntl.LOCK_SH)
            try:
                with stored.opened_folder(path) as folder:
                    os.replace(
                        self._part(path).name, path.name, src_dir_fd=folder, dst_dir_fd=folder
                    )
            except OSError as error:
                raise CheckpointError(
                    f"{self._part(path)} cannot be renamed ({error.strerror}): another"
                    " program removed it, or put something in its place"
                ) from None

    def _part(self, path: Path) -> Path:
        """The name of a file that is being written.

        Without locks it cannot be known who writes it, so this process has a name of its own.
        """
        return path.with_name(path.name + ("" if self._has_locks else self._own) + stored.PART)

    def _abandon(self, path: Path) -> None:
        """Removes the part of a file that failed; a file that has its name already stays."""
        if stored.unlink(self._part(path)):
            stored.unlink(stored.keep_mark(path))

    def _make_room(self, size: int) -> bool:
        """Evicts the oldest unused files until the room suffices; says whether it does."""
        for old in self.files():
            if old.path.name.endswith(stored.PART) and stored.evict(old.path):
                log.warning("%s was left half-written: removed", old.path)
        if self._budget is None:
            return True
        counted = [old for old in self.files() if old.stays == self._keep]
        taken = sum(old.size for old in counted)
        for old in counted:
            if taken + size <= self._budget:
                break
            if not old.stays and old.path.exists() and stored.evict(old.path):
                taken -= old.size
        if taken + size <= self._budget:
            return True
        if self._keep:
            raise StoreError(
                f"the disk budget of {decimal(self._budget)} is used up by what is kept in"
                f" {self.root}: give more, or see what `pythia-traj cache` can remove"
            )
        if not self._has_locks:
            raise StoreError(
                f"the disk budget of {decimal(self._budget)} is used up, and the disk of"
                f" {self.root} has no locks, without which nothing is evicted: set"
                " PYTHIA_TRAJ_CACHE to another disk, or remove some with `pythia-traj cache`"
            )
        return False

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """A lock for work on all files at once, which one process at a time may do.

        It is held only while that work lasts.
        """
        cache.claim(self._cache)
        try:
            with cache.opened(self._cache, stored.WEIGHTS, make=True) as folder:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                descriptor = os.open(_LOCK, flags, 0o644, dir_fd=folder)
        except OSError as error:
            raise cannot_write(self.root, error) from None
        with os.fdopen(descriptor, "rb"):
            self._has_locks = lock(descriptor, fcntl.LOCK_EX)
            with nullcontext() if self._has_locks else _WITHOUT_LOCKS:
                yield
