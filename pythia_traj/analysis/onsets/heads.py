"""Many heads: how many of their onsets would be there by chance, and heights without selection."""

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

OF_HEADS = ("component", "layer", "head")
"""What tells the heads of one model, metric and variant apart."""

Q = 0.05
"""Heads of at most this q are listed."""

SELECTION, EVALUATION = 0, 1
"""Items of even numbers are for selection, those of odd numbers for evaluation."""


def q_values(keys: pd.DataFrame, p: np.ndarray) -> np.ndarray:
    """The p of all heads of one model, metric and variant, by Benjamini-Hochberg.

    Args:
        keys: a row for each trajectory.
        p: of each, nan where there is none.

    Returns:
        q of each; nan where p is, and where a layer or head is missing.
    """
    q = np.full(len(p), np.nan)
    if not {"layer", "head"} <= set(keys.columns):
        return q
    of_heads = keys["layer"].notna() & keys["head"].notna() & ~np.isnan(p)
    others = [name for name in keys.columns if name not in OF_HEADS]
    heads = keys[of_heads.to_numpy()]
    together = (
        heads.groupby(others, dropna=False, observed=True).indices.values()
        if others
        else [np.arange(len(heads))]
    )
    for positions in together:
        index = heads.index[positions]
        if len(index):
            q[index] = false_discovery_control(p[index])
    return q


def half_of(items: pd.DataFrame, half: int) -> pd.DataFrame:
    """The items of one half: SELECTION or EVALUATION."""
    return items[items["item"] % 2 == half]
