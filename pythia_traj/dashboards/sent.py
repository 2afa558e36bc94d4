"""Drawings, notes and texts as the page receives them."""

from collections.abc import Iterator, Sequence
from typing import Any

from dash import html

from pythia_traj.analysis.wording import counted
from pythia_traj.dashboards.layout import aria
from pythia_traj.dashboards.watching import Watching
from pythia_traj.live.choice import Choice
from pythia_traj.live.moment import Written
from pythia_traj.live.view import Views
from pythia_traj.live.watched import State
from pythia_traj.reports.contents import file_name
from pythia_traj.reports.drawings import Drawing, Panel


def chart_sent(views: Views, state: State, choice: Choice, place: int) -> dict[str, Any] | None:
    """One chart of a choice as the script receives it; None where nothing is for it.

    Raises:
        ConfigError, AnalysisError: as `rows_of`.
    """

    def make() -> dict[str, Any] | None:
        drawing = views.drawing(state, choice, place)
        return None if drawing is None else drawing_sent(drawing, choice.experiment)

    return views.once(f"sent {place}", state, choice, make)


def drawing_sent(drawing: Drawing, experiment: str) -> dict[str, Any]:
    """A drawing as the script receives it: texts, and each figure as JSON of Plotly's.

    The figures are strings, so that what was drawn once is not written as JSON twice.
    """
    return {
        "heading": drawing.heading,
        "caption": drawing.caption,
        "panels": [_panel(one, drawing.heading, experiment) for one in drawing.panels],
    }


def _panel(panel: Panel, heading: str, experiment: str) -> dict[str, Any]:
    described = f"{heading}, {panel.of}" if panel.of else heading
    told = {"of": panel.of, "described": described, "reason": panel.reason}
    if panel.figure is None:
        return told
    name = file_name(f"{experiment} {heading} {panel.of}")
    height = panel.figure.layout.height
    return told | {"name": name, "height": height, "figure": panel.figure.to_json()}


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
