"""Charts of an experiment that has none of its own, such as one in a user's file."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.metric import Kind, for_one_figure, kind_of, metrics_of, rows_of_metric
from pythia_traj.analysis.selection import WHICH
from pythia_traj.analysis.wording import listed
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.metric import figure_of

MOST_CHARTS = 12
"""The most metrics of one experiment that have charts."""

CAPTIONS = {
    "lines": "At each step, by what varies; bands are 95 % intervals.",
    "layers": "Each layer over training.",
    "parts": "Each component of each layer over training.",
    "heads": "Above, each head at one step, which the slider moves; below, over training.",
    "positions": "By position, for some of the steps, from blue to orange.",
}
"""What a figure shows, by the kind of its values."""

_Unit = tuple[str, ...]
"""A model and a label."""


@dataclass(frozen=True)
class _Look:
    """What the figures of one chart have in common.

    Attributes:
        each: what each of them is of.
        kind: of the values.
        told: what they show of several.
    """

    each: Literal["label", "unit"]
    kind: Kind
    told: tuple[str, ...]


def own_charts(rows: pd.DataFrame) -> tuple[Chart, ...]:
    """The charts of each metric of an experiment, those of the whole model first.

    A metric has one chart where its labels and models hold values of one kind, else one a kind,
    whose heading names these.

    Args:
        rows: the rows of one experiment, as `pythia_traj.load` gives them, controls among them.

    Returns:
        those of at most 12 metrics; the last caption says how many more there are. Where a metric
        has values of several kinds that one figure cannot show, the chart shows the first, and its
        caption says which.
    """
    metrics = metrics_of(rows)
    shown = [chart for metric in metrics[:MOST_CHARTS] for chart in _charts_of(rows, metric)]
    charts = [replace(chart, place=10 * (i + 1)) for i, chart in enumerate(shown)]
    if (left := len(metrics) - MOST_CHARTS) > 0:
        more = f"{left} more metric{'s' if left > 1 else ''}"
        told = f" Not shown: {more} of this experiment, which pythia-traj plot draws."
        charts[-1] = replace(charts[-1], caption=charts[-1].caption + told)
    return tuple(charts)


def _charts_of(rows: pd.DataFrame, metric: str) -> Iterator[Chart]:
    of_metric = rows[rows["metric"].isin([metric])]
    several = [name for name in WHICH if of_metric[name].nunique() > 1]
    looks: dict[_Look, tuple[list[_Unit], set[str]]] = {}
    for look, of_look, controls in _looks(of_metric):
        units, its_controls = looks.setdefault(look, ([], set()))
        units += of_look
        its_controls |= controls
    for look, (units, controls) in looks.items():
        caption = CAPTIONS[look.kind]
        if controls and look.kind == "lines":
            caption += f" Dotted: the controls, {', '.join(sorted(controls))}."
        if look.told:
            caption += f" Of several: {', '.join(look.told)}."
        yield Chart(
            str(of_metric["experiment"].iloc[0]),
            0,
            metric if len(looks) == 1 else f"{metric}: {_named(units, several)}",
            caption,
            partial(_draw, metric=metric, units=units),
            each=look.each,
        )


def _looks(of_metric: pd.DataFrame) -> Iterator[tuple[_Look, list[_Unit], set[str]]]:
    """How each label is drawn, or where that takes a map each of its models; and its controls."""
    for _, of_label in of_metric.groupby("label", observed=True, sort=False):
        label_look = _look(of_label, "label")
        if label_look[0].kind == "lines":
            yield label_look
            continue
        for _, unit in of_label.groupby("model", observed=True, sort=False):
            yield _look(unit, "unit")


def _look(
    group: pd.DataFrame, each: Literal["label", "unit"]
) -> tuple[_Look, list[_Unit], set[str]]:
    chosen, told = for_one_figure(rows_of_metric(group))
    units = [*group[[*WHICH]].drop_duplicates().astype(str).itertuples(index=False, name=None)]
    controls = {one.replace("_", " ") for one in chosen["control"].unique()} - {""}
    return _Look(each, kind_of(chosen), tuple(told)), units, controls


def _named(units: list[_Unit], several: list[str]) -> str:
    """The models and labels of a chart, as far as the metric has several."""
    named = [
        " · ".join(one for column, one in zip(WHICH, unit, strict=True) if column in several)
        for unit in units
    ]
    return listed(list(dict.fromkeys(named)))


def _draw(rows: pd.DataFrame, metric: str, units: list[_Unit]) -> go.Figure:
    of_metric = rows[rows["metric"].isin([metric])]
    of_units = pd.MultiIndex.from_frame(of_metric[[*WHICH]].astype(str)).isin(units)
    chosen, _ = for_one_figure(rows_of_metric(of_metric[of_units]))
    return figure_of(drawable(chosen, metric))
