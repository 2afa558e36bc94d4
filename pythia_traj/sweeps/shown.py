"""Plans, results and states of runs as a notebook shows them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pythia_traj.notebook import paragraph, table

if TYPE_CHECKING:
    from pythia_traj.sweeps.following import Followed
    from pythia_traj.sweeps.plan import Plan, Unit
    from pythia_traj.sweeps.record import SweepResult
    from pythia_traj.sweeps.refining import Refined
    from pythia_traj.sweeps.status import Status


def plan_as_html(plan: "Plan") -> str:
    """What there is to do of each model and label, and what is done again and why."""
    counts = _by_label({"to do": plan.todo, "again": plan.redone, "done": plan.done})
    again = _by_reason(plan.redone.items())
    return "".join(
        (
            paragraph(f"{len(plan.todo)} units to do, {len(plan.done)} done", "Plan:"),
            counts,
            table(("done again", "units", "why"), again),
            *(paragraph(warning, "Warning:") for warning in plan.warnings),
        )
    )


def result_as_html(result: "SweepResult") -> str:
    """How a sweep ended, by model and label, and why units were not measured."""
    kinds: dict[str, Sequence[Unit]] = {
        "done": result.done,
        "already there": result.skipped,
        "failed": [unit for unit, _ in result.failed],
        "skipped (defect)": [unit for unit, _ in result.defective],
        "left to other workers": result.left,
    }
    said = ", ".join(
        f"{len(units)} {kind}"
        for kind, units in kinds.items()
        if units or kind in ("done", "already there", "failed")
    )
    reasons = _by_reason((*result.failed, *result.defective, *result.known_defects))
    return "".join(
        (
            paragraph(f"{said}; {result.out}", "Sweep:"),
            _by_label({kind: units for kind, units in kinds.items() if units}),
            table(("not measured, or with a defect", "units", "why"), reasons),
            *(paragraph(warning, "Warning:") for warning in result.warnings),
        )
    )


def refined_as_html(refined: "Refined") -> str:
    """The onset of each model and how many steps it took, then the sweep."""
    rows = []
    for found in refined.found:
        onset, where = found.onset, "" if found.trajectory is None else found.trajectory.in_words
        status = "too few steps" if onset is None else onset.status
        low, high = (None, None) if onset is None else (onset.bracket_low, onset.bracket_high)
        bracket = None if low is None and high is None else f"{low} to {high}"
        steps = f"{len(found.steps)} of {found.published}"
        rows.append((found.model, found.goal.name, where, status, bracket, steps))
    columns = ("model", "onset of", "of which", "found", "bracket", "steps measured")
    return table(columns, rows) + result_as_html(refined.result)


def followed_as_html(followed: "Followed") -> str:
    """How following ended, the sweep, and the checkpoints that were removed before."""
    removed = sorted(followed.removed.items())
    return (
        paragraph(followed.end, "Ended:")
        + result_as_html(followed.result)
        + table(("step", "removed"), removed)
    )


def status_as_html(status: "Status") -> str:
    """How far a run is, by model and label, who works on it, and why units failed."""
    states = ("done", "running", "failed", "defective", "left")
    counts = {state: getattr(status, state) for state in states}
    shown = [state for state in states if state != "defective" or counts[state]]
    said = ", ".join(f"{counts[state]} {state}" for state in shown)
    damaged = f", {status.damaged} damaged files" if status.damaged else ""
    by_label = [
        (model, label, *(of_label[state] for state in shown))
        for model, labels in status.by_label.items()
        for label, of_label in labels.items()
    ]
    workers = Counter(worker.state for worker in status.workers)
    working = ", ".join(f"{count} {state}" for state, count in sorted(workers.items()))
    errors = _grouped((why, unit) for unit, why in status.errors.items())
    return "".join(
        (
            paragraph(said + damaged, "Run:"),
            table(("model", "label", *shown), by_label),
            paragraph(working, "Workers:") if working else "",
            table(("failed or left out", "units", "why"), errors),
            table(("damaged file", "why"), list(status.damaged_files.items())),
        )
    )


def _by_label(kinds: "Mapping[str, Iterable[Unit]]") -> str:
    """A table of how many units of each model and label are of each kind."""
    counts = {
        kind: Counter((unit.model, unit.label) for unit in units) for kind, units in kinds.items()
    }
    names = dict.fromkeys(name for counted in counts.values() for name in counted)
    rows = [(*name, *(counted[name] for counted in counts.values())) for name in names]
    return table(("model", "label", *counts), rows)


def _by_reason(units: "Iterable[tuple[Unit, str]]") -> list[tuple[Any, ...]]:
    return _grouped((why, unit.name) for unit, why in units)


def _grouped(reasons: Iterable[tuple[str, str]]) -> list[tuple[Any, ...]]:
    """The first unit of each reason, how many there are, and the reason."""
    found: dict[str, list[str]] = {}
    for why, name in reasons:
        found.setdefault(why, []).append(name)
    return [(names[0], len(names), why) for why, names in found.items()]
