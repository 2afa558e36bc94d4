"""How far a run is, from its files alone: names for what is done, the log for what failed or is being done."""

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pythia_traj.store.done import list_units
from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run

_STALE_SECONDS = 3600
"""After this long without an event, a worker of another host is taken for dead."""


@dataclass(frozen=True)
class Status:
    """How far a run is.

    Attributes:
        done: units whose metrics file exists, of those that were ever requested.
        running: units that a living worker has begun.
        failed: units without a file whose last event is a failure.
        defective: units without a file that were left out because their step's published weights are another's.
        left: all other units.
        units: the state of every requested unit, by `model/label/step512`.
        errors: why a failed unit failed, or a defective one was left out.
        seconds_left: at the rate of the units done so far, where that is known.
    """

    done: int
    running: int
    failed: int
    defective: int
    left: int
    units: dict[str, str]
    errors: dict[str, str]
    seconds_left: float | None

    def as_json(self) -> dict[str, Any]:
        """As `status --json` prints it."""
        return dict(vars(self))


def status(run: str | Path) -> Status:
    """Counts the units of a run by their state.

    Raises:
        StoreError: it is no run.
    """
    opened = Run.open(Path(run))
    there = {f"{found.model}/{found.label}/step{found.step}" for found in list_units(opened)}
    last: dict[str, dict[str, Any]] = {}
    finished: list[float] = []
    for event in read_events(opened):
        if "unit" in event:
            last[event["unit"]] = event
        if event.get("event") == "done":
            finished.append(float(event["time"]))
    units: dict[str, str] = {}
    errors: dict[str, str] = {}
    for name in _requested(opened):
        event = last.get(name, {})
        if name in there:
            units[name] = "done"
        elif event.get("event") in {"failed", "defective"}:
            units[name] = event["event"]
            errors[name] = str(event.get("error", ""))
        elif event.get("event") == "started" and _is_working(event):
            units[name] = "running"
        else:
            units[name] = "left"
    counts = {
        state: sum(1 for value in units.values() if value == state)
        for state in ("done", "running", "failed", "defective", "left")
    }
    remaining = counts["running"] + counts["left"]
    return Status(**counts, units=units, errors=errors, seconds_left=_seconds_left(finished, remaining))


def _requested(run: Run) -> list[str]:
    names: dict[str, None] = {}
    for request in run.requests():
        for model, steps in request.get("explicit_steps", {}).items():
            for step in steps:
                names |= dict.fromkeys(f"{model}/{label}/step{step}" for label in request.get("experiments", {}))
    return list(names)


def _is_working(event: dict[str, Any]) -> bool:
    if event.get("host") != socket.gethostname():
        return time.time() - float(event.get("time", 0)) < _STALE_SECONDS
    try:
        os.kill(int(event["pid"]), 0)
    except (ProcessLookupError, KeyError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _seconds_left(finished: list[float], remaining: int) -> float | None:
    """From the rate of the last units; None while there is no rate yet."""
    recent = finished[-20:]
    if remaining == 0:
        return 0.0
    if len(recent) < 2 or recent[-1] <= recent[0]:
        return None
    return round(remaining * (recent[-1] - recent[0]) / (len(recent) - 1), 1)
