"""Onsets as a table: rows and items of a run in, one row a trajectory out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from pythia_traj.analysis.onsets.crossing import Level, cross, interpolated
from pythia_traj.analysis.onsets.curves import Curves
from pythia_traj.analysis.onsets.directions import check_direction, falls
from pythia_traj.analysis.onsets.evidence import ALPHA
from pythia_traj.analysis.onsets.grid import step_at
from pythia_traj.analysis.onsets.half import estimate
from pythia_traj.analysis.onsets.heads import q_values
from pythia_traj.analysis.onsets.methods import Method, estimate_by, method_named
from pythia_traj.analysis.onsets.onset import Onset
from pythia_traj.analysis.onsets.options import check_draws, check_level, check_seed
from pythia_traj.analysis.onsets.tables import Cluster, Group, by_metric, trajectories_of
from pythia_traj.analysis.onsets.words import words
from pythia_traj.errors import AnalysisError

TYPES = {
    "status": "str",
    "step": "float64",
    "low": "Int64",
    "high": "Int64",
    "bracket_low": "Int64",
    "bracket_high": "Int64",
    "level": "float64",
    "base": "float64",
    "top": "float64",
    "top_step": "Int64",
    "p": "float64",
    "q": "float64",
    "crossings": "object",
    "flags": "str",
    "n": "Int64",
    "clusters": "Int64",
    "steps": "Int64",
    "direction": "str",
    "left_out": "Int64",
    "unknown_clusters": "Int64",
    "step_at_0.75": "float64",
    "step_at_1.25": "float64",
    "words": "str",
}
"""The columns of a table of onsets, after the keys of its trajectories."""

SENSITIVITY = (0.75, 1.25)
"""Shares of a threshold at which the onset is given too."""

NEAR_THRESHOLD = tuple(f"step_at_{share}" for share in SENSITIVITY)
"""The columns of these onsets."""


def onset(
    df: pd.DataFrame,
    items: pd.DataFrame | None = None,
    *,
    by: Sequence[str] | None = None,
    method: str = "half",
    threshold: float | None = None,
    direction: str = "auto",
    floor: float | None = None,
    cluster: Cluster = None,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """When each trajectory takes off, with a 95 % interval over items.

        df = pt.load("runs/induction", metric="prefix_matching", variant="two_halves")
        items = pt.load("runs/induction", table="items", metric="prefix_matching")
        pt.onset(df, items)

    A trajectory is one metric of one model, layer, head and variant over the measured steps: never
    one across seeds. The default, `half`, is where it has risen by half of its height;
    docs/onsets.md defines it, and says how often its interval holds an onset that is known.

    The interval has the uncertainty of the items and of the grid of steps, not that of seeds.

    Args:
        df: rows of a run. Rows without a value are steps that were not measured.
        items: the same of its table `items`; means are theirs then. Without them there are
            brackets, and no intervals.
        by: the columns that tell trajectories apart; None are all keys that the rows have.
        method: `half`, `threshold:X`, or for comparison only `half_max`, `half_final`, `logistic`,
            `ramp`, `change_point`, `first_above:X,K`.
        threshold: the same as `threshold:X`.
        direction: `up`, `down`, or `auto`: as the metric is known to go. Of other metrics a curve
            is taken as falling where it surely falls, and further than it rises; p is then compared
            with 0.025, whichever way it goes.
        floor: the base, where it is known: chance, or ln V of a loss.
        cluster: which items are not independent: a column of `items`, or item -> cluster. None is
            the column `cluster`, where they have it.
        draws: of the bootstrap.
        seed: of the bootstrap: the same items are drawn for all trajectories.

    Returns:
        one row a trajectory: its keys, then

        - status: onset, several, unsure, none, never, present, refused (see `STATUSES`);
        - step: the crossing; low, high: the interval; bracket_low, bracket_high: the measured steps
          around the crossing. Null ends are open;
        - level, base, top: heights, in the metric's unit; top_step: where the top is;
        - p: of so high a rise of a flat curve; q: p over the heads of one model, metric and
          variant by Benjamini and Hochberg: list heads of q <= 0.05;
        - crossings: the measured steps around each crossing that is sure;
        - flags: words of `FLAGS`, separated by commas;
        - n, clusters, steps, left_out: how many items, clusters and steps; items missing at a step;
          unknown_clusters: how many the rows count where the items do not name them, else 0;
        - direction: up or down; step_at_0.75, step_at_1.25: the onset at shares of a threshold;
        - words: what this says, in a sentence.

    Raises:
        AnalysisError: a column is missing, a trajectory has two values at a step, or an option is
            unknown.
    """
    how = _How.of(method, threshold, floor, draws, seed)
    check_direction(direction)
    found = trajectories_of(df, items, by, cluster)
    rows: dict[int, dict[str, object]] = {}
    for group in found.groups:
        for metric, some in by_metric(group, found.keys):
            rows |= how.rows(group.part(some), metric, direction)
    columns = [*TYPES, "_tries"]
    table = pd.DataFrame([rows[number] for number in sorted(rows)], columns=columns)
    # Where the items chose between two directions, there were two tries.
    p = table["p"].to_numpy(float) * table.pop("_tries").to_numpy(float)
    table["q"] = q_values(found.keys, np.minimum(p, 1.0))
    table["words"] = [
        words({str(name): value for name, value in one.items()}) for one in table.to_dict("records")
    ]
    table = table.astype(TYPES)
    return pd.concat([found.keys.reset_index(drop=True), table], axis=1)


@dataclass(frozen=True)
class _How:
    """How onsets are estimated."""

    level: Level
    method: Method | None
    draws: int
    seed: int

    @classmethod
    def of(
        cls, method: str, threshold: float | None, floor: float | None, draws: int, seed: int
    ) -> "_How":
        """Reads the options of `onset`.

        Raises:
            AnalysisError: one is unknown, or two contradict each other.
        """
        check_draws(draws)
        check_seed(seed)
        check_level("threshold", threshold)
        check_level("floor", floor)
        named = threshold_of(method)
        if named is not None:
            if threshold is not None:
                raise AnalysisError(f"method={method!r} and threshold={threshold}: give one")
            method, threshold = "half", named
        if method == "half":
            return cls(Level(threshold, floor), None, draws, seed)
        if threshold is not None or floor is not None:
            raise AnalysisError(
                f"method {method!r} takes no threshold and no floor: only half does"
            )
        return cls(Level(), method_named(method), draws, seed)

    def rows(
        self, group: Group, metric: str | None, direction: str
    ) -> dict[int, dict[str, object]]:
        """The rows of one metric's trajectories, by the number of the trajectory."""
        down, alpha = falls(direction, metric, group.curves, self.level)
        rows: dict[int, dict[str, object]] = {}
        for falling in (False, True):
            some = np.flatnonzero(down == falling)
            if not len(some):
                continue
            part = group.part(some)
            near = self._sensitivity(part.curves, falling)
            onsets = self._estimate(part.curves, falling, alpha)
            for j, one in enumerate(onsets):
                unknown = int(part.unknown_clusters[j])
                flags = (*one.flags, *(["clusters_unknown"] if unknown else []))
                rows[int(part.numbers[j])] = asdict(one) | {
                    "crossings": one.crossings,
                    "flags": ", ".join(flags),
                    "direction": "down" if falling else "up",
                    "left_out": int(part.left_out[j]),
                    "_tries": round(ALPHA / alpha),
                    "unknown_clusters": unknown,
                    **{f"step_at_{share}": near[share][j] for share in SENSITIVITY},
                }
        return rows

    def _estimate(self, curves: Curves, falling: bool, alpha: float) -> list[Onset]:
        if self.method is not None:
            return estimate_by(
                self.method, curves, falling=falling, draws=self.draws, seed=self.seed
            )
        return estimate(
            curves,
            threshold=self.level.threshold,
            floor=self.level.floor,
            falling=falling,
            draws=self.draws,
            seed=self.seed,
            alpha=alpha,
        )

    def _sensitivity(self, curves: Curves, falling: bool) -> dict[float, list[float | None]]:
        """Where curves cross shares of the threshold; nothing without a threshold."""
        threshold = self.level.threshold
        if threshold is None:
            return {share: [None] * len(curves.sums) for share in SENSITIVITY}
        upright = curves.negated() if falling else curves
        found: dict[float, list[float | None]] = {}
        for share in SENSITIVITY:
            level = Level(threshold * share)
            level = level.negated() if falling else level
            crossing = cross(upright.means, curves.grid, level)
            places = [
                interpolated(means, curves.grid, float(at), int(k))
                for means, at, k in zip(upright.means, crossing.level, crossing.k, strict=True)
            ]
            found[share] = [None if x is None else step_at(x) for x in places]
        return found


def threshold_of(method: str) -> float | None:
    """The X of the method `threshold:X`; None of other methods.

    Raises:
        AnalysisError: X is not a number.
    """
    word, _, text = method.partition(":")
    if word != "threshold":
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise AnalysisError(f"method {method!r}: write threshold:0.3, a level")
    return number
