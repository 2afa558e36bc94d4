"""Locks on open files, by which processes tell each other what they use.

Some network disks have none.
"""

import errno
import fcntl
import os
from functools import cache

from pythia_traj.hub.retry import log

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


def lock(file: int, operation: int) -> bool:
    """Takes a lock on an open file; False if its disk has no locks, which is logged once.

    Args:
        operation: as for `fcntl.flock`.

    Raises:
        BlockingIOError: another process holds it, and the operation does not wait.
    """
    try:
        fcntl.flock(file, operation)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _note(os.fstat(file).st_dev, os.strerror(error.errno))
        return False
    return True


@cache
def _note(device: int, reason: str) -> None:
    log.warning(
        "the disk of the cache (device %d) has no locks (%s): it cannot be known whether another"
        " process uses a file, so nothing is evicted",
        device,
        reason,
    )
