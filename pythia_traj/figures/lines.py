"""Trajectories as lines, with their intervals and controls."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, pairwise
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.selection import interval
from pythia_traj.analysis.steps import step_position
from pythia_traj.analysis.trajectories import Trajectory, at_some_steps, trajectories
from pythia_traj.figures import style
from pythia_traj.figures.axes import add_token_axis, step_axis
from pythia_traj.figures.data import NUMBERS, key_of
from pythia_traj.figures.style import Quantity

MOST_COLOURS = len(style.PALETTE)
"""More layers than these get shades of one scale."""

DOTTED = ("dot", "dashdot", "longdashdot")
"""The lines of controls, by kind of control."""

_WITHOUT_LEGEND, _ENTRY = 365, 12
"""Pixels of a figure without its legend, and of one entry in it, of which two are in a line on a
phone: where a legend takes the room of the lines, the axis of tokens has none below it.
"""

_MOST_MARKERS, _SOME_MARKERS = 40, 20
"""Of a line: so many are told apart; where it has more points, so many still show its symbol."""


def over_steps(chosen: pd.DataFrame, quantity: Quantity) -> go.Figure:
    """A line for each model, label and `what`, dotted in the same colour for its controls.

    Bands are 95 % intervals.

    Args:
        chosen: chosen rows with `what`, some of them with a value.
        quantity: what their values are.
    """
    figure = blank(step_axis(chosen["step"]), quantity)
    figure.update_layout(meta={"over": "steps"})
    add_token_axis(figure, chosen)
    drawn = list(trajectories(chosen))
    names = list(dict.fromkeys(one.name for one in drawn))
    colours = dict(zip(names, _colours(drawn, len(names)), strict=True))
    measured = {one.name for one in drawn if not one.control}
    controls = dict.fromkeys(one.control for one in drawn if one.control)
    dashes = {"": "solid"} | dict(zip(controls, cycle(DOTTED), strict=False))
    beside_lines = dict[str, str]()
    for one in drawn:
        # A control is shown and hidden with its line; without a line it has its own legend entry.
        beside = bool(one.control) and one.name in measured
        control, dash = one.control.replace("_", " "), dashes[one.control]
        beside_lines |= {control: dash} if beside else {}
        index, its_colour = names.index(one.name), colours[one.name]
        group = f"line-{index}"
        looks = {
            "line": {"color": its_colour, "dash": dash, "width": 1.8},
            "marker": _marker(one.rows, 4 if control else 5) | {"symbol": style.symbol(index)},
            "mode": "lines+markers",
            "legendgroup": group,
            "showlegend": not beside,
        }
        figure.add_traces(list(bands(one.rows, its_colour, group)))
        shown = f"{one.name}, {control}" if control else one.name
        figure.add_trace(line(one.rows, shown, quantity, looks))
    figure.add_traces([dotted(name, dash) for name, dash in beside_lines.items()])
    entries = sum(bool(trace.name) and trace.showlegend is not False for trace in figure.data)
    return figure.update_layout(height=max(style.HEIGHT, _WITHOUT_LEGEND + _ENTRY * entries))


def along(
    chosen: pd.DataFrame, by: str, xaxis: dict[str, Any], quantity: Quantity, most: int
) -> go.Figure:
    """Values along positions or layers, a line for each of some steps, from blue to orange.

    Args:
        chosen: chosen rows of one model and label.
        by: the column along which they lie: position, layer.
        xaxis: properties of the axis of that column.
        quantity: what their values are.
        most: about how many steps are drawn.
    """
    shown = at_some_steps(chosen, by, most - 1).groupby("step")
    figure = blank(xaxis, quantity)
    for (step, at), shade in zip(shown, style.shades(len(shown)), strict=True):
        looks = {"line": {"color": shade, "width": 1.4}, "mode": "lines"}
        figure.add_trace(line(at, f"step {step}", quantity, looks, by=by))
    return figure


def _marker(at: pd.DataFrame, size: int) -> dict[str, Any]:
    """A line's markers: some of many, unless a point without neighbours is seen by its own."""
    known = at["value"].notna().to_numpy()
    beside = np.concatenate([[False], known, [False]])
    alone = known & ~beside[:-2] & ~beside[2:]
    is_dense = known.sum() > _MOST_MARKERS and not alone.any()
    return {"size": size} | ({"maxdisplayed": _SOME_MARKERS} if is_dense else {})


