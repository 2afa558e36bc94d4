"""`export`: rows of a run for other programs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pythia_traj.cli.output import progress_bar, say
from pythia_traj.errors import ConfigError


def export(
    run: Annotated[
        str, typer.Argument(help="The run's directory, or an address: hf://datasets/org/name.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file: FILE.csv or FILE.parquet.")
    ] = None,
    file_format: Annotated[
        str | None,
        typer.Option("--format", help="csv or parquet; without it the file's suffix says which."),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Write metrics by step into this directory's event files.")
    ] = None,
    wandb: Annotated[
        str | None,
        typer.Option(
            metavar="PROJECT",
            help="Log metrics by step to this project at Weights & Biases. WANDB_MODE=offline: to"
            " files only.",
        ),
    ] = None,
    table: Annotated[
        str | None, typer.Option(help="This table, such as items, in place of the metrics.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Of this model; repeat.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Of this label; repeat.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="This metric; repeat.")] = None,
    step: Annotated[list[int] | None, typer.Option(help="At this step; repeat.")] = None,
    controls: Annotated[bool, typer.Option("--controls", help="The rows of controls too.")] = False,
    mixed: Annotated[
        bool,
        typer.Option("--mixed", help="Also rows that several versions of an experiment measured."),
    ] = False,
) -> None:
    """Write rows of a run as one CSV or Parquet file, or for TensorBoard or Weights & Biases.

    The rows are those of pythia_traj.load. An existing file is replaced when the new one is whole.
    --tensorboard and --wandb write the same values by training step, a run for each model; they
    need pip install 'pythia-traj[tensorboard]' or 'pythia-traj[wandb]'.
    """
    wanted: list[tuple[str, str | Path | None, str | None]] = [
        ("file", output, file_format),
        ("TensorBoard", tensorboard, "tensorboard"),
        ("Weights & Biases", wandb, "wandb"),
    ]
    if output is None and (file_format is not None or (tensorboard is None and wandb is None)):
        raise ConfigError(
            "no file is named: give --output FILE.csv or FILE.parquet, --tensorboard DIRECTORY or"
            " --wandb PROJECT"
        )
    from pythia_traj.sharing.one_file import export as write

    filters = {"model": model, "label": label, "metric": metric, "step": step}
    options: dict[str, Any] = {name: some for name, some in filters.items() if some}
    notes: dict[str, None] = {}
    with progress_bar() as progress:
        progress.add_task("writing", total=None)
        for _, target, name in wanted:
            if target is not None:
                found = write(
                    run,
                    target,
                    format=name,  # type: ignore[arg-type]
                    table=table,
                    controls=controls,
                    mixed=mixed,
                    **options,
                )
                notes |= dict.fromkeys(found)
    for note in notes:
        say(f"warning: {note}", err=True)
    for what, target, _ in wanted:
        if target is not None:
            say(f"{what}: {target}")


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(export)
