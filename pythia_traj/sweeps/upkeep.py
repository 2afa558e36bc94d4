"""Changes to the files of finished units: compacting, removing, merging.

Such a change and a sweep that writes exclude each other. Each shows itself first and looks for the
other after that: the change by its claim, the file `claims/upkeep`, a sweep by the heartbeat of its
log. A change that sees a living worker is refused. A worker that sees a living claim waits until it
is gone, which takes seconds. The claim of a process that died falls like that of a worker.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pythia_traj.errors import StoreError
from pythia_traj.store.compacting import (
    NotCompactedError,
    compact_label,
    finish,
    list_labels,
    unfinished,
)
from pythia_traj.store.events import EventLog, list_logs
from pythia_traj.store.layout import Run
from pythia_traj.store.merging import Merge, merge_runs
from pythia_traj.store.removing import Removal, remove_label, what_goes
from pythia_traj.sweeps.claims import Claims, keeper
from pythia_traj.sweeps.heartbeat import beating, is_alive
from pythia_traj.sweeps.journal import read_journal


@dataclass
class Compaction:
    """What a compaction did.

    Attributes:
        units: how many units were put together with others.
        before: how many files they had, tables included.
        after: how many they have.
        left: labels that are as they were, as `model/label`, and why.
    """

    units: int = 0
    before: int = 0
    after: int = 0
    left: dict[str, str] = field(default_factory=dict)


def compact(run: str | Path) -> Compaction:
    """Turns the unit files of each model and label into one, and those of each of its tables.

    Every reader finds the same rows as before. Units that are measured later have files of their
    own until the next compaction. Tensors stay as they are.

    Args:
        run: the run's directory.

    Raises:
        StoreError: it is not a run, a sweep is writing to it, or the disk is full, read-only or
            forbidden.
    """
    opened, done = Run.open(Path(run)), Compaction()
    with _alone(opened, "compact") as log:
        for label in list_labels(opened):
            try:
                is_compacted = compact_label(opened, label)
            except NotCompactedError as error:
                done.left[label.name] = str(error)
                continue
            if is_compacted:
                done.units += len(label.units[None])
                done.before += label.files
                done.after += len(label.units)
        log.write("compacted", units=done.units, before=done.before, after=done.after)
    return done


def remove(run: str | Path, label: str, model: str | None = None) -> Removal:
    """Deletes the units of a label, with their tables and tensors, and takes it out of requests.

    Args:
        run: the run's directory.
        label: the label, as in `load`.
        model: only those of this model.

    Raises:
        StoreError: it is not a run, has no such label, a sweep is writing to it, or the disk is
            read-only or forbidden.
    """
    opened = Run.open(Path(run))
    what_goes(opened, label, model)
    with _alone(opened, "remove") as log:
        gone = remove_label(opened, label, model)
        log.write("removed", label=label, models=list(gone.models), units=gone.units)
    return gone


def merge(runs: Sequence[str | Path], out: str | Path) -> Merge:
    """Makes a new run with the units, requests and logs of several; they are only read.

    A unit that several runs have is taken from the one that is named first, if all were made of the
    same. Repeating it completes a merge that was interrupted.

    Args:
        runs: two or more directories of runs.
        out: a new or an empty directory, or one that holds a merge of the same runs.

    Raises:
        StoreError: one is not a run, a sweep is writing to one, two disagree about a unit or a
            model, or `out` holds something else or cannot be written.
    """
    opened = [Run.open(Path(run)) for run in runs]
    for run in opened:
        _refuse_beside_others(run)
    target = Path(out)
    if not (target / "run.json").exists():
        # Nothing else takes it for a run before it is complete.
        return merge_runs(opened, target)
    with _alone(Run.open(target), "merge"):
        return merge_runs(opened, target)


def settle(claims: Claims, working: Callable[[str], None]) -> None:
    """Waits until nobody changes finished units, and completes what a killed process left.

    Raises:
        StoreError: the run cannot be written.
    """
    if keeper(claims.run) is not None or unfinished(claims.run):
        with claims.waiting_for_finished(working):
            finish(claims.run)


@contextmanager
def _alone(run: Run, doing: str) -> Iterator[EventLog]:
    """Has the files of finished units in hand, where no worker writes; yields the log of it."""
    _refuse_beside_others(run)
    log = EventLog(run)
    log.write("upkeep", command=doing)
    with beating(log), Claims(run, log.worker).taking_finished() as is_ours:
        ended = "stopped"
        try:
            if not is_ours:
                raise _busy(run, keeper(run) or "another process")
            _refuse_beside_others(run, log.worker)
            finish(run)
            yield log
            ended = "finished"
        finally:
            # A disk that is full takes no line either.
            with suppress(StoreError):
                log.write(ended)


def _refuse_beside_others(run: Run, own: str | None = None) -> None:
    """Raises StoreError: a living worker writes to the run, or another change is under way."""
    other = keeper(run)
    if other not in (None, own):
        raise _busy(run, str(other))
    for path in list_logs(run):
        if path.stem != own and is_alive(run, path.stem) and read_journal(path, ()).ended is None:
            raise _busy(run, path.stem)


def _busy(run: Run, worker: str) -> StoreError:
    return StoreError(
        f"{worker} is writing to {run.path}: wait until it has ended (pythia-traj status"
        f" {run.path}), then repeat the command"
    )