def _colours(drawn: Sequence[Trajectory], n: int) -> list[str]:
    """The colours of n names: shades where they are of one layer each, in the order of layers.

    Else the palette again, where neighbours are told apart, with other symbols.
    """
    layers = [one.rows["layer"].unique() for one in drawn if not one.control]
    found = [float(of[0]) for of in layers if len(of) == 1]
    ordered = len(found) == n and all(a < b for a, b in pairwise(found))
    if ordered and n > MOST_COLOURS:
        return style.shades(n)
    return [style.colour(i) for i in range(n)]


def blank(xaxis: dict[str, Any], quantity: Quantity) -> go.Figure:
    """A figure with axes and without lines."""
    return go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": style.HEIGHT,
            "xaxis": xaxis,
            "yaxis": {"title": {"text": style.literal(quantity)}, "rangemode": quantity.rangemode},
            "showlegend": True,
        }
    )


def line(
    at: pd.DataFrame,
    name: str,
    quantity: Quantity,
    looks: Mapping[str, Any],
    by: str = "step",
) -> go.Scatter:
    """A line through rows that are in order.

    Args:
        at: chosen rows; their notes are in the hover.
        name: its name in the legend, shown literally.
        quantity: what the values are.
        looks: further properties of the trace.
        by: the column that says where the points lie: step, position, layer.
    """
    shown = style.literal(name)
    key, varying = key_of(at)
    meta = {"steps": at["step"].tolist(), "model": key.get("model"), "key": key}
    return go.Scatter(
        x=[*map(step_position, at["step"])] if by == "step" else at[by].to_numpy(float),
        y=at["value"].to_numpy(float),
        name=shown,
        text=[style.literal(note) for note in at["note"]] if at["note"].any() else None,
        customdata=at[["step", *NUMBERS]].to_numpy(float),
        hovertemplate=_hover(at, shown, quantity, by),
        meta=meta | ({"varying": varying} if varying else {}),
        **looks,
    )


def _hover(at: pd.DataFrame, shown: str, quantity: Quantity, by: str) -> str:
    """The template of a line's hover text; a number that no point has is "not recorded"."""
    told = [f"<b>{shown}</b>"] + (["%{text}"] if at["note"].any() else [])
    told += [] if by == "step" else [f"{by} %{{x:,.0f}}"]
    told += ["step %{customdata[0]:,.0f}", _number(at, "tokens", "tokens", ",.0f")]
    told += [f"{style.literal(quantity.title)} %{{y:.4f}}"]
    if at["low"].notna().any():
        told += ["95 &#37; interval %{customdata[3]:.4f} to %{customdata[4]:.4f}"]
    told += [_number(at, "stderr", "standard error", ".2g"), _number(at, "n", "n", ",.0f")]
    return "<br>".join(told) + "<extra></extra>"


def _number(at: pd.DataFrame, column: str, name: str, form: str) -> str:
    place = NUMBERS.index(column) + 1
    known = at[column].notna().any()
    return f"{name} %{{customdata[{place}]:{form}}}" if known else f"{name} not recorded"


def dotted(name: str, dash: str = "dot") -> go.Scatter:
    """A legend entry without a line, which says what dotted lines are."""
    look = {"color": "#7f7f7f", "width": 1.4, "dash": dash}
    shown = style.literal(name)
    return go.Scatter(x=[None], y=[None], name=shown, mode="lines", line=look, hoverinfo="skip")


def bands(at: pd.DataFrame, line_colour: str, group: str) -> Iterator[go.Scatter]:
    """The 95 % intervals, for each unbroken part of a line where they are known.

    That of a step alone is a vertical line, as an area of no width cannot be seen.
    """
    at = at.reset_index(drop=True)
    low, high = interval(at)
    unknown = at["value"].isna() | low.isna() | high.isna()
    for _, part in at[~unknown].groupby(unknown.cumsum()[~unknown]):
        steps = part["step"].tolist()
        around = [*steps, *reversed(steps)]
        ends = np.concatenate([high[part.index], low[part.index][::-1]])
        area = {"fill": "toself", "fillcolor": style.faint(line_colour), "line": {"width": 0}}
        alone = {"line": {"color": line_colour, "width": 1.8}, "opacity": 0.5}
        yield go.Scatter(
            x=[step_position(step) for step in around],
            y=ends,
            **(area if len(steps) > 1 else alone),
            mode="lines",
            hoverinfo="skip",
            legendgroup=group,
            showlegend=False,
            meta={"steps": around, "model": str(part["model"].iloc[0])},
        )
