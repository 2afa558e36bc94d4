"""How a sweep ended, for whoever asked for it: `sweep`, `worker` and `submit` say the same."""

from typing import TYPE_CHECKING, Any

import typer

from pythia_traj.cli.output import print_json, say
from pythia_traj.printable import one_line

if TYPE_CHECKING:
    from pythia_traj.sweeps.plan import Unit
    from pythia_traj.sweeps.record import SweepResult


def report_result(result: "SweepResult", as_json: bool) -> None:
    """Prints how a sweep ended, and exits with a status if units failed."""
    if as_json:
        print_json(as_document(result))
    else:
        summarise(result)
    if status := exit_status(result):
        raise typer.Exit(status)


def exit_status(result: "SweepResult") -> int:
    """3 where units failed or were skipped as defective, 1 where all failed; else 0."""
    if not result.failed and not result.defective:
        return 0
    return 3 if result.done or result.skipped or result.defective else 1


def as_document(result: "SweepResult") -> dict[str, Any]:
    """How a sweep ended, as JSON."""
    return {
        "run": str(result.out),
        "metrics": str(result.out / "metrics"),
        "done": [unit.name for unit in result.done],
        "skipped": [unit.name for unit in result.skipped],
        "left": [unit.name for unit in result.left],
        "failed": {unit.name: error for unit, error in result.failed},
        "defective": {unit.name: reason for unit, reason in result.defective},
        "known_defects": {unit.name: reason for unit, reason in result.known_defects},
        "warnings": result.warnings,
    }


def summarise(result: "SweepResult") -> None:
    """Prints how a sweep ended: the reasons on standard error, the counts on standard output."""
    _by_reason("failed", result.failed)
    _by_reason("skipped (defect)", result.defective)
    if result.defective:
        say("--on-defect measure also measures what was skipped", err=True)
    _by_reason("warning: measured in spite of a defect", result.known_defects)
    counts = [
        f"{len(result.done)} done",
        f"{len(result.skipped)} already there",
        f"{len(result.failed)} failed",
    ]
    if result.defective:
        counts.append(f"{len(result.defective)} skipped (defect)")
    if result.left:
        counts.append(f"{len(result.left)} left to other workers")
    say(f"{', '.join(counts)}; Parquet: {result.out / 'metrics'}")


def _by_reason(what: str, units: "list[tuple[Unit, str]]") -> None:
    """A line on standard error for each reason, with the first of its units."""
    reasons: dict[str, list[str]] = {}
    for unit, reason in units:
        reasons.setdefault(reason, []).append(unit.name)
    for reason, names in reasons.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        say(one_line(f"{what}: {names[0]}{more}: {reason}"), err=True)
