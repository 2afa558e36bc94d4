"""Other estimators of onsets, by the names under which they are known: for comparison only.

half_max      published: the first step whose raw mean is at least half of the largest raw mean
half_final    the first step whose raw mean is at least half way from the base to the last one
logistic      the midpoint of a logistic curve, least squares of floor, height, rate and midpoint
ramp          where a flat, linear, flat curve begins to rise, least squares
change_point  the first change to a higher mean (see `change_points`)
first_above   first_above:X,K is the first of K raw means in a row that are above X

`half_final` and `logistic` are wrong for curves that fall again; the knot of `ramp` and change
points are other quantities than half of the height. docs/onsets.md has the figures of each.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit

from pythia_traj.analysis.onsets.change_points import first_rise
from pythia_traj.analysis.onsets.curves import Curves
from pythia_traj.analysis.onsets.grid import Grid, step_at
from pythia_traj.analysis.onsets.half import refusals, size_of
from pythia_traj.analysis.onsets.onset import Onset
from pythia_traj.errors import AnalysisError, nearest

Method = Callable[[np.ndarray, Grid], np.ndarray]
"""Rising curves [..., T] and their steps -> positions of their onsets [...], nan where none."""

_BEYOND = 2.0
"""How many octaves before the first and after the last step a midpoint may lie."""

_RESOLUTION = 1 / 16
"""Octaves between the midpoints that are tried."""

_WIDTHS = 2.0 ** np.arange(-3, 5, 0.5)
"""Octaves that logistic curves take from a tenth to nine tenths of their height."""


def half_max(means: np.ndarray, grid: Grid) -> np.ndarray:
    """The first step whose mean is at least half of the largest mean: no base, no smoothing."""
    return _first(means >= means.max(-1, keepdims=True) / 2, grid)


def half_final(means: np.ndarray, grid: Grid) -> np.ndarray:
    """The first step whose mean is at least half way from the base to the last mean."""
    base, last = means @ grid.base, means[..., -1]
    found = _first(means >= ((base + last) / 2)[..., None], grid)
    return np.where(last > base, found, np.nan)


def logistic(means: np.ndarray, grid: Grid) -> np.ndarray:
    """The midpoint of the logistic curve that fits best.

    Midpoints are tried every sixteenth of an octave; a single curve is fitted further from there.
    """
    middles = np.arange(grid.x[0] - _BEYOND, grid.x[-1] + _BEYOND, _RESOLUTION)
    at = np.stack(np.meshgrid(middles, _WIDTHS, indexing="ij"), -1).reshape(-1, 2)
    shapes = _logistic(grid.x, at[:, :1], at[:, 1:])
    best = _best(means, shapes)
    found = np.where(best < 0, np.nan, at[best, 0])
    if found.size == 1 and best.flat[0] >= 0:
        return np.full(found.shape, _polished(means.reshape(-1), grid, at[best.flat[0]]))
    return found


def ramp(means: np.ndarray, grid: Grid) -> np.ndarray:
    """Where the flat, linear, flat curve that fits best begins to rise: a measured step."""
    first, last = np.triu_indices(len(grid), 1)
    begin, end = grid.x[first, None], grid.x[last, None]
    best = _best(means, np.clip((grid.x - begin) / (end - begin), 0, 1))
    return np.where(best < 0, np.nan, grid.x[first[best]])


@dataclass(frozen=True)
class FirstAbove:
    """The first of `in_row` means in a row that are above a level."""

    level: float
    in_row: int

    def __call__(self, means: np.ndarray, grid: Grid) -> np.ndarray:
        """The positions, as every method."""
        above = means > self.level
        rows = [above[..., i : len(grid) - self.in_row + 1 + i] for i in range(self.in_row)]
        return _first(np.logical_and.reduce(rows), grid)

    def negated(self) -> "FirstAbove":
        """The same of a curve that is upside down."""
        return replace(self, level=-self.level)


METHODS: dict[str, Method] = {
    "half_max": half_max,
    "half_final": half_final,
    "logistic": logistic,
    "ramp": ramp,
    "change_point": first_rise,
}
"""The methods that have no level of their own."""

NAMES = ("half", "threshold:X", *METHODS, "first_above:X,K")
"""How methods are written."""


def method_named(name: str) -> Method:
    """The method of a name.

    Raises:
        AnalysisError: there is none of that name.
    """
    if name in METHODS:
        return METHODS[name]
    word, _, rest = name.partition(":")
    if word == "first_above":
        try:
            level, in_row = rest.split(",")
            found = FirstAbove(float(level), int(in_row))
        except ValueError:
            found = FirstAbove(float("nan"), 0)
        if found.in_row > 0 and np.isfinite(found.level):
            return found
        raise AnalysisError(f"method {name!r}: write first_above:0.3,2, a level and how many steps")
    raise AnalysisError(f"unknown method {name!r}: {nearest(name, NAMES)}")


def estimate_by(
    method: Method, curves: Curves, *, falling: bool = False, draws: int = 1000, seed: int = 0
) -> list[Onset]:
    """The onset of each curve by one of these methods.

    None of them asks whether there is a rise at all. The interval is the 95 % range of the draws,
    widened to measured steps, and never narrower than the bracket.

    Args:
        method: which one.
        curves: J trajectories.
        falling: whether the metric falls as it is learnt.
        draws: of the bootstrap over items.
        seed: of the bootstrap.
    """
    if falling:
        curves = curves.negated()
        method = method.negated() if isinstance(method, FirstAbove) else method
    flags = refusals(curves)
    size = size_of(curves)
    if flags:
        return [replace(size, flags=flags)] * len(curves.sums)
    grid, found = curves.grid, []
    weights = curves.weights(draws, seed) if curves.has_items else None
    for j, means in enumerate(curves.means):
        x = float(method(means[None], grid)[0])
        drawn = None
        if weights is not None:
            one = replace(curves, sums=curves.sums[j : j + 1])
            drawn = method(one.drawn(weights)[0], grid)
        found.append(_onset(x, drawn, grid, size))
    return found


def _onset(x: float, drawn: np.ndarray | None, grid: Grid, size: Onset) -> Onset:
    if np.isnan(x):
        return replace(size, status="none")
    before, after = _enclosing(x, x, grid)
    onset = replace(size, status="unsure", step=step_at(x), bracket_low=before, bracket_high=after)
    if drawn is None:
        return replace(onset, flags=("no_items",))
    # A draw without an onset leaves both ends open.
    ends = np.concatenate([[x], drawn])
    lowest = np.quantile(np.where(np.isnan(ends), -np.inf, ends), 0.025, method="lower")
    highest = np.quantile(np.where(np.isnan(ends), np.inf, ends), 0.975, method="higher")
    low, high = _enclosing(min(x, lowest), max(x, highest), grid)
    is_open = low is None or high is None
    return replace(onset, status="unsure" if is_open else "onset", low=low, high=high)


def _enclosing(low: float, high: float, grid: Grid) -> tuple[int | None, int | None]:
    """The measured step before a position, and the one at or after another."""
    before = int(np.searchsorted(grid.x, low - 1e-9)) - 1
    after = int(np.searchsorted(grid.x, high - 1e-9))
    return (
        grid.steps[before] if before >= 0 else None,
        grid.steps[after] if after < len(grid) else None,
    )


def _first(which: np.ndarray, grid: Grid) -> np.ndarray:
    """The position of the first step of which something is true [..., T], nan where of none."""
    if not which.shape[-1]:
        return np.full(which.shape[:-1], np.nan)
    return np.where(which.any(-1), grid.x[which.argmax(-1)], np.nan)


def _best(means: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Which shape fits curves best with a floor and a height above 0; -1 where none rises.

    Args:
        means: [..., T].
        shapes: [G, T].

    Returns:
        int [...].
    """
    centred = shapes - shapes.mean(1, keepdims=True)
    norms = np.sqrt((centred**2).sum(1))
    some = norms > 1e-9
    centred[some] /= norms[some, None]
    # The part of the curve's variance that a shape explains is the square of this.
    explained = means @ np.where(some[:, None], centred, 0.0).T
    return np.where(explained.max(-1) > 1e-12, explained.argmax(-1), -1)


def _logistic(x: np.ndarray, middle: np.ndarray, width: np.ndarray) -> np.ndarray:
    return np.asarray(expit(np.log(81) * (x - middle) / width))


def _polished(means: np.ndarray, grid: Grid, start: np.ndarray) -> float:
    """The midpoint of one curve's least-squares fit, from the best of those that were tried."""
    low, high = float(means.min()), float(means.max())

    def residuals(q: np.ndarray) -> np.ndarray:
        floor, height, middle, width = q
        shape = _logistic(grid.x, np.array(middle), np.exp(width))
        return np.asarray(floor + height * shape - means)

    first = [low, high - low, start[0], np.log(start[1])]
    inside = (grid.x[0] - _BEYOND, grid.x[-1] + _BEYOND)
    fitted = least_squares(residuals, first, x_scale=[high - low + 1e-12, high - low + 1e-12, 1, 1])
    return float(np.clip(fitted.x[2], *inside))
