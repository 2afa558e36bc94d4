"""Figures of `ablation`: what removing heads costs."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis import tasks
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
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
)
"""What a report shows of these."""
