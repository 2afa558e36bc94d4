"""Small frames with the types that a run has."""

import pandas as pd

from pythia_traj import schema

_UNIT = {
    "model": "m",
    "label": "a",
    "suite": "s",
    "revision": "step0",
    "experiment": "loss",
    "step": 0,
    "tokens": 0,
    "metric": "nll",
    "stderr": 0.5,
    "n": 8,
}


def frame(*rows: dict[str, object]) -> pd.DataFrame:
    """Rows of a run: each says what differs from the loss of one model at step 0."""
    types = {"dictionary": "category", "float64": "float64"}
    columns = dict.fromkeys(schema.PARTITIONS, "category") | {
        column.name: types.get(column.type, "Int64") for column in schema.METRICS
    }
    return pd.DataFrame([_UNIT | row for row in rows], columns=list(columns)).astype(columns)


def head(layer: int, number: int, value: float, step: int = 0, **columns: object):
    """A value of one head, by default of its prefix matching."""
    where = {"component": "head", "layer": layer, "head": number, "variant": "two_halves"}
    return {"metric": "prefix_matching", "value": value, "step": step} | where | columns
