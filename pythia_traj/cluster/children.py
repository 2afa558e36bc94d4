"""Workers as processes of this machine: started, followed by their logs, ended.

Only processes that were started here are ever sent a signal.
"""

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from pythia_traj.outside import last_lines
from pythia_traj.store.events import parse_event
from pythia_traj.store.layout import Run
from pythia_traj.store.writing import writing
from pythia_traj.sweeps.journal import FAILED

_KILLING = 30.0
"""Seconds that a killed process has to be gone."""

_LAST_LINES = 5
"""Of a worker's output, shown where it ended badly."""


class End(NamedTuple):
    """How a unit ended: `done`, `failed` or `defective`, and why if not the first."""

    state: str
    why: str | None = None


class Child:
    """A worker that was started here.

    Attributes:
        name: what messages call it, `worker 0/4`.
        output: the file that holds what it prints; None where it prints what this process prints.
        silenced: how long it had shown no heartbeat when it was killed for that; None otherwise.
        ended: the units whose end its log tells.
    """

    def __init__(
        self,
        name: str,
        process: "subprocess.Popen[bytes]",
        log: "_Log",
        output: Path | None = None,
    ) -> None:
        """`log` is that of a worker; other processes have none, and so never hang."""
        self.name, self.process, self.output = name, process, output
        self.silenced: float | None = None
        self.ended: dict[str, End] = {}
        self._log = log

    def look(self) -> dict[str, End]:
        """The units that have ended since the last look."""
        new: dict[str, End] = {}
        for event in self._log.events():
            state, unit = event["event"], event.get("unit")
            # What only references need is not a unit of the request.
            is_cached = str(event.get("file")).startswith("cache/")
            if state in ("done", *FAILED) and unit is not None and not is_cached:
                new[unit] = End(state, None if state == "done" else event.get("error") or "")
        self.ended |= new
        return new

    def kill_if_silent(self, seconds: float) -> None:
        """Ends a worker whose log has not changed for so long: it hangs."""
        silent = self._log.silent_seconds()
        if silent >= seconds and self.process.poll() is None:
            self.silenced = silent
            self.process.kill()

    def how_badly(self) -> str | None:
        """How it ended, in words, if it was not as a worker should; None otherwise."""
        status = self.process.returncode
        who = f"{self.name} (process {self.process.pid})"
        if self.silenced is not None:
            return f"{who} had no heartbeat for {self.silenced:.0f} s and was killed"
        if status == -signal.SIGKILL:
            return f"{who} was killed (signal 9), perhaps because memory ran out"
        if status < 0:
            return f"{who} was ended by signal {-status}"
        # As of a sweep: 3 where some units failed, 1 where all did.
        if status in (0, 3) or (status == 1 and self.ended):
            return None
        return f"{who} ended with status {status}"

    def last_lines(self) -> list[str]:
        """The end of what it printed."""
        return [] if self.output is None else last_lines(self.output, _LAST_LINES)


class _Log:
    """The log of a process, which it begins some time after its start."""

    def __init__(self, folder: Path, pid: int, others: Collection[str]) -> None:
        """`others` are the files that were there before the process.

        In containers numbers of processes are small, and an earlier one may have had the same.
        """
        self._folder, self._others = folder, others
        name = rf"{re.escape(socket.gethostname())}-{pid}-[0-9a-f]{{8}}\.jsonl"
        self._pattern = re.compile(name)
        self._path: Path | None = None
        self._read = 0
        self._changed, self._noticed = 0, time.monotonic()

    def _find(self) -> Path | None:
        if self._path is None:
            new = [name for name in _names(self._folder) if name not in self._others]
            own = [name for name in new if self._pattern.fullmatch(name)]
            self._path = self._folder / own[0] if own else None
        return self._path

    def events(self) -> Iterator[dict[str, Any]]:
        """The events that were not read yet; half a line is left for later."""
        path = self._find()
        if path is None:
            return
        with suppress(OSError), path.open("rb") as file:
            file.seek(self._read)
            whole, newline, _ = file.read().rpartition(b"\n")
            self._read += len(whole) + len(newline)
            for line in whole.splitlines():
                event = parse_event(line)
                if event is not None:
                    yield event

    def silent_seconds(self) -> float:
        """For how long the log's time of change has stayed the same; 0 before there is a log.

        By this process's clock, which stands still while the machine sleeps: that of a disk on the
        network may be another.
        """
        path = self._find()
        if path is None:
            return 0.0
        with suppress(OSError):
            changed = path.stat().st_mtime_ns
            if changed != self._changed:
                self._changed, self._noticed = changed, time.monotonic()
        return time.monotonic() - self._noticed


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names are all that is needed
    except FileNotFoundError:
        return []


class Children:
    """The workers of one submission; those that still run when the block ends are ended."""

    def __init__(self, run: Run, wishes: Sequence[tuple[int, float]]) -> None:
        """`wishes` are signals to stop, each with the seconds that a worker has to obey it."""
        self._run, self._wishes = run, wishes
        self.all: list[Child] = []

    def __enter__(self) -> "Children":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    @property
    def running(self) -> list[Child]:
        """Those that have not ended."""
        return [child for child in self.all if child.process.poll() is None]

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Starts one, in a session of its own: Ctrl-C of the terminal is for this process to tell.

        What it prints is kept in the run.

        Raises:
            StoreError: the file for its output cannot be written.
        """
        log, number = self._run.path / "log", len(self.all)
        output = log / f"{socket.gethostname()}-{os.getpid()}-{number}.out"
        with writing(self._run.path):
            log.mkdir(parents=True, exist_ok=True)
            file = output.open("wb")
        with file:
            self._start(
                name,
                command,
                environment,
                output,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_here(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: Path | None = None,
    ) -> None:
        """Starts one in this process's session; it prints into a file, or where this one does."""
        with nullcontext() if output is None else output.open("ab") as file:
            self._start(name, command, environment, output, stdout=file, stderr=file)

    def _start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: Path | None,
        **how: Any,
    ) -> None:
        folder = self._run.path / "log"
        others = frozenset(_names(folder))
        with _uninterrupted():
            # This program, with words of the request.
            process = subprocess.Popen(command, env=environment, **how)  # noqa: S603
            self.all.append(Child(name, process, _Log(folder, process.pid, others), output))

    def end(self) -> None:
        """Asks all to stop, in each way for its time, and kills those that do not."""
        try:
            for signum, patience in self._wishes:
                self._ask(signum, patience)
        finally:
            # Also after a second Ctrl-C.
            for child in self.running:
                child.process.kill()
                # Not for ever: a signal's handler may have interrupted another wait for it.
                with suppress(subprocess.TimeoutExpired):
                    child.process.wait(_KILLING)

    def _ask(self, signum: int, patience: float) -> None:
        for child in self.running:
            child.process.send_signal(signum)
        until = time.monotonic() + patience
        for child in self.all:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, until - time.monotonic()))


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Puts Ctrl-C and SIGTERM off to the end of the block: a process that was started is known."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda signum, _: came.append(signum))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for signum in came[:1]:
        signal.raise_signal(signum)
