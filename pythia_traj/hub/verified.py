"""Which files of this machine were found to be what the Hub lists, so that each is hashed once.

Nothing on disk is trusted: a file is hashed before it is used. It is not hashed again in the same
process while its device, inode, size and time of change are the same; a file that was changed,
damaged or replaced has others. The clocks of disks are coarse: what is written right after a file
was hashed may have the same time. So a time counts only if it lay some seconds back by then.
"""

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from pythia_traj.hub.listed import RemoteFile, is_file
from pythia_traj.suites.reading import Stamp, map_stamped, stamp_of

_SETTLED = 3 * 10**9
"""Nanoseconds after which a change has a later time: file systems count in two seconds at most."""

_DIGESTS: dict[tuple[Stamp, int], str] = {}
"""What was computed in this process, by the file and the length of the digest (sha256 or sha1)."""


def map_verified(path: Path, file: RemoteFile) -> memoryview | None:
    """The bytes of a file on disk as a map if they are the file that was listed, None if not.

    Raises:
        CheckpointError: it is not a regular file, or cannot be read.
    """
    if path.stat().st_size != file.size:
        return None
    began = time.time_ns()
    data, stamp = map_stamped(path)
    known = _DIGESTS.get((stamp, len(file.blob)))
    if known is None and is_file(data, file):
        _remember(path, stamp, file.blob, began)
        known = file.blob
    return data if known == file.blob and len(data) == file.size else None


def sha256_of(path: Path) -> str:
    """The sha256 of a file on disk, by which the Hub lists a large one.

    Raises:
        CheckpointError: it is empty, is not a regular file, or cannot be read.
    """
    began = time.time_ns()
    data, stamp = map_stamped(path)
    digest = _DIGESTS.get((stamp, 64)) or hashlib.sha256(data).hexdigest()
    _remember(path, stamp, digest, began)
    return digest


def remember_written(descriptor: int, file: RemoteFile) -> None:
    """A file of ours that was written just now, and was checked as it arrived.

    Its time is put back, so that whatever changes it from now on gives it another.
    """
    with suppress(OSError):  # A disk on which times cannot be set: it is hashed when it is used.
        now = time.time_ns()
        os.utime(descriptor, ns=(now, now - 2 * _SETTLED))
        _DIGESTS[stamp_of(os.fstat(descriptor)), len(file.blob)] = file.blob


def _remember(path: Path, stamp: Stamp, digest: str, began: int) -> None:
    changed = stamp[-1]
    with suppress(OSError):
        if changed + _SETTLED < began and stamp_of(path.stat()) == stamp:
            _DIGESTS[stamp, len(digest)] = digest
