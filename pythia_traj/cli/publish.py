"""`publish`: a run as a dataset of the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from pythia_traj.cli.output import progress_bar, say


def publish(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    name: Annotated[str, typer.Argument(help="The dataset: org/name. It is made if needed.")],
    private: Annotated[bool, typer.Option("--private", help="Make it a private one.")] = False,
    revision: Annotated[str | None, typer.Option(help="This branch, not the main one.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files, print the card, and send nothing.")
    ] = False,
) -> None:
    """Upload a run to the Hugging Face Hub as a dataset, with a card made from its provenance.

    Repeat the command to bring the dataset to the run's present state, or to go on after an
    interruption. Logs, jobs and scripts stay here, and so do the names of hosts, workers and
    folders. It needs a token that may write: hf auth login, or HF_TOKEN.
    """
    from pythia_traj.sharing.publish import publish as upload

    with progress_bar() as progress:
        bar = progress.add_task("uploading", total=None)
        found = upload(
            run,
            name,
            private=private,
            revision=revision,
            dry_run=dry_run,
            on_file=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    for note in found.notes:
        say(f"warning: {note}", err=True)
    if dry_run:
        for file in found.files:
            say(file)
        say(f"\n{found.card}")
        return
    say(f"{len(found.files)} files; read them with pythia_traj.load({found.address!r})")


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(publish)
