"""`toy` and `demo`: the main use on a small training run made here, offline."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pythia_traj.cli.output import SweepProgress, progress_bar, say, training_bar

if TYPE_CHECKING:
    from pythia_traj.toy.recipe import Recipe


def toy(
    directory: Annotated[Path, typer.Argument(help="Where the suite goes; it must not exist yet.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training run.")] = 0,
) -> None:
    """Train a small GPT-NeoX here and lay it out as checkpoints."""
    from pythia_traj.toy.recipe import Recipe

    train_with_progress(directory, Recipe(seed=seed))
    say(f"suite: {directory}")


def demo(
    out: Annotated[Path, typer.Option(help="The run's directory.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training run.")] = 0,
) -> None:
    """Train a toy suite, sweep its checkpoints, draw the report: everything, offline."""
    from pythia_traj.cli.result import report_result
    from pythia_traj.config import SweepConfig
    from pythia_traj.reports.outputs import report
    from pythia_traj.sweeps.worker import sweep
    from pythia_traj.toy.recipe import Recipe

    suite = out.parent / ("toy" if seed == 0 else f"toy-seed{seed}")
    say(
        f"training the toy suite in {suite}"
        if not suite.exists()
        else f"using the toy suite in {suite}"
    )
    train_with_progress(suite, Recipe(seed=seed))
    with progress_bar() as progress:
        result = sweep(
            SweepConfig.from_yaml("demo", model=str(suite), out=out),
            observer=SweepProgress(progress),
        )
    page = out / "report.html"
    report(out, page)
    say(f"report: {page}")
    report_result(result, as_json=False)


def train_with_progress(directory: Path, recipe: "Recipe") -> None:
    """Trains the suite with a progress bar; keeps an existing suite."""
    from pythia_traj.standins import check_installed

    check_installed()
    from pythia_traj.toy.train import train

    with training_bar() as on_step:
        train(directory, recipe, on_step=on_step)


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command()(demo)
    app.command()(toy)
