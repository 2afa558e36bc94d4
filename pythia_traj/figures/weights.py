"""Figures of `weights`: norms and ranks of matrices, and heads that copy."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis import weights
from pythia_traj.analysis.heads import values_of_heads
from pythia_traj.analysis.layers import compared_with, values_of_parts
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.maps import heads_over_steps, parts_over_steps
from pythia_traj.figures.style import Quantity

NORM = Quantity("Frobenius norm", "units of the weights", rangemode="tozero")
RANK = Quantity("effective rank", "dimensions", rangemode="tozero")
COPYING = Quantity("copying", "-1 to 1", scale="signed")


def norms_of_matrices(rows: pd.DataFrame) -> go.Figure:
    """Frobenius norm of every matrix over steps.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    return parts_over_steps(drawable(values_of_parts(rows, "norm", "frobenius"), "norm"), NORM)


def ranks_of_matrices(rows: pd.DataFrame) -> go.Figure:
    """Effective rank of every matrix over steps.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    return parts_over_steps(drawable(values_of_parts(rows, "effective_rank"), "rank"), RANK)


def rank_of_embeddings(rows: pd.DataFrame) -> go.Figure:
    """Effective rank of the embedding and the unembedding at each step."""
    return over_steps(drawable(weights.of_embeddings(rows, "effective_rank"), "rank"), RANK)


def copying_of_heads(
    rows: pd.DataFrame, variant: str = "full", step: int | None = None
) -> go.Figure:
    """Copying of every head: a map of layers and heads at one step, and one of heads over steps.

    Args:
        rows: rows of one model and one label.
        variant: `full`, from tokens to tokens, or `ov`, within the stream.
        step: the step of the upper map; by default the last.

    Raises:
        ConfigError: the rows hold several models or labels; or the step was not measured.
    """
    chosen = drawable(values_of_heads(rows, "copying_eigenvalue", variant), f"copying, {variant}")
    return heads_over_steps(chosen, COPYING, step)


def distance_of_matrices(rows: pd.DataFrame, reference: str | None = None) -> go.Figure:
    """Distance of every matrix from its own at another step, over steps.

    Args:
        rows: rows of one model and one label.
        reference: the other step; by default init where it was measured.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    chosen = values_of_parts(rows, "relative_distance")
    chosen = drawable(compared_with(chosen, reference, ("init",)), "distance")
    other = chosen["reference"].iloc[0]
    return parts_over_steps(chosen, Quantity(f"distance from {other}", "share of its norm"))


CHARTS = (
    Chart(
        "weights",
        10,
        "Norms",
        "Frobenius norm of each matrix, by layer.",
        norms_of_matrices,
        each="unit",
    ),
    Chart(
        "weights",
        20,
        "Effective rank",
        "About how many dimensions each matrix uses: the exponential of the entropy of its"
        " singular values.",
        ranks_of_matrices,
        each="unit",
    ),
    Chart(
        "weights",
        30,
        "Effective rank of embedding and unembedding",
        "The same of W_E and W_U. Dotted: a Gaussian matrix of that shape and norm.",
        rank_of_embeddings,
    ),
    Chart(
        "weights",
        40,
        "Heads that copy",
        "Above, each head at one step, which the slider moves; below, over training. Blue: what"
        " the head attends to becomes more likely (eigenvalues of W_E W_V W_O W_U are positive);"
        " orange: less likely.",
        copying_of_heads,
        each="unit",
    ),
    Chart(
        "weights",
        50,
        "Distance from another step",
        "How far each matrix is from its own at the other step, relative to that one's norm.",
        distance_of_matrices,
        each="unit",
    ),
)
"""What a report shows of these."""
