"""Changes of a trajectory's mean from one stretch of measured steps to the next."""

from itertools import pairwise

import numpy as np
import ruptures

from pythia_traj.analysis.onsets.grid import Grid

TO_SIGMA = 1.4826
"""The standard deviation of a normal distribution over its median absolute value."""


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
