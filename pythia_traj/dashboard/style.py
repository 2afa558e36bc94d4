"""How figures and pages look: colours, the step axis, a line and its hover text, escaped text.

Light, so that it can be printed; readable without distinguishing red from green.
"""

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from pythia_traj.analysis.steps import step_position, steps_to_show

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#404040")
"""Okabe and Ito's colours without their yellow, which is too pale for a line on white (https://jfly.uni-koeln.de/color/)."""

SYMBOLS = ("circle", "diamond", "square", "triangle-up")
"""Markers; the next one is used when the palette starts again."""

SEQUENTIAL = ("#f3f7fb", "#c9dced", "#8bb8d8", "#4a8ebd", "#1c639b", "#0b3a68", "#061a36")
"""From low to high: one hue that gets darker, so that it can be printed in grey."""

INK, QUIET, RULE, ABSENT = "#22262b", "#6b7280", "#e4e7eb", "#fdf3e3"
"""Text, secondary text, grid lines, and the ground of a heat map where nothing was measured."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

TICKS = 8
"""About the most tick labels on a step axis: as many as fit on a phone."""

HEIGHT = 400
"""Pixels of a figure of lines."""

_AXIS: dict[str, Any] = {
    "gridcolor": RULE,
    "linecolor": "#b8bec6",
    "tickcolor": "#b8bec6",
    "showline": True,
}
_AXIS |= {
    "ticks": "outside",
    "ticklen": 5,
    "zeroline": False,
    "automargin": True,
    "title": {"font": {"size": 13}},
}

CONFIG: dict[str, Any] = {
    "responsive": True,
    "displaylogo": False,
    "modeBarButtons": [["toImage", "resetScale2d"]],
    "plotlyServerURL": "",
    "typesetMath": False,
}
"""How a browser draws a figure.

Buttons are named one by one: Plotly's own choice has one that uploads the data.
"""

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "colorway": PALETTE,
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "margin": {"l": 60, "r": 24, "t": 16, "b": 56},
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"size": 12},
        },
        "hoverlabel": {
            "bgcolor": "#ffffff",
            "bordercolor": "#b8bec6",
            "align": "left",
            "font": {"size": 12},
        },
        "hovermode": "closest",
    }
)


@dataclass(frozen=True)
class Quantity:
    """What a vertical axis shows."""

    title: str
    unit: str
    rangemode: str = "normal"
    """`tozero` where the axis must show a value's distance from zero."""

    def __str__(self) -> str:
        return f"{self.title} ({self.unit})"


def literal(text: object) -> str:
    """Text as Plotly shows it character by character.

    Plotly reads a few tags in any text, links among them, `%{...}` in hover templates and `$...$`
    as TeX. It decodes character references last, so a character that begins one of those is written
    as a reference.

    >>> literal("<b>100 %")
    '&lt;b&gt;100 &#37;'
    """
    return html.escape(str(text), quote=False).replace("%", "&#37;").replace("$", "&#36;")


def step_axis(steps: Iterable[int]) -> dict[str, Any]:
    """A Plotly axis for training steps, at `step_position`.

    Some measured steps have a label, and each has a small tick.
    """
    measured = sorted(set(steps))
    labelled = steps_to_show(measured, TICKS)
    return {
        "tickmode": "array",
        "tickvals": [step_position(step) for step in labelled],
        "ticktext": [str(step) for step in labelled],
        "minor": {
            "tickmode": "array",
            "tickvals": [step_position(step) for step in measured],
            "ticks": "outside",
            "ticklen": 3,
        },
        "title": {"text": "training step (log scale)"},
        "tickangle": 0,  # a turned label is cut off at the figure's edge
        "tickfont": {"size": 12},
    }


def colour(index: int) -> str:
    """The colour of the index-th line; they repeat after the palette's length."""
    return PALETTE[index % len(PALETTE)]


