"""What a request is given by at the command line: the options that commands share."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pythia_traj.cli.output import training_bar
from pythia_traj.errors import ConfigError

if TYPE_CHECKING:
    from pythia_traj.config import SweepConfig

Config = Annotated[
    str | None, typer.Argument(help="A YAML file, or the name of a config of the package.")
]
Model = Annotated[
    list[str] | None,
    typer.Option(
        help="A name, org/name, a directory or NAME=DIRECTORY; repeat or separate by commas."
    ),
]
Steps = Annotated[str | None, typer.Option(help="Such as 0,512 or log:12 or all or 0:143000:5000.")]
Experiment = Annotated[
    list[str] | None, typer.Option(help="Name or ./file.py; repeat or separate by commas.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="LABEL.PARAM=VALUE", help="A parameter of an experiment, or a setting."
    ),
]
Out = Annotated[str | None, typer.Option(metavar="PATH", help="The run's directory.")]
Source = Annotated[
    str | None, typer.Option(help="hub, or a directory that holds the models' directories.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1.")]
Dtype = Annotated[str | None, typer.Option(help="float32, float16, bfloat16.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the experiments' data.")]
Prefetch = Annotated[
    int | None, typer.Option(help="Checkpoints fetched ahead while experiments run.")
]
DiskBudget = Annotated[
    str | None,
    typer.Option(help="Put checkpoints of the Hub on disk, in at most so many bytes: 20GB."),
]
Keep = Annotated[bool, typer.Option("--keep", help="Keep checkpoints of the Hub on disk.")]
Refresh = Annotated[
    bool,
    typer.Option(
        "--refresh", help="Ask the Hub again where branches point, and redo what has moved."
    ),
]
OnDefect = Annotated[
    str | None, typer.Option(help="Steps that hold another's weights: skip, measure, fail.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]


def read_request(
    config: str | None, given: dict[str, Any], experiments: list[str], assignments: list[str]
) -> "SweepConfig":
    """The request: the file's settings, overridden by the command line's."""
    from pythia_traj.config import SweepConfig, override, read_config
    from pythia_traj.layers import Settings, by_name

    settings = Settings() if config is None else read_config(config)
    settings = settings.under({name: value for name, value in given.items() if value is not None})
    names = [name.strip() for word in experiments for name in word.split(",") if name.strip()]
    if names:
        in_file = settings.get("experiments") or {}
        if not isinstance(in_file, dict):
            in_file = {}
        settings["experiments"] = {
            **({name: in_file[name] for name in names if name in in_file}),
            **by_name(tuple(name for name in names if name not in in_file)),
        }
    if not settings.get("experiments"):
        raise ConfigError(
            "no experiment was given: --experiment induction, or a config that names some (see"
            " pythia-traj experiments)"
        )
    return SweepConfig.from_settings(override(settings, assignments))


def train_toy(request: "SweepConfig") -> None:
    """Trains the toy suite that a request wants trained, with a bar, where it does not exist."""
    if request.toy_seed is None:
        return
    from pythia_traj.toy.missing import train_if_missing

    with training_bar() as on_step:
        train_if_missing(request, on_step)
