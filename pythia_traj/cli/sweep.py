"""`sweep`: measures models at steps and stores rows."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pythia_traj.cli.output import JSON_OPTION, SweepProgress, print_json, progress_bar, say
from pythia_traj.errors import ConfigError
from pythia_traj.printable import one_line

if TYPE_CHECKING:
    from pythia_traj.config import SweepConfig
    from pythia_traj.sweeps.plan import Unit
    from pythia_traj.sweeps.record import SweepResult

DEVICE_HELP = "auto, cpu, cuda, cuda:1."
PREFETCH_HELP = "Checkpoints fetched ahead while experiments run."
DISK_BUDGET_HELP = "Put checkpoints of the Hub on disk, in at most so many bytes: 20GB."
KEEP_HELP = "Keep checkpoints of the Hub on disk."
REFRESH_HELP = "Ask the Hub again where branches point, and redo what has moved."
ON_DEFECT_HELP = "Steps that hold another's weights: skip, measure, fail."


def sweep(
    config: Annotated[
        str | None, typer.Argument(help="A YAML file, or the name of a config of the package.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A name, org/name, a directory or NAME=DIRECTORY; repeat or separate by commas."
        ),
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="Such as 0,512 or log:12 or all or 0:143000:5000.")
    ] = None,
    experiment: Annotated[
        list[str] | None, typer.Option(help="Name or ./file.py; repeat or separate by commas.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="LABEL.PARAM=VALUE", help="A parameter of an experiment, or a setting."
        ),
    ] = None,
    out: Annotated[str | None, typer.Option(metavar="PATH", help="The run's directory.")] = None,
    source: Annotated[
        str | None, typer.Option(help="hub, or a directory that holds the models' directories.")
    ] = None,
    device: Annotated[str | None, typer.Option(help=DEVICE_HELP)] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, float16, bfloat16.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the experiments' data.")] = None,
    prefetch: Annotated[int | None, typer.Option(help=PREFETCH_HELP)] = None,
    disk_budget: Annotated[str | None, typer.Option(help=DISK_BUDGET_HELP)] = None,
    keep: Annotated[bool, typer.Option("--keep", help=KEEP_HELP)] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help=REFRESH_HELP)] = False,
    on_defect: Annotated[str | None, typer.Option(help=ON_DEFECT_HELP)] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")
    ] = False,
    record_only: Annotated[
        bool,
        typer.Option(
            "--record-only", help="Write the request into the run for workers, measure nothing."
        ),
    ] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Measure models at selected training steps and store the rows as Parquet.

    Finished units are skipped: repeat the command to continue an interrupted sweep.
    """
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
    request = read_request(config, given, experiment or [], assignments or [])
    if dry_run and record_only:
        raise ConfigError("--dry-run writes nothing: leave it out, or --record-only")
    if record_only:
        _record(request, as_json)
        return
    if dry_run:
        from pythia_traj.cli.dry_run import say_plan

        say_plan(request, as_json)
        return
    from pythia_traj.sweeps.worker import sweep as run_sweep

    with progress_bar() as progress:
        result = run_sweep(request, observer=SweepProgress(progress))
    report_result(result, as_json)


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


def _record(request: "SweepConfig", as_json: bool) -> None:
    from pythia_traj.sweeps.requests import record

    name, plan = record(request)
    if as_json:
        todo, done = len(plan.todo), len(plan.done)
        print_json({"run": str(request.out), "request": name, "todo": todo, "done": done})
        return
    for warning in plan.warnings:
        say(f"warning: {warning}", err=True)
    say(f"request {name}: {len(plan.todo)} to do, {len(plan.done)} already there")


def report_result(result: "SweepResult", as_json: bool) -> None:
    """Prints how a sweep ended, and exits with a status if units failed.

    It is 3 where units failed or were skipped as defective, 1 where all failed.
    """
    if as_json:
        print_json(
            {
                "run": str(result.out),
                "metrics": str(result.out / "metrics"),
                "done": [unit.name for unit in result.done],
                "skipped": [unit.name for unit in result.skipped],
                "left": [unit.name for unit in result.left],
                "failed": {unit.name: error for unit, error in result.failed},
                "defective": {unit.name: reason for unit, reason in result.defective},
                "known_defects": {unit.name: reason for unit, reason in result.known_defects},
                "warnings": result.warnings,
            }
        )
    else:
        _summarise(result)
    if result.failed or result.defective:
        raise typer.Exit(3 if result.done or result.skipped or result.defective else 1)


def _summarise(result: "SweepResult") -> None:
    _by_reason("failed", result.failed)
    _by_reason("skipped (defect)", result.defective)
    if result.defective:
        say("--on-defect measure also measures what was skipped", err=True)
    _by_reason("warning: measured in spite of a defect", result.known_defects)
    counts = [
        f"{len(result.done)} done",
        f"{len(result.skipped)} already there",
        f"{len(result.failed)} failed",
    ]
    if result.defective:
        counts.append(f"{len(result.defective)} skipped (defect)")
    if result.left:
        counts.append(f"{len(result.left)} left to other workers")
    say(f"{', '.join(counts)}; Parquet: {result.out / 'metrics'}")


def _by_reason(what: str, units: "list[tuple[Unit, str]]") -> None:
    """A line on standard error for each reason, with the first of its units."""
    reasons: dict[str, list[str]] = {}
    for unit, reason in units:
        reasons.setdefault(reason, []).append(unit.name)
    for reason, names in reasons.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        say(one_line(f"{what}: {names[0]}{more}: {reason}"), err=True)


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(sweep)
