"""One worker's log -> what `status` shows of it.

A log has two lines for each unit that is done, which say nothing that the unit's file does not say:
they are told apart by a regular expression, and only the others are parsed as JSON. Lines that our
programs do not write in this form are parsed too, so that both ways give the same answer.
"""

import re
from collections import deque
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pythia_traj.store.events import parse_event, read_lines

FAILED = ("failed", "defective")
"""Events of units that ended without rows."""

REMOVED = "removed"
"""The event of a unit whose checkpoint was removed before it was measured: nobody waits for it."""

ENDED = ("finished", "stopped", "refused")
"""Events of workers that ended and said so."""

_OF_UNIT = re.compile(rb'"event": "([a-z]+)".*"unit": "([^"\\]*)"')
"""The names in a line are sorted."""

_NOTE = b'"event": "note"'

_RECENT = 32
"""So many steps of a worker tell how fast it is."""


@dataclass(frozen=True)
class Last:
    """The last event of a unit that is not done."""

    time: float
    event: str
    error: str
    worker: str


@dataclass
class Visit:
    """A step that a worker measured, from the first line of its units to the last.

    Attributes:
        done: how many of its units are.
    """

    model: bytes
    step: bytes
    begun: bytes
    ended: bytes = b""
    done: int = 0


@dataclass
class Journal:
    """What a log says.

    Attributes:
        worker: the log's name.
        facts: of the first event that was parsed: host and job; and the shard, once it is known.
        last: of each unit that is not done.
        requests: each request that it took up or refused: when, its name, whether it was refused.
        ended: how it ended, as it said itself.
        error: why, if by an error.
        done: how many units it has done.
        recent: the last steps of which units were done.
    """

    worker: str
    facts: dict[str, Any] = field(default_factory=dict)
    last: dict[str, Last] = field(default_factory=dict)
    requests: list[tuple[float, str, bool]] = field(default_factory=list)
    ended: str | None = None
    error: str | None = None
    done: int = 0
    recent: deque[Visit] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _begun: dict[bytes, bytes] = field(default_factory=dict)
    _latest: bytes = b""

    @property
    def in_hand(self) -> list[str]:
        """The units that it began and has not ended."""
        events = (parse_event(line) for line in self._begun.values())
        return [event["unit"] for event in events if event is not None]

    @property
    def since(self) -> float | None:
        """When it last began or ended a unit."""
        return time_of(self._latest)

    def add_known(self, kind: bytes, unit: bytes, line: bytes) -> None:
        """Adds a line about a unit, which need not be parsed."""
        self._latest = line
        if kind == b"started":
            self._begun[unit] = line
            model, _, step = unit.split(b"/")
            if not self.recent or (self.recent[-1].model, self.recent[-1].step) != (model, step):
                self.recent.append(Visit(model, step, line))
            return
        self._begun.pop(unit, None)
        if kind == b"done":
            self.done += 1
            if self.recent:
                self.recent[-1].ended = line
                self.recent[-1].done += 1

    def add(self, event: dict[str, Any], line: bytes) -> None:
        """Adds an event that was parsed."""
        kind, unit = event["event"], event.get("unit")
        if not self.facts:
            self.facts = {name: event.get(name) for name in ("host", "job")}
        if event.get("shard") is not None:
            self.facts["shard"] = event["shard"]
        if kind in ENDED and self.ended is None:
            self.ended, self.error = kind, event.get("error")
        if event.get("request") is not None:
            self.requests.append((event["time"], event["request"], kind == "refused"))
        if unit is not None:
            self.last[unit] = Last(event["time"], kind, event.get("error") or "", self.worker)
            if unit.count("/") == 2:
                self.add_known(kind.encode(), unit.encode(), line)


def read_journal(path: Path, done: Container[bytes]) -> Journal:
    """Reads a log.

    Args:
        done: the units that are done, as bytes: `b"pythia-70m/loss/step512"`.
    """
    journal = Journal(path.stem)
    for line in read_lines(path):
        if line.count(b'"event"') == 1:
            match = _OF_UNIT.search(line)
            if match is not None and match[2] in done and line.count(b'"unit"') == 1:
                journal.add_known(match[1], match[2], line)
                continue
            if _NOTE in line:
                continue
        event = parse_event(line)
        if event is not None:
            journal.add(event, line)
    return journal


def time_of(line: bytes) -> float | None:
    """When the event of a line was; None where it is not one."""
    event = parse_event(line)
    return None if event is None else float(event["time"])
