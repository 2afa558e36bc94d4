"""Figures of `activations`: how large the activations are."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.layers import values_of_layers, values_of_parts
from pythia_traj.analysis.trajectories import of_some_layers
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.maps import parts_over_steps
from pythia_traj.figures.style import Quantity

RMS = Quantity("root mean square", "units of the stream", rangemode="tozero")


def size_over_steps(rows: pd.DataFrame, component: str | None = None) -> go.Figure:
    """Root mean square of activations at a site of some layers, at each step.

    Args:
        rows: rows of a run.
        component: the site; by default resid_post where it was measured.
    """
    chosen = drawable(values_of_layers(rows, "rms", component=component), "rms")
    named = chosen.assign(what=chosen["component"] + ", " + chosen["what"])
    return over_steps(of_some_layers(named), RMS)


def size_of_sites(rows: pd.DataFrame) -> go.Figure:
    """Root mean square of activations at every site and layer over steps.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    return parts_over_steps(drawable(values_of_parts(rows, "rms"), "rms"), RMS)


CHARTS = (
    Chart(
        "activations",
        10,
        "Size of activations",
        "Root mean square over positions and features, at one site of some layers. Dotted: on"
        " shuffled tokens.",
        size_over_steps,
    ),
    Chart(
        "activations",
        20,
        "Size of activations at every site",
        "The same at each site and layer that was written to files.",
        size_of_sites,
        each="unit",
    ),
)
"""What a report shows of these."""
