"""`sweep`: measures models at steps and stores rows."""

from typing import TYPE_CHECKING, Annotated

import typer

from pythia_traj.cli.follow import Follow, Until, check_follow, run_follow
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
from pythia_traj.cli.result import report_result
from pythia_traj.errors import ConfigError

if TYPE_CHECKING:
    from pythia_traj.config import SweepConfig


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
    follow: Follow = None,
    until: Until = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Measure models at selected training steps and store the rows as Parquet.

    Finished units are skipped: repeat the command to continue an interrupted sweep.
    """
    asked = Asked(refine, tuple(refine_where or ()), budget)
    asked.check(record_only)
    check_follow(follow, until, refine=refine, record_only=record_only, dry_run=dry_run)
    if dry_run and record_only:
        raise ConfigError("--dry-run writes nothing: leave it out, or --record-only")
    if dry_run:
        from pythia_traj.cli.dry_run import say_plan

        (say_plan(request, as_json) if refine is None else say_first_round(request, asked, as_json))
        return
    if follow is not None:
        run_follow(request, until, as_json)
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


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(sweep)
