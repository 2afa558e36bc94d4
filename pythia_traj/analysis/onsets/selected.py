"""Heads chosen for how high they rise, and measured on other items than chose them."""

import numpy as np
import pandas as pd

from pythia_traj.analysis.onsets.frames import onset
from pythia_traj.analysis.onsets.heads import EVALUATION, OF_HEADS, SELECTION, Q, half_of
from pythia_traj.analysis.onsets.tables import trajectories_of
from pythia_traj.errors import AnalysisError
from pythia_traj.schema import KEYS

FEWEST_ITEMS = 16
"""Eight in each half."""


def select_heads(
    df: pd.DataFrame,
    items: pd.DataFrame,
    *,
    top: int | None = None,
    direction: str = "auto",
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """The heads that rise, chosen on half of the items and measured on the other half.

    A head chosen as the largest of hundreds is large by chance too: its height on the items that
    chose it is too high. Items of even numbers choose, those of odd numbers measure. The onset's
    interval does not need this, and has more items without it: of 16 blocks each half has 8, and
    weak heads are missed. So this is for heights, and `onset` with its column q for dates.

    Args:
        df: rows of heads, of any models and metrics.
        items: their items: at least 16.
        top: how many heads of each model, metric and variant: the highest of those chosen.
        direction, draws, seed: as for `onset`.

    Returns:
        the table of `onset` on the second half for the chosen heads, with `chosen_height` and
        `chosen_q`, the height and q on the first half, and `height`: on the second half, what the
        step that was highest on the first has above the base.

    Raises:
        AnalysisError: as `onset`; or there are no heads.
    """
    if not {"layer", "head"} <= set(df.columns) or not df["head"].notna().any():
        raise AnalysisError("these rows have no heads: give a metric of heads")
    if top is not None and top < 1:
        raise AnalysisError(f"top={top}: give how many heads, from 1")
    halves = [half_of(items, half) for half in (SELECTION, EVALUATION)]
    fewest = min(half["item"].nunique() for half in halves)
    if 2 * fewest < FEWEST_ITEMS:
        raise AnalysisError(
            f"a half has {fewest} items: heads are chosen and measured on at least"
            f" {FEWEST_ITEMS // 2} each"
        )
    heads = df[df["head"].notna()]
    keys = [name for name in KEYS if name in heads.columns]
    first, second = (
        onset(heads, half, direction=direction, draws=draws, seed=seed) for half in halves
    )
    first = first.assign(chosen_height=(first["top"] - first["base"]).abs(), chosen_q=first["q"])
    chosen = first[first["q"] <= Q].sort_values("chosen_height", ascending=False, kind="stable")
    if top is not None:
        others = [name for name in keys if name not in OF_HEADS]
        chosen = chosen.groupby(others, dropna=False, observed=True).head(top)
    # Both tables have the trajectories in the order of the rows.
    measured = second.loc[chosen.index]
    heights = _heights(heads, halves[EVALUATION], first["top_step"])
    return measured.assign(
        height=heights[chosen.index] * np.where(chosen["direction"] == "down", -1, 1),
        chosen_height=chosen["chosen_height"],
        chosen_q=chosen["chosen_q"],
    ).reset_index(drop=True)


def _heights(heads: pd.DataFrame, items: pd.DataFrame, steps: pd.Series) -> np.ndarray:
    """The smoothed curve of each trajectory at a step, above its base."""
    heights = np.full(len(steps), np.nan)
    for group in trajectories_of(heads, items).groups:
        curves, grid = group.curves, group.curves.grid
        smooth, base = curves.means @ grid.kernel.T, curves.means @ grid.base
        if not curves.has_items:
            continue
        at = [grid.steps.index(int(step)) for step in steps.iloc[group.numbers]]
        heights[group.numbers] = smooth[np.arange(len(at)), at] - base
    return heights
