"""What a task does on its node: commands of pythia-traj, one after the other, each watched.

submitit starts it, receives the signal that announces its end, and requeues it. The commands are
processes of their own, so that one that hangs, even in a library, can be ended in time. This module
loads no torch.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from submitit.helpers import DelayedSubmission

from pythia_traj.cluster.children import Children, End
from pythia_traj.cluster.slurm.client import ask
from pythia_traj.errors import SchedulerError
from pythia_traj.schedulers import job_id
from pythia_traj.store.layout import Run
from pythia_traj.sweeps.heartbeat import SILENT_SECONDS
from pythia_traj.sweeps.stopping import ANNOUNCED

PROGRAM = (sys.executable, "-P", "-m", "pythia_traj.cli")
"""`pythia-traj`, without the directory where the task starts on Python's path."""

_CACHE = "PYTHIA_TRAJ_CACHE"

_LOOK_SECONDS = 1.0
"""Between two looks at a command's heartbeat."""

_OBEYING = 5.0
"""Seconds that a command has to drop its unit."""

_STOPPED = {-ANNOUNCED, 128 + ANNOUNCED, -signal.SIGTERM, 128 + signal.SIGTERM}
"""Exit statuses of a command that the scheduler has told to stop."""

_UNTIL_KILLED = 600.0
"""Seconds that a task waits for the scheduler to end it, once that has stopped its command."""

ENDS_WELL = "this task has ended as it should"
"""The last line that a task prints itself, then."""


@dataclass
class Task:
    """One task: a worker that does a shard, or a job that downloads.

    Attributes:
        run: the run's directory.
        name: what it is called in messages: `worker 1/4`.
        commands: what follows `pythia-traj` on the command line of each.
        environment: variables that are set; those of the node come first where they are in
            `defaults`.
        defaults: variables that are set where the node has none.
        scratch: whether checkpoints are kept on the node's own disk.
        limit: seconds that the task may take; None where nobody limits it.
        patience: seconds that a command has to finish its unit when the end is announced.
        silent_seconds: a worker without a heartbeat for so long is ended.
        output: the file for what it prints; None where that is what this process prints.
    """

    run: Path
    name: str
    commands: tuple[tuple[str, ...], ...]
    environment: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)
    scratch: bool = True
    limit: int | None = None
    patience: float = 30.0
    silent_seconds: float = SILENT_SECONDS
    output: Path | None = None
    _children: Children | None = None
    _begun: float = 0.0

    def __call__(self) -> None:
        """Does it, in a job; where it failed, the last line of the log says how."""
        how = self.attempt()
        if how is not None:
            # Of another exception submitit would print its own lines after this one.
            sys.exit(how)
        _say(ENDS_WELL)

    def attempt(self) -> str | None:
        """Does it; says how it failed, or None."""
        self._begun = time.monotonic()
        return next((how for words in self.commands if (how := self._do(words))), None)

    @property
    def ended(self) -> dict[str, End]:
        """The units that its last command has ended."""
        children = [] if self._children is None else self._children.all
        return {name: end for child in children for name, end in child.ended.items()}

    def checkpoint(self) -> DelayedSubmission:
        """Ends the command; returns what goes on when the job is requeued.

        submitit calls this when the end of the job is announced. Where it would be in vain to go
        on, the process ends here.
        """
        if self._children is not None:
            self._children.end()
            for child in self._children.all:
                child.look()
        lived = time.monotonic() - self._begun
        # A download, by contrast, goes on in the middle of a file.
        is_worker = self.commands[0][0] == "worker"
        if is_worker and self.limit is not None and lived > self.limit / 2 and not self.ended:
            sys.exit(
                f"{self.name} has finished no unit in {lived:.0f} s: it would do no better the next"
                " time, so it is not requeued: give more time (cluster.time)"
            )
        return DelayedSubmission(replace(self, _children=None))

    def _do(self, words: tuple[str, ...]) -> str | None:
        wishes = [(ANNOUNCED, self.patience), (signal.SIGTERM, _OBEYING)]
        with Children(Run(self.run), wishes) as children:
            self._children = children
            children.start_here(self.name, [*PROGRAM, *words], self._environment(), self.output)
            (child,) = children.all
            while child.process.poll() is None:
                child.look()
                child.kill_if_silent(self.silent_seconds)
                with suppress(subprocess.TimeoutExpired):
                    child.process.wait(_LOOK_SECONDS)
            child.look()
            if child.process.returncode in _STOPPED:
                _await_the_end()
            return child.how_badly()

    def _environment(self) -> dict[str, str]:
        environment = {**self.defaults, **os.environ, **self.environment}
        if self.scratch and not environment.get(_CACHE):
            environment[_CACHE] = str(scratch_directory())
        return environment


def scratch_directory() -> Path:
    """A directory of this user's own on the node's disk, `$TMPDIR`.

    It is the same for all tasks on a node: what a killed one leaves there, the next one uses or
    evicts.
    """
    directory = Path(tempfile.gettempdir()) / f"pythia-traj-{os.getuid()}"
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    facts = directory.lstat()
    if directory.is_symlink() or not directory.is_dir() or facts.st_uid != os.getuid():
        # Somebody else's: anybody may write into /tmp.
        return Path(tempfile.mkdtemp(prefix="pythia-traj-"))
    return directory


def _say(text: str) -> None:
    """Into the task's log."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _await_the_end() -> None:
    """After the scheduler has stopped a command: requeues the job, or waits to be ended.

    A job that was cancelled ends. Another one that is told to stop without an announcement is
    preempted, or its node goes down: it goes on elsewhere.
    """
    # Not `SLURM_JOB_ID`: the last task of an array has that of the whole array.
    job = job_id(os.environ)
    if job is None or os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return
    with suppress(SchedulerError):
        if ask("squeue", "--noheader", "--jobs", job, "--format=%T").strip() != "RUNNING":
            return
        ask("scontrol", "requeue", job)
    time.sleep(_UNTIL_KILLED)
