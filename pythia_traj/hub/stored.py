"""One weight file that is kept on this machine: its name, its locks, its marks, its removal.

In `<cache>/weights/`:

    <org>--<name>/<digest>        a whole file, checked; nothing else has such a name
    <org>--<name>/<digest>.part   one that is being written
    <org>--<name>/<digest>.keep   empty: the file of that digest stays

Who uses a file holds a shared lock on it, who writes one an exclusive lock; the system drops the
locks of a killed process. What else lies in these folders, and where links lead, is none of ours:
it counts for nothing and is never removed.
"""

import errno
import fcntl
import os
import re
import stat
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from pythia_traj.hub import cache
from pythia_traj.hub.cache import cache_directory
from pythia_traj.hub.locks import lock

WEIGHTS = "weights"
"""The folder of all of them in the cache."""

PART, _KEEP = ".part", ".keep"
_NAME = re.compile(rf"(?P<digest>{cache.BLOB})(?:(?:{cache.TEMPORARY})?\.part)?")
"""What is ours: a file by its digest, or its part."""


def weights_directory() -> Path:
    """Where weight files are kept."""
    return cache_directory() / WEIGHTS


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


def files(directory: Path) -> list[Stored]:
    """All that is kept in a cache, the oldest first."""
    if not cache.is_ours(directory):
        return []
    found = []
    for repo in cache.folders(directory, WEIGHTS):
        here = cache.regular_files(directory, WEIGHTS, repo)
        for name, status in here.items():
            if match := _NAME.fullmatch(name):
                # One that is being written counts as what it will be.
                stays = match["digest"] + _KEEP in here
                path = directory / WEIGHTS / repo / name
                used = max(status.st_atime, status.st_mtime)
                found.append(Stored(path, repo, status.st_size, used, stays))
    return sorted(found, key=lambda one: (one.used, one.path.name))


def opened_folder(path: Path) -> AbstractContextManager[int]:
    """The folder of a file that is kept, reached from the cache without following a link.

    The file is `<cache>/weights/<repository>/<name>`.
    """
    return cache.opened(path.parents[2], *path.parts[-3:-1])


def use(path: Path) -> int | None:
    """A descriptor with a shared lock on a file.

    None where there is none of ours that can be read.
    """
    try:
        with opened_folder(path) as folder:
            descriptor = _open_regular(folder, path.name, os.O_RDONLY)
    except OSError:
        return None
    lock(descriptor, fcntl.LOCK_SH)
    if os.fstat(descriptor).st_nlink == 0:
        # Evicted between the two; another of that name may be there by now.
        os.close(descriptor)
        return None
    return descriptor


def _open_regular(folder: int, name: str, access: int) -> int:
    """A regular file in a folder.

    Raises an OSError where there is none of that name, or it is something else.
    """
    # Without O_NONBLOCK the opening of a pipe would wait for the other side.
    descriptor = os.open(name, access | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def mark_used(descriptor: int) -> None:
    """Makes a file the youngest; the time of its change stays, by which a change is noticed."""
    with suppress(OSError):  # On a disk that can only be read.
        changed = os.fstat(descriptor).st_mtime_ns
        try:
            os.utime(descriptor, ns=(time.time_ns(), changed))
        except PermissionError:
            os.utime(descriptor)  # Another user's file, of which only both times can be set.


def mark_kept(path: Path) -> None:
    """Marks a file as one that stays."""
    mark = keep_mark(path)
    with suppress(OSError), opened_folder(mark) as folder:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        os.close(os.open(mark.name, flags, 0o644, dir_fd=folder))


def is_regular(path: Path) -> bool:
    """Whether a regular file is there, reached without following a link."""
    return path.name in cache.regular_files(path.parents[2], *path.parts[-3:-1])


def keep_mark(path: Path) -> Path:
    """The mark of a file that stays."""
    return path.with_name(path.name + _KEEP)


def evict(path: Path, *, without_locks: bool = False) -> bool:
    """Removes a file unless somebody holds a lock on it, or it is not ours to remove.

    Args:
        without_locks: also where the disk has none, so that nobody knows: the user asked for it, or
            the file is of no use.
    """
    try:
        with opened_folder(path) as folder:
            # For writing: some network file systems lock nothing else exclusively.
            descriptor = _open_regular(folder, path.name, os.O_RDWR)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        return (lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB) or without_locks) and unlink(path)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def unlink(path: Path) -> bool:
    """Removes a file of the cache; says whether there was one."""
    return cache.unlink(path.parents[2], *path.parts[-3:])
