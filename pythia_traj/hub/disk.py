"""Weight files on disk, within a budget: downloaded once, used by any number of processes, the oldest evicted when room is needed.

    <cache>/weights/<org>--<name>/<digest>        a whole file, checked; nothing else has such a name
    <cache>/weights/<org>--<name>/<digest>.part   one that is being written
    <cache>/weights/<org>--<name>/<digest>.keep   empty: the file of that digest stays
    <cache>/weights/.lock                         held for a moment by whoever makes room, begins a file or removes one

A file is known by its content, so that revisions that share it share it here. Who uses a file holds a shared lock on it, who writes one an
exclusive lock; the system drops the locks of a killed process, so that its half-written file is removed by the next who needs room and
nobody ever waits for the dead.
"""

import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pythia_traj.checkpoint import Room, WeightFile
from pythia_traj.errors import CheckpointError, ConfigError, StoreError
from pythia_traj.hub.client import RemoteFile
from pythia_traj.hub.memory import cache_directory, plain_name
from pythia_traj.hub.patience import log
from pythia_traj.hub.staging import Fill
from pythia_traj.hub.transfer import is_file
from pythia_traj.suites.files import map_file

_PART, _KEEP = ".part", ".keep"
_POLL = 0.1
"""Seconds between looks at whether another process has finished or made room."""


