"""How far a run is, from its files alone.

The rows say what is done, the log says what failed or is running.
"""

import socket
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pythia_traj.store.done import requests, survey
from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run

_ENDED = ("failed", "defective")

_STALE_SECONDS = 3600
"""After this long without an event, a worker of another host counts as dead."""


@dataclass(frozen=True)
class Status:
    """How far a run is.

    Attributes:
        done: requested units whose files exist and are whole.
        running: units that a living worker has begun.
        failed: units without a file whose last event is a failure.
        defective: units without a file, left out because their step's published weights are another
            step's.
        left: all other units, without those of an impossible request.
        damaged: damaged files. Their units count as left: the next sweep measures them again.
        units: the state of every requested unit, by `model/label/step512`.
        errors: why a failed unit failed, or a defective one was left out.
        damaged_files: what is wrong with each damaged file, by its path within the run.
        seconds_left: at the rate of the units done so far, if known.
    """

    done: int
    running: int
    failed: int
    defective: int
    left: int
    damaged: int
    units: dict[str, str]
    errors: dict[str, str]
    damaged_files: dict[str, str]
    seconds_left: float | None

    def as_json(self) -> dict[str, Any]:
        """As `status --json` prints it."""
        return dict(vars(self))


def status(run: str | Path) -> Status:
    """Counts the units of a run by their state, and its damaged files.

    Raises:
        StoreError: it is not a run.
    """
    opened = Run.open(Path(run))
    there = survey(opened)
    last: dict[str, dict[str, Any]] = {}
    refused: dict[str, bool] = {}
    finished: list[float] = []
    for event in read_events(opened):
        if event.get("unit") is not None:
            last[event["unit"]] = event
        if event.get("request") is not None:
            refused[event["request"]] = event["event"] == "refused"
        if event["event"] == "done":
            finished.append(event["time"])
    units: dict[str, str] = {}
    errors: dict[str, str] = {}
    for name, is_wanted in _requested(opened, refused).items():
        event = last.get(name, {})
        state = "done" if name in there.done else _state(event)
        if state in _ENDED:
            errors[name] = str(event.get("error") or "")
        if is_wanted or state != "left":
            units[name] = state
    counts = Counter(units.values())
    damaged = {str(path.relative_to(opened.path)): why for path, why in there.damaged.items()}
    return Status(
        **{state: counts[state] for state in ("done", "running", *_ENDED, "left")},
        damaged=len(damaged),
        units=units,
        errors=errors,
        damaged_files=damaged,
        seconds_left=_seconds_left(finished, counts["running"] + counts["left"]),
    )


def _requested(run: Run, refused: Mapping[str, bool]) -> dict[str, bool]:
    """The units of all requests, each with whether one of those requests can be met."""
    names: dict[str, bool] = {}
    for digest, request in requests(run):
        is_wanted = not refused.get(digest, False)
        for model, steps in request.explicit_steps.items():
            for step in steps:
                for label in request.experiments:
                    name = f"{model}/{label}/step{step}"
                    names[name] = names.get(name, False) or is_wanted
    return names


def _state(event: Mapping[str, Any]) -> str:
    """The state of a unit without a file, by its last event."""
    if event.get("event") in _ENDED:
        return str(event["event"])
    return "running" if event.get("event") == "started" and _is_working(event) else "left"


def _is_working(event: Mapping[str, Any]) -> bool:
    if event.get("host") != socket.gethostname():
        return time.time() - float(event["time"]) < _STALE_SECONDS
    pid = event.get("pid")
    return pid is not None and psutil.pid_exists(pid)


def _seconds_left(finished: list[float], remaining: int) -> float | None:
    """From the rate of the last units; None without a rate."""
    recent = finished[-20:]
    if remaining == 0:
        return 0.0
    if len(recent) < 2 or recent[-1] <= recent[0]:
        return None
    return round(remaining * (recent[-1] - recent[0]) / (len(recent) - 1), 1)
