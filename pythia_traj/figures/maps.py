"""Heat maps: layers, parts of a model and heads over steps, and heads at one step."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from pythia_traj.analysis.heads import head_name, of_one_head
from pythia_traj.analysis.steps import step_position
from pythia_traj.errors import ConfigError
from pythia_traj.figures import style
from pythia_traj.figures.axes import add_token_axis, step_axis
from pythia_traj.figures.data import key_of
from pythia_traj.figures.drawable import drawable, one_each
from pythia_traj.figures.style import Quantity
from pythia_traj.schema import WORDS

ABOVE, BELOW, BETWEEN = 96, 60, 120
"""Pixels above the upper panel, below the lower one, and between the two."""

TALLEST = 760
"""About the most pixels of a panel."""

IDENTITY = (
    *("model", "label", "metric", "variant", "control", "part", "target", "reference"),
    *("size", "position"),
)
"""The columns that have one value in the rows of a map."""

_NO_LAYER = -1


def layers_over_steps(chosen: pd.DataFrame, quantity: Quantity) -> go.Figure:
    """A map of layers, from the first at the bottom to the last at the top, over steps.

    Args:
        chosen: chosen rows of one trajectory a layer.
        quantity: what their values are.

    Raises:
        NothingToDraw: no layer has a value.
        ConfigError: they are of several models, labels, metrics or kinds of one.
    """
    one_each(chosen, "layers_over_steps", *IDENTITY, "component")
    chosen = drawable(chosen.dropna(subset=["layer"]), "layers")
    trace = cells_over_steps(chosen, ["layer"], quantity)
    layers = [row["layer"] for row in trace.meta["rows"]]
    trace.update(y=layers)
    figure = go.Figure(trace)
    dress(figure, chosen, height_of(len(layers), 24))
    colour(figure, quantity)
    yaxis = {"title": {"text": "layer"}, "tickvals": layers[:: one_in(len(layers), 16)]}
    return figure.update_layout(yaxis=yaxis)


def parts_over_steps(chosen: pd.DataFrame, quantity: Quantity) -> go.Figure:
    """A map of parts of a model over steps: each component of each layer, by component.

    Args:
        chosen: chosen rows of one trajectory a component and layer, none of them of a head.
        quantity: what their values are.

    Raises:
        ConfigError: they are of several models, labels, metrics or kinds of one.
    """
    one_each(chosen, "parts_over_steps", *IDENTITY)
    there = {*chosen["component"].unique()}
    known = [name for name in WORDS["component"] if name in there]
    order = [*known, *sorted(there - {*known})]
    by_component = pd.Categorical(chosen["component"], order)
    placed = chosen.assign(component=by_component, layer=chosen["layer"].fillna(_NO_LAYER))
    trace = cells_over_steps(placed, ["component", "layer"], quantity)
    parts = [(row["component"], row.get("layer")) for row in trace.meta["rows"]]
    names = [name if layer is None else f"{name} L{layer}" for name, layer in parts]
    trace.update(y=[style.literal(name) for name in names])
    figure = go.Figure(trace)
    height = height_of(len(parts), 18)
    dress(figure, chosen, height)
    colour(figure, quantity)
    labels = row_labels(names, [name for name, _ in parts], height)
    return figure.update_layout(yaxis={"autorange": "reversed"} | labels)


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
    one_each(chosen, "heads_over_steps", *IDENTITY, "component")
    chosen = drawable(of_one_head(chosen), "heads")
    over = cells_over_steps(chosen, ["layer", "head"], quantity)
    heads = [(row["layer"], row["head"]) for row in over.meta["rows"]]
    names = [head_name(*place) for place in heads]
    over.update(y=names)
    figure = two_panels(over, chosen, step, f"<br>{style.literal(quantity.title)} %{{z:.4f}}")
    colour(figure, quantity)
    layers = [f"L{layer}" for layer, _ in heads]
    labels = row_labels(names, layers, height_of(len(heads), 15))
    return figure.update_layout(yaxis=labels)


def positions_at_step(
    chosen: pd.DataFrame, quantity: Quantity, step: int | None = None
) -> go.Figure:
    """A map of layers and positions at one step.

    Args:
        chosen: chosen rows of one trajectory a layer and position.
        quantity: what their values are.
        step: which one; by default the last that has a value.

    Raises:
        ConfigError: the step was not measured; or they are of several models, labels, metrics or
            kinds of one.
    """
    apart = [name for name in IDENTITY if name != "position"]
    one_each(chosen, "positions_at_step", *apart, "component", "head")
    shown = chosen.loc[chosen["value"].notna(), "step"].max() if step is None else step
    at = chosen[chosen["step"] == shown]
    if at.empty:
        raise ConfigError(f"step={shown} was not measured: give one of the rows' steps")
    table = at.pivot(index="layer", columns="position", values="value").sort_index()
    layers, positions = ([int(one) for one in of] for of in (table.index, table.columns))
    key, _ = key_of(at, "layer", "position")
    now = {"step": int(shown)} | ({"tokens": int(n)} if (n := at["tokens"].iloc[0]) >= 0 else {})
    hover = "<b>layer %{y}, position %{x}</b><br>" + f"{style.literal(quantity.title)} %{{z:.4f}}"
    trace = go.Heatmap(
        x=positions,
        y=layers,
        z=table.to_numpy(float),
        coloraxis="coloraxis",
        hoverongaps=False,
        hovertemplate=hover + "<extra></extra>",
        meta={
            "model": key.get("model"),
            "key": key | now,
            "rows": [{"layer": layer} for layer in layers],
            "columns": [{"position": position} for position in positions],
        },
    )
    figure = go.Figure(trace)
    ground(figure, height_of(len(layers), 24))
    colour(figure, quantity)
    note = {"text": at_step(now["step"]), "xref": "paper", "yref": "paper", "x": 0, "y": 1}
    figure.add_annotation(note | {"xanchor": "left", "yanchor": "bottom", "showarrow": False})
    ticks = {"tickvals": layers[:: one_in(len(layers), 16)]}
    return figure.update_layout(
        xaxis={"title": {"text": "position"}, "nticks": 12},
        yaxis={"title": {"text": "layer"}} | ticks,
    )


def two_panels(over: go.Heatmap, chosen: pd.DataFrame, step: int | None, told: str) -> go.Figure:
    """A map over steps whose rows are of heads, below the map of layers and heads at one step.

    Args:
        over: the map over steps.
        chosen: its rows.
        step: the step of the upper map; by default the last.
        told: what the upper map's hover says below the name of the head.

    Raises:
        ConfigError: the step was not measured.
    """
    heads = [(row["layer"], row["head"]) for row in over.meta["rows"]]
    n_layers, n_heads = (1 + max(head[i] for head in heads) for i in (0, 1))
    upper, lower = height_of(n_heads, 18), height_of(len(heads), 15)
    figure = go.Figure([_at_step(over, heads, step, told), over])
    whole = upper + BETWEEN + lower
    dress(figure, chosen, whole)
    shown = figure.data[0].meta["step"]
    figure.update_layout(
        yaxis={"domain": [0, lower / whole], "autorange": "reversed"},
        yaxis3={"anchor": "x3", "domain": [1 - upper / whole, 1], "title": {"text": "head"}}
        | {"autorange": "reversed", "showgrid": False, "dtick": one_in(n_heads, 8)},
        xaxis3={"anchor": "y3", "title": {"text": "layer", "standoff": 4}}
        | {"showgrid": False, "dtick": one_in(n_layers, 12), "tickangle": 0},
        meta=figure.layout.meta | {"at": [0, 1], "step": shown},
    )
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": 1, "xanchor": "left"}
    return figure.add_annotation(
        text=at_step(shown), yanchor="bottom", yshift=4, showarrow=False, name="at step", **place
    )


def at_step(step: int) -> str:
    """What stands above a map of one step."""
    return f"at step {step:,}"


def cells_over_steps(chosen: pd.DataFrame, by: list[str], quantity: Quantity) -> go.Heatmap:
    """The heat map of these rows over steps; `y`, the names of its rows, is still to be given.

    Args:
        chosen: chosen rows of one trajectory for each value of the columns `by`.
        by: the columns that tell the rows of the map apart.
        quantity: what the values are.

    Raises:
        ConfigError: two of them are of one cell.
    """
    if chosen.duplicated([*by, "step"]).any():
        raise ConfigError("several values at one step: select rows of one size and position first")
    table = chosen.pivot(index=by, columns="step", values="value").sort_index()
    steps = [int(step) for step in table.columns]
    named = table.index if len(by) > 1 else [(one,) for one in table.index]
    key, _ = key_of(chosen, *by)
    tokens = chosen.groupby("step")["tokens"].first()
    z: NDArray[np.float64] = table.to_numpy(float)
    hover = ["<b>" + ("layer " if by == ["layer"] else "") + "%{y}</b>"]
    hover += [
        "step %{customdata:,.0f}",
        f"{style.literal(quantity.title)} %{{z:.4f}}",
        *_constant(chosen, "n"),
    ]
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
            "rows": [_row(by, one) for one in named],
        },
    )


def _row(by: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """What a row of a map is of: whole numbers and words, without a layer that it has not."""
    found = zip(by, values, strict=True)
    plain = {name: one if isinstance(one, str) else int(one) for name, one in found}
    return {name: one for name, one in plain.items() if (name, one) != ("layer", _NO_LAYER)}


def _at_step(
    over: go.Heatmap, heads: list[tuple[int, int]], step: int | None, told: str
) -> go.Heatmap:
    """The map of layers and heads that one column of the map over steps is.

    Of several rows of a head, the first with a value counts.
    """
    steps = over.meta["steps"]
    shown = steps[-1] if step is None else step
    if shown not in steps:
        raise ConfigError(f"step={shown} was not measured: give one from {steps[0]} to {steps[-1]}")
    n_layers, n_heads = (1 + max(head[i] for head in heads) for i in (0, 1))
    z = np.full((n_heads, n_layers), np.nan)
    for (layer, head), value in zip(heads, over.z[:, steps.index(shown)], strict=True):
        if np.isnan(z[head, layer]):
            z[head, layer] = value
    return go.Heatmap(
        z=z,
        xaxis="x3",
        yaxis="y3",
        coloraxis="coloraxis",
        hoverongaps=False,
        hovertemplate=f"<b>L%{{x}}H%{{y}}</b>{told}<extra></extra>",
        meta={"step": shown},
    )


def _constant(chosen: pd.DataFrame, column: str) -> list[str]:
    values = chosen[column].dropna().unique()
    return [f"{column} {values[0]:,.0f}"] if len(values) == 1 else []


def dress(figure: go.Figure, chosen: pd.DataFrame, height: int) -> None:
    """Look and step axis of a figure of maps over steps.

    Args:
        figure: one with a heat map over steps on the axes `x` and `y`.
        chosen: the rows that it draws.
        height: of its panels, in pixels.
    """
    ground(figure, height)
    figure.update_layout(
        xaxis=step_axis(chosen["step"]) | {"showgrid": False}, meta={"over": "steps"}
    )
    add_token_axis(figure, chosen)


def ground(figure: go.Figure, height: int) -> None:
    """The look of a figure of maps whose panels have so many pixels of height."""
    figure.update_layout(
        template=style.TEMPLATE,
        plot_bgcolor=style.THEMES["light"].absent,
        height=height + ABOVE + BELOW,
        margin={"t": ABOVE, "b": BELOW, "l": 76, "r": 32},
        xaxis={"showgrid": False},
        yaxis={"showgrid": False},
        meta={},
    )


def colour(figure: go.Figure, quantity: Quantity) -> None:
    """One colour axis for all maps of a figure, with its bar above them."""
    maps = [trace.z for trace in figure.data if trace.type == "heatmap"]
    largest = max(float(np.nanmax(np.abs(z), initial=0.0)) for z in maps)
    colours, scale = style.scale_of(quantity, largest)
    bar = {"orientation": "h", "thickness": 10, "len": 0.4, "xpad": 0, "ypad": 0, "nticks": 5}
    # Below its name, which has no room beside it on a phone.
    place = {"x": 1, "xanchor": "right", "yref": "container", "yanchor": "top"}
    place |= {"y": 1 - 20 / figure.layout.height}
    figure.update_layout(
        coloraxis=colours | {"colorbar": bar | place},
        meta=figure.layout.meta | {"scales": {"coloraxis": scale}},
    )
    paper = {"xref": "paper", "yref": "paper", "xanchor": "left", "x": 0, "y": 1}
    figure.add_annotation(
        text=style.literal(quantity), yanchor="top", yshift=ABOVE, showarrow=False, **paper
    )


def height_of(rows: int, most: int) -> int:
    """Pixels of a panel: so many a row, fewer where there are many rows."""
    return max(min(rows * most, TALLEST), 2 * rows, 90)


def one_in(n: int, most: int) -> int:
    """Of n labels one in so many is shown."""
    return -(-n // most)


def row_labels(names: Sequence[str], groups: Sequence[str], height: int) -> dict[str, Any]:
    """Ticks of an axis of rows: each row's name where these fit, else each group's at its first.

    Args:
        names: of the rows.
        groups: the group of each row; rows of one stand together.
        height: pixels of the axis.
    """
    kept, texts = [*range(len(names))], names
    if len(names) * 12 > height:
        first = {group: i for i, group in reversed([*enumerate(groups)])}
        kept = sorted(first.values())[:: one_in(len(first), height // 14)]
        texts = groups
    # A number that names no row is the place of one.
    return {"tickvals": kept, "ticktext": [style.literal(texts[i]) for i in kept]}
