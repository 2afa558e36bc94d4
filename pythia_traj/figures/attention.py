"""Figures of `attention`: patterns of heads on prompts, and how spread out they are."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.heads import values_of_heads
from pythia_traj.analysis.patterns import ENTROPY as METRIC
from pythia_traj.analysis.patterns import Pattern, entropy_of_layers
from pythia_traj.figures import style
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.induction import ATTENTION
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.maps import colour, ground, heads_over_steps, height_of, one_in
from pythia_traj.figures.style import Quantity
from pythia_traj.printable import printable

ENTROPY = Quantity("entropy of attention", "nats", rangemode="tozero")

_WHITE = str.maketrans({" ": "·", "\n": "↵", "\t": "⇥"})
"""How white space is shown, which a label would lose."""

_CELL, _MOST_LABELS, _MOST_CHARACTERS = 22, 50, 16
"""Pixels of a cell where there are few tokens; the most labels of an axis, and of one of them."""


def attention_entropy_of_heads(rows: pd.DataFrame, step: int | None = None) -> go.Figure:
    """Entropy of every head's attention: a map of layers and heads, and one of heads over steps.

    Args:
        rows: rows of one model and one label.
        step: the step of the upper map; by default the last.

    Raises:
        ConfigError: the rows hold several models or labels; or the step was not measured.
    """
    chosen = drawable(values_of_heads(rows, METRIC), "entropy of attention")
    return heads_over_steps(chosen, ENTROPY, step)


def attention_entropy_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Entropy of attention in some layers at each step, mean over heads, and of even attention."""
    return over_steps(drawable(entropy_of_layers(rows), "entropy of attention"), ENTROPY)


def attention_pattern(pattern: Pattern) -> go.Figure:
    """What a head attends to on a prompt: queries downwards, keys from left to right.

    Its values are in no row of `pythia_traj.load`, so `data_of` finds none in it.

    Args:
        pattern: one of `pythia_traj.analysis.patterns.patterns_at`.
    """
    names = [_shown(token) for token in pattern.tokens]
    numbered = [f"{name} ({i})" for i, name in enumerate(names)]
    told = [[f"<b>{query}</b> to <b>{key}</b>" for key in numbered] for query in numbered]
    n = len(names)
    figure = go.Figure(
        go.Heatmap(
            x=[*range(n)],
            y=[*range(n)],
            z=pattern.weights,
            text=told,
            coloraxis="coloraxis",
            hoverongaps=False,
            hovertemplate=f"%{{text}}<br>{ATTENTION.title} %{{z:.4f}}<extra></extra>",
        )
    )
    ground(figure, height_of(n, _CELL))
    colour(figure, ATTENTION)
    labelled = [*range(0, n, one_in(n, _MOST_LABELS))]
    ticks = {"tickvals": labelled, "ticktext": [names[i] for i in labelled]}
    axis = ticks | {"constrain": "domain", "showgrid": False, "tickfont": {"size": 11}}
    # Above the diagonal nothing can be, which is another thing than not measured.
    return figure.update_layout(
        plot_bgcolor=None,
        xaxis=axis | {"title": {"text": "key", "standoff": 8}, "tickangle": -90},
        yaxis=axis
        | {"title": {"text": "query", "standoff": 8}}
        | {"autorange": "reversed", "scaleanchor": "x"},
    )


def _shown(token: str) -> str:
    """A token as a label, shortened where it is long."""
    visible = printable(token.translate(_WHITE))
    is_long = len(visible) > _MOST_CHARACTERS
    return style.literal(visible[: _MOST_CHARACTERS - 1] + "…" if is_long else visible)


CHARTS = (
    Chart(
        "attention",
        10,
        "How spread out attention is, by head",
        "Above, each head at one step, which the slider moves; below, over training. Entropy of"
        " what a token attends to, mean over the tokens of a few prompts: 0 where all attention is"
        " on one position.",
        attention_entropy_of_heads,
        each="unit",
    ),
    Chart(
        "attention",
        20,
        "How spread out attention is, by layer",
        "The mean over the heads of some layers. Dotted: of a head that attends to all positions"
        " alike, which is the most that there can be.",
        attention_entropy_over_steps,
    ),
)
"""What a report shows of these."""
