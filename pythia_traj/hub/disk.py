"""Weight files on disk, within a budget.

They are downloaded once and used by any number of processes; the oldest are evicted when room is
needed. In `<cache>/weights/`:

    <org>--<name>/<digest>        a whole file, checked; nothing else has such a name
    <org>--<name>/<digest>.part   one that is being written
    <org>--<name>/<digest>.keep   empty: the file of that digest stays
    .lock                         held while a process makes room, begins a file or removes one

A file is known by its content, so that revisions with the same content share one file. A process
that uses a file holds a shared lock on it, a process that writes one an exclusive lock. The system
drops the locks of a killed process: the next process that needs room removes its half-written file,
and no process waits for a dead one. On a disk without locks nothing is evicted, and each writer has
parts of its own. Other files in these folders, and what links lead to, are not ours: they are not
counted and never removed.
"""

import errno
import fcntl
import mmap
import os
import re
import stat
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal

from pythia_traj.checkpoint import Room, WeightFile
from pythia_traj.errors import CheckpointError, ConfigError, StoreError
from pythia_traj.hub import cache
from pythia_traj.hub.cache import cache_directory, cannot_write, plain_name
from pythia_traj.hub.listed import RemoteFile, is_file
from pythia_traj.hub.locks import lock
from pythia_traj.hub.retry import log
from pythia_traj.hub.staging import Fill
from pythia_traj.suites.reading import map_file

_WEIGHTS = "weights"
_PART, _KEEP, _LOCK = ".part", ".keep", ".lock"
_NAME = re.compile(rf"(?P<digest>{cache.BLOB})(?:(?:{cache.TEMPORARY})?\.part)?")
"""The names that are ours: a file's digest, or its part."""

_POLL = 0.1
"""Seconds between looks at whether another process has finished or made room."""

_WITHOUT_LOCKS = threading.Lock()
"""Keeps at least the threads of this process apart if the disk has no locks."""


def weights_directory() -> Path:
    """Where weight files are kept."""
    return cache_directory() / _WEIGHTS


@dataclass(frozen=True)
class Stored:
    """A file that is kept.

    Attributes:
        repo: the folder it is in: the repository's name with `--` for the slash.
        used: when it was last used, in seconds since the epoch.
        stays: whether it was fetched to stay.
    """

    path: Path
    repo: str
    size: int
    used: float
    stays: bool


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
        self.root, self._budget, self._keep = self._cache / _WEIGHTS, budget, keep
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
                elif not is_file(map_file(path), file):
                    raise CheckpointError(
                        f"{path} is damaged and in use by another process: end that one first"
                    )
                _mark_used(descriptor)
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
        descriptor = _use(path)
        try:
            if descriptor is not None:
                _mark_used(descriptor)
            yield path if descriptor is not None else None
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _path(self, repo: str, file: RemoteFile) -> Path:
        return self.root / plain_name(repo.replace("/", "--")) / file.blob

    def remove(self, path: Path) -> bool:
        """Removes a file unless it is in use; says whether it did."""
        with self._locked():
            removed = _evict(path, without_locks=True)
            if removed:
                _unlink(_keep(path))
            return removed

    def files(self) -> list[Stored]:
        """All that is kept, the oldest first."""
        if not cache.is_ours(self._cache):
            return []
        found = []
        for repo in cache.folders(self._cache, _WEIGHTS):
            here = cache.regular_files(self._cache, _WEIGHTS, repo)
            for name, status in here.items():
                if match := _NAME.fullmatch(name):
                    # One that is being written counts with its full size.
                    stays = match["digest"] + _KEEP in here
                    found.append(
                        Stored(
                            self.root / repo / name, repo, status.st_size, status.st_mtime, stays
                        )
                    )
        return sorted(found, key=lambda stored: (stored.used, stored.path.name))

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
                    descriptor = _use(path)
                    is_new = descriptor is None
                    if descriptor is None:
                        descriptor = self._begin(path, file.size)
                    if descriptor is None:
                        break
                    undo.callback(os.close, descriptor)
                    if is_new:
                        undo.callback(self._abandon, path)
                    elif self._keep and not _is_regular(_keep(path)):
                        self._make_room(file.size)
                    if self._keep:
                        _mark_kept(path)
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
            if os.path.lexists(place) and not _is_regular(place):
                raise StoreError(
                    f"{place} is in the way, and pythia-traj did not put it there:"
                    " move it elsewhere"
                )
        if (_is_regular(part) and not _evict(part)) or not self._make_room(size):
            return None
        descriptor = self._create(part)
        _unlink(_keep(path))  # Left by an earlier file that was removed by hand.
        lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            # The room is taken at once, so that a full disk is noticed before the first byte is
            # fetched.
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            _unlink(part)
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
            with cache.opened(self._cache, _WEIGHTS, part.parent.name, make=True) as folder:
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
        with self._locked():
            lock(descriptor, fcntl.LOCK_SH)
            try:
                with _folder(path) as folder:
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
        return path.with_name(path.name + ("" if self._has_locks else self._own) + _PART)

    def _abandon(self, path: Path) -> None:
        """Removes the part of a file that failed; a file that has its name already stays."""
        if _unlink(self._part(path)):
            _unlink(_keep(path))

    def _make_room(self, size: int) -> bool:
        """Evicts the oldest unused files until the room suffices; says whether it does."""
        stored = self.files()
        for old in stored:
            if old.path.name.endswith(_PART) and _evict(old.path):
                log.warning("%s was left half-written: removed", old.path)
        if self._budget is None:
            return True
        counted = [old for old in self.files() if old.stays == self._keep]
        taken = sum(old.size for old in counted)
        for old in counted:
            if taken + size <= self._budget:
                break
            if not old.stays and old.path.exists() and _evict(old.path):
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
            with cache.opened(self._cache, _WEIGHTS, make=True) as folder:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                descriptor = os.open(_LOCK, flags, 0o644, dir_fd=folder)
        except OSError as error:
            raise cannot_write(self.root, error) from None
        with os.fdopen(descriptor, "rb"):
            self._has_locks = lock(descriptor, fcntl.LOCK_EX)
            with nullcontext() if self._has_locks else _WITHOUT_LOCKS:
                yield


