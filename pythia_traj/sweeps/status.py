"""How far a run is, from names and logs alone.

A unit is done when its file is there. The logs say what failed, what the workers do and how fast
they are. No file of a unit is opened, unless all of them are to be checked.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pythia_traj.store.done import Damage, read_requests, survey, unit_names
from pythia_traj.store.events import list_logs
from pythia_traj.store.layout import Run
from pythia_traj.store.records import Request
from pythia_traj.sweeps.heartbeat import is_alive, last_beat
from pythia_traj.sweeps.journal import FAILED, REMOVED, Journal, Last, read_journal
from pythia_traj.sweeps.pace import (
    Pace,
    pace_of,
    seconds_left,
    together,
    units_per_minute,
)
from pythia_traj.sweeps.shards import costs_of

STATES = ("done", "running", "failed", "defective", "left")
"""Of a unit."""

_UNFINISHED = ("running", "left")


@dataclass(frozen=True)
class Worker:
    """What a worker does, or did last.

    Attributes:
        name: of its log, `log/<name>.jsonl`.
        host: where it runs.
        job: the scheduler's name for it, if there is a scheduler.
        shard: which part of the request it does.
        state: `working`; `finished`, `stopped` or `refused` if its log ends so; else `silent`: it
            has no heartbeat and did not say that it ended.
        error: why it was refused or stopped, if by an error.
        units: those it has begun and not ended.
        since: when it last began or ended a unit, in seconds since 1970.
        seconds_since_beat: since its last heartbeat.
        done: how many units it has done.
    """

    name: str
    host: str | None
    job: str | None
    shard: str | None
    state: str
    error: str | None
    units: tuple[str, ...]
    since: float | None
    seconds_since_beat: float | None
    done: int


@dataclass(frozen=True)
class Status:
    """How far a run is.

    Attributes:
        done: requested units whose files exist; with `check`, whose files are whole.
        running: units without a file that a living worker has begun.
        failed: units without a file whose last event is a failure.
        defective: units without a file, left out because their step's published weights are another
            step's.
        left: all other units, without those of an impossible request and those whose checkpoint was
            removed before they were measured.
        damaged: damaged files. With `check`, the units of these count as left: the next sweep
            measures them again.
        checked: whether the files of units were read; without, only damaged requests and folders
            are noticed.
        units: the state of every requested unit, by `model/label/step512`.
        by_label: how many units of each model and label have each state.
        errors: why a failed unit failed, or a defective one was left out.
        logs: of these units, the log that holds the error and its traceback, as a path within the
            run.
        damaged_files: what is wrong with each damaged file, by its path within the run.
        workers: of all logs.
        units_per_minute: of the living workers lately, or of those that worked last; None before
            the first unit is done.
        seconds_left: at that rate; a unit counts as what a step of its model costs.
    """

    done: int
    running: int
    failed: int
    defective: int
    left: int
    damaged: int
    checked: bool
    units: dict[str, str]
    by_label: dict[str, dict[str, dict[str, int]]]
    errors: dict[str, str]
    logs: dict[str, str]
    damaged_files: dict[str, str]
    workers: tuple[Worker, ...]
    units_per_minute: float | None
    seconds_left: float | None

    @property
    def is_over(self) -> bool:
        """Whether no unit is left, and no worker is at work."""
        is_working = any(worker.state == "working" for worker in self.workers)
        return not (self.left or self.running or is_working)

    def as_json(self) -> dict[str, Any]:
        """As `status --json` prints it."""
        return {**vars(self), "workers": [asdict(worker) for worker in self.workers]}

    def _repr_html_(self) -> str:
        """In a notebook."""
        from pythia_traj.sweeps.shown import status_as_html

        return status_as_html(self)


def status(run: str | Path | Run, *, check: bool = False) -> Status:
    """Counts the units of a run by their state, and says what its workers do.

    Args:
        run: its directory, or the run that was opened in it.
        check: whether to read all its files, and name the damaged ones.

    Raises:
        StoreError: it is not a run.
    """
    opened = run if isinstance(run, Run) else Run.open(Path(run))
    damage: Damage = {}
    requests = read_requests(opened, damage)
    if check:
        found = survey(opened)
        there = found.done
        damage |= found.damaged
    else:
        there = unit_names(opened, unreadable=damage)
    known = {name.encode() for name in there}
    journals = [read_journal(path, known) for path in list_logs(opened)]
    workers = tuple(_worker(opened, journal) for journal in journals)
    working = {worker.name for worker in workers if worker.state == "working"}
    last = _last(journals)
    units, by_label = _count(_requested(requests, journals), there, last, working)
    totals: Counter[str] = Counter()
    for labels in by_label.values():
        for counts in labels.values():
            totals.update(counts)
    paces, remaining = _pace(requests, journals, working, by_label)
    ended_badly = [name for name, state in units.items() if state in FAILED]
    damaged = {str(path.relative_to(opened.path)): why for path, why in sorted(damage.items())}
    return Status(
        **{state: totals[state] for state in STATES},
        damaged=len(damaged),
        checked=check,
        units=units,
        by_label=by_label,
        errors={name: last[name].error for name in ended_badly},
        logs={name: f"log/{last[name].worker}.jsonl" for name in ended_badly},
        damaged_files=damaged,
        workers=workers,
        units_per_minute=units_per_minute(paces),
        seconds_left=seconds_left(paces, remaining),
    )


def _worker(run: Run, journal: Journal) -> Worker:
    beat = last_beat(run, journal.worker)
    state = journal.ended or ("working" if is_alive(run, journal.worker) else "silent")
    return Worker(
        name=journal.worker,
        host=journal.facts.get("host"),
        job=journal.facts.get("job"),
        shard=journal.facts.get("shard"),
        state=state,
        error=journal.error,
        units=tuple(journal.in_hand),
        since=journal.since,
        seconds_since_beat=None if beat is None else round(max(0.0, time.time() - beat), 1),
        done=journal.done,
    )


def _last(journals: Iterable[Journal]) -> dict[str, Last]:
    """The last event of each unit that is not done."""
    last: dict[str, Last] = {}
    for journal in journals:
        for unit, event in journal.last.items():
            if unit not in last or last[unit].time <= event.time:
                last[unit] = event
    return last


def _requested(
    requests: Mapping[str, Request], journals: Iterable[Journal]
) -> dict[tuple[str, str], dict[int, bool]]:
    """The steps that are requested of each model and label.

    Beside each stands whether one of its requests can be met.
    """
    taken = sorted(event for journal in journals for event in journal.requests)
    refused = {name: is_refused for _, name, is_refused in taken}
    steps: dict[tuple[str, str], dict[int, bool]] = {}
    for name, request in requests.items():
        is_wanted = not refused.get(name, False)
        for model, selected in request.explicit_steps.items():
            for label in request.experiments:
                known = steps.setdefault((model, label), {})
                for step in selected:
                    known[step] = known.get(step, False) or is_wanted
    return steps


def _count(
    requested: Mapping[tuple[str, str], Mapping[int, bool]],
    there: set[str],
    last: Mapping[str, Last],
    working: set[str],
) -> tuple[dict[str, str], dict[str, dict[str, dict[str, int]]]]:
    """The state of each unit, and how many of each model and label have it."""
    units: dict[str, str] = {}
    by_label: dict[str, dict[str, dict[str, int]]] = {}
    for (model, label), steps in requested.items():
        counts = dict.fromkeys(STATES, 0)
        for step, is_wanted in steps.items():
            name = f"{model}/{label}/step{step}"
            state = "done" if name in there else _state(last.get(name), working)
            if state != REMOVED and (is_wanted or state != "left"):
                units[name] = state
                counts[state] += 1
        if any(counts.values()):
            by_label.setdefault(model, {})[label] = counts
    return units, by_label


def _state(event: Last | None, working: set[str]) -> str:
    """The state of a unit without a file, by its last event."""
    if event is not None and event.event in (*FAILED, REMOVED):
        return event.event
    is_running = event is not None and event.event == "started" and event.worker in working
    return "running" if is_running else "left"


def _pace(
    requests: Mapping[str, Request],
    journals: Sequence[Journal],
    working: set[str],
    by_label: Mapping[str, Mapping[str, Mapping[str, int]]],
) -> tuple[list[Pace], float]:
    """The paces of the workers that count, and the weight of the units that remain."""
    known = {name: size for one in requests.values() for name, size in one.weight_bytes.items()}
    weights = costs_of(by_label, known)
    paces = {journal.worker: pace_of(journal, weights) for journal in journals}
    alive = [pace for name, pace in paces.items() if pace is not None and name in working]
    others = [pace for name, pace in paces.items() if pace is not None and name not in working]
    remaining = sum(
        weights[model] * sum(counts[state] for state in _UNFINISHED)
        for model, labels in by_label.items()
        for counts in labels.values()
    )
    return together(alive, others), remaining
