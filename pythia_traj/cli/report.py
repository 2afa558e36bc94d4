"""`report`: draws runs as one page."""

from collections.abc import Callable
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
    bibtex: Annotated[
        Path | None,
        typer.Option(help="Also write the works to cite into this file, as BibTeX."),
    ] = None,
) -> None:
    """Draw one run, or several beside each other, as one self-contained HTML file.

    It can be drawn at any time: of a run that is being written, or that has failed units or damaged
    files, the page shows what there is and says what is missing. --figures needs
    pip install 'pythia-traj[figures]' and a Chrome or Chromium.
    """
    from pythia_traj.reports.outputs import report as draw

    with progress_bar() as progress:
        bar = progress.add_task("reading", total=None)

        def show(what: str) -> Callable[[int, int], None]:
            return lambda done, total: progress.update(
                bar, completed=done, total=total, description=what
            )

        notes = draw(
            runs, output, figures, bibtex, on_dated=show("onsets"), on_figure=show("figures")
        )
    for note in notes:
        kind = "note" if note.kind == "running" else "warning"
        say(f"{kind}: {note.words}", err=True)
    say(f"report: {output}")
    for what, written in (("figures", figures), ("works to cite", bibtex)):
        if written is not None:
            say(f"{what}: {written}")


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(report)
