"""What the server answers. It keeps nothing of a reader: each question says what was chosen."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from dash import ALL, MATCH, ClientsideFunction, Dash, Input, Output, State, no_update
from dash.exceptions import PreventUpdate

from pythia_traj.dashboards.layout import slot
from pythia_traj.dashboards.sent import chart_sent, drawing_sent, state_sent, written_sent
from pythia_traj.dashboards.watching import Watching
from pythia_traj.errors import AnalysisError, ConfigError
from pythia_traj.live import moment
from pythia_traj.live.choice import Choice, heads_of
from pythia_traj.live.view import Views, why_not
from pythia_traj.live.watched import State as Runs
from pythia_traj.reports.report import known_of

_REFUSED = (ConfigError, AnalysisError)
"""What a choice can be refused for, in words."""


@dataclass(frozen=True)
class Answers:
    """The answers of one server.

    Attributes:
        watching: the runs.
        views: what was drawn of them.
    """

    watching: Watching
    views: Views

    @property
    def _runs(self) -> Runs:
        return self.watching.watched.state

    def _asked(self) -> Runs:
        """What the runs hold, for a reader who waits."""
        self.watching.asked()
        return self._runs

    def tick(self, _ticks: int | None, pulse: dict[str, Any] | None) -> tuple[Any, Any]:
        """How far the runs are; and the pulse, which changes where rows have changed."""
        runs = self._runs
        now = dict(sorted(runs.changed_at.items()))
        return state_sent(runs, self.watching), no_update if pulse == now else now

    def choose(self, asked: str | None, _pulse: Any) -> tuple[dict[str, Any], str]:
        """What there is to choose, and what of the choice that was asked for is there."""
        if asked is None:
            raise PreventUpdate
        found = self.views.offered(self._asked(), Choice.from_query(asked))
        return asdict(found), replace(found.choice, followed=()).as_query()

    def page(self, _pulse: Any) -> dict[str, Any]:
        """What the page's script knows beside the figures."""
        runs = self._runs
        training = runs.training
        labels = {one["label"] for one in training.values()} - {None}
        return known_of(training, runs.steps, sorted(labels))

    def charts(self, query: str | None, _pulse: Any, drawn: Any) -> tuple[Any, Any, Any]:
        """A slot for each chart of the choice, or why there is none; where any may have changed."""
        if query is None:
            raise PreventUpdate
        runs, choice = self._asked(), Choice.from_query(query)
        now = [query, runs.changed_at.get(choice.experiment, 0)]
        if drawn == now:
            raise PreventUpdate
        try:
            charts = self.views.charts(runs, choice)
        except _REFUSED as refused:
            return [], str(refused), now
        of = {"choice": query, "at": now[1]}
        why = "" if charts or not runs.units else why_not(runs, choice)
        return [slot(i, of | {"place": i}) for i in range(len(charts))], why, now

    def chart(self, of: dict[str, Any]) -> Any:
        """One chart, drawn."""
        choice, place = Choice.from_query(of["choice"]), of["place"]
        try:
            return chart_sent(self.views, self._asked(), choice, place)
        except _REFUSED:
            return None

    def followed(self, query: str | None, followed: Any, _drawn: Any) -> list[Any]:
        """The followed heads, as lines."""
        if query is None:
            raise PreventUpdate
        choice = replace(Choice.from_query(query), followed=heads_of(followed))
        try:
            drawings = self.views.followed(self._asked(), choice)
        except _REFUSED:
            return []
        return [drawing_sent(one, choice.experiment) for one in drawings]

    def samples(self, query: str | None, step: Any, _pulse: Any) -> tuple[Any, bool]:
        """What the chosen models write at a step, and whether there is nothing."""
        if query is None:
            raise PreventUpdate
        runs, choice = self._runs, Choice.from_query(query)
        at = _step(step, runs)
        found = moment.written_at(self.watching.watched, runs, choice, at)
        return written_sent(found), not found

    def patterns(
        self, query: str | None, followed: Any, step: Any, _pulse: Any
    ) -> tuple[list[Any], bool]:
        """What followed heads attend to at a step, and whether there is nothing."""
        if query is None:
            raise PreventUpdate
        runs = self._runs
        choice = replace(Choice.from_query(query), followed=heads_of(followed))
        at = _step(step, runs)
        found = moment.patterns_at_step(self.watching.watched, runs, choice, at)
        return [drawing_sent(one, "attention") for one in found], not found


def _step(given: Any, runs: Runs) -> int:
    """The step that a page is at: the last one where it has chosen none."""
    return given if isinstance(given, int) else max(runs.steps, default=0)


def register(app: Dash, answers: Answers) -> None:
    """Ties the answers to the components."""
    choice, pulse = Input("choice", "data"), Input("pulse", "data")
    app.callback(
        Output("state", "children"),
        Output("pulse", "data"),
        Input("tick", "n_intervals"),
        State("pulse", "data"),
    )(answers.tick)
    app.callback(Output("page", "data"), pulse)(answers.page)
    app.callback(
        Output("offered", "data"), Output("choice", "data"), Input("asked", "data"), pulse
    )(answers.choose)
    app.callback(
        Output("figures", "children"),
        Output("why-not", "children"),
        Output("drawn-for", "data"),
        choice,
        pulse,
        State("drawn-for", "data"),
    )(answers.charts)
    app.callback(
        Output({"type": "drawn", "place": MATCH}, "data"),
        Input({"type": "chart", "place": MATCH}, "data"),
    )(answers.chart)
    app.callback(
        Output("followed-drawn", "data"),
        choice,
        Input("followed", "data"),
        Input("drawn-for", "data"),
    )(answers.followed)
    app.callback(
        Output("samples", "children"),
        Output("samples-section", "hidden"),
        choice,
        Input("at-step", "data"),
        pulse,
    )(answers.samples)
    app.callback(
        Output("patterns-drawn", "data"),
        Output("patterns-section", "hidden"),
        choice,
        Input("followed", "data"),
        Input("at-step", "data"),
        pulse,
    )(answers.patterns)
    _register_scripts(app)


def _register_scripts(app: Dash) -> None:
    """What the page's script does with what it receives; templates/live.js has the functions."""

    def script(name: str, *dependencies: Any) -> None:
        app.clientside_callback(ClientsideFunction("live", name), *dependencies)  # type: ignore[no-untyped-call]

    script("asked", Output("asked", "data"), Output("followed", "data"), Input("live", "id"))
    script("offer", Input("offered", "data"))
    script("know", Input("page", "data"))
    script("address", Input("choice", "data"), Input("followed", "data"))
    drawn, slots = {"type": "drawn", "place": ALL}, {"type": "slot", "place": ALL}
    script("show", Input(drawn, "data"), State(slots, "id"))
    for name in ("followed", "patterns"):
        script("list", Input(f"{name}-drawn", "data"), State(f"{name}-figures", "id"))
