"""Figures of `samples`: how likely what a model writes is to it, and how much it repeats itself."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.samples import metric_of_samples
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.style import Quantity

LOG_PROB = Quantity("log-probability", "nats per token")
DISTINCT = Quantity("different tokens", "share of tokens", rangemode="tozero")


def log_prob_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Mean log-probability that the model gives to what it writes, at each step."""
    return over_steps(drawable(metric_of_samples(rows, "log_prob"), "log_prob"), LOG_PROB)


def distinct_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Share of different tokens in what the model writes, at each step."""
    return over_steps(drawable(metric_of_samples(rows, "distinct"), "distinct"), DISTINCT)


CHARTS = (
    Chart(
        "samples",
        10,
        "Confidence in what it writes",
        "Mean log-probability of a continuation's tokens under the model itself, at temperature 1."
        " Dotted: of continuations of the prompts' tokens in random order.",
        log_prob_over_steps,
        each="experiment",
    ),
    Chart(
        "samples",
        20,
        "Repetition",
        "Share of a continuation's tokens that are different ones: it falls where a model repeats"
        " itself. Dotted: of continuations of shuffled prompts.",
        distinct_over_steps,
        each="experiment",
    ),
)
"""What a report shows of these."""
