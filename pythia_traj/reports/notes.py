"""What a reader of a run's numbers must know, in sentences."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from pythia_traj.analysis.wording import counted, listed
from pythia_traj.store.done import Found
from pythia_traj.store.read import Read
from pythia_traj.store.records import Footer
from pythia_traj.sweeps.status import Status

Kind = Literal["warning", "defect", "running", "damaged"]


@dataclass(frozen=True)
class Note:
    """A sentence for the reader of a page.

    Attributes:
        kind: `warning`: what is missing or cannot be compared; `defect`: weights that are not those
            of their step; `running`: the run is being written; `damaged`: files that were left out.
        words: the sentence.
    """

    kind: Kind
    words: str


def notes_of(found: Read, status: Status) -> Iterator[Note]:
    """What must be known of one run, the most important first.

    Args:
        found: its rows, as `pythia_traj.store.read.read_run` reads them.
        status: how far it is.
    """
    yield from _extent(found.frame, status)
    yield from _progress(status)
    yield from _failed(status)
    yield from _defects(found.footers, status)
    yield from of_files(found)
    for file, why in status.damaged_files.items():
        yield Note("damaged", f"{file} was left out: {why}")


def of_files(found: Read) -> Iterator[Note]:
    """What was left out of some rows, and what in them cannot be compared."""
    for words in found.notes:
        if words in found.left_out:
            yield Note("damaged", words)
        elif len(found.frame):
            yield Note("warning", words)


def _extent(rows: pd.DataFrame, status: Status) -> Iterator[Note]:
    """Whether there is anything to see, and any change to see."""
    if rows.empty:
        if not status.units:
            yield Note("warning", "nothing was asked of this run yet: it holds no measurement")
        elif not status.done:
            yield Note(
                "warning", f"none of {counted(len(status.units), 'unit')} has been measured yet"
            )
        else:
            have = "has a file" if status.done == 1 else "have files"
            yield Note("warning", f"{counted(status.done, 'unit')} {have}, but no row can be shown")
        return
    steps = rows.groupby("model", observed=True)["step"].unique()
    for model, of_model in steps.items():
        if len(of_model) == 1:
            yield Note(
                "warning",
                f"{model} was measured at step {of_model[0]} alone: nothing can be said about"
                " change during training",
            )


def _progress(status: Status) -> Iterator[Note]:
    """Whether the run is being written, and what is left of it."""
    unfinished = status.left + status.running
    total = counted(len(status.units), "unit")
    working = [worker for worker in status.workers if worker.state == "working"]
    if working:
        workers = "1 worker is" if len(working) == 1 else f"{len(working)} workers are"
        yield Note(
            "running",
            f"the run is being written: {workers} at work, {status.running} of {total} in hand,"
            f" {status.left} left{_time(status)}; what was measured until now is shown",
        )
    elif unfinished:
        yield Note(
            "warning",
            f"{unfinished} of {total} {'is' if unfinished == 1 else 'are'} not measured, and no"
            f" worker is at work: {_ends(status)}the same command goes on from here",
        )


def _time(status: Status) -> str:
    if not status.seconds_left:
        return ""
    minutes = status.seconds_left / 60
    about = f"{minutes / 60:.0f} hours" if minutes >= 90 else f"{max(1, round(minutes))} min"
    return f", about {about} to go"


def _ends(status: Status) -> str:
    """How the workers ended that did not finish."""
    ends = Counter(
        f"{worker.state}{f' ({worker.error})' if worker.error else ''}"
        for worker in status.workers
        if worker.state != "finished"
    )
    words = {"silent": "ended without a word"}
    said = [f"{count} {words.get(end, f'was {end}')}" for end, count in ends.items()]
    return f"of the workers {', '.join(said)}; " if said else ""


def _failed(status: Status) -> Iterator[Note]:
    for why, units in _by_reason(status, "failed"):
        yield Note("warning", f"{counted(len(units), 'unit')} failed ({listed(units)}): {why}")


def _defects(footers: Mapping[Found, Footer], status: Status) -> Iterator[Note]:
    """Steps whose published weights are not theirs: left out, or measured in spite of that."""
    for why, units in _by_reason(status, "defective"):
        skipped = f"{counted(len(units), 'unit')} {'was' if len(units) == 1 else 'were'} skipped"
        yield Note("defect", f"{skipped} because of a defect ({listed(units)}): {why}")
    measured: dict[tuple[str, str], set[int]] = {}
    for found, footer in footers.items():
        if footer.defect is not None:
            measured.setdefault((found.model, footer.defect), set()).add(found.step or 0)
    for (model, why), steps in measured.items():
        of = "step" if len(steps) == 1 else f"{len(steps)} steps"
        named = listed([str(step) for step in sorted(steps)])
        yield Note("defect", f"{model}: {of} {named} measured in spite of a defect: {why}")


def _by_reason(status: Status, state: str) -> Iterator[tuple[str, list[str]]]:
    """The reasons for which units have a state, each with its units, the commonest first."""
    reasons: dict[str, list[str]] = {}
    for unit, own in status.units.items():
        if own == state:
            reasons.setdefault(status.errors[unit] or "no reason was given", []).append(unit)
    yield from sorted(reasons.items(), key=lambda one: -len(one[1]))
