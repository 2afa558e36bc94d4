"""`worker`: does one shard of a request that a run holds."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pythia_traj.cli.output import JSON_OPTION, SweepProgress, progress_bar, say
from pythia_traj.cli.request import Device, DiskBudget, Keep, OnDefect, Prefetch, Refresh
from pythia_traj.cli.result import report_result
from pythia_traj.errors import ConfigError

if TYPE_CHECKING:
    from pythia_traj.sweeps.shards import Shard


def worker(
    run: Annotated[Path, typer.Argument(help="The run's directory; it holds the request.")],
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Which of N shards, counted from 0: 0/4. By default the scheduler's variables"
            " say it.",
        ),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="How many shards there are, where the scheduler does not say, or some tasks of an"
            " array are submitted again.",
        ),
    ] = None,
    request: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of RUN/requests/NAME.json; by default the one asked for last."
        ),
    ] = None,
    device: Device = None,
    prefetch: Prefetch = None,
    disk_budget: DiskBudget = None,
    keep: Keep = False,
    refresh: Refresh = False,
    on_defect: OnDefect = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Do one shard of a request that a run holds, then what no other worker has in hand.

    On SIGUSR2 it finishes the unit in hand and stops.

    Finished units are skipped: repeat the command to continue an interrupted worker.
    """
    from pythia_traj.store.layout import Run
    from pythia_traj.sweeps.requests import find_request
    from pythia_traj.sweeps.stopping import stopping
    from pythia_traj.sweeps.worker import work

    part = _shard(shard, shards)
    how = {
        "device": device,
        "prefetch": prefetch,
        "disk_budget": disk_budget,
        "keep": keep or None,
        "refresh": refresh or None,
        "on_defect": on_defect,
    }
    given = {name: value for name, value in how.items() if value is not None}
    recorded = find_request(Run.open(run), request, **given)
    told = f" ({part.told_by})" if part.told_by else ""
    say(f"request {recorded.name}, shard {part}{told}", err=True)
    with progress_bar() as progress, stopping() as stop:
        result = work(recorded, part, observer=SweepProgress(progress), stop=stop)
    report_result(result, as_json)


def _shard(shard: str | None, shards: int | None) -> "Shard":
    from pythia_traj.sweeps.shards import Shard

    if shard is None:
        return Shard.of_environment(os.environ, shards)
    if shards is not None:
        raise ConfigError(f"--shard {shard} says how many shards there are: leave out --shards")
    return Shard.parse(shard)


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(worker)
