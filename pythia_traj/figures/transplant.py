"""Figures of `transplant`: whether a component of another step is as good here."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis import tasks
from pythia_traj.analysis.heads import values_of_heads
from pythia_traj.analysis.layers import compared_with
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.maps import heads_over_steps, parts_over_steps
from pythia_traj.figures.style import Quantity


def transplants_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Effect on the task's metric of transplants that are of no single layer, at each step."""
    chosen = drawable(tasks.transplants(rows), "transplants")
    return over_steps(chosen, _effect(chosen))


def transplants_of_parts(rows: pd.DataFrame, reference: str | None = None) -> go.Figure:
    """Effect of every transplant but heads, over steps.

    Args:
        rows: rows of one model and one label.
        reference: whose components; by default those of final where it was asked for.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    chosen = compared_with(tasks.transplanted_parts(rows), reference, ("final",))
    chosen = drawable(chosen, "transplants of parts")
    return parts_over_steps(chosen, _effect(chosen))


def transplants_of_heads(
    rows: pd.DataFrame, reference: str | None = None, step: int | None = None
) -> go.Figure:
    """Effect of every head's transplant: a map at one step, and one of heads over steps.

    Args:
        rows: rows of one model and one label.
        reference: whose heads; by default those of final where it was asked for.
        step: the step of the upper map; by default the last.

    Raises:
        ConfigError: the rows hold several models or labels; or the step was not measured.
    """
    chosen = compared_with(values_of_heads(rows, "transplant"), reference, ("final",))
    chosen = drawable(chosen, "transplants of heads")
    return heads_over_steps(chosen, _effect(chosen), step)


def _effect(chosen: pd.DataFrame) -> Quantity:
    """What a transplant changes: the task's metric."""
    target, others = chosen["target"].iloc[0], sorted(chosen["reference"].unique())
    title = f"change of {target}, from {others[0]}" if len(others) == 1 else f"change of {target}"
    return Quantity(title, tasks.UNITS.get(target, ""), scale="signed")


CHARTS = (
    Chart(
        "transplant",
        10,
        "Transplants",
        "What the task's metric changes by when a component of another step takes the place of this"
        " step's own: the whole model, and components that are of no single layer. Dotted: after"
        " shuffled prompts.",
        transplants_over_steps,
    ),
    Chart(
        "transplant",
        20,
        "Transplants by layer",
        "The same of each layer's attention, MLP and LayerNorms, and of all of them together"
        " (layer). One that changes nothing was learnt by that step, or works only with others that"
        " were not.",
        transplants_of_parts,
        each="unit",
    ),
    Chart(
        "transplant",
        30,
        "Transplants of every head",
        "Above, each head at one step, which the slider moves; below, over training.",
        transplants_of_heads,
        each="unit",
    ),
)
"""What a report shows of these."""
