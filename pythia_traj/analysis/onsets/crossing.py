"""Where a rising curve passes a level: the same arithmetic for a curve and for draws of it."""

from dataclasses import dataclass

import numpy as np

from pythia_traj.analysis.onsets.grid import Grid

TOLERANCE = 1e-9
"""What differs by less than this, relative to 1 + its size, is equal."""


@dataclass(frozen=True)
class Level:
    """Which level of a curve is looked for: half of its height, or a threshold.

    Attributes:
        threshold: the level itself; None is half of the height above the base.
        floor: a base that is known, such as chance; None is the mean of the first steps.
    """

    threshold: float | None = None
    floor: float | None = None

    def negated(self) -> "Level":
        """The same level of a curve that is upside down."""
        return Level(
            None if self.threshold is None else -self.threshold,
            None if self.floor is None else -self.floor,
        )


@dataclass(frozen=True)
class Crossing:
    """Where curves [..., T] cross: arrays [...].

    Attributes:
        base, top, level: heights.
        at: index of the step of the top.
        k: how many steps are below the level before the crossing: it lies between step k - 1 and
            step k, counted from 0. 0 is before the first step, T after the last.
    """

    base: np.ndarray
    top: np.ndarray
    level: np.ndarray
    at: np.ndarray
    k: np.ndarray

    @property
    def height(self) -> np.ndarray:
        """The top above the base."""
        return np.asarray(self.top - self.base)


def cross(means: np.ndarray, grid: Grid, level: Level) -> Crossing:
    """Where rising curves cross the level.

    The crossing is where the isotonic regression of the raw curve up to its top passes the level:
    k is the first minimum of the cumulative sum of (y - level) over 0, 1, ... steps, before the top
    of the smoothed curve.

    Args:
        means: float64 [..., T].
        grid: the T steps.
        level: which level.
    """
    smooth = means @ grid.kernel.T
    if level.floor is None:
        base = means @ grid.base
    else:
        base = np.full(means.shape[:-1], float(level.floor))
    at = smooth.argmax(-1)
    top = np.take_along_axis(smooth, at[..., None], -1)[..., 0]
    if level.threshold is None:
        passed = base + (top - base) / 2
        rises = top - base > TOLERANCE * (1 + np.abs(base))
    else:
        passed = np.full(means.shape[:-1], float(level.threshold))
        rises = top >= passed
    sums = np.zeros((*means.shape[:-1], len(grid) + 1))
    np.cumsum(means - passed[..., None], axis=-1, out=sums[..., 1:])
    # The crossing comes before the top, which is itself above the level.
    sums[np.arange(len(grid) + 1) > at[..., None]] = np.inf
    least = sums.min(-1) + TOLERANCE * (1 + np.abs(passed))
    k = (sums <= least[..., None]).argmax(-1)
    return Crossing(base, top, passed, at, np.where(rises, k, len(grid)))


def interpolated(means: np.ndarray, grid: Grid, level: float, k: int) -> float | None:
    """The position at which one curve passes the level between steps k - 1 and k.

    Linear in log step. None before the first step or after the last.
    """
    if not 0 < k < len(grid):
        return None
    below, above = float(means[k - 1]), float(means[k])
    share = (level - below) / (above - below) if above > below else 1.0
    return float(grid.x[k - 1] + min(max(share, 0.0), 1.0) * (grid.x[k] - grid.x[k - 1]))
