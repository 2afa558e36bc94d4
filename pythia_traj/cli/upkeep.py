"""`merge`, `remove`, `compact`: what is done with units that are finished."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pythia_traj.cli.output import JSON_OPTION, print_json, say
from pythia_traj.errors import ConfigError
from pythia_traj.printable import one_line

if TYPE_CHECKING:
    from pythia_traj.store.removing import Removal


def merge(
    runs: Annotated[list[Path], typer.Argument(help="The runs' directories; they are only read.")],
    out: Annotated[Path, typer.Option("--out", help="A new or an empty directory.")],
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Make a new run with the units of several.

    Units that were made of the same are taken once. Repeat the command to continue an interrupted
    merge.
    """
    from pythia_traj.sweeps.upkeep import merge as merge_runs

    result = merge_runs(runs, out)
    for note in result.notes:
        say(f"warning: {one_line(note)}", err=True)
    for unit, why in result.damaged.items():
        say(one_line(f"left out: {unit}: {why}"), err=True)
    if as_json:
        print_json(asdict(result) | {"out": str(result.out)})
    else:
        say(
            f"{_units(result.units)} of {len(runs)} runs, {result.written} written,"
            f" {len(result.damaged)} left out; run: {result.out}"
        )
    if result.damaged:
        raise typer.Exit(3)


def remove(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    label: Annotated[str, typer.Option("--label", help="The label to remove.")],
    model: Annotated[
        str | None, typer.Option("--model", help="Only that of this model; else of all.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Delete the units of a label, and take it out of the run's requests; asks first.

    Its tables, tensors and cached rows are deleted too. Nothing brings them back but a sweep.
    """
    from pythia_traj.store.layout import Run
    from pythia_traj.store.removing import what_goes
    from pythia_traj.sweeps.upkeep import remove as remove_label

    if not yes:
        going = what_goes(Run.open(run), label, model)
        _ask(f"Delete {_described(going)} from {run}?")
    gone = remove_label(run, label, model)
    if as_json:
        print_json(asdict(gone))
    else:
        say(f"deleted {_described(gone)} from {run}")


def compact(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Turn the many files of each model and label into one; every reader finds the same rows.

    Repeat the command to put units that were measured since then together with the others.
    """
    from pythia_traj.sweeps.upkeep import compact as compact_run

    done = compact_run(run)
    for name, why in done.left.items():
        say(one_line(f"left as it is: {name}: {why}"), err=True)
    if as_json:
        print_json(asdict(done))
    elif done.units:
        say(f"{_units(done.units)}: {done.before} files are {done.after} now")
    else:
        say("there are no files to put together")
    if done.left:
        raise typer.Exit(3)


def _described(removal: "Removal") -> str:
    models = ", ".join(removal.models[:3])
    more = f" and {len(removal.models) - 3} more" if len(removal.models) > 3 else ""
    return f"{_units(removal.units)} of label {removal.label} (model {models}{more})"


def _ask(question: str) -> None:
    """Goes on only after a yes.

    Raises:
        ConfigError: nobody can answer.
        Exit: the answer is no.
    """
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} Nobody can answer here: give --yes to delete without asking")
    say(f"{question} [y/N] ", err=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        say("nothing was deleted", err=True)
        raise typer.Exit(1)


def _units(count: int) -> str:
    return "1 unit" if count == 1 else f"{count} units"


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    for command in (merge, remove, compact):
        app.command()(command)
