"""How figures and pages look: colours, the step axis, a line and its hover, text that stays text.

Light, so that it prints; told apart without telling red from green.
"""

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#404040")
"""Okabe and Ito's colours without their yellow, which is too pale for a line on white (https://jfly.uni-koeln.de/color/)."""

SYMBOLS = ("circle", "diamond", "square", "triangle-up")
"""Markers; the next is taken when the palette starts again."""

SEQUENTIAL = ("#f3f7fb", "#c9dced", "#8bb8d8", "#4a8ebd", "#1c639b", "#0b3a68", "#061a36")
"""From little to much: one hue, ever darker, so that it survives grey-scale printing."""

INK, QUIET, RULE, ABSENT = "#22262b", "#6b7280", "#e4e7eb", "#fdf3e3"
"""Text, secondary text, grid lines, and the ground of a heat map where nothing was measured."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

TICKS = 8
"""At most about so many tick labels on a step axis: what a phone has room for."""

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
    """`tozero` where the axis has to show how far from zero a value is."""

    def __str__(self) -> str:
        return f"{self.title} ({self.unit})"


def literal(text: object) -> str:
    """Text as Plotly shows it character by character.

    Plotly reads a few tags in any text, links among them, `%{...}` in hover templates and `$...$`
    as TeX. It decodes character references last, so whatever begins one of those is written as a
    reference.

    >>> literal("<b>100 %")
    '&lt;b&gt;100 &#37;'
    """
    return html.escape(str(text), quote=False).replace("%", "&#37;").replace("$", "&#36;")


def step_position(step: float) -> float:
    """Where a step lies on a step axis: log2(step + 1).

    It spreads the early steps and has a place for step 0.
    """
    return math.log2(step + 1)


def step_ticks(steps: Iterable[int], most: int = TICKS) -> list[int]:
    """Those of the measured steps that are labelled.

    Both ends, then round ones, then others, as far as there is room.

    Args:
        steps: the measured steps.
        most: about how many labels there is room for.
    """
    measured = sorted(set(steps))
    if len(measured) < 3:
        return measured
    first, last = step_position(measured[0]), step_position(measured[-1])
    gap = (last - first) / most
    kept = [measured[0], measured[-1]]
    for step in sorted(measured, key=lambda step: (not _is_round(step), step)):
        if all(abs(step_position(step) - step_position(other)) >= gap for other in kept):
            kept.append(step)
    return sorted(kept)


def _is_round(step: int) -> bool:
    """Whether a step is a power of two, or one of thousands.

    Those are the steps that Pythia's readers know by heart.
    """
    thousands, rest = divmod(step, 1000)
    return (step & (step - 1)) == 0 or (rest == 0 and (thousands & (thousands - 1)) == 0)


def step_axis(steps: Iterable[int]) -> dict[str, Any]:
    """A Plotly axis for training steps, at `step_position`.

    There are labels at some measured steps, and a small tick at each.
    """
    measured = sorted(set(steps))
    labelled = step_ticks(measured)
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
    """The marker of the index-th line, which changes where its colour repeats."""
    return SYMBOLS[index // len(PALETTE) % len(SYMBOLS)]


def faint(hex_colour: str, opacity: float = 0.16) -> str:
    """A colour as the fill of an error band."""
    red, green, blue = (int(hex_colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def shades(n: int) -> list[str]:
    """N colours from light to dark for lines that have an order.

    The lightest is still readable on white.
    """
    places = [0.3 + 0.7 * (i + 1) / n for i in range(n)]
    return [str(shade) for shade in sample_colorscale(list(SEQUENTIAL), places)]


def blank(xaxis: dict[str, Any], quantity: Quantity) -> go.Figure:
    """A figure with axes and no line yet."""
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
    """A colour axis from 0 to 1, its bar above the figure, where a phone has room for it."""
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
    """A legend entry that says what dotted lines are, without a line of its own."""
    look = {"color": QUIET, "width": 1.4, "dash": "dot"}
    return go.Scatter(x=[None], y=[None], name=name, mode="lines", line=look, hoverinfo="skip")


def bands(at: pd.DataFrame, line_colour: str, group: str) -> Iterator[go.Scatter]:
    """One standard error up and down, for each unbroken stretch of a line at which it is known."""
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
    """A line of a hover: a number after its name, or that it was not recorded."""
    return f"{what} not recorded" if np.isnan(number) else f"{what} {number:{form}}"


PAGE = f"""
:root {{ color-scheme: light; }}
html {{ -webkit-text-size-adjust: 100%; }}
body {{ margin: 0 auto; padding: 3.5rem 1.5rem 4rem; max-width: 60rem; }}
body {{ font: 16px/1.6 {FONT}; color: {INK}; background: #fff; }}
h1, h2, h3, td, dd, nav, p {{ overflow-wrap: anywhere; }}
h1 {{ margin: 0 0 1.5rem; font-size: 2rem; line-height: 1.2; letter-spacing: -0.02em;
  text-wrap: balance; }}
h2 {{ margin: 4rem 0 0.5rem; padding-top: 1.25rem; border-top: 1px solid {RULE};
  font-size: 1.4rem; line-height: 1.3; }}
h3 {{ margin: 0; font-size: 1.05rem; line-height: 1.4; }}
p {{ margin: 0.4rem 0; max-width: 44rem; }}
a {{ color: {PALETTE[0]}; }}
small, figcaption p, .lead, section > p, footer, dt, td span {{ color: {QUIET}; }}
small {{ display: block; font-size: 0.8rem; line-height: 1.4; }}
code {{ font: 0.88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }}
dl {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr));
  gap: 1rem 2rem; margin: 0 0 2rem; }}
