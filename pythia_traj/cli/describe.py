"""`describe`: what can be read from a run."""

from typing import Annotated

import typer

from pythia_traj.cli.output import JSON_OPTION, print_json, print_table, say


def describe(
    run: Annotated[
        str, typer.Argument(help="The run's directory, or an address: hf://datasets/org/name.")
    ],
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Show what a run holds: metrics of each experiment, the words of their columns, steps, tables.

    Each word can be used in a filter as it is shown:

        pythia_traj.load(RUN, label="induction", metric="prefix_matching", variant="two_halves")

    Long lists of words are cut; --json has all.
    """
    from pythia_traj.store.describe import NOTHING
    from pythia_traj.store.describe import describe as read_description

    found = read_description(run)
    if as_json:
        print_json(found.as_json())
        return
    pages = list(found.pages())
    for i, page in enumerate(pages):
        say(f"\n{page.title}" if i else page.title)
        print_table(page.columns, page.rows)
    if not pages:
        say(NOTHING)
    for note in found.notes:
        say(f"warning: {note}", err=True)


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(describe)
