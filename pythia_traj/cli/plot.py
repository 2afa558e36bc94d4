"""`plot`: draws one metric of a run into a file."""

from pathlib import Path
from typing import Annotated

import typer

from pythia_traj.cli.output import progress_bar, say


def plot(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    metric: Annotated[str, typer.Argument(help="METRIC, LABEL.METRIC or EXPERIMENT.METRIC.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The file: FILE.html, .svg, .pdf or .png."),
    ],
    model: Annotated[list[str] | None, typer.Option(help="Of this model; repeat.")] = None,
    variant: Annotated[list[str] | None, typer.Option(help="This variant; repeat.")] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(help="This control beside the measurement; repeat. none: no control."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE", help="Rows with this there: part=top2, part=none; repeat."
        ),
    ] = None,
    training: Annotated[
        bool,
        typer.Option(
            "--training", help="Learning rate, warm-up and second epoch too, where known."
        ),
    ] = False,
    width: Annotated[
        str, typer.Option(help="page: 6.7 in; column: 3.3 in. An html fills its window.")
    ] = "page",
) -> None:
    """Draw one metric of a run over training: svg and pdf for papers, html to look at.

    All but html need pip install 'pythia-traj[figures]' and a Chrome or Chromium. The words that
    the options take are listed by pythia-traj describe.
    """
    from pythia_traj.reports.export import check_width
    from pythia_traj.reports.plot import drawn

    with progress_bar() as progress:
        progress.add_task("drawing", total=None)
        _, notes = drawn(
            run,
            metric,
            output,
            model=model,
            variant=variant,
            control=control,
            where=where or (),
            training=training,
            width=check_width(width),
        )
    for note in notes:
        say(f"warning: {note}", err=True)
    say(f"figure: {output}")


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(plot)
