"""The one way in which a file gets into a run: whole, or not at all.

It is written under a temporary name, flushed to disk and renamed, so a reader sees a whole file or
none. What a killed process left under such a name, the next process removes.
"""

import errno
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from pythia_traj.errors import StoreError


@contextmanager
def replacing(target: Path, aside: Path) -> Iterator[Path]:
    """A temporary file that takes the target's place when the block ends well.

    Otherwise the file is deleted. A directory with the target's name, which our programs never
    make, is kept under a hidden name.

    Args:
        aside: the folder of temporary files, on the target's disk.
    """
    temporary = aside / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        if temporary.exists():
            flush(temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir() and not target.is_symlink():
                target.rename(target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}"))
            temporary.replace(target)
            flush(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(aside: Path) -> None:
    """Removes the temporary files of dead processes of this host."""
    ours = re.compile(rf"{re.escape(socket.gethostname())}-([0-9]{{1,9}})-[^-]*")
    for path in aside.glob("*"):
        match = ours.fullmatch(path.name)
        if match and not psutil.pid_exists(int(match[1])):
            path.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the operating system's refusal to write into a sentence.

    Raises:
        StoreError: the disk is full, read-only or forbidden.
    """
    try:
        yield
    except OSError as error:
        advice = {
            errno.ENOSPC: (
                f"the disk of {path} is full: free some space and repeat the command; what is"
                " finished is kept"
            ),
            errno.EDQUOT: (
                f"the quota of {path} is used up: free some space and repeat the command; what is"
                " finished is kept"
            ),
            errno.EROFS: f"the disk of {path} is read-only: give another --out",
            errno.EACCES: f"{path} may not be written: give another --out, or ask for permission",
            errno.EPERM: f"{path} may not be written: give another --out, or ask for permission",
        }
        if error.errno is None:
            raise
        raise StoreError(
            advice.get(error.errno, f"cannot write {path}: {error.strerror}")
        ) from error


def free_bytes(path: Path) -> int:
    """The free space of a path's disk."""
    existing = next(
        parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists()
    )
    return shutil.disk_usage(existing).free


def link_exclusively(temporary: Path, target: Path) -> bool:
    """Gives a whole file its name unless the name is taken; False if it was."""
    flush(temporary)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(temporary, target)
    except FileExistsError:
        temporary.unlink()
        return False
    except OSError:
        # On a file system without hard links, the rename may replace a file written at the same
        # moment, which has the same content.
        return True
    temporary.unlink()
    return True


def flush(path: Path) -> None:
    """Waits until a file, or the names in a directory, are on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
