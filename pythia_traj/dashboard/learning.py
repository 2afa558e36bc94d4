"""Figures of what is learnt in which order: statistics of the text, and what probes read off."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.dashboard.figures import choose, drawable, over_steps
from pythia_traj.dashboard.style import Quantity

DIVERGENCE = Quantity("KL(n-gram || model)", "nats per token", rangemode="tozero")
ACCURACY = Quantity("accuracy", "share of tokens")
SELECTIVITY = Quantity("selectivity", "share of tokens")

_NGRAMS = {1: "unigram", 2: "bigram", 3: "trigram"}
"""Those that are drawn, by their n."""


def ngrams_over_steps(rows: pd.DataFrame) -> go.Figure:
    """How far the model's predictions are from each n-gram model's at each step.

    A minimum is where it is nearest to it.
    """
    chosen = choose(rows, ["kl"])
    chosen = chosen[chosen["size"].isin(_NGRAMS)]
    return over_steps(
        drawable(chosen.assign(what=chosen["size"].map(_NGRAMS)), "divergence from n-grams"),
        DIVERGENCE,
    )


def probe_accuracy_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Accuracy of a logistic probe of the stream after each layer, at each step.

    The same probe on control tasks is drawn with it.
    """
    return _of_probes(rows, "accuracy", ACCURACY)


def probe_selectivity_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Accuracy of a logistic probe minus that on control tasks, at each step.

    The probe is of the stream after each layer.
    """
    return _of_probes(rows, "selectivity", SELECTIVITY)


def _of_probes(rows: pd.DataFrame, metric: str, quantity: Quantity) -> go.Figure:
    chosen = choose(rows, [metric], component="resid_post")
    chosen = chosen[chosen["variant"] == "logistic"]
    layers = [f"after layer {layer:.0f}" for layer in chosen["layer"]]
    return over_steps(drawable(chosen.assign(what=layers), f"{metric} of probes"), quantity)
