"""Figures of `logit_lens`: at which layer the prediction is made."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.layers import values_of_layers
from pythia_traj.analysis.selection import WHICH, measured
from pythia_traj.analysis.trajectories import of_some_layers
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable, one_each
from pythia_traj.figures.lines import along, over_steps
from pythia_traj.figures.loss import LOSS
from pythia_traj.figures.maps import layers_over_steps, one_in
from pythia_traj.figures.style import Quantity

DIVERGENCE = Quantity("KL(final || lens)", "nats", rangemode="tozero")
AGREEMENT = Quantity("agreement", "share of positions", scale="share")


def lens_over_steps(rows: pd.DataFrame, variant: str = "logit") -> go.Figure:
    """Loss of the next token that the stream after some layers predicts, at each step.

    Args:
        rows: rows of a run.
        variant: the lens, `logit` or `tuned`.
    """
    chosen = drawable(values_of_layers(rows, "cross_entropy", variant), f"{variant} lens")
    return over_steps(of_some_layers(chosen), LOSS)


def lens_by_layer(rows: pd.DataFrame, variant: str = "logit", most: int = 7) -> go.Figure:
    """Loss of the next token that the stream after each layer predicts, for some of the steps.

    Args:
        rows: rows of one model and one label.
        variant: the lens, `logit` or `tuned`.
        most: about how many steps are drawn.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    chosen = drawable(measured(values_of_layers(rows, "cross_entropy", variant)), f"{variant} lens")
    one_each(chosen, "lens_by_layer", *WHICH)
    every = one_in(chosen["layer"].nunique(), 12)
    layers = {"title": {"text": "layer"}, "tickmode": "linear", "tick0": 0, "dtick": every}
    return along(chosen, "layer", layers, LOSS, most)


def lens_divergence_of_layers(rows: pd.DataFrame, variant: str = "logit") -> go.Figure:
    """How far what each layer predicts is from the model's own prediction: layers over steps.

    Args:
        rows: rows of one model and one label.
        variant: the lens, `logit` or `tuned`.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    chosen = drawable(measured(values_of_layers(rows, "kl", variant)), f"kl, {variant} lens")
    return layers_over_steps(chosen, DIVERGENCE)


def lens_agreement_of_layers(rows: pd.DataFrame, variant: str = "logit") -> go.Figure:
    """Where each layer's first choice is already the model's: layers over steps.

    Args:
        rows: rows of one model and one label.
        variant: the lens, `logit` or `tuned`.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    chosen = measured(values_of_layers(rows, "agreement", variant))
    return layers_over_steps(drawable(chosen, f"agreement, {variant} lens"), AGREEMENT)


def tuned_divergence_of_layers(rows: pd.DataFrame) -> go.Figure:
    """As `lens_divergence_of_layers`, of the tuned lens."""
    return lens_divergence_of_layers(rows, "tuned")


CHARTS = (
    Chart(
        "logit_lens",
        10,
        "What layers predict: loss",
        "Loss of the next token when the residual stream after a layer is read as if it were the"
        " last (logit lens); some of the layers, the last is the model itself. Dotted: on shuffled"
        " tokens.",
        lens_over_steps,
    ),
    Chart(
        "logit_lens",
        20,
        "Loss along the layers",
        "The same loss after each layer, for some of the steps, from blue to orange. Where a line"
        " falls, the layers there add to the prediction.",
        lens_by_layer,
        each="unit",
    ),
    Chart(
        "logit_lens",
        30,
        "Distance from the final prediction",
        "Divergence from the model's own prediction to that of each layer (logit lens): 0 where the"
        " layer already predicts what the model does, as the last one always does.",
        lens_divergence_of_layers,
        each="unit",
    ),
    Chart(
        "logit_lens",
        40,
        "Agreement with the final prediction",
        "Share of positions at which a layer's first choice is the model's (logit lens). The last"
        " layer is 1.",
        lens_agreement_of_layers,
        each="unit",
    ),
    Chart(
        "logit_lens",
        50,
        "Distance from the final prediction, tuned lens",
        "As above, with a translator of each layer that was trained at that step. What remains is"
        " what the layer does not hold, not only what it holds in another form.",
        tuned_divergence_of_layers,
        each="unit",
    ),
)
"""What a report shows of these."""
