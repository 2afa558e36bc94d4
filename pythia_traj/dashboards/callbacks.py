"""What the server answers. It keeps nothing of a reader: each question says what was chosen."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, no_update
from dash.exceptions import PreventUpdate

from pythia_traj.dashboards.sent import (
    REFUSED,
    chart_sent,
    charts_sent,
    drawings_sent,
    state_sent,
    written_sent,
)
from pythia_traj.dashboards.watching import Watching
from pythia_traj.live import moment
from pythia_traj.live.choice import Choice
from pythia_traj.live.view import Views
from pythia_traj.live.watched import State as Runs
from pythia_traj.reports.report import known_of

_MOST_DIGITS = 10
"""Of a number in an address."""


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

    def choose(self, asked: Any, _pulse: Any) -> dict[str, Any]:
        """What there is to choose, what of the choice that was asked for is there, its charts."""
        if asked is None:
            raise PreventUpdate
        runs = self._asked()
        found = self.views.offered(runs, Choice.from_query(str(asked)))
        return asdict(found) | charts_sent(self.views, runs, found.choice)

    def first(self, query: str) -> dict[str, Any] | None:
        """What a page shows before it asks: the answers of `page` and `choose`.

        Nothing while the runs are being read, as it would come late.
        """
        if self._runs.waiting:
            return None
        return {"page": self.page(None), "offered": self.choose(query, None)}

    def page(self, _pulse: Any) -> dict[str, Any]:
        """What the page's script knows beside the figures."""
        runs = self._runs
        training = runs.training
        labels = {one["label"] for one in training.values()} - {None}
        return known_of(training, runs.steps, sorted(labels))

    def samples(self, offered: Any, step: Any, _pulse: Any) -> tuple[Any, bool]:
        """What the chosen models write at a step, and whether there is nothing."""
        if not isinstance(offered, Mapping):
            raise PreventUpdate
        runs, choice = self._runs, Choice.from_query(str(offered.get("query", "")))
        at = step if isinstance(step, int) else max(runs.steps, default=0)
        found = moment.written_at(self.watching.watched, runs, choice, at)
        return written_sent(found), not found

    def drawings(self, what: str, query: str, more: Mapping[str, str]) -> bytes | None:
        """Drawings of a choice, as `drawings_sent`; None for what there is nothing of.

        Args:
            what: `chart`, one of the choice's; `followed`, the heads that are followed, as lines;
                `patterns`, what these attend to at a step.
            query: the choice, as its address has it.
            more: `place`, the chart's number; `step`, by default the last one.
        """
        runs, choice = self._asked(), Choice.from_query(query)
        try:
            if what == "chart":
                place = _number(more.get("place"))
                return None if place is None else chart_sent(self.views, runs, choice, place)
            if what == "followed":
                return drawings_sent(self.views.followed(runs, choice), choice.experiment)
            if what == "patterns":
                step = _number(more.get("step"))
                at = max(runs.steps, default=0) if step is None else step
                found = moment.patterns_at_step(self.watching.watched, runs, choice, at)
                return drawings_sent(found, "attention")
        except REFUSED:
            return drawings_sent([], choice.experiment)
        return None


def _number(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > _MOST_DIGITS:
        return None
    return int(text)


def register(app: Dash, answers: Answers) -> None:
    """Ties the answers to the components."""
    offered, pulse = Input("offered", "data"), Input("pulse", "data")
    app.callback(
        Output("state", "children"),
        Output("pulse", "data"),
        Input("tick", "n_intervals"),
        State("pulse", "data"),
    )(answers.tick)
    app.callback(Output("page", "data"), pulse)(answers.page)
    app.callback(Output("offered", "data"), Input("asked", "data"), pulse)(answers.choose)
    app.callback(
        Output("samples", "children"),
        Output("samples-section", "hidden"),
        offered,
        Input("at-step", "data"),
        pulse,
    )(answers.samples)

    def script(name: str, *dependencies: Any) -> None:
        """What the page's script does with what it receives: the functions of templates/live.js."""
        app.clientside_callback(ClientsideFunction("live", name), *dependencies)  # type: ignore[no-untyped-call]

    script("asked", Output("asked", "data"), Input("asked", "id"))
    script("offer", offered)
    script("know", Input("page", "data"))
