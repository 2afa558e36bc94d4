"""How commands speak: one JSON document or a table, progress on standard error.

The document or table is on standard output.
"""

import json
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from pythia_traj.printable import one_line, printable, without_credentials

if TYPE_CHECKING:
    from pythia_traj.sweeps.plan import Plan, Unit


def say(text: str, *, err: bool = False) -> None:
    """Text for a person, on standard output or standard error.

    Control characters in quoted text never reach the terminal.
    """
    typer.echo(printable(text), err=err)


JSON_OPTION = typer.Option("--json", help="Print one JSON document and nothing else.")


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    # JSON escapes all control characters except one.
    typer.echo(without_credentials(json.dumps(document, indent=1)).replace("\x7f", "\\u007f"))


WIDE = 110
"""From so many characters on a terminal has room for all columns of a wide table."""


def is_wide() -> bool:
    """Whether the terminal has room for all columns of a wide table."""
    return Console().width >= WIDE


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    folded: Collection[str] | None = None,
) -> None:
    """A table on standard output, as wide as the terminal."""
    Console().print(make_table(columns, rows, folded))


def make_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    folded: Collection[str] | None = None,
) -> Table:
    """A table of cells, each of one line unless it is too wide.

    Args:
        columns: their names.
        rows: a cell for each column.
        folded: the columns whose cells take several lines where the terminal is narrow; None are
            all but the first.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        # A row's name stays on one line, so that it can be copied.
        whole = i == 0 if folded is None else column not in folded
        table.add_column(column, overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*(Text("" if cell is None else one_line(str(cell))) for cell in row))
    return table


def progress_bar() -> Progress:
    """A bar on standard error with counts and time left.

    It draws nothing if that is not a terminal.
    """
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        _NetworkColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


@contextmanager
def training_bar() -> Iterator[Callable[[int, int, float], None]]:
    """What draws the progress of a training run: receives the step, the last step and the loss."""
    with progress_bar() as progress:
        bar = progress.add_task("training", total=None)
        yield lambda step, total, loss: progress.update(
            bar, completed=step, total=total, description=f"training, loss {loss:.2f}"
        )


class _NetworkColumn(ProgressColumn):
    """The rate at which bytes arrive; empty while none do."""

    def render(self, task: Task) -> Text:
        # Without that module loaded, nothing has arrived.
        transfer = sys.modules.get("pythia_traj.hub.transfer")
        rate = transfer.METER.rate() if transfer is not None else 0.0
        return Text(f"{decimal(round(rate))}/s" if rate else "")


class SweepProgress:
    """Draws a sweep's progress: an observer of the runner."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._total = progress, 0
        self._task = progress.add_task("planning", total=None)

    def planned(self, plan: "Plan") -> None:
        """Adds to the total, and prints the warnings before the work begins."""
        for warning in plan.warnings:
            self._progress.console.print(Text(one_line(f"warning: {warning}")), soft_wrap=True)
        self._total += len(plan.todo)
        self._progress.update(self._task, total=self._total, description="loading")

    def working(self, what: str) -> None:
        """Shows what is being done."""
        self._progress.update(self._task, description=one_line(what))

    def ended(self, unit: "Unit", error: str | None) -> None:
        """One unit further."""
        self._progress.advance(self._task)
        # Shown at once to a user who watches; the summary at the end repeats it.
        if error is not None and self._progress.console.is_terminal:
            self._progress.console.print(
                Text(one_line(f"failed: {unit.name}: {error}")), soft_wrap=True
            )

    def said(self, sentence: str) -> None:
        """Prints a sentence, above the bar where there is one."""
        self._progress.console.print(Text(one_line(sentence)), soft_wrap=True)
