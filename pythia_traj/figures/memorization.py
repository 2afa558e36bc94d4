"""Figures of `memorization`: how much of its training data a model writes by heart."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.text import memorised
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.style import Quantity

EXTRACTIBLE = Quantity("memorised", "share of sequences", rangemode="tozero")
MATCHING = Quantity("matching tokens", "share of tokens", rangemode="tozero")


def memorised_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Share of training sequences whose whole continuation is written by heart, at each step."""
    return over_steps(drawable(memorised(rows, "extractible"), "extractible"), EXTRACTIBLE)


def matching_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Share of the tokens of continuations that are the true ones, at each step."""
    return over_steps(drawable(memorised(rows, "match"), "match"), MATCHING)


CHARTS = (
    Chart(
        "memorization",
        10,
        "Memorised sequences",
        "Share of training sequences of which the model writes the whole continuation when it"
        " reads their beginning. Dotted: compared with another sequence's continuation.",
        memorised_over_steps,
        each="experiment",
    ),
    Chart(
        "memorization",
        20,
        "Matching tokens",
        "Share of the continuation's tokens that are the true ones. Dotted: of another sequence's"
        " continuation, what frequent tokens match by chance.",
        matching_over_steps,
        each="experiment",
    ),
)
"""What a report shows of these."""
