"""`convert`: makes a run of this version from one of an older version."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pythia_traj.cli.output import JSON_OPTION, print_json, say
from pythia_traj.printable import one_line


def convert(
    old: Annotated[Path, typer.Argument(help="The run's directory; it is only read.")],
    new: Annotated[Path, typer.Argument(help="A new or an empty directory.")],
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Make a run of this version from one that pythia-traj 0.1.0 wrote, measuring nothing again.

    Repeat the command to continue an interrupted conversion.
    """
    from pythia_traj.store.convert import convert as convert_run

    result = convert_run(old, new)
    for note in result.notes:
        say(f"warning: {one_line(note)}", err=True)
    for path, why in result.damaged.items():
        say(one_line(f"left out: {old / path}: {why}"), err=True)
    if as_json:
        print_json(asdict(result) | {"out": str(result.out)})
    else:
        ends = f" ({result.intervals} of them are columns now)" if result.intervals else ""
        counts = [
            f"{result.units} units of {result.rows} rows{ends}",
            f"{result.written} files written",
            f"{result.there} already there",
            f"{len(result.damaged)} left out",
        ]
        say(f"{', '.join(counts)}; run: {result.out}")
    if result.damaged:
        raise typer.Exit(3)


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(convert)
