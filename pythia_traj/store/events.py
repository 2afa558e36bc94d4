"""The append-only log of each worker: one JSON line an event, in a file of its own, so that no two workers write to one."""

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pythia_traj.store.layout import Run, writing


class EventLog:
    """The log of this worker."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.host = socket.gethostname()
        self.job = os.environ.get("SLURM_JOB_ID")
        self.worker = f"{self.host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._path = run.path / "log" / f"{self.worker}.jsonl"

    def write(self, event: str, **facts: Any) -> None:
        """Appends an event: what happened, to which unit, and what is known of it.

        Raises:
            StoreError: the disk is full, read-only or forbidden.
        """
        line = {"time": round(time.time(), 3), "event": event, **facts, "host": self.host, "pid": os.getpid()}
        if self.job:
            line["job"] = self.job
        with writing(self._run.path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # One write of one line, so that a reader never sees half of it unless the machine died in the middle.
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def read_events(run: Run) -> Iterator[dict[str, Any]]:
    """All events of all workers, in the order of their times; half-written lines are skipped."""
    events = []
    for path in (run.path / "log").glob("*.jsonl"):
        events += list(_read(path))
    yield from sorted(events, key=lambda event: event.get("time", 0))


def _read(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event
