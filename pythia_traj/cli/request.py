"""What a request is given by at the command line: the options that commands share."""

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from types import MappingProxyType
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
    config: Config = None,
    model: Model = None,
    steps: Steps = None,
    experiment: Experiment = None,
    assignments: Assignments = None,
    out: Out = None,
    source: Source = None,
    device: Device = None,
    dtype: Dtype = None,
    seed: Seed = None,
    prefetch: Prefetch = None,
    disk_budget: DiskBudget = None,
    keep: Keep = False,
    refresh: Refresh = False,
    on_defect: OnDefect = None,
    *,
    otherwise: Mapping[str, Any] = MappingProxyType({}),
) -> "SweepConfig":
    """The request: the file's settings, overridden by the command line's.

    Args:
        otherwise: settings for what neither gives; not an option.
    """
    from pythia_traj.config import SweepConfig, override, read_config
    from pythia_traj.layers import Settings, by_name

    given = {
        "model": model,
        "steps": steps,
        "out": out,
        "source": source,
        "device": device,
        "dtype": dtype,
        "seed": seed,
        "prefetch": prefetch,
        "disk_budget": disk_budget,
        "keep": keep or None,
        "refresh": refresh or None,
        "on_defect": on_defect,
    }
    settings = Settings() if config is None else read_config(config)
    settings = settings.under({name: value for name, value in given.items() if value is not None})
    for name, value in otherwise.items():
        settings.setdefault(name, value)
    names = [name.strip() for word in experiment or [] for name in word.split(",") if name.strip()]
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
    return SweepConfig.from_settings(override(settings, assignments or []))


def takes_request(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of `read_request`, before its own.

    Args:
        command: receives the request that they make, and its own options.
    """
    asked = dict(signature(read_request).parameters)
    del asked["otherwise"]
    own = [one for name, one in signature(command).parameters.items() if name != "request"]
    taken = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in (*asked.values(), *own)]

    def taking(**options: Any) -> None:
        follow = options.get("follow")
        # Whoever seeks an onset, or waits for what comes, need not name the steps.
        is_open = options.get("refine") is not None or follow is not None
        otherwise = {"steps": "all"} if is_open else {}
        given = {name: options.pop(name) for name in asked}
        if follow is not None:
            if given["model"]:
                raise ConfigError("--follow names the model's directory: leave out --model")
            given["model"] = [follow]
        request = read_request(**given, otherwise=otherwise)
        command(request, **options)

    # What Typer reads of a command.
    taking.__name__, taking.__doc__ = command.__name__, command.__doc__
    taking.__annotations__ = {one.name: one.annotation for one in taken}
    vars(taking)["__signature__"] = Signature(taken)
    return taking


def train_toy(request: "SweepConfig") -> None:
    """Trains the toy suite that a request wants trained, with a bar, where it does not exist."""
    if request.toy_seed is None:
        return
    from pythia_traj.toy.missing import train_if_missing

    with training_bar() as on_step:
        train_if_missing(request, on_step)
