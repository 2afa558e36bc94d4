"""Figures of what is learnt in which order: statistics of the text, and what probes find."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.learning import divergence_from_ngrams, logistic_probes
from pythia_traj.dashboard.charts import Chart
from pythia_traj.dashboard.figures import drawable, over_steps
from pythia_traj.dashboard.style import Quantity

DIVERGENCE = Quantity("KL(n-gram || model)", "nats per token", rangemode="tozero")
ACCURACY = Quantity("accuracy", "share of tokens")
SELECTIVITY = Quantity("selectivity", "share of tokens")


def ngrams_over_steps(rows: pd.DataFrame) -> go.Figure:
    """How far the model's predictions are from each n-gram model's at each step.

    At a minimum the model is nearest to that n-gram.
    """
    chosen = drawable(divergence_from_ngrams(rows), "divergence from n-grams")
    return over_steps(chosen, DIVERGENCE)


def probe_accuracy_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Accuracy of a logistic probe of the stream after each layer, at each step.

    The same probe on control tasks is drawn with it.
    """
    return over_steps(drawable(logistic_probes(rows, "accuracy"), "accuracy of probes"), ACCURACY)


def probe_selectivity_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Accuracy of a logistic probe minus that on control tasks, at each step.

    The probe is of the stream after each layer.
    """
    chosen = drawable(logistic_probes(rows, "selectivity"), "selectivity of probes")
    return over_steps(chosen, SELECTIVITY)


CHARTS = (
    Chart(
        170,
        "Statistics of the text",
        "How far the model is from unigram, bigram and trigram models of the corpus. Each line has"
        " its minimum where the model predicts most as that n-gram does. Dotted: shuffled tokens.",
        ngrams_over_steps,
        per_label=True,
    ),
    Chart(
        180,
        "Probes: accuracy",
        "Accuracy of a linear probe of the stream after each layer, on documents it was not trained"
        " on. Dotted: the same probe on a control task, in which each token type has a random"
        " label: what can be learnt by heart.",
        probe_accuracy_over_steps,
        per_label=True,
    ),
    Chart(
        190,
        "Probes: selectivity",
        "Accuracy minus that on the control tasks. Negative where the token itself is easier to"
        " read off than the label. Dotted: of one control task against the others.",
        probe_selectivity_over_steps,
        per_label=True,
    ),
)
"""What the page shows of these, and where."""
