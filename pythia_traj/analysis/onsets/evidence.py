"""Whether curves rise at all, evenly, and which of their crossings are sure."""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from pythia_traj.analysis.onsets.crossing import TOLERANCE, Crossing, Level
from pythia_traj.analysis.onsets.curves import Curves

ALPHA = 0.05

ENOUGH_THINNED = 8
"""With fewer steps half an octave apart, movement between them is not estimated."""

TO_SIGMA = 1.4826
"""The standard deviation of a normal distribution over its median absolute value."""


def surely(clusters: int) -> float:
    """By how many standard errors a mean must differ to be sure: t at 97.5 %."""
    return float(stdtrit(clusters - 1, 1 - ALPHA / 2))


@dataclass(frozen=True)
class Rise:
    """Whether curves rise, arrays [J].

    Attributes:
        p: how likely a flat curve seen through such items has so high a top.
        p_uneven: the same, where steps also move by what is seen between neighbours.
    """

    p: np.ndarray
    p_uneven: np.ndarray


def rise_of(curves: Curves, found: Crossing, level: Level) -> Rise:
    """The evidence that curves rise above their base.

    t = max over steps of (S - base) / max(se, rms over steps of se), se that of S - base over the
    items; p = min(1, T x the upper tail of Student's t). The rms keeps a step where all items agree
    from being infinitely sure.
    """
    grid = curves.grid
    smooth = curves.means @ grid.kernel.T
    base = found.base[:, None]
    against = grid.kernel - (grid.base if level.floor is None else 0.0)
    se = curves.standard_error(curves.sums @ against.T)
    rms = np.sqrt((se**2).mean(1, keepdims=True))
    certain = (se <= TOLERANCE * (1 + np.abs(base))).all(1)
    spread = np.maximum(se, rms)
    height = smooth - base
    excess = _excess(curves, smooth)[:, None]
    by_items = _p_of(height, spread, curves.clusters)
    p_certain = np.where((height > TOLERANCE * (1 + np.abs(base))).any(1), 0.0, 1.0)
    uneven = _p_of(height, np.sqrt(spread**2 + excess), curves.clusters)
    is_even = excess[:, 0] <= TOLERANCE**2
    return Rise(
        np.where(certain, p_certain, by_items), np.where(certain & is_even, p_certain, uneven)
    )


def _p_of(height: np.ndarray, spread: np.ndarray, clusters: int) -> np.ndarray:
    t = np.divide(height, spread, out=np.zeros_like(height), where=spread > 0).max(1)
    return np.asarray(np.minimum(1.0, height.shape[1] * stdtr(clusters - 1, -t)))


def _excess(curves: Curves, smooth: np.ndarray) -> np.ndarray:
    """By how much more than their items steps move, as a variance [J]."""
    thinned = curves.grid.thinned
    if len(thinned) < ENOUGH_THINNED:
        return np.zeros(len(smooth))
    differences = np.diff(smooth[:, thinned], axis=1)
    of_items = np.diff((curves.sums @ curves.grid.kernel.T)[:, :, thinned], axis=2)
    expected = np.median(curves.standard_error(of_items) ** 2, axis=1)
    seen = (TO_SIGMA * np.median(np.abs(differences), axis=1)) ** 2
    return np.asarray(np.maximum(0.0, seen - expected))


def sure_sides(curves: Curves, found: Crossing, level: Level) -> np.ndarray:
    """On which side of the level each step surely is, int8 [J, T]: 1 above, -1 below, 0 unsure.

    The level is taken as the linear function of the items that it is at the step of the top.
    """
    smooth = curves.sums @ curves.grid.kernel.T
    if level.threshold is not None:
        of_items = smooth
    else:
        top = np.take_along_axis(smooth, found.at[:, None, None], 2)
        base = 0.0 if level.floor is not None else (curves.sums @ curves.grid.base)[:, :, None]
        of_items = smooth - (top + base) / 2
    se = curves.standard_error(of_items)
    distance = curves.means @ curves.grid.kernel.T - found.level[:, None]
    size = TOLERANCE * (1 + np.abs(found.level[:, None]))
    far = np.abs(distance) > np.maximum(surely(curves.clusters) * se, size)
    return np.asarray((np.sign(distance) * far).astype(np.int8))


def crossings(sides: np.ndarray, steps: tuple[int, ...]) -> tuple[tuple[int | None, int], ...]:
    """The steps before and after each change from below, or from nothing, to above.

    Args:
        sides: of one curve [T], as `sure_sides` gives them.
        steps: the T steps.
    """
    found: list[tuple[int | None, int]] = []
    below: int | None = None
    above = False
    for side, step in zip(sides, steps, strict=True):
        if side > 0 and not above:
            found.append((below, step))
        if side:
            above = side > 0
            below = None if above else step
    return tuple(found)
