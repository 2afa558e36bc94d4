"""`status`: how far a run is, once or until it is over."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pythia_traj.cli.output import JSON_OPTION, make_table, print_json, say
from pythia_traj.errors import ConfigError, Interrupted
from pythia_traj.printable import one_line

if TYPE_CHECKING:
    from pythia_traj.cluster.slurm.queue import Queue, QueuedTask
    from pythia_traj.sweeps.status import Status, Worker

_EVERY = 2.0
"""Seconds between two looks at a run that is watched."""

_QUEUE_EVERY = 30.0
"""Seconds between two questions to Slurm, which all users of a cluster ask."""


def status(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Go on until no unit is left and no worker is at work; Ctrl-C ends it.",
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Read all files of the run, and name the damaged ones.")
    ] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Show how far a run is: units done, running, failed and left, its workers, the time left.

    Of a run with tasks in Slurm, their queue too.
    """
    from pythia_traj.sweeps.status import status as read_status

    if watch:
        for name, given in (("--json", as_json), ("--check", check)):
            if given:
                raise ConfigError(f"--watch looks again and again, {name} once: leave out one")
        try:
            _watch(run)
        except Interrupted as stop:
            # It only looked: the sentence about units that are stored is not about this command.
            raise typer.Exit(128 + stop.signum) from None
        return
    found, queue = read_status(run, check=check), _queue_of(run)
    if as_json:
        print_json(found.as_json() | {"queue": None if queue is None else queue.as_json()})
        return
    for part in _parts(found, queue):
        if isinstance(part, str):
            say(part)
        else:
            Console().print(part)


def _watch(run: Path) -> None:
    """Draws the status again and again; without a terminal, a line for each change."""
    console = Console()
    if not console.is_terminal:
        said = ""
        for found in _until_over(run):
            line = _counts(found)
            if line != said:
                say(line)
            said = line
        return
    with Live(console=console, auto_refresh=False) as live:
        queue, asked = None, -_QUEUE_EVERY
        for found in _until_over(run):
            if time.monotonic() - asked >= _QUEUE_EVERY:
                queue, asked = _queue_of(run), time.monotonic()
            shown = _parts(found, queue)
            parts = (Text(part) if isinstance(part, str) else part for part in shown)
            live.update(Group(*parts), refresh=True)


def _queue_of(run: Path) -> "Queue | None":
    from pythia_traj.cluster.slurm.queue import find_queue
    from pythia_traj.store.layout import Run

    return find_queue(Run.open(run))


def _until_over(run: Path) -> "Iterator[Status]":
    from pythia_traj.sweeps.status import status as read_status

    while True:
        found = read_status(run)
        yield found
        if found.is_over:
            return
        time.sleep(_EVERY)


def _parts(found: "Status", queue: "Queue | None") -> list[str | Table]:
    """Sentences and tables, in the order in which they are shown."""
    parts: list[str | Table] = [_counts(found) + _time_left(found)]
    if found.by_label:
        parts.append(_by_label(found))
    shown = [worker for worker in found.workers if _is_of_interest(worker, found)]
    if shown:
        columns = ["worker", "job", "shard", "does", "heartbeat"]
        parts.append(make_table(columns, [_worker(worker) for worker in shown]))
    ended = Counter(worker.state for worker in found.workers if worker not in shown)
    if ended:
        said = ", ".join(f"{count} {state}" for state, count in sorted(ended.items()))
        parts.append(f"other workers: {said}")
    for state, words in (("failed", "failed"), ("defective", "skipped (defect)")):
        parts += _by_reason(found, state, words)
    if queue is not None:
        parts += _queue(queue, is_done=not found.left and not found.running)
    parts += [one_line(f"damaged: {file}: {why}") for file, why in found.damaged_files.items()]
    return parts


def _counts(found: "Status") -> str:
    defective = f"{found.defective} skipped (defect), " if found.defective else ""
    damaged = f", {found.damaged} damaged" if found.damaged else ""
    return (
        f"{found.done} done, {found.running} running, {found.failed} failed,"
        f" {defective}{found.left} left{damaged}"
    )


