"""`report`: draws runs as one page."""

from pathlib import Path
from typing import Annotated

import typer

from pythia_traj.cli.output import progress_bar, say


def report(
    runs: Annotated[list[Path], typer.Argument(help="The directories of one run or several.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The HTML file to write."),
    ] = Path("report.html"),
    figures: Annotated[
        Path | None,
        typer.Option(help="Also write the figures into this directory, as pdf and svg."),
    ] = None,
) -> None:
    """Draw one run, or several beside each other, as one self-contained HTML file.

    It can be drawn at any time: of a run that is being written, or that has failed units or damaged
    files, the page shows what there is and says what is missing. --figures needs
    pip install 'pythia-traj[figures]' and a Chrome or Chromium.
    """
    from pythia_traj.reports.outputs import report as draw

    with progress_bar() as progress:
        bar = progress.add_task("drawing", total=None)
        notes = draw(
            runs,
            output,
            figures,
            on_figure=lambda done, total: progress.update(
                bar, completed=done, total=total, description="figures"
            ),
        )
    for note in notes:
        kind = "note" if note.kind == "running" else "warning"
        say(f"{kind}: {note.words}", err=True)
    say(f"report: {output}")
    if figures is not None:
        say(f"figures: {figures}")


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(report)
