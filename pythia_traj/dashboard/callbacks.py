"""What the server answers. It keeps nothing of a reader: each question says what was chosen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dash import ALL, MATCH, ClientsideFunction, Dash, Input, Output, State, ctx, no_update
from dash.exceptions import PreventUpdate

from pythia_traj.dashboard.layout import CONTROLS, slot
from pythia_traj.dashboard.sent import chart_sent, drawing_sent, state_sent, written_sent
from pythia_traj.dashboard.watching import Watching
from pythia_traj.errors import AnalysisError, ConfigError
from pythia_traj.live import moment
from pythia_traj.live.choice import Choice
from pythia_traj.live.offered import Offered
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

    def choose(
        self, asked: str | None, _pulse: Any, followed: list[str], *values: Any
    ) -> tuple[Any, ...]:
        """What there is to choose, and what of it is chosen, for each control; and the choice."""
        if asked is None:
            raise PreventUpdate
        is_first = ctx.triggered_id in (None, "asked")
        if is_first:
            choice = Choice.from_query(asked)
        else:
            choice = _choice_of(dict(zip(CONTROLS, values, strict=True)), followed)
        found = self.views.offered(self._asked(), choice)
        heads = list(found.choice.followed) if is_first else no_update
        return (*_controls(found), heads, found.choice.as_query())

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
        runs, choice = self._asked(), replace(Choice.from_query(query), followed=())
        now = [choice.as_query(), runs.changed_at.get(choice.experiment, 0)]
        if drawn == now:
            raise PreventUpdate
        try:
            charts = self.views.charts(runs, choice)
        except _REFUSED as refused:
            return [], str(refused), now
        of = {"choice": now[0], "at": now[1]}
        why = "" if charts else why_not(runs, choice) if runs.units else ""
        return [slot(i, of | {"place": i}) for i in range(len(charts))], why, now

    def chart(self, of: dict[str, Any]) -> Any:
        """One chart, drawn."""
        choice, place = Choice.from_query(of["choice"]), of["place"]
        try:
            return chart_sent(self.views, self._asked(), choice, place)
        except _REFUSED:
            return None

    def followed(self, query: str | None, followed: list[str], _drawn: Any) -> list[Any]:
        """The followed heads, as lines."""
        if query is None:
            raise PreventUpdate
        choice = _following(query, followed)
        try:
            drawings = self.views.followed(self._asked(), choice)
        except _REFUSED:
            return []
        return [drawing_sent(one, choice.experiment) for one in drawings]

    def samples(self, query: str | None, step: int | None, _pulse: Any) -> tuple[Any, bool]:
        """What the chosen models write at a step, and whether there is nothing."""
        if query is None:
            raise PreventUpdate
        runs = self._runs
        at = step if step is not None else max(runs.steps, default=0)
        found = moment.written_at(self.watching.watched, runs, Choice.from_query(query), at)
        return written_sent(found), not found


def _choice_of(values: dict[str, Any], followed: Sequence[str]) -> Choice:
    """The choice that the values of the controls are."""
    words = {
        name: [one for one in value if one] if isinstance(value, list) else [value]
        for name, value in values.items()
        if value and name != "controls"
    }
    words["controls"] = ["yes" if values["controls"] else "no"]
    return Choice.from_words(words | {"followed": list(followed)})


def _following(query: str, followed: Sequence[str]) -> Choice:
    return replace(Choice.from_query(query), followed=tuple(followed))


def _controls(found: Offered) -> list[Any]:
    """The options and the value of each control, in their order."""
    choice = found.choice
    words = [
        (found.experiments, choice.experiment or None),
        (found.models, list(choice.models)),
        (found.labels, list(choice.labels)),
        (found.metrics, choice.metric or None),
        (found.variants, choice.variant or None),
    ]
    options = [[{"label": one, "value": one} for one in there] for there, _ in words]
    values = [value for _, value in words]
    values += [choice.layers, choice.heads, ["yes"] if choice.controls else [], choice.several]
    return [*options, *values]


def register(app: Dash, answers: Answers) -> None:
    """Ties the answers to the components."""
    values = [Input(name, "value") for name in CONTROLS]
    app.callback(
        Output("state", "children"),
        Output("pulse", "data"),
        Input("tick", "n_intervals"),
        State("pulse", "data"),
    )(answers.tick)
    app.callback(
        *(Output(name, "options") for name in CONTROLS[:5]),
        *(Output(name, "value") for name in CONTROLS),
        Output("followed", "data"),
        Output("choice", "data"),
        Input("asked", "data"),
        Input("pulse", "data"),
        State("followed", "data"),
        *values,
    )(answers.choose)
    app.callback(Output("page", "data"), Input("pulse", "data"))(answers.page)
    app.callback(
        Output("figures", "children"),
        Output("why-not", "children"),
        Output("drawn-for", "data"),
        Input("choice", "data"),
        Input("pulse", "data"),
        State("drawn-for", "data"),
    )(answers.charts)
    app.callback(
        Output({"type": "drawn", "place": MATCH}, "data"),
        Input({"type": "chart", "place": MATCH}, "data"),
    )(answers.chart)
    app.callback(
        Output("followed-drawn", "data"),
        Input("choice", "data"),
        Input("followed", "data"),
        Input("drawn-for", "data"),
    )(answers.followed)
    app.callback(
        Output("samples", "children"),
        Output("samples-section", "hidden"),
        Input("choice", "data"),
        Input("at-step", "data"),
        Input("pulse", "data"),
    )(answers.samples)
    _register_scripts(app)


def _register_scripts(app: Dash) -> None:
    """What the page's script does with what it receives; templates/live.js has the functions."""

    def script(name: str, *dependencies: Any) -> None:
        app.clientside_callback(ClientsideFunction("live", name), *dependencies)  # type: ignore[no-untyped-call]

    script("asked", Output("asked", "data"), Input("live", "id"))
    script("know", Input("page", "data"))
    script("address", Input("choice", "data"), Input("followed", "data"))
    drawn = {"type": "drawn", "place": ALL}, {"type": "slot", "place": ALL}
    script("show", Input(drawn[0], "data"), State(drawn[1], "id"))
    script("list", Input("followed-drawn", "data"), State("followed-figures", "id"))
