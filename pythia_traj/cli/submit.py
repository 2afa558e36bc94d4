"""`submit`: gives a request to an executor, which starts workers or hands them to a scheduler."""

from typing import TYPE_CHECKING, Annotated

import typer

from pythia_traj.cli.output import JSON_OPTION, SweepProgress, print_json, progress_bar, say
from pythia_traj.cli.request import DryRun, takes_request, train_toy
from pythia_traj.cli.result import as_document, exit_status, summarise

if TYPE_CHECKING:
    from pythia_traj.cluster.executor import Handed, Outcome
    from pythia_traj.config import SweepConfig


@takes_request
def submit(
    request: "SweepConfig",
    executor: Annotated[
        str, typer.Option(help="local, inline, slurm, debug, or script: and another scheduler.")
    ] = "local",
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="How many workers; by default one for each GPU, or one on the CPU."
        ),
    ] = None,
    per_gpu: Annotated[
        int | None,
        typer.Option(metavar="K", help="How many workers share a GPU; 1 by default."),
    ] = None,
    dry_run: DryRun = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Do what sweep does by several workers at once: here, or as tasks of a cluster.

    Finished units are skipped: repeat the command to continue an interrupted one.
    """
    if dry_run:
        from pythia_traj.cli.submit_dry_run import say_estimate

        say_estimate(request, executor, jobs, per_gpu, as_json)
        return
    train_toy(request)
    from pythia_traj.cluster.submission import submit as run_submit

    with progress_bar() as progress:
        outcome = run_submit(
            request, executor, jobs=jobs, per_gpu=per_gpu, observer=SweepProgress(progress)
        )
    _report(outcome, as_json)


def _report(outcome: "Outcome", as_json: bool) -> None:
    """Prints what became of a request; the exit status is that of a sweep, 3 where units are left.

    Work that was handed over is a success.
    """
    if outcome.handed is not None:
        _report_handed(outcome, outcome.handed, as_json)
        return
    if as_json:
        left = [unit.name for unit in outcome.left]
        more = {"left": left, "workers": list(outcome.notes)}
        print_json(as_document(outcome.result) | more)
    else:
        for note in outcome.notes:
            say(note, err=True)
        summarise(outcome.result)
        if outcome.is_empty:
            say("nothing to do: nothing was started", err=True)
    if outcome.left:
        say(f"units left: {len(outcome.left)}: repeat the command to do them", err=True)
        raise typer.Exit(3)
    if status := exit_status(outcome.result):
        raise typer.Exit(status)


def _report_handed(outcome: "Outcome", handed: "Handed", as_json: bool) -> None:
    todo, done = len(outcome.left), len(outcome.result.skipped)
    if as_json:
        facts = {"run": str(outcome.result.out), "todo": todo, "done": done}
        if handed.submit is not None:
            print_json(facts | {"script": str(handed.path), "submit": handed.submit})
            return
        facts |= {"jobs": list(handed.jobs), "tasks": handed.tasks, "logs": str(handed.path)}
        print_json(facts | {"notes": list(outcome.notes)})
        return
    for note in outcome.notes:
        say(note, err=True)
    if handed.submit is not None:
        say(f"{todo} to do, {done} already there; script: {handed.path}")
        say(f"submit it with: {handed.submit}")
        return
    if not handed.jobs:
        say(f"{todo} to do, {done} already there; nothing was submitted")
        return
    tasks = "1 task" if handed.tasks == 1 else f"{handed.tasks} tasks"
    jobs = ", ".join(handed.jobs)
    say(f"{todo} to do, {done} already there; job {jobs}: {tasks}; logs: {handed.path}")


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(submit)
