"""`dashboard`: a live page of runs in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from pythia_traj.cli.output import say
from pythia_traj.errors import Interrupted


def dashboard(
    runs: Annotated[list[Path], typer.Argument(help="The directories of one run or several.")],
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.")] = 8050,
    host: Annotated[
        str,
        typer.Option(help="The address to listen on. Others than this machine need a token."),
    ] = "127.0.0.1",
    prefix: Annotated[
        str,
        typer.Option(help="The path under which a proxy serves it: /user/me/proxy/8050."),
    ] = "/",
    name: Annotated[
        list[str] | None,
        typer.Option(help="A further host name under which it is reached; repeat."),
    ] = None,
) -> None:
    """Show one run, or several beside each other, live in the browser.

    New steps appear while a sweep writes them. It only reads, and needs no GPU. Only this machine
    reaches it: on a cluster, forward the port, or give --prefix and --name of the proxy. Needs
    pip install 'pythia-traj[dashboard]'. Ctrl-C ends it.
    """
    from pythia_traj.dashboards.serving import dashboard as serve

    with serve(runs, port=port, host=host, prefix=prefix, names=name or []) as page:
        say(f"dashboard: {page.url}")
        if page.wants_token:
            say("whoever has this address sees the runs: it holds a token", err=True)
        try:
            page.wait()
        except Interrupted as stopped:
            # That is how it ends: what a sweep says then is not so here.
            raise typer.Exit(128 + stopped.signum) from None


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(dashboard)
