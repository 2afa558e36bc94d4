"""Trajectories as lines, with their intervals and controls."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.selection import interval
from pythia_traj.analysis.steps import step_position
from pythia_traj.analysis.trajectories import trajectories
from pythia_traj.figures import style
from pythia_traj.figures.axes import add_token_axis, step_axis
from pythia_traj.figures.data import NUMBERS, key_of
from pythia_traj.figures.style import Quantity

MOST_COLOURS = len(style.PALETTE)
"""More lines than these are ordered, such as layers, and get shades of one scale."""


def over_steps(chosen: pd.DataFrame, quantity: Quantity) -> go.Figure:
    """A line for each model, label and `what`, dotted in the same colour for its control.

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
    colours = dict(zip(names, _colours(len(names)), strict=True))
    measured = {one.name for one in drawn if not one.control}
    beside_lines = dict[str, None]()
    for one in drawn:
        # A control is shown and hidden with its line; without a line it has its own legend entry.
        beside = bool(one.control) and one.name in measured
        control = one.control.replace("_", " ")
        beside_lines |= {control: None} if beside else {}
        index, its_colour = names.index(one.name), colours[one.name]
        group = f"line-{index}"
        looks = {
            "line": {"color": its_colour, "dash": "dot" if control else "solid", "width": 1.8},
            "marker": {"size": 4 if control else 5, "symbol": style.symbol(index)},
            "mode": "lines+markers",
            "legendgroup": group,
            "showlegend": not beside,
        }
        figure.add_traces(list(bands(one.rows, its_colour, group)))
        shown = f"{one.name}, {control}" if control else one.name
        figure.add_trace(line(one.rows, shown, quantity, looks))
    return figure.add_trace(dotted(", ".join(beside_lines))) if beside_lines else figure


def _colours(n: int) -> list[str]:
    return [style.colour(i) for i in range(n)] if n <= MOST_COLOURS else style.shades(n)


def blank(xaxis: dict[str, Any], quantity: Quantity) -> go.Figure:
    """A figure with axes and without lines."""
    return go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": style.HEIGHT,
            "xaxis": xaxis,
            "yaxis": {"title": {"text": str(quantity)}, "rangemode": quantity.rangemode},
            "showlegend": True,
        }
    )


def line(
    at: pd.DataFrame,
    name: str,
    quantity: Quantity,
    looks: Mapping[str, Any],
    x: Iterable[float] | None = None,
) -> go.Scatter:
    """A line through rows that are in order.

    Args:
        at: chosen rows; their notes are in the hover.
        name: its name in the legend, shown literally.
        quantity: what the values are.
        looks: further properties of the trace.
        x: where the points lie; by default at their steps.
    """
    shown = style.literal(name)
    key, varying = key_of(at)
    meta = {"steps": at["step"].tolist(), "model": key.get("model"), "key": key}
    return go.Scatter(
        x=[*map(step_position, at["step"])] if x is None else list(x),
        y=at["value"].to_numpy(float),
        name=shown,
        text=[style.literal(note) for note in at["note"]] if at["note"].any() else None,
        customdata=at[["step", *NUMBERS]].to_numpy(float),
        hovertemplate=_hover(at, shown, quantity),
        meta=meta | ({"varying": varying} if varying else {}),
        **looks,
    )


def _hover(at: pd.DataFrame, shown: str, quantity: Quantity) -> str:
    """The template of a line's hover text; a number that no point has is "not recorded"."""
    told = [f"<b>{shown}</b>"] + (["%{text}"] if at["note"].any() else [])
    told += ["step %{customdata[0]:,.0f}", _number(at, "tokens", "tokens", ",.0f")]
    told += [f"{quantity.title} %{{y:.4f}}"]
    if at["low"].notna().any():
        told += ["95 &#37; interval %{customdata[3]:.4f} to %{customdata[4]:.4f}"]
    told += [_number(at, "stderr", "standard error", ".2g"), _number(at, "n", "n", ",.0f")]
    return "<br>".join(told) + "<extra></extra>"


def _number(at: pd.DataFrame, column: str, name: str, form: str) -> str:
    place = NUMBERS.index(column) + 1
    known = at[column].notna().any()
    return f"{name} %{{customdata[{place}]:{form}}}" if known else f"{name} not recorded"


def dotted(name: str) -> go.Scatter:
    """A legend entry without a line, which says what dotted lines are."""
    look = {"color": "#7f7f7f", "width": 1.4, "dash": "dot"}
    return go.Scatter(x=[None], y=[None], name=name, mode="lines", line=look, hoverinfo="skip")


def bands(at: pd.DataFrame, line_colour: str, group: str) -> Iterator[go.Scatter]:
    """The 95 % intervals, for each unbroken part of a line where they are known."""
    at = at.reset_index(drop=True)
    low, high = interval(at)
    unknown = at["value"].isna() | low.isna() | high.isna()
    for _, part in at[~unknown].groupby(unknown.cumsum()[~unknown]):
        steps = part["step"].tolist()
        around = [*steps, *reversed(steps)]
        ends = np.concatenate([high[part.index], low[part.index][::-1]])
        yield go.Scatter(
            x=[step_position(step) for step in around],
            y=ends,
            fill="toself",
            fillcolor=style.faint(line_colour),
            line={"width": 0},
            mode="lines",
            hoverinfo="skip",
            legendgroup=group,
            showlegend=False,
            meta={"steps": around, "model": str(part["model"].iloc[0])},
        )
