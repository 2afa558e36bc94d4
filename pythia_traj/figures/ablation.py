"""Figures of `ablation`: what removing heads costs."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis import tasks
from pythia_traj.analysis.selection import one_of
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.maps import heads_over_steps, parts_over_steps
from pythia_traj.figures.style import Quantity

EFFECT = Quantity("effect on the loss", "nats", scale="signed")


def sets_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Effect of removing sets of heads on a task's loss at each step, by kind of removal.

    The mean of their matched controls is drawn with it.
    """
    return over_steps(drawable(tasks.effects_of_sets(rows), "effect of sets of heads"), EFFECT)


def removed_heads_over_steps(rows: pd.DataFrame, top: int = 5) -> go.Figure:
    """Effect of removing single heads on a task's loss at each step.

    The heads are those whose removal costs most at any step, by the first kind of removal.

    Args:
        rows: rows of a run.
        top: how many heads of each model and label.
    """
    chosen = drawable(tasks.effects_of_heads(rows), "effect of heads")
    return over_steps(tasks.costliest_heads(chosen, top), EFFECT)


def effect_of_heads(
    rows: pd.DataFrame, variant: str | None = None, step: int | None = None
) -> go.Figure:
    """Effect of removing every head: a map at one step, and one of heads over steps.

    Args:
        rows: rows of one model and one label.
        variant: the kind of removal; by default the first in alphabetical order.
        step: the step of the upper map; by default the last.

    Raises:
        ConfigError: the rows hold several models or labels; or the step was not measured.
    """
    chosen = one_of(tasks.effects_of_heads(rows), "variant", variant)
    return heads_over_steps(drawable(chosen, "effect of heads"), EFFECT, step)


def effect_of_layers(rows: pd.DataFrame, variant: str | None = None) -> go.Figure:
    """Effect of removing every attention layer and every MLP, over steps.

    Args:
        rows: rows of one model and one label.
        variant: the kind of removal; by default the first in alphabetical order.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    chosen = tasks.effects_of_layers(rows, variant)
    return parts_over_steps(drawable(chosen, "effect of layers"), EFFECT)


CHARTS = (
    Chart(
        "ablation",
        10,
        "Removing sets of heads",
        "What a task's loss rises by when heads are removed together, measured on other prompts"
        " than they were chosen on. Dotted: the mean of other heads of the same layers, as many.",
        sets_over_steps,
    ),
    Chart(
        "ablation",
        20,
        "Removing single heads",
        "The heads whose removal ever costs most.",
        removed_heads_over_steps,
    ),
    Chart(
        "ablation",
        30,
        "Removing every head",
        "Above, each head at one step, which the slider moves; below, over training. Blue: the loss"
        " rises when the head is removed, so the task needs it; orange: it falls.",
        effect_of_heads,
        each="unit",
    ),
    Chart(
        "ablation",
        40,
        "Removing layers",
        "The same of whole attention layers (attn) and MLPs.",
        effect_of_layers,
        each="unit",
    ),
)
"""What a report shows of these."""
