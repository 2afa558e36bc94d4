"""Figures of `representation`: how alike the stream is to another step's, and its shape."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.layers import compared_with, named_by_reference, values_of_layers
from pythia_traj.analysis.selection import measured
from pythia_traj.analysis.trajectories import of_some_layers
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.maps import layers_over_steps
from pythia_traj.figures.style import Quantity

CKA = Quantity("CKA", "1 is the same")
RATIO = Quantity("participation ratio", "dimensions", rangemode="tozero")
ANISOTROPY = Quantity("anisotropy", "mean cosine", scale="share")


def similarity_over_steps(rows: pd.DataFrame) -> go.Figure:
    """CKA of the stream after some layers with each other step that it is compared with."""
    chosen = drawable(values_of_layers(rows, "cka"), "cka")
    return over_steps(named_by_reference(of_some_layers(chosen, 3)), CKA)


def similarity_of_layers(rows: pd.DataFrame, reference: str | None = None) -> go.Figure:
    """CKA of each layer's stream with another step's: layers over steps.

    Args:
        rows: rows of one model and one label.
        reference: the other step, such as init; by default final where it was measured.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    chosen = measured(values_of_layers(rows, "cka"))
    chosen = drawable(compared_with(chosen, reference, ("final",)), f"cka, {reference or 'final'}")
    other = chosen["reference"].iloc[0]
    return layers_over_steps(chosen, Quantity(f"CKA with {other}", "1 is the same", scale="share"))


def similarity_to_init(rows: pd.DataFrame) -> go.Figure:
    """CKA of each layer's stream with that of the first step: layers over steps."""
    return similarity_of_layers(rows, "init")


def dimensions_over_steps(rows: pd.DataFrame, variant: str = "centred") -> go.Figure:
    """Participation ratio of the stream after some layers at each step.

    Args:
        rows: rows of a run.
        variant: `centred` or `uncentred`.
    """
    chosen = values_of_layers(rows, "participation_ratio", variant)
    return over_steps(of_some_layers(drawable(chosen, f"participation ratio, {variant}")), RATIO)


def dimensions_of_layers(rows: pd.DataFrame, variant: str = "centred") -> go.Figure:
    """Participation ratio of each layer's stream: layers over steps.

    Args:
        rows: rows of one model and one label.
        variant: `centred` or `uncentred`.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    chosen = measured(values_of_layers(rows, "participation_ratio", variant))
    return layers_over_steps(drawable(chosen, f"participation ratio, {variant}"), RATIO)


def anisotropy_of_layers(rows: pd.DataFrame) -> go.Figure:
    """Mean cosine between tokens of different documents: layers over steps.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    chosen = measured(values_of_layers(rows, "anisotropy"))
    return layers_over_steps(drawable(chosen, "anisotropy"), ANISOTROPY)


CHARTS = (
    Chart(
        "representation",
        10,
        "Similarity to other steps",
        "Linear CKA of the residual stream after some layers with that of the same layer at"
        " another step, on the same tokens: 1 is the same up to rotation and size, 0 unrelated."
        " Dotted: with other passages, what position alone makes alike.",
        similarity_over_steps,
    ),
    Chart(
        "representation",
        20,
        "Similarity of layers to the last step",
        "CKA of each layer with itself at the end of training. A layer that is near 1 early was"
        " soon what it stayed.",
        similarity_of_layers,
        each="unit",
    ),
    Chart(
        "representation",
        30,
        "Similarity of layers to the first step",
        "CKA of each layer with itself at initialisation: how much of that is left.",
        similarity_to_init,
        each="unit",
    ),
    Chart(
        "representation",
        40,
        "Dimensions in use",
        "Participation ratio of the stream after some layers: about how many dimensions its"
        " variance is spread over. The number of tokens limits it. Dotted: on shuffled tokens.",
        dimensions_over_steps,
    ),
    Chart(
        "representation",
        50,
        "Dimensions in use by layer",
        "Participation ratio of the stream after each layer.",
        dimensions_of_layers,
        each="unit",
    ),
    Chart(
        "representation",
        60,
        "Anisotropy",
        "Mean cosine between tokens of different documents, after each layer: near 1 where all"
        " activations point the same way.",
        anisotropy_of_layers,
        each="unit",
    ),
)
"""What a report shows of these."""
