"""Whether a worker is alive: the time of change of its log is its heartbeat.

A thread of the worker touches the log while the process runs, so that a step that takes hours does
not look dead. A process that is stopped, or whose machine is gone, falls silent.
"""

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from pythia_traj.store.events import EventLog
from pythia_traj.store.layout import Run

BEAT_SECONDS = 15.0
"""Between two heartbeats."""

SILENT_SECONDS = 180.0
"""After this long without a heartbeat a worker counts as dead.

Network disks show a change to other machines up to a minute later.
"""

_WORKER = re.compile(r"(?P<host>.+)-(?P<pid>[0-9]{1,9})-[0-9a-f]{8}")


@contextmanager
def beating(log: EventLog) -> Iterator[None]:
    """Touches a worker's log from time to time until the block ends."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            # A disk that refuses says so where rows are written.
            with suppress(OSError):
                os.utime(log.path)

    thread = threading.Thread(target=beat, name="pythia-traj-heartbeat", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # The system allows no more threads: events are the only heartbeats then.
        yield
        return
    try:
        yield
    finally:
        ended.set()
        thread.join()


def last_beat(run: Run, worker: str) -> float | None:
    """When a worker's log last changed, in seconds since 1970; None where it has none."""
    try:
        return (run.path / "log" / f"{worker}.jsonl").stat().st_mtime
    except OSError:
        return None


def is_alive(run: Run, worker: str) -> bool:
    """Whether a worker, by its name, has had a heartbeat lately, and on this host a process."""
    match = _WORKER.fullmatch(worker)
    if match is None:
        return False
    if match["host"] == socket.gethostname() and not psutil.pid_exists(int(match["pid"])):
        return False
    beat = last_beat(run, worker)
    return beat is not None and time.time() - beat < SILENT_SECONDS
