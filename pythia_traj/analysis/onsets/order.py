"""Which of several onsets came first, with its probability."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from pythia_traj.analysis.onsets.crossing import Level
from pythia_traj.analysis.onsets.curves import Curves
from pythia_traj.analysis.onsets.directions import check_direction, falls
from pythia_traj.analysis.onsets.grid import Grid
from pythia_traj.analysis.onsets.half import crossings_of_draws, estimate
from pythia_traj.analysis.onsets.onset import Onset
from pythia_traj.analysis.onsets.options import check_draws, check_level, check_seed
from pythia_traj.analysis.onsets.tables import Cluster, by_metric, names_of, trajectories_of
from pythia_traj.errors import AnalysisError

SURE = 0.975
"""With at least this share of the draws, one is said to come before the other."""

MOST = 50
"""Trajectories that are compared, each with each."""

SHARES = ("before", "tied", "after", "undetermined")


def order(
    df: pd.DataFrame,
    items: pd.DataFrame,
    *,
    by: list[str] | None = None,
    threshold: float | None = None,
    direction: str = "auto",
    floor: float | None = None,
    cluster: Cluster = None,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Which onset came before which, for each pair of the trajectories in some rows.

    In each draw of the items, the bracket of A is before, the same as, or after that of B. The same
    items are drawn for both where they are the same: of one label, under the same numbers. Onsets
    measured at different steps are compared on the steps that both have.

    Args:
        df, items, by, threshold, direction, floor, cluster, draws, seed: as for `onset`.

    Returns:
        a row a pair: `a` and `b`, the names of two trajectories by the keys in which any of them
        differ; the shares of the draws `before` (a before b), `tied` (in one bracket), `after`, and
        `undetermined` (neither rises), which sum to 1; `verdict`: "a before b" or "b before a"
        (a share of at least 0.975), "tied" (both intervals are the same single bracket), "not told
        apart", "no onset" where one of them has none, or "refused" where they have too few items
        or steps in common.

    Raises:
        AnalysisError: as `onset`; or there are fewer than two trajectories, more than 50, or some
            without items.
    """
    check_direction(direction)
    check_draws(draws)
    check_seed(seed)
    check_level("threshold", threshold)
    check_level("floor", floor)
    found = trajectories_of(df, items, by, cluster)
    lines = list(_lines(found.keys, found.groups, direction, Level(threshold, floor)))
    if not 2 <= len(lines) <= MOST:
        raise AnalysisError(
            f"{len(lines)} trajectories: an order is of 2 to {MOST}; choose them by metric, layer"
            " or head"
        )
    for line in lines:
        if not line.curves.has_items:
            raise AnalysisError(f"{line.name}: no items are stored, so nothing can be drawn")
    lines.sort(key=lambda line: line.number)
    return pd.DataFrame(
        [_compared(a, b, draws, seed) for a, b in combinations(lines, 2)],
        columns=["a", "b", *SHARES, "verdict"],
    )


@dataclass(frozen=True)
class _Line:
    """One trajectory, upright: its curve rises."""

    number: int
    name: str
    label: object
    items: tuple[int, ...]
    cluster: tuple[int, ...]
    curves: Curves
    level: Level
    alpha: float

    def on(self, steps: tuple[int, ...]) -> "_Line":
        """The same line at some of its steps."""
        chosen = np.isin(self.curves.grid.steps, steps)
        curves = replace(self.curves, grid=Grid(steps), sums=self.curves.sums[:, :, chosen])
        return replace(self, curves=curves)

    def drawn(self, draws: int, seed: int) -> np.ndarray:
        """How many steps are before the crossing, in each draw."""
        parts = crossings_of_draws(self.curves, self.level, draws, seed)
        return np.asarray(np.concatenate([part.k for part in parts])[0])

    def onset(self, draws: int, seed: int) -> Onset:
        """Its onset; heights are those of the upright curve."""
        return estimate(
            self.curves,
            threshold=self.level.threshold,
            floor=self.level.floor,
            draws=draws,
            seed=seed,
            alpha=self.alpha,
        )[0]


def _lines(
    keys: pd.DataFrame, groups: tuple[Any, ...], direction: str, level: Level
) -> Iterator[_Line]:
    names = names_of(keys)
    labels = keys["label"].astype(object) if "label" in keys else pd.Series([None] * len(keys))
    for group in groups:
        for metric, some in by_metric(group, keys):
            curves = replace(group.curves, sums=group.curves.sums[some])
            down, alpha = falls(direction, metric, curves, level)
            for j, number in enumerate(group.numbers[some]):
                one = replace(curves, sums=curves.sums[j : j + 1])
                yield _Line(
                    int(number),
                    names[int(number)],
                    labels[int(number)],
                    group.items,
                    group.cluster,
                    one.negated() if down[j] else one,
                    level.negated() if down[j] else level,
                    alpha,
                )


def _compared(a: _Line, b: _Line, draws: int, seed: int) -> Mapping[str, object]:
    steps = tuple(sorted(set(a.curves.grid.steps) & set(b.curves.grid.steps)))
    if len(steps) < 2:
        raise AnalysisError(f"{a.name} and {b.name} have {len(steps)} steps in common: 2 at least")
    a, b = a.on(steps), b.on(steps)
    same = (a.label, a.items, a.cluster) == (b.label, b.items, b.cluster)
    # A seed that no user gives by chance, so that the draws of other items are independent.
    first, second = a.drawn(draws, seed), b.drawn(draws, seed if same else seed + 2**32)
    neither = (first == len(steps)) & (second == len(steps))
    shares = {
        "before": float((first < second).mean()),
        "tied": float(((first == second) & ~neither).mean()),
        "after": float((first > second).mean()),
        "undetermined": float(neither.mean()),
    }
    verdict = _verdict(shares, a.onset(draws, seed), b.onset(draws, seed))
    return {"a": a.name, "b": b.name} | shares | {"verdict": verdict}


def _verdict(shares: Mapping[str, float], a: Onset, b: Onset) -> str:
    if "refused" in (a.status, b.status):
        return "refused"
    if {a.status, b.status} & {"none", "never"}:
        return "no onset"
    if shares["before"] >= SURE:
        return "a before b"
    if shares["after"] >= SURE:
        return "b before a"
    interval = (a.low, a.high)
    single = interval == (a.bracket_low, a.bracket_high) and None not in interval
    if single and interval == (b.low, b.high) == (b.bracket_low, b.bracket_high):
        return "tied"
    return "not told apart"
