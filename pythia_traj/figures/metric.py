"""A figure of one metric, whichever it is, also of an experiment of one's own."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis import metric as analysis
from pythia_traj.analysis.heads import head_name, of_one_head
from pythia_traj.analysis.selection import plain_columns
from pythia_traj.figures.drawable import NothingToDraw, SeveralKindsError, drawable, one_each
from pythia_traj.figures.lines import along, over_steps
from pythia_traj.figures.maps import heads_over_steps, layers_over_steps, parts_over_steps
from pythia_traj.figures.style import Quantity

MOST_LINES = 20
"""The most lines of a figure."""

SMALLEST_SHARE = 0.3
"""Where the largest value is below this, colours end there and not at 1."""

_STEPS_ALONG_POSITIONS = 7


def metric_figure(rows: pd.DataFrame) -> go.Figure:
    """The figure that fits the rows of one metric.

    Values of the whole model or of few parts are lines over steps, named by what varies among
    them, with dotted controls; of more than 7 layers or components a map over steps; of heads a
    map of all heads over steps and one of layers and heads at a step; by position a line for each
    of some steps, where there are none of all positions.

    Args:
        rows: rows of one metric, as `pythia_traj.load` gives them, with controls or without.

    Raises:
        SeveralKindsError: they are of several metrics, or of several kinds that one figure cannot
            show: it names the columns to choose by.
        NothingToDraw: they have no value.
    """
    if rows.empty:
        raise NothingToDraw("metric", {})
    metrics = sorted(map(str, rows["metric"].dropna().unique()))
    if len(metrics) > 1:
        told = f"draws one metric, these rows hold {', '.join(metrics)}"
        raise SeveralKindsError("metric_figure", told, ["metric"], metrics)
    return figure_of(drawable(analysis.rows_of_metric(rows), metrics[0]))


def figure_of(chosen: pd.DataFrame) -> go.Figure:
    """As `metric_figure`, of chosen rows, some of them with a value."""
    quantity, kind = quantity_of(chosen), analysis.kind_of(chosen)
    if kind == "lines":
        return _lines(chosen, quantity)
    chosen = analysis.measured_or_all(chosen)
    if kind != "parts":
        one_each(chosen, "metric_figure", "component")
    one_each(chosen, "metric_figure", *analysis.SINGLE)
    if kind == "positions":
        return _positions(chosen, quantity)
    one_each(chosen, "metric_figure", "position")
    _refuse_several(chosen, ["component", "layer", "head"])
    if kind == "heads":
        return heads_over_steps(of_one_head(chosen), quantity)
    draw = layers_over_steps if kind == "layers" else parts_over_steps
    return draw(chosen, quantity)


def quantity_of(chosen: pd.DataFrame) -> Quantity:
    """What the values of one metric are: its name, and a scale that its values allow.

    Args:
        chosen: chosen rows, some of them with a value.
    """
    low, high = chosen["value"].min(), chosen["value"].max()
    name = str(chosen["metric"].iloc[0])
    if low < 0:
        return Quantity(name, "", scale="signed")
    return Quantity(name, "", scale="share" if SMALLEST_SHARE <= high <= 1 else "amount")


def _lines(chosen: pd.DataFrame, quantity: Quantity) -> go.Figure:
    chosen = analysis.named_by_what_varies(analysis.with_a_value(chosen))
    _refuse_several(chosen, ["model", "label", "what", "control"])
    shown, n = analysis.highest(chosen, MOST_LINES)
    figure = over_steps(shown, quantity)
    if n > MOST_LINES:
        told = f"the {MOST_LINES} highest of {n} at the last step"
        figure.update_layout(legend_title={"text": told, "side": "top", "font": {"size": 12}})
    return figure


def heads_as_lines(rows: pd.DataFrame, heads: Sequence[tuple[int, int]]) -> go.Figure:
    """Some heads as lines over steps, with their controls.

    Args:
        rows: rows of one trajectory a model, label, head and control.
        heads: layer and head of each.

    Raises:
        NothingToDraw: none of these heads has a value.
        SeveralKindsError: one of them has two values at a step.
    """
    chosen = of_one_head(plain_columns(rows))
    places = pd.MultiIndex.from_frame(chosen[["layer", "head"]].astype(int))
    names = ", ".join(head_name(*head) for head in heads)
    chosen = drawable(chosen[places.isin([*heads])], names)
    what = [
        head_name(int(layer), int(head))
        for layer, head in zip(chosen["layer"], chosen["head"], strict=True)
    ]
    chosen = chosen.assign(what=what)
    _refuse_several(chosen, ["model", "label", "what", "control"])
    return over_steps(chosen, quantity_of(chosen))


def _positions(chosen: pd.DataFrame, quantity: Quantity) -> go.Figure:
    one_each(chosen, "metric_figure", "layer", "head")
    _refuse_several(chosen, ["position"])
    xaxis = {"title": {"text": "position"}}
    return along(chosen, "position", xaxis, quantity, _STEPS_ALONG_POSITIONS)


def _refuse_several(chosen: pd.DataFrame, keys: list[str]) -> None:
    """Refuses two values of one line or cell at a step."""
    twice = chosen[chosen.duplicated([*keys, "step"], keep=False)]
    if len(twice):
        apart = [key for key in ("experiment", *analysis.SINGLE) if twice[key].nunique() > 1]
        why = f"differ by {' and '.join(apart)}" if apart else "hold some twice"
        told = f"draws one value of each at a step, these rows {why}"
        raise SeveralKindsError("metric_figure", told, apart)
