"""Heat maps: layers over steps, and heads over steps and at one of them."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from pythia_traj.analysis.heads import of_one_head
from pythia_traj.analysis.steps import step_position
from pythia_traj.errors import ConfigError
from pythia_traj.figures import style
from pythia_traj.figures.axes import add_token_axis, step_axis
from pythia_traj.figures.data import key_of
from pythia_traj.figures.drawable import drawable, one_each
from pythia_traj.figures.style import Quantity

ABOVE, BELOW, BETWEEN = 96, 60, 120
"""Pixels above the upper panel, below the lower one, and between the two."""

TALLEST = 760
"""About the most pixels of a panel."""

_IDENTITY = ("model", "label", "metric", "variant", "control", "part", "target", "reference")


def layers_over_steps(chosen: pd.DataFrame, quantity: Quantity) -> go.Figure:
    """A map of layers, from the first at the bottom to the last at the top, over steps.

    Args:
        chosen: chosen rows of one trajectory a layer.
        quantity: what their values are.

    Raises:
        NothingToDraw: no layer has a value.
        ConfigError: they are of several models, labels, metrics or kinds of one.
    """
    one_each(chosen, "layers_over_steps", *_IDENTITY)
    chosen = drawable(chosen.dropna(subset=["layer"]), chosen["metric"].iloc[0])
    trace = _over_steps(chosen, ["layer"], quantity)
    layers = [row["layer"] for row in trace.meta["rows"]]
    trace.update(y=layers)
    figure = go.Figure(trace)
    _dress(figure, chosen, quantity, _height(len(layers), 24))
    yaxis = {"title": {"text": "layer"}, "tickvals": layers[:: _every(len(layers), 16)]}
    return figure.update_layout(yaxis=yaxis, meta={"over": "steps"} | _scales(quantity))


def heads_over_steps(
    chosen: pd.DataFrame, quantity: Quantity, step: int | None = None
) -> go.Figure:
    """A map of layers and heads at one step, and below it one of every head over steps.

    Args:
        chosen: chosen rows of one trajectory a head.
        quantity: what their values are.
        step: the step of the upper map, a measured one; by default the last.

    Raises:
        NothingToDraw: no head has a value.
        ConfigError: the step was not measured; or they are of several models, labels, metrics or
            kinds of one.
    """
    one_each(chosen, "heads_over_steps", *_IDENTITY)
    chosen = drawable(of_one_head(chosen), chosen["metric"].iloc[0])
    over = _over_steps(chosen, ["layer", "head"], quantity)
    heads = [(row["layer"], row["head"]) for row in over.meta["rows"]]
    over.update(y=[f"L{layer}H{head}" for layer, head in heads])
    upper, lower = _height(1 + max(head for _, head in heads), 18), _height(len(heads), 15)
    figure = go.Figure([_at_step(over, heads, step), over])
    _dress(figure, chosen, quantity, upper + BETWEEN + lower)
    whole = upper + BETWEEN + lower
    figure.update_layout(
        yaxis={"domain": [0, lower / whole], "autorange": "reversed"} | _labels(heads, lower),
        yaxis3={"anchor": "x3", "domain": [1 - upper / whole, 1], "title": {"text": "head"}}
        | {"autorange": "reversed", "showgrid": False, "dtick": _every(heads[-1][1] + 1, 8)},
        xaxis3={"anchor": "y3", "title": {"text": "layer", "standoff": 4}}
        | {"showgrid": False, "dtick": _every(heads[-1][0] + 1, 12)},
        meta={"over": "steps", "at": [0, 1], "step": figure.data[0].meta["step"]}
        | _scales(quantity),
    )
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": 1, "xanchor": "left"}
    said = at_step(figure.data[0].meta["step"])
    return figure.add_annotation(
        text=said, yanchor="bottom", yshift=4, showarrow=False, name="at step", **place
    )


def at_step(step: int) -> str:
    """What stands above a map of one step."""
    return f"at step {step:,}"


def _over_steps(chosen: pd.DataFrame, by: list[str], quantity: Quantity) -> go.Heatmap:
    """The heat map of these rows over steps; `y` is still to be named."""
    if chosen.duplicated([*by, "step"]).any():
        raise ConfigError("several values at one step: select rows of one size and position first")
    table = chosen.pivot(index=by, columns="step", values="value").sort_index()
    steps = [int(step) for step in table.columns]
    named = table.index if len(by) > 1 else [(one,) for one in table.index]
    rows = [dict(zip(by, map(int, one), strict=True)) for one in named]
    key, _ = key_of(chosen, *by)
    tokens = chosen.groupby("step")["tokens"].first()
    z: NDArray[np.float64] = table.to_numpy(float)
    hover = ["<b>" + ("layer " if by == ["layer"] else "") + "%{y}</b>"]
    hover += ["step %{customdata:,.0f}", f"{quantity.title} %{{z:.4f}}", *_constant(chosen, "n")]
    return go.Heatmap(
        x=[*map(step_position, steps)],
        z=z,
        customdata=np.broadcast_to(np.array(steps, np.int32), z.shape),
        coloraxis="coloraxis",
        hoverongaps=False,
        hovertemplate="<br>".join(hover) + "<extra></extra>",
        meta={
            "steps": steps,
            "tokens": [None if np.isnan(tokens[step]) else int(tokens[step]) for step in steps],
            "model": key.get("model"),
            "key": key,
            "rows": rows,
        },
    )


def _at_step(over: go.Heatmap, heads: list[tuple[int, int]], step: int | None) -> go.Heatmap:
    """The map of layers and heads that one column of the map over steps is."""
    steps = over.meta["steps"]
    shown = steps[-1] if step is None else step
    if shown not in steps:
        raise ConfigError(f"step={shown} was not measured: give one from {steps[0]} to {steps[-1]}")
    n_layers, n_heads = (1 + max(head[i] for head in heads) for i in (0, 1))
    z = np.full((n_heads, n_layers), np.nan)
    for (layer, head), value in zip(heads, over.z[:, steps.index(shown)], strict=True):
        z[head, layer] = value
    quantity = over.hovertemplate.split("<br>")[2]
    return go.Heatmap(
        z=z,
        xaxis="x3",
        yaxis="y3",
        coloraxis="coloraxis",
        hoverongaps=False,
        hovertemplate=f"<b>L%{{x}}H%{{y}}</b><br>{quantity}<extra></extra>",
        meta={"step": shown},
    )


def _constant(chosen: pd.DataFrame, column: str) -> list[str]:
    values = chosen[column].dropna().unique()
    return [f"{column} {values[0]:,.0f}"] if len(values) == 1 else []


def _dress(figure: go.Figure, chosen: pd.DataFrame, quantity: Quantity, height: int) -> None:
    """Axes, colours and margins of a figure whose panels have some pixels of height."""
    largest = float(np.nanmax(np.abs(figure.data[-1].z)))
    colours, _ = style.scale_of(quantity, largest)
    bar = {"orientation": "h", "thickness": 10, "len": 0.4, "xpad": 0, "ypad": 0}
    place = {"x": 1, "xanchor": "right", "yref": "container", "y": 0.995, "yanchor": "top"}
    figure.update_layout(
        template=style.TEMPLATE,
        plot_bgcolor=style.THEMES["light"].absent,
        height=height + ABOVE + BELOW,
        margin={"t": ABOVE, "b": BELOW, "l": 60, "r": 24},
        xaxis=step_axis(chosen["step"]) | {"showgrid": False},
        yaxis={"showgrid": False},
        coloraxis=colours | {"colorbar": bar | place | {"nticks": 5}},
    )
    add_token_axis(figure, chosen)
    paper = {"xref": "paper", "yref": "paper", "xanchor": "left", "x": 0, "y": 1}
    figure.add_annotation(
        text=style.literal(quantity), yanchor="top", yshift=ABOVE, showarrow=False, **paper
    )


def _scales(quantity: Quantity) -> dict[str, Any]:
    return {"scales": {"coloraxis": style.scale_of(quantity, 1.0)[1]}}


def _height(rows: int, most: int) -> int:
    """Pixels of a panel: so many a row, fewer where there are many rows."""
    return max(min(rows * most, TALLEST), 2 * rows, 90)


def _every(n: int, most: int) -> int:
    """Of n labels one in so many is shown."""
    return -(-n // most)


def _labels(heads: list[tuple[int, int]], height: int) -> dict[str, Any]:
    """Labels of heads where they fit, else of the first head of each layer."""
    names = [f"L{layer}H{head}" for layer, head in heads]
    if len(heads) * 12 > height:
        firsts = {
            layer: name for (layer, _), name in zip(reversed(heads), reversed(names), strict=True)
        }
        layers = sorted(firsts)[:: _every(len(firsts), height // 14)]
        return {
            "tickvals": [firsts[layer] for layer in layers],
            "ticktext": [f"L{layer}" for layer in layers],
        }
    return {"tickvals": names, "ticktext": names}