def weights_directory() -> Path:
    """Where weight files are kept."""
    return cache_directory() / "weights"


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
        budget: bytes that the files may take together: those that are kept if these are to be, else all others. None is no limit but
            the disk's.
        keep: the files stay: no process ever evicts them to make room.
    """

    source = "network"

    holds_kept = True

    def __init__(
        self, ahead: int = 0, *, budget: int | None = None, keep: bool = False, stopped: threading.Event | None = None
    ) -> None:
        self.ahead, self.stopped = ahead, stopped or threading.Event()
        self.root, self._budget, self._keep = weights_directory(), budget, keep

    @classmethod
    def within(cls, room: Room, *, checkpoint: int, total: int, stopped: threading.Event | None = None) -> "OnDisk":
        """A way in that respects a room, looking no farther ahead than its budget allows.

        Args:
            checkpoint: bytes of one checkpoint.
            total: bytes of all that are asked for.

        Raises:
            ConfigError: the budget is smaller than what has to be there at once.
        """
        if room.disk_budget is None:
            return cls(room.prefetch, keep=room.keep, stopped=stopped)
        needed, what = (total, "all the checkpoints to be kept,") if room.keep else (checkpoint, "a checkpoint")
        if needed > room.disk_budget:
            raise ConfigError(
                f"a disk budget of {room.disk_budget / 1e9:.3g} GB cannot hold {what} of {needed / 1e9:.3g} GB: "
                "give more, or leave --disk-budget and --keep out, and nothing is put on disk"
            )
        ahead = min(room.prefetch, room.disk_budget // max(checkpoint, 1) - 1)
        return cls(ahead, budget=room.disk_budget, keep=room.keep, stopped=stopped)

    def stop(self) -> None:
        """Ends whatever is on its way."""
        self.stopped.set()

    @contextmanager
    def hold(self, repo: str, files: Sequence[RemoteFile], fill: Fill) -> Iterator[list[WeightFile]]:
        """The files, mapped; they are not evicted before the block ends.

        Raises:
            CheckpointError: the budget is smaller than they are, or one of them is damaged and in use.
            StoreError: the disk is full, or with what is kept, or cannot be written.
        """
        wanted = {self._path(repo, file): file for file in files}
        with ExitStack() as stack:
            acquired = self._acquire(wanted)
            for (descriptor, is_new), path in zip(acquired, wanted, strict=True):
                stack.callback(os.close, descriptor)
                if is_new:
                    stack.callback(_abandon, path)
            for (descriptor, is_new), (path, file) in zip(acquired, wanted.items(), strict=True):
                if is_new:
                    self._write(path, descriptor, file, fill)
                elif not is_file(map_file(path), file):
                    raise CheckpointError(f"{path} is damaged and in use by another process: end that one first")
                _mark_used(path)
            yield [WeightFile(file.path, map_file(path := self._path(repo, file)), path) for file in files]

    @contextmanager
    def hold_if_there(self, repo: str, file: RemoteFile) -> Iterator[Path | None]:
        """The file's path if it is here, and None if not; it is not evicted before the block ends."""
        path = self._path(repo, file)
        descriptor = _use(path)
        try:
            if descriptor is not None:
                _mark_used(path)
            yield path if descriptor is not None else None
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _path(self, repo: str, file: RemoteFile) -> Path:
        return self.root / plain_name(repo.replace("/", "--")) / file.blob

    def remove(self, path: Path) -> bool:
        """Removes a file unless it is in use; says whether it did."""
        with self._locked():
            removed = _evict(path)
            if removed:
                _keep(path).unlink(missing_ok=True)
            return removed

    def files(self) -> list[Stored]:
        """All that is kept, the oldest first."""
        found = []
        for path in self.root.glob("*/*"):
            if path.name.endswith(_KEEP):
                continue
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            # One that is being written counts as what it will be.
            stays = _keep(path.with_name(path.name.removesuffix(_PART))).exists()
            found.append(Stored(path, path.parent.name, status.st_size, status.st_mtime, stays))
        return sorted(found, key=lambda stored: (stored.used, stored.path.name))

    def _acquire(self, wanted: Mapping[Path, RemoteFile]) -> list[tuple[int, bool]]:
        """For each file a descriptor that holds it, and whether it is a new part that has to be filled."""
        needed = sum(file.size for file in wanted.values())
        if self._budget is not None and needed > self._budget:
            raise CheckpointError(
                f"a disk budget of {self._budget / 1e9:.3g} GB cannot hold this checkpoint of {needed / 1e9:.3g} GB"
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
                        undo.callback(_abandon, path)
                    elif self._keep and not _keep(path).exists():
                        self._make_room(file.size)
                    if self._keep:
                        _mark_kept(path)
                    held.append((descriptor, is_new))
                else:
                    undo.pop_all()
                    return held
            # Another process writes one of them, or all room is in use: both end. Nothing is held while waiting.
            if self.stopped.wait(_POLL):
                raise CheckpointError("stopped while waiting for room on the disk")

    def _begin(self, path: Path, size: int) -> int | None:
        """A new, exclusively locked part of the full size, if nobody writes it and there is room; else None."""
        part = _part(path)
        if (part.exists() and not _evict(part)) or not self._make_room(size):
            return None
        part.parent.mkdir(parents=True, exist_ok=True)
        _keep(path).unlink(missing_ok=True)  # An earlier file's, that somebody removed by hand.
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            # The room is taken at once: a disk that is too full says so before the first byte is fetched.
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            part.unlink()
            os.close(descriptor)
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise StoreError(
                f"the disk of {self.root} is full: {size / 1e9:.2f} GB are needed; free some, set PYTHIA_TRAJ_CACHE to another "
                "disk, or leave --disk-budget and --keep out"
            ) from None
        return descriptor

    def _write(self, path: Path, descriptor: int, file: RemoteFile, fill: Fill) -> None:
        """Fills a part and gives it its name; its lock, shared from then on, goes with it."""
        mapped = mmap.mmap(descriptor, file.size)
        fill(file, memoryview(mapped))
        mapped.flush()
        with self._locked():
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            _part(path).replace(path)

    def _make_room(self, size: int) -> bool:
        """Evicts the oldest files that nobody uses until there is room; says whether there is."""
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
        if self._keep and taken + size > self._budget:
            raise StoreError(
                f"the disk budget of {self._budget / 1e9:.3g} GB is used up by what is kept in {self.root}: give more, "
                "or see what `pythia-traj cache` can remove"
            )
        return taken + size <= self._budget

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Whatever looks at all files at once is done by one process at a time, and takes no longer than that."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / ".lock").open("a")
        except OSError as error:
            raise StoreError(
                f"{self.root} cannot be written ({error.strerror}): set PYTHIA_TRAJ_CACHE to a directory that can"
            ) from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _use(path: Path) -> int | None:
    """A descriptor with a shared lock on a file; None where there is none that can be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if os.fstat(descriptor).st_nlink == 0:  # evicted between the two; another of that name may be there by now
        os.close(descriptor)
        return None
    return descriptor


def _mark_used(path: Path) -> None:
    with suppress(OSError):  # Another user's, or on a disk that can only be read.
        os.utime(path)


def _abandon(path: Path) -> None:
    """What fails leaves nothing; what has its name by then is not touched."""
    part = _part(path)
    if part.exists():
        part.unlink()
        _keep(path).unlink(missing_ok=True)


def _mark_kept(path: Path) -> None:
    with suppress(OSError):
        _keep(path).touch()


def _keep(path: Path) -> Path:
    """The mark of a file that stays."""
    return path.with_name(path.name + _KEEP)


def _evict(path: Path) -> bool:
    """Removes a file unless somebody holds a lock on it, or it is not ours to remove."""
    try:
        # For writing: some network file systems lock nothing else exclusively.
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)


def _part(path: Path) -> Path:
    """The name of a file that is being written."""
    return path.with_name(path.name + _PART)
