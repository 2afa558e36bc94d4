"""Figures of `linear_probe`: what can be read off the residual stream."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.learning import logistic_probes
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.style import Quantity

ACCURACY = Quantity("accuracy", "share of tokens")
SELECTIVITY = Quantity("selectivity", "share of tokens")


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
        "linear_probe",
        10,
        "Probes: accuracy",
        "Accuracy of a linear probe of the stream after each layer, on documents it was not trained"
        " on. Dotted: the same probe on a control task, in which each token type has a random"
        " label: what can be learnt by heart.",
        probe_accuracy_over_steps,
    ),
    Chart(
        "linear_probe",
        20,
        "Probes: selectivity",
        "Accuracy minus that on the control tasks. Negative where the token itself is easier to"
        " read off than the label. Dotted: of one control task against the others.",
        probe_selectivity_over_steps,
    ),
)
"""What a report shows of these."""
