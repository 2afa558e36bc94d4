"""Figures of `patching`: which activations decide a task."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis import tasks
from pythia_traj.analysis.heads import values_of_heads
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.maps import heads_over_steps, parts_over_steps, positions_at_step
from pythia_traj.figures.style import Quantity

SHARES = {
    "denoising": Quantity("restored", "share of the difference", scale="signed"),
    "noising": Quantity("change", "share of the difference", scale="signed"),
}
"""What patching does, by its direction."""


def patched_heads_over_steps(
    rows: pd.DataFrame, variant: str = "denoising", top: int = 6
) -> go.Figure:
    """Share of a task that patching single heads restores or destroys, at each step.

    The heads are those that ever change most.

    Args:
        rows: rows of a run.
        variant: `denoising` or `noising`.
        top: how many heads of each model and label.
    """
    chosen = drawable(values_of_heads(rows, "patching", variant), f"patching of heads, {variant}")
    return over_steps(tasks.strongest(chosen, top), SHARES[variant])


def patching_of_heads(
    rows: pd.DataFrame, variant: str = "denoising", step: int | None = None
) -> go.Figure:
    """Patching of every head: a map of layers and heads at one step, and of heads over steps.

    Args:
        rows: rows of one model and one label.
        variant: `denoising` or `noising`.
        step: the step of the upper map; by default the last.

    Raises:
        ConfigError: the rows hold several models or labels; or the step was not measured.
    """
    chosen = drawable(values_of_heads(rows, "patching", variant), f"patching of heads, {variant}")
    return heads_over_steps(chosen, SHARES[variant], step)


def noising_of_heads(rows: pd.DataFrame) -> go.Figure:
    """Noising of every head, as `patching_of_heads`."""
    return patching_of_heads(rows, "noising")


def patching_of_parts(rows: pd.DataFrame, variant: str = "denoising") -> go.Figure:
    """Patching of attention layers and MLPs over steps.

    Args:
        rows: rows of one model and one label.
        variant: `denoising` or `noising`.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    chosen = drawable(tasks.patched_parts(rows, variant), f"patching of layers, {variant}")
    return parts_over_steps(chosen, SHARES[variant])


def patching_of_positions(
    rows: pd.DataFrame, variant: str = "denoising", step: int | None = None
) -> go.Figure:
    """Patching of the residual stream before each layer at each position, at one step.

    Args:
        rows: rows of one model and one label.
        variant: `denoising` or `noising`.
        step: by default the last one with a value.

    Raises:
        ConfigError: the rows hold several models or labels; or the step was not measured.
    """
    named = f"patching of positions, {variant}"
    chosen = drawable(tasks.patched_positions(rows, variant), named)
    return positions_at_step(chosen, SHARES[variant], step)


CHARTS = (
    Chart(
        "patching",
        10,
        "Heads that restore the task",
        "A head's output on the clean prompt is put into the pass on the corrupted one. 1: all of"
        " the difference between the two is restored; 0: nothing. The heads that ever change most;"
        " not drawn where the two prompts hardly differ.",
        patched_heads_over_steps,
    ),
    Chart(
        "patching",
        20,
        "Patching of every head",
        "The same of all heads. Above, at one step, which the slider moves; below, over training.",
        patching_of_heads,
        each="unit",
    ),
    Chart(
        "patching",
        30,
        "Heads that the task needs",
        "The other direction: a head's output on the corrupted prompt is put into the pass on the"
        " clean one. Orange, below 0: the task is harmed; -1: all of it is gone.",
        noising_of_heads,
        each="unit",
    ),
    Chart(
        "patching",
        40,
        "Patching of layers",
        "Whole attention layers (attn) and MLPs of the clean prompt in the pass on the corrupted"
        " one.",
        patching_of_parts,
        each="unit",
    ),
    Chart(
        "patching",
        50,
        "Where the answer is",
        "The residual stream before a layer, at one position, of the clean prompt in the pass on"
        " the corrupted one, at one step. Positions count from the end: -1 is the last.",
        patching_of_positions,
        each="unit",
    ),
)
"""What a report shows of these."""
