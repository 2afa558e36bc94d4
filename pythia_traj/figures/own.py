"""Charts of an experiment that has none of its own, such as one in a user's file."""

from functools import partial

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.metric import for_one_figure, kind_of, metrics_of, rows_of_metric
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.metric import figure_of

MOST_CHARTS = 12
"""The most charts of one experiment."""

CAPTIONS = {
    "lines": "At each step, by what varies; bands are 95 % intervals.",
    "layers": "Each layer over training.",
    "parts": "Each component of each layer over training.",
    "heads": "Above, each head at one step, which the slider moves; below, over training.",
    "positions": "By position, for some of the steps, from blue to orange.",
}
"""What a figure shows, by the kind of its values."""


def own_charts(rows: pd.DataFrame) -> tuple[Chart, ...]:
    """A chart for each metric of an experiment, those of the whole model first.

    Args:
        rows: the rows of one experiment, as `pythia_traj.load` gives them, controls among them.

    Returns:
        at most 12. Where a metric has values of several kinds that one figure cannot show, the
        chart shows the first, and its caption says which.
    """
    metrics = metrics_of(rows)[:MOST_CHARTS]
    return tuple(_chart(rows, metric, 10 * (i + 1)) for i, metric in enumerate(metrics))


def _chart(rows: pd.DataFrame, metric: str, place: int) -> Chart:
    of_metric = rows[rows["metric"].isin([metric])]
    chosen, told = for_one_figure(rows_of_metric(of_metric))
    kind = kind_of(chosen)
    caption = CAPTIONS[kind]
    controls = sorted({one.replace("_", " ") for one in chosen["control"].unique()} - {""})
    if controls and kind == "lines":
        caption += f" Dotted: the controls, {', '.join(controls)}."
    if told:
        caption += f" Of several: {', '.join(told)}."
    return Chart(
        str(of_metric["experiment"].iloc[0]),
        place,
        metric,
        caption,
        partial(_draw, metric=metric),
        each="label" if kind == "lines" else "unit",
    )


def _draw(rows: pd.DataFrame, metric: str) -> go.Figure:
    chosen, _ = for_one_figure(rows_of_metric(rows[rows["metric"].isin([metric])]))
    return figure_of(drawable(chosen, metric))
