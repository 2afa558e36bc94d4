"""Figures of `linear_probe`: what can be read off the residual stream."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.learning import logistic_probes
from pythia_traj.analysis.selection import measured
from pythia_traj.analysis.trajectories import of_some_layers
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.maps import layers_over_steps
from pythia_traj.figures.style import Quantity

ACCURACY = Quantity("accuracy", "share of tokens", scale="share")
SELECTIVITY = Quantity("selectivity", "share of tokens", scale="signed")


def probe_accuracy_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Accuracy of a logistic probe of the stream after some layers, at each step.

    The same probe on control tasks is drawn with it.
    """
    chosen = drawable(logistic_probes(rows, "accuracy"), "accuracy of probes")
    return over_steps(of_some_layers(chosen), ACCURACY)


def probe_selectivity_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Accuracy of a logistic probe minus that on control tasks, at each step.

    The probe is of the stream after some layers.
    """
    chosen = drawable(logistic_probes(rows, "selectivity"), "selectivity of probes")
    return over_steps(of_some_layers(chosen), SELECTIVITY)


def probe_accuracy_of_layers(rows: pd.DataFrame) -> go.Figure:
    """Accuracy of a logistic probe of each layer: layers over steps.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    chosen = measured(logistic_probes(rows, "accuracy"))
    return layers_over_steps(drawable(chosen, "accuracy of probes"), ACCURACY)


def probe_selectivity_of_layers(rows: pd.DataFrame) -> go.Figure:
    """Selectivity of a logistic probe of each layer: layers over steps.

    Raises:
        ConfigError: the rows hold several models or labels.
    """
    chosen = measured(logistic_probes(rows, "selectivity"))
    return layers_over_steps(drawable(chosen, "selectivity of probes"), SELECTIVITY)


CHARTS = (
    Chart(
        "linear_probe",
        10,
        "Probes: accuracy",
        "Accuracy of a linear probe of the stream after some layers, on documents it was not"
        " trained on. Dotted: the same probe on a control task, in which each token type has a"
        " random label: what can be learnt by heart.",
        probe_accuracy_over_steps,
    ),
    Chart(
        "linear_probe",
        20,
        "Probes: accuracy by layer",
        "Accuracy of the probe of each layer. The stronger the colour, the better the label can be"
        " read off there.",
        probe_accuracy_of_layers,
        each="unit",
    ),
    Chart(
        "linear_probe",
        30,
        "Probes: selectivity",
        "Accuracy minus that on the control tasks. Negative where the token itself is easier to"
        " read off than the label. Dotted: of one control task against the others.",
        probe_selectivity_over_steps,
    ),
    Chart(
        "linear_probe",
        40,
        "Probes: selectivity by layer",
        "Selectivity of the probe of each layer. Blue: the label is easier to read off than a"
        " random one of each token; orange: harder.",
        probe_selectivity_of_layers,
        each="unit",
    ),
)
"""What a report shows of these."""
