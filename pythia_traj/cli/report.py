"""`report`: draws a run as one page."""

from pathlib import Path
from typing import Annotated

import typer

from pythia_traj.cli.output import say


def report(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The HTML file to write."),
    ] = Path("report.html"),
) -> None:
    """Draw a run as one self-contained HTML file."""
    from pythia_traj.reports.run import report_run

    for note in report_run(run, output):
        say(f"warning: {note}", err=True)
    say(f"report: {output}")


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(report)
