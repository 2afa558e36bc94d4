"""Runs one daemon, and ends all that it started: `python keeper.py PARENT COMMAND...`.

slurmd starts its step daemons so that they outlive it. Here they become the keeper's children, as
do the processes of jobs: on SIGTERM it kills every one of them, as a machine that loses power.
The kernel sends it that signal when PARENT dies, so nothing outlives a test run that was killed.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)


def main(parent: int, command: list[str]) -> None:
    """Returns when the daemon and all that it started have ended."""
    signal.signal(signal.SIGTERM, _end)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _follow(parent, signal.SIGTERM)
    keeper = os.getpid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _follow(keeper, signal.SIGKILL)
        os.execvp(command[0], command)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def _end(number: int, frame: FrameType | None) -> None:
    """Kills the children, then the children that those leave, until none is left."""
    while True:
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            os._exit(0)


def _follow(parent: int, number: int) -> None:
    """Has the kernel send this signal when the parent dies, unless it is already dead."""
    _prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
