"""Figures of ablations, circuits and heads' roles: rows in, Plotly figure out, as in figures.py."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis import roles, tasks
from pythia_traj.dashboard.charts import Chart
from pythia_traj.dashboard.figures import drawable, over_steps
from pythia_traj.dashboard.style import Quantity

EFFECT = Quantity("effect on the loss", "nats")
FAITHFULNESS = Quantity("faithfulness", "1 is the whole model")
EDGES = Quantity("edges", "number", rangemode="tozero")
HEADS = Quantity("heads with the role", "number", rangemode="tozero")

METRICS = {
    "nll": Quantity("metric", "loss in nats"),
    "logit_diff": Quantity("metric", "logit difference"),
    "prob_diff": Quantity("metric", "difference of probabilities"),
}
"""What the metric of a circuit is, by its name."""


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


def faithfulness_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Faithfulness of circuits at each step, random ones dotted.

    The circuits are those of a named other step, and of the step itself by number of edges.
    """
    return over_steps(drawable(tasks.faithfulness(rows), "faithfulness"), FAITHFULNESS)


def circuit_metric_over_steps(rows: pd.DataFrame) -> go.Figure:
    """The metric of the whole model, of the corrupted prompts, and of another step's circuit.

    That circuit is evaluated in this step's model.
    """
    chosen = drawable(tasks.circuit_metric(rows), "metric of circuits")
    return over_steps(chosen, METRICS[chosen["metric"].iloc[0]])


def circuit_size_over_steps(rows: pd.DataFrame) -> go.Figure:
    """How many edges a faithful circuit needs at each step, and how many it needs at random."""
    return over_steps(drawable(tasks.circuit_sizes(rows), "circuit size"), EDGES)


def roles_over_steps(rows: pd.DataFrame) -> go.Figure:
    """How many heads have each role at each step."""
    return over_steps(drawable(roles.heads_with_role(rows), "roles of heads"), HEADS)


CHARTS = (
    Chart(
        110,
        "Removing sets of heads",
        "What a task's loss rises by when heads are removed together, measured on other prompts"
        " than they were chosen on. Dotted: the mean of other heads of the same layers, as many.",
        sets_over_steps,
        per_label=True,
    ),
    Chart(
        120,
        "Removing single heads",
        "The heads whose removal ever costs most.",
        removed_heads_over_steps,
        per_label=True,
    ),
    Chart(
        130,
        "Circuits: the metric",
        "The whole model, the corrupted prompts, and a circuit that was found at another step."
        " Where the first two do not differ there is nothing for a circuit to explain. Dotted: a"
        " circuit of random edges.",
        circuit_metric_over_steps,
        per_label=True,
    ),
    Chart(
        140,
        "Circuits: faithfulness",
        "How much of the difference between clean and corrupted prompts a circuit keeps. Not drawn"
        " where that difference is within three standard errors of 0. Dotted: circuits of as many"
        " random edges.",
        faithfulness_over_steps,
        per_label=True,
    ),
    Chart(
        150,
        "Circuits: size",
        "The fewest edges that are faithful enough, from the best attributed ones down. Dotted:"
        " taken in random order.",
        circuit_size_over_steps,
        per_label=True,
    ),
    Chart(
        160,
        "Roles of heads",
        "How many heads have each role: significant among the model's heads, at a false discovery"
        " rate of 5 %, at this step and, on other items, at the measured step before. Dotted: by"
        " the same rule on shuffled tokens.",
        roles_over_steps,
        per_label=True,
    ),
)
"""What the page shows of these, and where."""
