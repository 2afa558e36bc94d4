"""The append-only log of each worker: one JSON line an event.

Each worker has its own file, so that no two write to the same.
"""

import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pythia_traj.errors import StoreError
from pythia_traj.outside import checked, open_file, parse_json
from pythia_traj.schedulers import job_id
from pythia_traj.store.layout import Run
from pythia_traj.store.records import Event, as_json
from pythia_traj.store.writing import writing

_LINE = 1_000_000
"""The most bytes of a line; a longer one is not an event."""

_TEXT = 100_000
"""The most characters of a message or a traceback that are kept."""


class EventLog:
    """The log of this worker."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.host = socket.gethostname()
        self.job = job_id(os.environ)
        self.worker = f"{self.host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.path = run.path / "log" / f"{self.worker}.jsonl"

    def write(self, event: str, **facts: Any) -> None:
        """Appends an event: what happened, to which unit, and the details.

        Raises:
            StoreError: the disk is full or read-only, or writing is not allowed.
        """
        short = {
            name: value[:_TEXT] if isinstance(value, str) else value
            for name, value in facts.items()
        }
        line = {
            "time": round(time.time(), 3),
            "event": event,
            **short,
            "host": self.host,
            "pid": os.getpid(),
        }
        if self.job:
            line["job"] = self.job
        with writing(self._run.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One write for one line: a reader sees half of it only if the machine died in the
            # middle.
            with self.path.open("a", encoding="utf-8") as file:
                file.write(as_json(line) + "\n")


def read_events(run: Run) -> Iterator[dict[str, Any]]:
    """All events of all workers, in the order of their times.

    Anything else, such as half a line, is skipped.
    """
    events = []
    for path in list_logs(run):
        found = (parse_event(line) for line in read_lines(path))
        events += [event for event in found if event is not None]
    yield from sorted(events, key=lambda event: float(event["time"]))


def list_logs(run: Run) -> list[Path]:
    """The logs of a run; the stem of each is its worker's name."""
    return sorted((run.path / "log").glob("*.jsonl"))


def parse_event(line: bytes) -> dict[str, Any] | None:
    """An event; None for anything else that stands in a log, such as half a line."""
    try:
        event = parse_json(line, "a line", error=StoreError)
        checked(Event, event, "a line", error=StoreError)
    except StoreError:
        return None
    return dict(event)


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a log, if it is a regular file.

    At most _LINE bytes of a line that is too long are in memory at a time.
    """
    try:
        with open_file(path, error=StoreError) as file:
            whole = True
            while piece := file.readline(_LINE):
                ends = piece.endswith(b"\n")
                if whole and (ends or len(piece) < _LINE):
                    yield piece
                whole = ends
    except (OSError, StoreError):
        # A log that cannot be read counts as empty; the rows are not lost.
        return