def _folder(path: Path) -> AbstractContextManager[int]:
    """The folder of a file that is kept, reached from the cache without following a link.

    The file is `<cache>/weights/<repository>/<name>`.
    """
    return cache.opened(path.parents[2], *path.parts[-3:-1])


def _use(path: Path) -> int | None:
    """A descriptor with a shared lock on a file.

    None if it is not ours, does not exist or cannot be read.
    """
    try:
        with _folder(path) as folder:
            descriptor = _open_regular(folder, path.name, os.O_RDONLY)
    except OSError:
        return None
    lock(descriptor, fcntl.LOCK_SH)
    if os.fstat(descriptor).st_nlink == 0:
        # Evicted between the two steps; another file may have that name by now.
        os.close(descriptor)
        return None
    return descriptor


def _open_regular(folder: int, name: str, access: int) -> int:
    """A regular file in a folder.

    Raises an OSError if the name does not exist, or is something else.
    """
    # Without O_NONBLOCK the opening of a pipe would wait for the other side.
    descriptor = os.open(name, access | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def _mark_used(descriptor: int) -> None:
    with suppress(OSError):  # Another user's, or on a disk that can only be read.
        os.utime(descriptor)


def _mark_kept(path: Path) -> None:
    mark = _keep(path)
    with suppress(OSError), _folder(mark) as folder:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        os.close(os.open(mark.name, flags, 0o644, dir_fd=folder))


def _is_regular(path: Path) -> bool:
    return path.name in cache.regular_files(path.parents[2], *path.parts[-3:-1])


def _keep(path: Path) -> Path:
    """The mark of a file that stays."""
    return path.with_name(path.name + _KEEP)


def _evict(path: Path, *, without_locks: bool = False) -> bool:
    """Removes a file that is ours and that no process holds a lock on.

    Args:
        without_locks: also on a disk without locks, where use cannot be noticed: the user asked
            for it, or the file is useless.
    """
    try:
        with _folder(path) as folder:
            # Opened for writing: some network file systems refuse an exclusive lock otherwise.
            descriptor = _open_regular(folder, path.name, os.O_RDWR)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        return (lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB) or without_locks) and _unlink(path)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _unlink(path: Path) -> bool:
    return cache.unlink(path.parents[2], *path.parts[-3:])