def _time_left(found: "Status") -> str:
    if not found.seconds_left or found.units_per_minute is None:
        return ""
    left = _duration(found.seconds_left)
    return f"; {found.units_per_minute:g} units a minute, about {left} to go at that rate"


def _by_label(found: "Status") -> Table:
    states = ["done", "running", "failed", *(["defective"] if found.defective else []), "left"]
    rows = [
        [model, label, *(counts[state] for state in states)]
        for model, labels in found.by_label.items()
        for label, counts in labels.items()
    ]
    return make_table(["model", "label", *states], rows)


def _is_of_interest(worker: "Worker", found: "Status") -> bool:
    """Whether it is at work, or fell silent with a unit in hand that nobody has taken up."""
    if worker.state == "silent":
        return any(found.units.get(unit) == "left" for unit in worker.units)
    return worker.state == "working"


def _worker(worker: "Worker") -> list[str | None]:
    units = worker.units[0] if worker.units else ""
    if len(worker.units) > 1:
        units += f" and {len(worker.units) - 1} more"
    since = "" if worker.since is None else f" for {_duration(time.time() - worker.since)}"
    if worker.state == "silent":
        does = f"silent, with {units} in hand"
    else:
        does = units + since if units else "no unit in hand"
    beat = worker.seconds_since_beat
    heartbeat = None if beat is None else f"{_duration(beat)} ago"
    return [worker.name, worker.job, worker.shard, does, heartbeat]


def _queue(queue: "Queue", is_done: bool) -> list[str | Table]:
    """What Slurm has of the run; how tasks failed matters while there is something to do."""
    parts: list[str | Table] = []
    if queue.unknown is not None:
        parts.append(f"Slurm's queue is not known: {queue.unknown}")
    active = [task for task in queue.tasks if task.is_active]
    if active:
        counts = Counter(
            task.state.lower() + (f" ({task.reason})" if task.state == "PENDING" else "")
            for task in active
        )
        said = ", ".join(f"{count} {state}" for state, count in counts.items())
        parts.append(one_line(f"tasks in Slurm: {said}"))
    if not is_done:
        parts += _failed_tasks(queue)
    return parts


def _failed_tasks(queue: "Queue") -> list[str]:
    """A line for each way in which tasks failed, with the first of them, and its last lines."""
    alike: dict[tuple[str, str, tuple[str, ...]], list[QueuedTask]] = {}
    for task in queue.tasks:
        # One that was cancelled while it waited has nothing to say.
        if task.ended_badly and (task.log is not None or task.state != "CANCELLED"):
            why = f" ({task.reason})" if task.is_stuck else ""
            alike.setdefault((task.state, why, task.last_lines), []).append(task)
    lines = []
    for (state, why, last_lines), tasks in alike.items():
        first = tasks[0]
        more = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
        where = f" on {first.node}" if first.node else ""
        log = first.log or "without a log: can the nodes see the run?"
        lines.append(one_line(f"task {first.id}{more} {state.lower()}{why}{where}: {log}"))
        lines += [f"  {one_line(line)}" for line in last_lines]
    return lines


def _by_reason(found: "Status", state: str, words: str) -> list[str]:
    """A line for each reason, with the first of its units, and the log that has its traceback."""
    reasons: dict[str, list[str]] = {}
    for name, reason in found.errors.items():
        if found.units[name] == state:
            reasons.setdefault(reason, []).append(name)
    lines = []
    for reason, names in reasons.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(one_line(f"{words}: {names[0]}{more}: {reason} ({found.logs[names[0]]})"))
    return lines


def _duration(seconds: float) -> str:
    """A time in the unit in which it is short.

    >>> _duration(12.3), _duration(400), _duration(30_000), _duration(500_000)
    ('12 s', '7 min', '8.3 h', '5.8 days')
    """
    if seconds < 100:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(status)
