"""The default estimator: when a trajectory has risen by half of its height, or to a threshold.

Everything is computed in x = log2(step + 1) on the measured steps. docs/onsets.md says what it
reaches on curves whose onset is known.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr

from pythia_traj.analysis.onsets.crossing import Crossing, Level, cross, interpolated
from pythia_traj.analysis.onsets.curves import Curves
from pythia_traj.analysis.onsets.evidence import ALPHA, crossings, rise_of, sure_sides, surely
from pythia_traj.analysis.onsets.grid import BASE_UNTIL, step_at
from pythia_traj.analysis.onsets.onset import Onset

FEWEST_STEPS = 8
FEWEST_ITEMS = 8

_AT_ONCE = 2**18
"""Numbers of drawn curves that are held at once: they stay in the processor's cache."""

_STILL_RISING = 0.1
"""A curve still rises if it gained this share of its height over the last octave, surely."""


def estimate(
    curves: Curves,
    *,
    threshold: float | None = None,
    floor: float | None = None,
    falling: bool = False,
    draws: int = 1000,
    seed: int = 0,
    alpha: float = ALPHA,
) -> list[Onset]:
    """The onset of each curve.

    Args:
        curves: J trajectories.
        threshold: a level to look for; None is half of the height.
        floor: a known base, such as chance; None is the mean of the first steps.
        falling: whether the metric falls as it is learnt.
        draws: of the bootstrap over items.
        seed: of the bootstrap.
        alpha: above this p, no rise is called one.

    Returns:
        one for each trajectory, in their order.
    """
    level = Level(threshold, floor)
    if falling:
        return [
            _upright(onset)
            for onset in _rising(curves.negated(), level.negated(), draws, seed, alpha)
        ]
    return _rising(curves, level, draws, seed, alpha)


def _rising(curves: Curves, level: Level, draws: int, seed: int, alpha: float) -> list[Onset]:
    if flags := refusals(curves):
        return [replace(size_of(curves), flags=flags)] * len(curves.sums)
    found = cross(curves.means, curves.grid, level)
    if not curves.has_items:
        return [_without_items(curves, found, level, j) for j in range(len(curves.sums))]
    drawn = np.concatenate([part.k for part in crossings_of_draws(curves, level, draws, seed)])
    evidence = _Evidence.of(curves, found, level)
    return [
        _onset(curves, found, level, drawn[j], evidence.of_one(j), j, alpha)
        for j in range(len(curves.sums))
    ]