def symbol(index: int) -> str:
    """The marker of the index-th line, which changes when the colours repeat."""
    return SYMBOLS[index // len(PALETTE) % len(SYMBOLS)]


def faint(hex_colour: str, opacity: float = 0.16) -> str:
    """A colour as the fill of an error band."""
    red, green, blue = (int(hex_colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def shades(n: int) -> list[str]:
    """N colours from light to dark, for ordered lines.

    The lightest is still readable on white.
    """
    places = [0.3 + 0.7 * (i + 1) / n for i in range(n)]
    return [str(shade) for shade in sample_colorscale(list(SEQUENTIAL), places)]


def blank(xaxis: dict[str, Any], quantity: Quantity) -> go.Figure:
    """A figure with axes and without lines."""
    yaxis = {"title": {"text": str(quantity)}, "rangemode": quantity.rangemode}
    layout = {
        "template": TEMPLATE,
        "height": HEIGHT,
        "xaxis": xaxis,
        "yaxis": yaxis,
        "showlegend": True,
    }
    return go.Figure(layout=layout)


def scale() -> dict[str, Any]:
    """A colour axis from 0 to 1, its bar above the figure, where it fits on a phone."""
    place = {
        "x": 0,
        "xanchor": "left",
        "xpad": 0,
        "yref": "container",
        "y": 1,
        "yanchor": "top",
        "ypad": 24,
        "len": 0.4,
    }
    bar = {"orientation": "h", "thickness": 10, "outlinewidth": 0, "tickvals": [0, 0.5, 1], **place}
    return {"colorscale": list(SEQUENTIAL), "cmin": 0, "cmax": 1, "colorbar": bar}


def line(
    at: pd.DataFrame,
    name: str,
    quantity: Quantity,
    looks: Mapping[str, Any],
    x: Iterable[float] | None = None,
) -> go.Scatter:
    """A line through rows that are in order.

    Args:
        at: rows with step, tokens, position, value, stderr, n and a note for the hover.
        name: its name in the legend, shown literally.
        quantity: what the values are.
        looks: further properties of the trace.
        x: where the points lie; by default at their steps.
    """
    shown = literal(name)
    positions = [step_position(step) for step in at["step"]] if x is None else list(x)
    hover = [_hover(row, shown, quantity) for row in at.itertuples()]
    return go.Scatter(
        x=positions,
        y=at["value"].to_numpy(),
        name=shown,
        hovertext=hover,
        hoverinfo="text",
        **looks,
    )


def dotted(name: str) -> go.Scatter:
    """A legend entry without a line, which says what dotted lines are."""
    look = {"color": QUIET, "width": 1.4, "dash": "dot"}
    return go.Scatter(x=[None], y=[None], name=name, mode="lines", line=look, hoverinfo="skip")


def bands(at: pd.DataFrame, line_colour: str, group: str) -> Iterator[go.Scatter]:
    """One standard error up and down, for each unbroken part of a line where it is known."""
    unknown = at["value"].isna() | at["stderr"].isna()
    for _, part in at[~unknown].groupby(unknown.cumsum()[~unknown]):
        x = [step_position(step) for step in part["step"]]
        upper = (part["value"] + part["stderr"]).tolist()
        lower = (part["value"] - part["stderr"]).tolist()
        area = {
            "fill": "toself",
            "fillcolor": faint(line_colour),
            "line": {"width": 0},
            "mode": "lines",
        }
        aside = {"hoverinfo": "skip", "legendgroup": group, "showlegend": False}
        yield go.Scatter(x=x + x[::-1], y=upper + lower[::-1], **area, **aside)


def heat_map(
    cells: pd.DataFrame, quantity: Quantity, layer: int, heads: range, steps: Sequence[int]
) -> go.Heatmap:
    """One layer's heads at each step.

    The hover reads step, tokens, standard error and n from an array beside the values, which is
    smaller than text.
    """
    wanted = pd.MultiIndex.from_product(
        [[float(head) for head in heads], steps], names=["head", "step"]
    )
    cells = cells.set_index(["head", "step"]).reindex(wanted).reset_index()
    beside = (
        cells[["step", "tokens", "stderr", "n"]].to_numpy(float).reshape(len(heads), len(steps), 4)
    )
    lines = [f"<b>L{layer}H%{{y}}</b>", "step %{customdata[0]:,.0f}"]
    shown = (("tokens", "tokens", ",.0f"), ("standard error", "stderr", ".2g"), ("n", "n", ",.0f"))
    for i, (what, column, form) in enumerate(shown):
        known = cells[column].notna().any()
        lines.append(f"{what} %{{customdata[{i + 1}]:{form}}}" if known else f"{what} not recorded")
    lines.insert(3, f"{quantity.title} %{{z:.4f}}")
    values = cells["value"].to_numpy(np.float32).reshape(len(heads), len(steps))
    hover = {
        "customdata": beside,
        "hovertemplate": "<br>".join(lines) + "<extra></extra>",
        "hoverongaps": False,
    }
    return go.Heatmap(
        x=[*map(step_position, steps)], y=[*heads], z=values, coloraxis="coloraxis", **hover
    )


def _hover(row: Any, name: str, quantity: Quantity) -> str:
    lines = [f"<b>{name}</b>", literal(row.note), f"step {row.step:,}"]
    lines += ["" if np.isnan(row.position) else f"position {row.position:.0f}"]
    lines += [told("tokens", row.tokens, ",.0f"), told(quantity.title, row.value, ".4f")]
    lines += [told("standard error", row.stderr, ".2g"), told("n", row.n, ",.0f")]
    return "<br>".join(line for line in lines if line)


def told(what: str, number: float, form: str) -> str:
    """A line of a hover text: a number after its name, or "not recorded"."""
    return f"{what} not recorded" if np.isnan(number) else f"{what} {number:{form}}"
