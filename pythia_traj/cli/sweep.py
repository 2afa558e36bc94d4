"""`sweep`: measures models at steps and stores rows."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pythia_traj.cli.output import JSON_OPTION, SweepProgress, print_json, progress_bar, say
from pythia_traj.cli.refine import (
    Asked,
    Budget,
    Refine,
    RefineWhere,
    run_refine,
    say_first_round,
)
from pythia_traj.cli.request import DryRun, takes_request, train_toy
from pythia_traj.errors import ConfigError
from pythia_traj.printable import one_line

if TYPE_CHECKING:
    from pythia_traj.config import SweepConfig
    from pythia_traj.sweeps.plan import Unit
    from pythia_traj.sweeps.record import SweepResult


@takes_request
def sweep(
    request: "SweepConfig",
    dry_run: DryRun = False,
    record_only: Annotated[
        bool,
        typer.Option(
            "--record-only", help="Write the request into the run for workers, measure nothing."
        ),
    ] = False,
    refine: Refine = None,
    refine_where: RefineWhere = None,
    budget: Budget = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Measure models at selected training steps and store the rows as Parquet.

    Finished units are skipped: repeat the command to continue an interrupted sweep.
    """
    asked = Asked(refine, tuple(refine_where or ()), budget)
    asked.check(record_only)
    if dry_run and record_only:
        raise ConfigError("--dry-run writes nothing: leave it out, or --record-only")
    if dry_run:
        from pythia_traj.cli.dry_run import say_plan

        (say_plan(request, as_json) if refine is None else say_first_round(request, asked, as_json))
        return
    train_toy(request)
    if refine is not None:
        run_refine(request, asked, as_json)
        return
    if record_only:
        _record(request, as_json)
        return
    from pythia_traj.sweeps.worker import sweep as run_sweep

    with progress_bar() as progress:
        result = run_sweep(request, observer=SweepProgress(progress))
    report_result(result, as_json)


def _record(request: "SweepConfig", as_json: bool) -> None:
    from pythia_traj.sweeps.requests import record

    name, plan = record(request)
    if as_json:
        todo, done = len(plan.todo), len(plan.done)
        print_json({"run": str(request.out), "request": name, "todo": todo, "done": done})
        return
    for warning in plan.warnings:
        say(f"warning: {warning}", err=True)
    say(f"request {name}: {len(plan.todo)} to do, {len(plan.done)} already there")


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


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(sweep)
