"""The Dash application: a page, its own files, and what is answered."""

import gzip
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files

from dash import Dash
from flask import Flask, Response, request

from pythia_traj.dashboards.callbacks import Answers, register
from pythia_traj.dashboards.exported import view_page
from pythia_traj.dashboards.guard import Guard
from pythia_traj.dashboards.layout import layout
from pythia_traj.errors import AnalysisError, ConfigError
from pythia_traj.reports.page import AXES
from pythia_traj.reports.plotly_js import plotly_js
from pythia_traj.reports.report import SHARED, json_for_html, known_of, part, template_of


def app_of(answers: Answers, guard: Guard) -> Dash:
    """The application of a server: `app.server` answers.

    Args:
        answers: what it answers.
        guard: who is answered.
    """
    title = ", ".join(answers.watching.watched.names.values())
    server = Flask(__name__, static_folder=None)
    app = _Application(
        __name__,
        server=server,  # type: ignore[arg-type]
        assets_folder="no-assets",
        include_assets_files=False,
        requests_pathname_prefix=guard.prefix,
        routes_pathname_prefix="/",
        title=title,
        update_title="",
        suppress_callback_exceptions=True,
        add_log_handler=False,
        enable_mcp=False,
    )
    app.enable_dev_tools(debug=False)
    app.answers = answers
    app.layout = layout
    register(app, answers)
    _serve_files(server)
    _serve_drawings(server, answers)
    _serve_view(server, answers, title)
    guard.protect(server, app.csp_hashes())
    return app


class _Application(Dash):
    """Dash in a page of ours, which shows its first figure before Dash has arrived."""

    answers: Answers

    def interpolate_index(self, **dash: str) -> str:  # type: ignore[override]
        """The page.

        Args:
            dash: what Dash wants to stand in it, by name.
        """
        first = self.answers.first(request.query_string.decode("ascii", "replace"))
        page = template_of("pythia_traj.dashboards", "index.html.jinja").render(
            title=self.title,
            prefix=self.config.requests_pathname_prefix,
            axes=AXES,
            known=json_for_html(known_of({}, [], [])),
            first=json_for_html(first),
            dash=dash,
        )
        return str(page)


def _serve_files(server: Flask) -> None:
    """The page's own files, which a browser asks for again only to hear that they are the same."""

    @server.get("/page/<name>")
    def page_file(name: str) -> Response | tuple[str, int]:
        if name not in _FILES:
            return "unknown file", 404
        answer = _packed_answer(_packed(name), _FILES[name])
        answer.headers["Cache-Control"] = "private, max-age=0, must-revalidate"
        answer.add_etag()
        answer.make_conditional(request)
        return answer


def _serve_drawings(server: Flask, answers: Answers) -> None:
    @server.get("/drawings/<what>")
    def drawings(what: str) -> Response | tuple[str, int]:
        query = request.query_string.decode("ascii", "replace")
        found = answers.drawings(what, query, request.args)
        if found is None:
            return "unknown drawing", 404
        return _packed_answer(found, "application/json")


def _packed_answer(packed: bytes, kind: str) -> Response:
    """An answer that is compressed already, which all browsers take."""
    takes = "gzip" in request.headers.get("Accept-Encoding", "")
    answer = Response(packed if takes else gzip.decompress(packed), mimetype=kind)
    answer.headers["Vary"] = "Accept-Encoding"
    if takes:
        answer.headers["Content-Encoding"] = "gzip"
    return answer


_FILES = {"plotly.js": "text/javascript", "script.js": "text/javascript", "style.css": "text/css"}


@cache
def _packed(name: str) -> bytes:
    texts: dict[str, Callable[[], str]] = {
        "plotly.js": plotly_js,
        "script.js": _script,
        "style.css": _style,
    }
    return gzip.compress(texts[name]().encode(), 6)


def _serve_view(server: Flask, answers: Answers, title: str) -> None:
    @server.get("/view.html")
    def view() -> Response:
        runs, views = answers.watching.watched.state, answers.views
        wanted: Mapping[str, str] = request.args
        query = request.query_string.decode("ascii", "replace")
        if not runs.experiments:
            return Response("nothing is measured yet", 404, mimetype="text/plain")
        try:
            page = view_page(runs, views, title, query, wanted)
        except (ConfigError, AnalysisError) as error:
            # It quotes the address: as HTML that could hold anything.
            return Response(str(error), 400, mimetype="text/plain")
        answer = Response(page, mimetype="text/html")
        answer.headers["Content-Disposition"] = 'attachment; filename="view.html"'
        return answer


_SCRIPTS = ("address.js", "dash.js", "choices.js", "slots.js", "heads.js", "live.js")
"""The page's own script, after what it shares with a report."""


def _script() -> str:
    return "\n".join([*map(part, SHARED), *map(_own, _SCRIPTS)])


def _style() -> str:
    return part("page.css") + _own("live.css")


def _own(name: str) -> str:
    return (files("pythia_traj.dashboards") / "templates" / name).read_text(encoding="utf-8")
