"""`schema`: what a config file may hold, for editors."""

import typer

from pythia_traj.cli.output import print_json


def schema() -> None:
    """Print the JSON schema of config files, with the parameters of all installed experiments.

    An editor with a YAML language server completes and checks a file that begins with

        # yaml-language-server: $schema=schema.json
    """
    from pythia_traj.editor import schema as make_schema

    print_json(make_schema())


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(schema)
