"""Figures of `loss`: on text, along the context, and what is learnt from it."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis import text
from pythia_traj.analysis.selection import WHICH
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable, one_each
from pythia_traj.figures.lines import along, over_steps
from pythia_traj.figures.style import Quantity

LOSS = Quantity("loss", "nats per token")
ACCURACY = Quantity("accuracy", "share of tokens")
LEARNING = Quantity("loss difference", "nats per token")

_POSITIONS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]


def loss_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Mean loss on text at each step, in nats per token, and on the same tokens shuffled."""
    return over_steps(drawable(text.loss_on_text(rows), "nll"), LOSS)


def accuracy_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Share of tokens predicted correctly at each step, on text and on the same tokens shuffled."""
    return over_steps(drawable(text.accuracy_on_text(rows), "accuracy"), ACCURACY)


def icl_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Loss late in the context minus loss early in it at each step.

    Negative is learning from the context.
    """
    chosen = drawable(text.in_context_learning(rows), "icl_score, icl_window")
    return over_steps(chosen, LEARNING)


def loss_by_position(rows: pd.DataFrame, most: int = 7) -> go.Figure:
    """Loss on text at each position of the context, for some of the steps, blue to orange.

    Args:
        rows: rows of one model and one label.
        most: about how many steps are drawn.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    chosen = drawable(text.loss_by_position(rows), "loss by position")
    one_each(chosen, "loss_by_position", *WHICH)
    title = "position of the predicted token (log scale)"
    xaxis = {"title": {"text": title}, "type": "log", "tickvals": _POSITIONS}
    return along(chosen, "position", xaxis, LOSS, most)


def loss_by_class(rows: pd.DataFrame) -> go.Figure:
    """Mean loss at each step on the tokens of each class: words, numbers, punctuation."""
    return over_steps(drawable(text.loss_by_class(rows), "loss by class"), LOSS)


def loss_by_frequency(rows: pd.DataFrame) -> go.Figure:
    """Mean loss at each step on tokens by how frequent they are."""
    return over_steps(drawable(text.loss_by_frequency(rows), "loss by frequency"), LOSS)


CHARTS = (
    Chart(
        "loss",
        10,
        "Loss on text",
        "Mean loss per token; lower is better. Dotted is the control, the same tokens in random"
        " order: what is left when order says nothing.",
        loss_over_steps,
        each="experiment",
    ),
    Chart(
        "loss",
        20,
        "Accuracy on text",
        "Share of tokens that the model ranks first. Dotted: the same tokens in random order.",
        accuracy_over_steps,
        each="experiment",
    ),
    Chart(
        "loss",
        30,
        "In-context learning",
        "Loss late in the context minus loss early in it, at single tokens and averaged over"
        " windows. Negative means that the model learns from its context.",
        icl_over_steps,
        each="experiment",
    ),
    Chart(
        "loss",
        40,
        "Loss along the context",
        "Loss at each position, for some of the steps, from blue to orange. A line that goes on"
        " falling to the right is a model that uses more of its context.",
        loss_by_position,
        each="unit",
    ),
    Chart(
        "loss",
        50,
        "Loss by class of token",
        "Mean loss on words, numbers, punctuation and white space.",
        loss_by_class,
    ),
    Chart(
        "loss",
        60,
        "Loss by frequency of token",
        "Mean loss on tokens by the rank of their count in text: frequent ones are learnt first.",
        loss_by_frequency,
    ),
)
"""What a report shows of these."""
