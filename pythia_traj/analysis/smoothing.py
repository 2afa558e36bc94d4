"""Smoothing of trajectories over log step."""

import numpy as np
import pandas as pd

from pythia_traj.analysis.matrix import Floats, Matrix, matrices
from pythia_traj.analysis.onsets.grid import kernel
from pythia_traj.errors import AnalysisError


def smooth(rows: pd.DataFrame, octaves: float = 0.5) -> pd.DataFrame:
    """Trajectories with their smoothed values in a column `smooth` beside `value`.

    The weights fall linearly from a step's own to 0 at `octaves` away in log2(step + 1), and those
    of each step sum to 1. Where steps are further apart, `smooth` is the value itself. A step
    without a value has none smoothed either, and does not count for its neighbours. `smooth` has no
    standard error: the errors of neighbouring steps, which have the same items, are not
    independent.

    Args:
        rows: rows as `pythia_traj.load` gives them.
        octaves: the half-width.

    Returns:
        the same rows, by trajectory and in the order of steps.

    Raises:
        AnalysisError: a trajectory has two values at one step, or `octaves` is not above 0.
    """
    check_width(octaves)
    parts = [rows.iloc[:0].assign(smooth=np.zeros(0))]
    for unit in matrices(rows):
        there = unit.place >= 0
        chosen = unit.rows.iloc[unit.place[there]]
        parts.append(chosen.assign(smooth=smoothed(unit, octaves)[there]))
    return pd.concat(parts[1:] or parts, ignore_index=True)


def smoothed(unit: Matrix, octaves: float) -> Floats:
    """The smoothed values of trajectories, NaN where it is missing [trajectory, step]."""
    weights, known = kernel(unit.steps, octaves), ~np.isnan(unit.values)
    sums = np.where(known, unit.values, 0.0) @ weights.T
    found: Floats = sums / np.where(known, known.astype(float) @ weights.T, np.nan)
    return found


def check_width(octaves: float) -> None:
    """Refuses a half-width that is not a number of octaves.

    Raises:
        AnalysisError: it is not above 0.
    """
    if not isinstance(octaves, int | float | np.number) or not octaves > 0:
        raise AnalysisError(f"octaves={octaves!r}: the half-width is a number above 0, such as 0.5")