dt, dd {{ margin: 0; }}
dt, thead th {{ font-size: 0.8rem; }}
nav {{ display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; margin: 1.5rem 0 0; }}
figure {{ margin: 2.5rem 0 0; break-inside: avoid; }}
figcaption p {{ margin: 0.15rem 0 0.75rem; font-size: 0.92rem; line-height: 1.5; }}
.plotly-graph-div {{ width: 100%; }}
.undefined {{ padding: 0.75rem 1rem; border-left: 3px solid {PALETTE[4]}; background: {ABSENT};
  font-size: 0.92rem; }}
.scroll {{ overflow-x: auto; margin-top: 1.25rem; }}
table {{ width: 100%; border-collapse: collapse; font-size: 0.92rem; line-height: 1.4;
  font-feature-settings: "tnum"; }}
th, td {{ padding: 0.5rem 0.5rem; border-bottom: 1px solid {RULE};
  text-align: right; vertical-align: top; }}
th:first-child, td:first-child, .text {{ padding-left: 0; text-align: left; }}
thead th {{ color: {QUIET}; font-weight: 500; vertical-align: bottom; }}
tbody th {{ padding-top: 1.5rem; font-weight: 650; }}
.numbers td + td {{ overflow-wrap: normal; }}
.numbers td:first-child {{ min-width: 6.5rem; }}
footer {{ margin-top: 4rem; padding-top: 1rem; border-top: 1px solid {RULE}; font-size: 0.88rem; }}
@media (max-width: 40rem) {{
  body {{ padding: 2rem 1rem 3rem; font-size: 15px; }}
  h1 {{ font-size: 1.55rem; }}
  dl {{ grid-template-columns: 1fr; gap: 0.6rem; }}
  table {{ font-size: 0.8rem; }}
  small {{ font-size: 0.72rem; }}
  th, td {{ padding: 0.45rem 0.25rem; }}
  table code {{ font-size: 0.8em; }}
  td span {{ display: block; }}
}}
/* The buttons stand above the figure: inside it they would cover the legend. */
.js-plotly-plot .plotly .modebar {{ top: auto !important; bottom: 0; }}
@media print {{ body {{ max-width: none; padding: 0; }} nav, .lead {{ display: none; }} }}
"""
"""The page's style sheet."""
