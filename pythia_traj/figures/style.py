"""How figures look: colours, themes, quantities, and text that stays text.

Readable without distinguishing red from green, on white and on dark.
"""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7f7f7f")
"""Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), for lines on white and on dark.

Without their yellow, which is too pale on white; grey is their black.
"""

SYMBOLS = ("circle", "diamond", "square", "triangle-up")
"""Markers; the next one is used when the palette starts again."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

HEIGHT = 430
"""Pixels of a figure of lines."""

Scale = Literal["share", "amount", "signed"]
"""Where the colours of a quantity end: 0 and 1, 0 and its largest value, or as far on both sides
of 0.
"""


@dataclass(frozen=True)
class Theme:
    """The colours of everything but the lines.

    Attributes:
        ink, quiet, rule, paper: of text, secondary text, grid lines, and the ground.
        absent: the ground of a heat map where nothing was measured.
        sequential: from 0 to high, one hue, so that it can be printed in grey.
        diverging: from negative over 0 to positive.
    """

    ink: str
    quiet: str
    rule: str
    paper: str
    absent: str
    sequential: tuple[str, ...]
    diverging: tuple[str, ...]


_BLUES = ("#f3f7fb", "#c9dced", "#8bb8d8", "#4a8ebd", "#1c639b", "#0b3a68", "#061a36")

THEMES: Mapping[str, Theme] = {
    "light": Theme(
        ink="#22262b",
        quiet="#5c636d",
        rule="#e4e7eb",
        paper="#ffffff",
        absent="#fdf3e3",
        sequential=_BLUES,
        diverging=("#7a3206", "#d08144", "#f4e3d3", "#f7f7f7", "#d3e2ef", "#4a8ebd", "#0b3a68"),
    ),
    "dark": Theme(
        ink="#e6e8eb",
        quiet="#a3abb5",
        rule="#2c323a",
        paper="#15181c",
        absent="#33291a",
        sequential=("#171c24", "#1b3553", "#1f5686", "#3a80b4", "#72aed6", "#b5d5ec", "#f0f7fc"),
        diverging=("#f2b98a", "#c87737", "#5b3416", "#22262b", "#1a3c5c", "#4a8ebd", "#b5d5ec"),
    ),
}
"""On screens either, by what the reader's system prefers; on paper the light one."""


@dataclass(frozen=True)
class Quantity:
    """What an axis or a colour shows."""

    title: str
    unit: str
    rangemode: str = "normal"
    """`tozero` where the axis must show a value's distance from zero."""
    scale: Scale = "amount"

    def __str__(self) -> str:
        return f"{self.title} ({self.unit})" if self.unit else self.title


def template(theme: Theme) -> go.layout.Template:
    """The look of a theme, as Plotly has it."""
    axis = {
        "gridcolor": theme.rule,
        "linecolor": theme.quiet,
        "tickcolor": theme.quiet,
        "showline": True,
        "ticks": "outside",
        "ticklen": 5,
        "zeroline": False,
        "automargin": True,
        "title": {"font": {"size": 13}},
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 13, "color": theme.ink},
            "paper_bgcolor": theme.paper,
            "plot_bgcolor": theme.paper,
            "colorway": PALETTE,
            "xaxis": axis,
            "yaxis": axis,
            "coloraxis": {
                "colorscale": even(theme.sequential),
                "colorbar": {"outlinewidth": 0, "tickfont": {"size": 12}},
            },
            "margin": {"l": 60, "r": 24, "t": 16, "b": 56},
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.17,
                "yanchor": "bottom",
                "font": {"size": 12},
            },
            "hoverlabel": {
                "bgcolor": theme.paper,
                "bordercolor": theme.quiet,
                "align": "left",
                "font": {"size": 12, "color": theme.ink},
            },
            "hovermode": "closest",
        }
    )


def even(colours: tuple[str, ...]) -> list[list[object]]:
    """Colours at equal distances, as Plotly has a colour scale."""
    return [[i / (len(colours) - 1), colour] for i, colour in enumerate(colours)]


TEMPLATE = template(THEMES["light"])
"""Of every figure as it is made; a page changes it with the reader's theme."""


def literal(text: object) -> str:
    """Text as Plotly shows it character by character.

    Plotly reads a few tags in any text, links among them, `%{...}` in hover templates and `$...$`
    as TeX. It decodes character references last, so a character that begins one of those is written
    as a reference.

    >>> literal("<b>100 %")
    '&lt;b&gt;100 &#37;'
    """
    return html.escape(str(text), quote=False).replace("%", "&#37;").replace("$", "&#36;")


def colour(index: int) -> str:
    """The colour of the index-th line; they repeat after the palette's length."""
    return PALETTE[index % len(PALETTE)]


def symbol(index: int) -> str:
    """The marker of the index-th line, which changes when the colours repeat."""
    return SYMBOLS[index // len(PALETTE) % len(SYMBOLS)]


def faint(hex_colour: str, opacity: float = 0.16) -> str:
    """A colour as the fill of a band."""
    red, green, blue = (int(hex_colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def shades(n: int) -> list[str]:
    """N colours in order, from blue to orange, for ordered lines.

    All are readable on white and on dark.
    """
    ends = [[0, "#1f5f9e"], [0.35, "#4aa3c7"], [0.65, "#c58f3a"], [1, "#d0521b"]]
    places = [i / max(n - 1, 1) for i in range(n)]
    shades = sample_colorscale(ends, places, colortype="tuple")
    return ["#" + "".join(f"{round(255 * part):02x}" for part in shade) for shade in shades]


def scale_of(quantity: Quantity, largest: float) -> tuple[dict[str, Any], str]:
    """A colour axis for a quantity, and the scale of the theme that it has.

    Args:
        quantity: what the colours show.
        largest: the largest magnitude that is drawn.

    Returns:
        properties of a Plotly coloraxis, without a place for its bar; `sequential` or `diverging`.
    """
    high = 1.0 if quantity.scale == "share" else (largest or 1.0)
    if quantity.scale == "signed":
        colours = even(THEMES["light"].diverging)
        return {"cmin": -high, "cmax": high, "colorscale": colours}, "diverging"
    return {"cmin": 0.0, "cmax": high}, "sequential"
