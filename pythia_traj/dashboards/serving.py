"""Starts and ends the server of the page."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pythia_traj.dashboards.prefix import checked_prefix, under_prefix
from pythia_traj.dashboards.watching import Watching
from pythia_traj.errors import ConfigError
from pythia_traj.extras import require
from pythia_traj.live.view import Views
from pythia_traj.live.watched import Watched

_IN_MEMORY = 64_000_000
"""Bytes of an answer that no file is made for: one that is broken off would leave it open."""

_THREADS = 4
"""So many questions are answered at once; each further one costs memory, and answers are short."""

_AWAKE = 0.2
"""Seconds after which the server looks whether it is to end."""

_MOST_BYTES = 1_000_000
"""Of a question."""


@dataclass(frozen=True)
class Dashboard:
    """A page that is being served.

    Attributes:
        url: its address, with the token where it wants one.
        wants_token: whether others than this machine may reach it, so that it does.
        port: the one that it listens on.
        watching: the runs.
    """

    url: str
    wants_token: bool
    port: int
    watching: Watching
    _thread: threading.Thread

    def wait(self) -> None:
        """Waits until the server ends, or Ctrl-C."""
        while self._thread.is_alive():
            self._thread.join(1.0)


@contextmanager
def dashboard(
    runs: str | Path | Sequence[str | Path],
    *,
    port: int = 8050,
    host: str = "127.0.0.1",
    prefix: str = "/",
    names: Sequence[str] = (),
) -> Iterator[Dashboard]:
    """Serves a live page of one or several runs until the block ends.

        with pt.dashboard("runs/induction") as page:
            print(page.url)
            page.wait()

    It only reads. Only this machine reaches it, unless `host` or `names` say otherwise: then a
    reader needs the token that is part of `url`.

    Args:
        runs: the directories of the runs, or of one; sweeps may write to them.
        port: the one to listen on; 0 takes a free one.
        host: the address to listen on; `0.0.0.0` is all of this machine's.
        prefix: the path under which a proxy serves the page, such as that of JupyterHub,
            `/user/me/proxy/8050`, or of Open OnDemand, `/node/host/8050`.
        names: further host names under which it is reached, such as that of the proxy.

    Raises:
        MissingExtraError: the extra `dashboard` is not installed.
        StoreError: a directory is not a run, or one of an older schema.
        AnalysisError: a run is given twice.
        ConfigError: the prefix is not a path, the port is taken, or the address is not this
            machine's.
    """
    require("the dashboard", "dashboard", "dash", "waitress")
    from pythia_traj.dashboards.app import app_of
    from pythia_traj.dashboards.callbacks import Answers
    from pythia_traj.dashboards.guard import Guard
    from pythia_traj.dashboards.warming import Warming

    path = checked_prefix(prefix)
    watched = Watched([Path(runs)] if isinstance(runs, str | Path) else [*map(Path, runs)])
    # So that the first page has something to show.
    watched.look()
    views = Views()
    watching = Watching(watched, Warming(views).one)
    guard = Guard.of(host, names, path)
    application = under_prefix(app_of(Answers(watching, views), guard).server, path)
    server, sockets = _bound(application, host, port)
    ended = threading.Event()
    thread = threading.Thread(
        target=_answer, args=(sockets, ended), name="pythia-traj-dashboard", daemon=True
    )
    listens = int(server.effective_port)
    try:
        with watching.running():
            thread.start()
            shown = f"[{host}]" if ":" in host else host
            token = f"?token={guard.token}" if guard.token else ""
            url = f"http://{shown}:{listens}{path}{token}"
            yield Dashboard(url, bool(guard.token), listens, watching, thread)
    finally:
        # Answers that are on their way are finished first: they need the server's sockets.
        server.task_dispatcher.shutdown()
        ended.set()
        thread.join(5.0)


def _answer(sockets: dict[int, Any], ended: threading.Event) -> None:
    """Answers until the end; the thread that waits for sockets closes them, no other one."""
    from waitress.wasyncore import close_all, loop

    while not ended.is_set():
        loop(timeout=_AWAKE, map=sockets, count=1)
    close_all(sockets, ignore_all=True)


def _bound(application: Any, host: str, port: int) -> tuple[Any, dict[int, Any]]:
    """A server that listens, and the sockets that it waits for, by number."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"port {port}: give a number from 0, which takes a free one, to 65535")
    from waitress.server import create_server
    from waitress.wasyncore import close_all

    sockets: dict[int, Any] = {}
    # A page asks for more at once than there are threads; a terminal need not hear that some wait.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    # One address: a name may be several, each with a free port of its own.
    address = "127.0.0.1" if host == "localhost" else host
    try:
        server = create_server(
            application,
            map=sockets,
            host=address,
            port=port,
            threads=_THREADS,
            max_request_body_size=_MOST_BYTES,
            outbuf_overflow=_IN_MEMORY,
            inbuf_overflow=_IN_MEMORY,
            ident=None,
        )
        return server, sockets
    except (OSError, ValueError) as error:
        close_all(sockets, ignore_all=True)
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"cannot listen on {host}, port {port} ({why}): give --port 0 for a free port, and as"
            " --host an address of this machine"
        ) from None
