"""Changes of a trajectory's mean from one stretch of measured steps to the next."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import ruptures

from pythia_traj.analysis.onsets.evidence import TO_SIGMA
from pythia_traj.analysis.onsets.grid import Grid
from pythia_traj.analysis.onsets.tables import trajectories_of


def changes(means: np.ndarray, variance: float | None = None) -> list[int]:
    """Where the mean of one curve changes: PELT, least squares, over measured steps in order.

    Each change costs a penalty of 2 v ln T: what the Bayesian information criterion asks for the
    two numbers, place and mean, that a change adds. The variance v of a step's noise is the robust
    one of differences between neighbours, or a larger one that is given.

    Args:
        means: float64 [T].
        variance: of a step's mean over its items, if known.

    Returns:
        for each change the index of the first step after it, ascending.

    Source:
        Killick et al. 2012 (PELT); the implementation is the package ruptures.
    """
    if len(means) < 2:
        return []
    pelt = ruptures.KernelCPD(kernel="linear", min_size=1, jump=1).fit(means[:, None])
    found = pelt.predict(pen=penalty(means, variance))
    return [int(end) for end in found[:-1]]


def penalty(means: np.ndarray, variance: float | None = None) -> float:
    """What a change must save of the sum of squares: 2 v ln T (see `changes`)."""
    robust = (TO_SIGMA * float(np.median(np.abs(np.diff(means))))) ** 2 / 2
    # Without any noise at all, changes that rounding makes are not changes.
    least = 1e-12 * (1 + float(np.abs(means).max())) ** 2
    return float(2 * max(robust, variance or 0.0, least) * np.log(len(means)))


def first_rise(means: np.ndarray, grid: Grid) -> np.ndarray:
    """The position of the first step after the first change to a higher mean, nan where none.

    Args:
        means: rising curves [..., T].
        grid: their steps.
    """
    flat = means.reshape(-1, means.shape[-1])
    return np.array([_first_rise(one, grid) for one in flat]).reshape(means.shape[:-1])


def _first_rise(means: np.ndarray, grid: Grid) -> float:
    ends = [0, *changes(means), len(means)]
    heights = [means[a:b].mean() for a, b in pairwise(ends)]
    for i in range(1, len(heights)):
        if heights[i] > heights[i - 1]:
            return float(grid.x[ends[i]])
    return float("nan")


def change_points(
    df: pd.DataFrame, items: pd.DataFrame | None = None, *, by: Sequence[str] | None = None
) -> pd.DataFrame:
    """Where the mean of each trajectory changes, from one stretch of steps to the next.

    Steps are taken in their order, not by their distance. A change point is another quantity than
    half of a height: a slow rise has several.

    Args:
        df, items, by: as for `pythia_traj.onset`. Items make the penalty right where they explain
            more noise than neighbouring steps show.

    Returns:
        one row a change: the keys of its trajectory, step_before and step_after (the measured steps
        around it), before and after (the means of the stretches), and penalty (see `changes`).

    Raises:
        AnalysisError: a column is missing, or a trajectory has two values at a step.
    """
    found = trajectories_of(df, items, by)
    rows: dict[int, list[dict[str, object]]] = {}
    for group in found.groups:
        curves, steps = group.curves, group.curves.grid.steps
        of_steps = np.median(curves.standard_error(curves.sums) ** 2, axis=1)
        for number, means, variance in zip(group.numbers, curves.means, of_steps, strict=True):
            rows[int(number)] = [
                {
                    "step_before": steps[change - 1],
                    "step_after": steps[change],
                    "before": float(means[first:change].mean()),
                    "after": float(means[change:last].mean()),
                    "penalty": penalty(means, float(variance)),
                }
                for first, change, last in _stretches(changes(means, float(variance)), len(means))
            ]
    numbers = [number for number in sorted(rows) for _ in rows[number]]
    table = pd.DataFrame(
        [one for number in sorted(rows) for one in rows[number]],
        columns=["step_before", "step_after", "before", "after", "penalty"],
    )
    return pd.concat([found.keys.iloc[numbers].reset_index(drop=True), table], axis=1)


def _stretches(changes: list[int], n: int) -> list[tuple[int, int, int]]:
    """Each change, with the first step of the stretch before it and the end of that after it."""
    ends = [0, *changes, n]
    return [(ends[i - 1], ends[i], ends[i + 1]) for i in range(1, len(ends) - 1)]
