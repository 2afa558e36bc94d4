"""The axis of training steps, and that of tokens above it."""

from collections.abc import Iterable
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.steps import step_position, steps_to_show

TICKS = 8
"""About the most tick labels on a step axis: as many as fit on a phone."""


def step_axis(steps: Iterable[int]) -> dict[str, Any]:
    """A Plotly axis for training steps, at `step_position`, where step 0 has a place.

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


def add_token_axis(figure: go.Figure, rows: pd.DataFrame, **axis: Any) -> None:
    """Writes above the step axis how many tokens the labelled steps are.

    Only where tokens are known, and every model has as many at a step.

    Args:
        figure: one with a step axis `x`.
        rows: its rows, with step and tokens.
        **axis: further properties of the axis.
    """
    known = rows[["step", "tokens"]].dropna().drop_duplicates()
    if known.empty or known["step"].duplicated().any():
        return
    tokens = dict(zip(known["step"], known["tokens"], strict=True))
    labelled = [step for step in steps_to_show(rows["step"], TICKS - 2) if step in tokens]
    figure.update_layout(
        xaxis2={
            "overlaying": "x",
            "matches": "x",
            "side": "top",
            "tickmode": "array",
            "tickvals": [step_position(step) for step in labelled],
            "ticktext": [in_tokens(tokens[step]) for step in labelled],
            "title": {"text": "tokens", "standoff": 4, "font": {"size": 12}},
            "tickangle": 0,
            "tickfont": {"size": 11},
            "showgrid": False,
            **axis,
        }
    )
    # Plotly draws no axis without a trace.
    figure.add_trace(go.Scatter(x=[None], y=[None], xaxis="x2", showlegend=False, hoverinfo="skip"))


def in_tokens(tokens: float) -> str:
    """A number of tokens as an axis has room for it.

    >>> in_tokens(2_097_152_000)
    '2.1B'
    """
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if tokens >= size:
            return _short(tokens / size) + letter
    return f"{tokens:.0f}"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}".removesuffix(".0")
