"""Drawings, notes and texts as the page receives them."""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dash import html

from pythia_traj.analysis.wording import counted
from pythia_traj.dashboards.layout import aria
from pythia_traj.dashboards.watching import Watching
from pythia_traj.errors import AnalysisError, ConfigError
from pythia_traj.live.choice import Choice
from pythia_traj.live.moment import Written
from pythia_traj.live.view import Views, why_not
from pythia_traj.live.watched import State
from pythia_traj.reports.contents import file_name
from pythia_traj.reports.drawings import Drawing, Panel

REFUSED = (ConfigError, AnalysisError)
"""What a choice can be refused for, in words."""

_LEVEL = 1
"""Of gzip: what a tunnel takes longer for than this processor."""


def charts_sent(views: Views, state: State, choice: Choice) -> dict[str, Any]:
    """What a page must know of a choice's charts before it asks for any of them.

    Returns:
        `query`, the choice; `at`, which changes with its rows; `charts`, heading and caption of
        each; `why`, why there is none.
    """
    found = {
        "query": replace(choice, followed=()).as_query(),
        "at": state.changed_at.get(choice.experiment, 0),
    }
    try:
        charts = views.charts(state, choice)
        why = "" if charts or not state.units else why_not(state, choice)
    except REFUSED as refused:
        charts, why = (), str(refused)
    told = [{"heading": one.heading, "caption": one.caption} for one in charts]
    return found | {"charts": told, "why": why}


def chart_sent(views: Views, state: State, choice: Choice, place: int) -> bytes:
    """One chart of a choice, as `drawings_sent`, made once until its rows change.

    Raises:
        ConfigError, AnalysisError: as `rows_of`.
    """

    def make() -> bytes:
        drawing = views.drawing(state, choice, place)
        return drawings_sent([] if drawing is None else [drawing], choice.experiment)

    return views.once(f"sent {place}", state, choice, make)


def drawings_sent(drawings: Sequence[Drawing], experiment: str) -> bytes:
    """Drawings as the script receives them: a list in JSON, compressed by gzip.

    Of each its texts, and its panels with their figures as Plotly has them.
    """
    text = f"[{','.join(_drawing(one, experiment) for one in drawings)}]"
    return gzip.compress(text.encode(), _LEVEL)


def _drawing(drawing: Drawing, experiment: str) -> str:
    told = {"heading": drawing.heading, "caption": drawing.caption}
    panels = (_panel(one, drawing.heading, experiment) for one in drawing.panels)
    return _with(told, "panels", f"[{','.join(panels)}]")


def _panel(panel: Panel, heading: str, experiment: str) -> str:
    described = f"{heading}, {panel.of}" if panel.of else heading
    told: dict[str, Any] = {"of": panel.of, "described": described, "reason": panel.reason}
    if panel.figure is None:
        return json.dumps(told)
    name = file_name(f"{experiment} {heading} {panel.of}")
    told |= {"name": name, "height": panel.figure.layout.height}
    return _with(told, "figure", panel.figure.to_json())


def _with(told: Mapping[str, Any], name: str, value: str) -> str:
    """A JSON object with one more member, whose value is JSON already."""
    return f"{json.dumps(told)[:-1]}, {json.dumps(name)}: {value}}}"


def state_sent(state: State, watching: Watching) -> list[Any]:
    """How far the runs are, and what a reader must know of them."""
    said: list[Any] = [html.P(" · ".join(_progress(state)), id="progress")]
    notes = list(state.notes)
    if watching.error:
        said.append(html.P(f"The last look failed: {watching.error}", className="undrawn"))
    if notes:
        items = [html.Li([html.Strong(one.kind), f" {one.words}"]) for one in notes]
        said.append(html.Ul(items, className="notes", **aria("Warnings and defects")))
    return said


def _progress(state: State) -> Iterator[str]:
    for name, one in state.status.items():
        working = sum(worker.state == "working" for worker in one.workers)
        at_work = f", {counted(working, 'worker')} at work" if working else ""
        failed = f", {one.failed:,} failed" if one.failed else ""
        yield f"{name}: {one.done:,} of {counted(len(one.units), 'unit')} done{failed}{at_work}"
    if state.waiting:
        yield f"reading: {counted(state.waiting, 'file')} to go"


def written_sent(texts: Sequence[Written]) -> list[Any]:
    """What models wrote, as tables."""
    return [_table(one) for one in texts]


def _table(one: Written) -> Any:
    caption = f"{one.of}, step {one.step:,}"
    head = html.Tr([html.Th("prompt", className="text"), html.Th("it writes", className="text")])
    rows = [
        html.Tr([html.Td(prompt, className="sample"), html.Td(text, className="sample")])
        for prompt, text in one.texts
    ]
    table = html.Table([html.Caption(caption), html.Thead(head), html.Tbody(rows)])
    return html.Div(
        table, className="scroll", tabIndex=0, role="group", **aria(f"Samples, {caption}")
    )
