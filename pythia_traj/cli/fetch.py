"""`fetch` and `cache`: checkpoints that are kept on this machine."""

import time
from typing import Annotated

import typer
from rich.filesize import decimal

from pythia_traj.cli.output import JSON_OPTION, print_json, print_table, progress_bar, say
from pythia_traj.errors import PythiaTrajError


def fetch(
    model: Annotated[str, typer.Argument(help="A name, or org/name on the Hub.")],
    steps: Annotated[str, typer.Option(help="Such as 0,512 or log:12 or all.")] = "all",
    disk_budget: Annotated[
        str | None, typer.Option(help="The most bytes of all kept checkpoints together: 20GB.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the cost, and fetch nothing.")
    ] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the Hub again where branches point.")
    ] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Download checkpoints and keep them, for nodes without network."""
    from pythia_traj.hub.estimate import estimate, measure_rate
    from pythia_traj.hub.fetch import fetch as fetch_steps
    from pythia_traj.hub.model import HubModel
    from pythia_traj.settings import size_in_bytes
    from pythia_traj.steps import select
    from pythia_traj.stream.published import open_model

    published = open_model(model, refresh=refresh)
    if not isinstance(published, HubModel):
        raise PythiaTrajError(f"{model} is a directory: nothing has to be fetched")
    budget = size_in_bytes("disk_budget", disk_budget)
    selected = select(steps, published.steps, tokens_per_step=published.tokens_per_step)
    cost = estimate(published, selected)
    rate = (
        measure_rate(published, next(s for s in selected if s not in cost.missing))
        if cost.bytes
        else None
    )
    plan = cost.as_dict() | {
        "bytes_per_second": rate,
        "seconds": cost.bytes / rate if rate else 0.0,
    }
    if not as_json:
        say(cost.sentence(rate))
    if dry_run:
        if as_json:
            print_json(plan)
        return
    with progress_bar() as progress:
        bar = progress.add_task("fetching", total=len(selected))
        result = fetch_steps(
            published, selected, disk_budget=budget, on_step=lambda step: progress.advance(bar)
        )
    if as_json:
        print_json(plan | {"fetched": result.steps, "failed": result.failed})
    else:
        for step, error in result.failed.items():
            say(f"failed: step {step}: {error}", err=True)
        say(f"{len(result.steps)} steps are here, {len(result.failed)} failed")
    if result.failed:
        raise typer.Exit(3 if result.steps else 1)


def cache(
    remove: Annotated[
        str | None,
        typer.Option(help="Remove what is kept of this repository (org/name), or `all`."),
    ] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """List or remove what pythia-traj keeps on this machine."""
    from pythia_traj.hub.fetch import kept
    from pythia_traj.hub.fetch import remove as remove_kept
    from pythia_traj.hub.stored import weights_directory

    if remove is not None:
        removed = remove_kept(None if remove == "all" else remove)
        if as_json:
            print_json(removed.as_dict())
        else:
            say(removed.sentence)
        return
    found = kept()
    if as_json:
        print_json([entry.as_dict() for entry in found])
        return
    rows = [
        (
            entry.repo,
            entry.files,
            decimal(entry.size),
            time.strftime("%Y-%m-%d", time.localtime(entry.used)),
        )
        for entry in found
    ]
    print_table(["repository", "files", "size", "last used"], rows)
    say(f"{decimal(sum(entry.size for entry in found))} in {weights_directory()}")


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command()(fetch)
    app.command()(cache)
