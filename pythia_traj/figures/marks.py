"""Onsets as marks: on the lines and in the rows of the maps that they belong to."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.analysis.steps import step_position
from pythia_traj.figures import style
from pythia_traj.schema import KEYS

_Identity = frozenset[tuple[str, Any]]


def with_onsets(figure: go.Figure, onsets: pd.DataFrame) -> go.Figure:
    """A figure over steps with the onsets of its trajectories.

    On a line an onset is a point at the level that is crossed, with its 95 % interval; in a map of
    heads a point in the head's row.

    Args:
        figure: one of `pythia_traj.figures`.
        onsets: the table that `pythia_traj.onset` gives; only what has a date is marked.

    Returns:
        the same figure, or a copy with more traces.
    """
    known = {_identity(row): row for row in onsets.to_dict("records") if row["status"] == "onset"}
    marks = [mark for trace in figure.data for mark in _marks(trace, known)]
    if not marks:
        return figure
    marks[0].update(showlegend=marks[0].type == "scatter" and marks[0].yaxis is None)
    return go.Figure([*figure.data, *marks], figure.layout)


def _marks(trace: Any, known: Mapping[_Identity, Mapping[Any, Any]]) -> Iterator[go.Scatter]:
    meta = trace.meta
    if not isinstance(meta, Mapping) or "key" not in meta:
        return
    if trace.type == "heatmap":
        found = [
            (name, known[identity])
            for name, row in zip(trace.y, meta["rows"], strict=True)
            if (identity := _identity(meta["key"] | row)) in known
        ]
        if found:
            yield _in_rows(found, meta["model"])
    elif (identity := _identity(meta["key"])) in known and "varying" not in meta:
        yield _on_line(known[identity], trace)


def _identity(columns: Mapping[Any, Any]) -> _Identity:
    return frozenset(
        (name, int(value) if isinstance(value, float) else value)
        for name in KEYS
        if (value := columns.get(name)) is not None and not pd.isna(value)
    )


def _on_line(row: Mapping[Any, Any], trace: go.Scatter) -> go.Scatter:
    ends = [row["step"] if pd.isna(end) else end for end in (row["low"], row["high"])]
    steps = [float(ends[0]), float(row["step"]), float(ends[1])]
    colour = trace.line.color
    return go.Scatter(
        x=[*map(step_position, steps)],
        y=[row["level"]] * 3,
        mode="lines+markers",
        name="onset, with its 95 &#37; interval",
        line={"color": colour, "width": 5},
        opacity=0.75,
        marker={"size": [0, 13, 0], "symbol": "diamond", "color": colour}
        | {"line": {"width": 1.5, "color": "#ffffff"}},
        hovertext=[f"<b>{trace.name}</b><br>{style.literal(row['words'])}"] * 3,
        hoverinfo="text",
        legendgroup="onsets",
        showlegend=False,
        meta={"steps": steps, "model": row["model"]},
    )


def _in_rows(found: list[tuple[str, Mapping[Any, Any]]], model: str) -> go.Scatter:
    steps = [float(row["step"]) for _, row in found]
    return go.Scatter(
        x=[*map(step_position, steps)],
        y=[name for name, _ in found],
        mode="markers",
        name="onset",
        marker={"size": 7, "symbol": "diamond", "color": "#D55E00"}
        | {"line": {"width": 1, "color": "#ffffff"}},
        hovertext=[f"<b>{name}</b><br>{style.literal(row['words'])}" for name, row in found],
        hoverinfo="text",
        showlegend=False,
        meta={"steps": steps, "model": model},
    )
