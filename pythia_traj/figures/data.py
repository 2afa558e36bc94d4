"""What a figure shows, as a table: what its traces know of the rows that they draw."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from pythia_traj.schema import KEYS

NUMBERS = ("tokens", "stderr", "low", "high", "n")
"""What a line's points have beside step and value: after the step, columns of `customdata`."""

COLUMNS = (KEYS[0], "experiment", *KEYS[1:], "step", "tokens", "value", *NUMBERS[1:])
"""Of the table."""


def key_of(at: pd.DataFrame, *apart: str) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """What identifies chosen rows: the columns with one value, and those with several.

    Args:
        at: chosen rows.
        *apart: columns that are told elsewhere.

    Returns:
        each constant column and its value, and each other column and its values by row; without
        columns that are absent from all rows.
    """
    key: dict[str, Any] = {}
    varying: dict[str, list[Any]] = {}
    for name in ("experiment", *KEYS):
        if name not in at or name in apart:
            continue
        values = [_plain(value) for value in at[name]]
        if len(set(values)) > 1:
            varying[name] = values
        elif values and values[0] is not None:
            key[name] = values[0]
    return key, varying


def _plain(value: Any) -> Any:
    """A word or whole number as JSON has it, None where it is absent."""
    if value is None or pd.isna(value) or value == "":
        return None
    return value if isinstance(value, str) else int(value)


def data_of(figure: go.Figure) -> pd.DataFrame:
    """The rows that a figure draws.

    Args:
        figure: one of `pythia_traj.figures`.

    Returns:
        a row for each point or cell with a value: the columns that identify a trajectory, where any
        row has them, then step, tokens, value, and where they are known stderr, low, high and n.
        The values are those of `pythia_traj.load`.
    """
    found = [row for trace in figure.data if _is_data(trace) for row in _rows(trace)]
    table = pd.DataFrame(found, columns=list(COLUMNS))
    return table.dropna(axis="columns", how="all")


def _is_data(trace: Any) -> bool:
    return isinstance(trace.meta, Mapping) and "key" in trace.meta


def _rows(trace: Any) -> Iterator[dict[str, Any]]:
    meta = trace.meta
    steps, tokens = meta["steps"], meta.get("tokens")
    if trace.type == "heatmap":
        z = array(trace.z)
        for row, values in zip(meta["rows"], z, strict=True):
            for i, value in enumerate(values):
                if not np.isnan(value):
                    at = {"step": steps[i], "tokens": tokens[i] if tokens else None}
                    yield {**meta["key"], **row, **at, "value": value}
        return
    beside = array(trace.customdata)
    for i, value in enumerate(array(trace.y)):
        if not np.isnan(value):
            varying = {name: values[i] for name, values in meta.get("varying", {}).items()}
            numbers = dict(zip(NUMBERS, beside[i][1:], strict=True))
            yield {**meta["key"], **varying, "step": steps[i], "value": value, **numbers}


def array(values: Any) -> Any:
    """Numbers of a trace, also as Plotly encodes them."""
    if isinstance(values, Mapping) and "bdata" in values:
        flat = np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"])
        shape = values.get("shape")
        return flat.reshape([int(n) for n in str(shape).split(",")]) if shape else flat
    return np.asarray(values, dtype=float)
