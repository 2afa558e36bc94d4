"""Figures of `attribution`: circuits of edges."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis import tasks
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.style import Quantity

FAITHFULNESS = Quantity("faithfulness", "1 is the whole model")
EDGES = Quantity("edges", "number", rangemode="tozero")

METRICS = {
    "nll": Quantity("metric", "loss in nats"),
    "logit_diff": Quantity("metric", "logit difference"),
    "prob_diff": Quantity("metric", "difference of probabilities"),
}
"""What the metric of a circuit is, by its name."""


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


CHARTS = (
    Chart(
        "attribution",
        10,
        "Circuits: the metric",
        "The whole model, the corrupted prompts, and a circuit that was found at another step."
        " Where the first two do not differ there is nothing for a circuit to explain. Dotted: a"
        " circuit of random edges.",
        circuit_metric_over_steps,
    ),
    Chart(
        "attribution",
        20,
        "Circuits: faithfulness",
        "How much of the difference between clean and corrupted prompts a circuit keeps. Not drawn"
        " where that difference is within three standard errors of 0. Dotted: circuits of as many"
        " random edges.",
        faithfulness_over_steps,
    ),
    Chart(
        "attribution",
        30,
        "Circuits: size",
        "The fewest edges that are faithful enough, from the best attributed ones down. Dotted:"
        " taken in random order.",
        circuit_size_over_steps,
    ),
)
"""What a report shows of these."""