def crossings_of_draws(curves: Curves, level: Level, draws: int, seed: int) -> Iterator[Crossing]:
    """The crossings of each draw of the items, a few trajectories at a time: arrays [j, draws]."""
    weights = curves.weights(draws, seed)
    at_once = max(1, _AT_ONCE // (draws * len(curves.grid)))
    for first in range(0, len(curves.sums), at_once):
        some = replace(curves, sums=curves.sums[first : first + at_once])
        yield cross(some.drawn(weights), curves.grid, level)


def tails(clusters: int) -> float:
    """The quantile of draws at each end of the interval.

    A bootstrap of few items is too narrow: this widens its quantiles to those of Student's t with
    the variance of n - 1 (0.0231 at 100, 0.0139 at 16 in place of 0.025).
    """
    return float(ndtr(-np.sqrt(clusters / (clusters - 1)) * surely(clusters)))


@dataclass(frozen=True)
class _Evidence:
    """What the items say of curves; arrays whose first axis is the trajectory."""

    p: np.ndarray
    p_uneven: np.ndarray
    sides: np.ndarray
    still_rising: np.ndarray

    @classmethod
    def of(cls, curves: Curves, found: Crossing, level: Level) -> "_Evidence":
        rise = rise_of(curves, found, level)
        sides = sure_sides(curves, found, level)
        return cls(rise.p, rise.p_uneven, sides, _still_rising(curves, found))

    def of_one(self, j: int) -> "_Evidence":
        return _Evidence(self.p[j], self.p_uneven[j], self.sides[j], self.still_rising[j])


def _onset(
    curves: Curves,
    found: Crossing,
    level: Level,
    drawn: np.ndarray,
    evidence: _Evidence,
    j: int,
    alpha: float,
) -> Onset:
    by_half = level.threshold is None
    steps, k = curves.grid.steps, int(found.k[j])
    onset = _bracket_only(curves, found, level, j)
    flags = [flag for flag in onset.flags if flag != "no_items"]
    onset = replace(onset, flags=tuple(flags), p=float(evidence.p) if by_half else None)
    if by_half and evidence.p > alpha:
        # Where nothing rises there is nothing to date.
        return replace(onset, status="none", step=None, bracket_low=None, bracket_high=None)
    if not by_half and k == len(steps):
        return replace(onset, status="never", low=steps[-1])
    if not by_half and k == 0 and not drawn.any():
        return replace(onset, status="present", high=steps[0])
    sure = crossings(evidence.sides, steps)
    low, high = _interval(drawn, k, steps, curves.clusters)
    if len(sure) > 1:
        flags.append("several_crossings")
        low, high = _widened(low, high, sure)
    if _falls_back(evidence.sides):
        flags.append("falls_back")
    if by_half and evidence.still_rising:
        flags.append("still_rising")
    if by_half and evidence.p_uneven > alpha:
        flags.append("uneven")
    unsure = low is None or high is None or "uneven" in flags or "base_not_init" in flags
    status = "several" if len(sure) > 1 else "unsure" if unsure else "onset"
    return replace(onset, status=status, low=low, high=high, crossings=sure, flags=tuple(flags))


def _without_items(curves: Curves, found: Crossing, level: Level, j: int) -> Onset:
    """What is said of a curve of which only the means are known."""
    onset, k, by_half = _bracket_only(curves, found, level, j), found.k[j], level.threshold is None
    if k == len(curves.grid):
        never = replace(onset, status="never")
        return replace(never, status="none", bracket_low=None) if by_half else never
    return onset if by_half or k else replace(onset, status="present")


def _bracket_only(curves: Curves, found: Crossing, level: Level, j: int) -> Onset:
    """What is known of a curve without its items."""
    steps, k = curves.grid.steps, int(found.k[j])
    x = interpolated(curves.means[j], curves.grid, float(found.level[j]), k)
    flags = ["no_items"]
    if level.threshold is None and level.floor is None and steps[0] > BASE_UNTIL:
        flags.append("base_not_init")
    return replace(
        size_of(curves),
        status="unsure",
        step=None if x is None else step_at(x),
        bracket_low=_before(steps, k),
        bracket_high=_after(steps, k),
        level=float(found.level[j]),
        base=float(found.base[j]),
        top=float(found.top[j]),
        top_step=steps[int(found.at[j])],
        flags=tuple(flags),
    )


def _before(steps: tuple[int, ...], k: int) -> int | None:
    return steps[k - 1] if k > 0 else None


def _after(steps: tuple[int, ...], k: int) -> int | None:
    return steps[k] if k < len(steps) else None


def _interval(
    drawn: np.ndarray, k: int, steps: tuple[int, ...], clusters: int
) -> tuple[int | None, int | None]:
    q = tails(clusters)
    low = min(k, int(np.quantile(drawn, q, method="lower")))
    high = max(k, int(np.quantile(drawn, 1 - q, method="higher")))
    # A draw that never rises, or rises before the first step, leaves its end open.
    return _before(steps, low), _after(steps, high)


def _widened(
    low: int | None, high: int | None, sure: tuple[tuple[int | None, int], ...]
) -> tuple[int | None, int | None]:
    """An interval that holds all crossings too."""
    befores = [before for before, _ in sure]
    known = [before for before in befores if before is not None]
    lowest = None if low is None or len(known) < len(befores) else min([low, *known])
    return lowest, None if high is None else max(high, *(after for _, after in sure))


def _falls_back(sides: np.ndarray) -> bool:
    """Whether the last sure step is below the level, after one that was above."""
    sure = sides[sides != 0]
    return bool(len(sure) and sure[-1] < 0 and (sure > 0).any())


def _still_rising(curves: Curves, found: Crossing) -> np.ndarray:
    """Whether curves rose by a tenth of their height over the last octave, surely; bool [J]."""
    grid = curves.grid
    gained = grid.kernel[-1] - grid.kernel[grid.octave_earlier]
    gain = curves.means @ gained
    se = curves.standard_error(curves.sums @ gained)
    height = found.height
    return np.asarray(
        (gain > surely(curves.clusters) * se) & (gain > _STILL_RISING * height) & (height > 0)
    )


def refusals(curves: Curves) -> tuple[str, ...]:
    """The flags that say why no onset of curves is estimated; none where one is."""
    flags = []
    if len(curves.grid) < FEWEST_STEPS:
        flags.append("few_steps")
    if curves.has_items and curves.clusters < FEWEST_ITEMS:
        flags.append("few_items")
    return tuple(flags)


def size_of(curves: Curves) -> Onset:
    """An onset that is refused, of curves of that size."""
    n, clusters = (round(curves.n), curves.clusters) if curves.has_items else (0, 0)
    return Onset("refused", n=n, clusters=clusters, steps=len(curves.grid))


def _upright(onset: Onset) -> Onset:
    """An onset of curves that were upside down."""
    return replace(
        onset,
        level=_negated(onset.level),
        base=_negated(onset.base),
        top=_negated(onset.top),
    )


def _negated(height: float | None) -> float | None:
    return None if height is None else -height
