"""`cancel`: ends what a run has in a scheduler's queue."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pythia_traj.cli.output import JSON_OPTION, print_json, say


def cancel(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """End the Slurm jobs of a run, and no others; finished units stay.

    What they had in hand, submit does again.
    """
    from pythia_traj.cluster.slurm.cancel import cancel as cancel_run

    tasks = cancel_run(run)
    jobs = sorted({task.job for task in tasks}, key=int)
    if as_json:
        print_json({"jobs": jobs, "tasks": [asdict(task) for task in tasks]})
    elif jobs:
        count = "1 task" if len(tasks) == 1 else f"{len(tasks)} tasks"
        say(f"cancelled job {', '.join(jobs)}: {count}")
    else:
        say("nothing of this run is in the queue")


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(cancel)
