"""Figures of `logit_attribution`: which parts of a model write the answer."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.heads import values_of_heads
from pythia_traj.analysis.layers import values_of_parts
from pythia_traj.analysis.tasks import strongest
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.maps import heads_over_steps, parts_over_steps
from pythia_traj.figures.style import Quantity

WRITTEN = Quantity("part of the logit difference", "logits", scale="signed")


def writers_over_steps(rows: pd.DataFrame, top: int = 6) -> go.Figure:
    """What the heads write that ever write most, for or against the answer, at each step.

    Args:
        rows: rows of a run.
        top: how many heads of each model and label.
    """
    chosen = drawable(values_of_heads(rows, "logit_attribution"), "logit attribution of heads")
    return over_steps(strongest(chosen, top), WRITTEN)


def attribution_of_heads(rows: pd.DataFrame, step: int | None = None) -> go.Figure:
    """What every head writes: a map of layers and heads at one step, and of heads over steps.

    Args:
        rows: rows of one model and one label.
        step: the step of the upper map; by default the last.

    Raises:
        ConfigError: the rows hold several models or labels; or the step was not measured.
    """
    chosen = drawable(values_of_heads(rows, "logit_attribution"), "logit attribution of heads")
    return heads_over_steps(chosen, WRITTEN, step)


def attribution_of_parts(rows: pd.DataFrame) -> go.Figure:
    """What embedding, biases and MLPs write, over steps.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    chosen = drawable(values_of_parts(rows, "logit_attribution"), "logit attribution of parts")
    return parts_over_steps(chosen, WRITTEN)


CHARTS = (
    Chart(
        "logit_attribution",
        10,
        "Heads that write the answer",
        "The heads that ever write most along the direction from wrong to right continuations:"
        " above 0 for the answer, below it against. Only the direct path is counted.",
        writers_over_steps,
    ),
    Chart(
        "logit_attribution",
        20,
        "What every head writes",
        "Above, each head at one step, which the slider moves; below, over training. Blue: for the"
        " answer; orange: against it.",
        attribution_of_heads,
        each="unit",
    ),
    Chart(
        "logit_attribution",
        30,
        "What the other parts write",
        "Embedding, MLPs and biases in the same colours. With the heads they add up to the logit"
        " difference.",
        attribution_of_parts,
        each="unit",
    ),
)
"""What a report shows of these."""
