"""Which way a metric goes as it is learnt."""

import numpy as np

from pythia_traj.analysis.onsets.crossing import Level, cross
from pythia_traj.analysis.onsets.curves import Curves
from pythia_traj.analysis.onsets.evidence import ALPHA, rise_of
from pythia_traj.errors import AnalysisError, nearest

DIRECTIONS = ("auto", "up", "down")

FALLING = frozenset(
    {"nll", "loss", "bits_per_byte", "icl_score", "icl_window", "kl", "js", "surprisal"}
)
"""Metrics that fall as they are learnt."""

RISING = frozenset(
    {
        *("accuracy", "prefix_matching", "previous_token", "duplicate_token", "copying"),
        *("logit_diff", "prob_diff", "faithfulness_normalised", "selectivity"),
    }
)
"""Metrics that rise."""


def check_direction(direction: str) -> None:
    """Refuses what is not a direction.

    Raises:
        AnalysisError: it is not one of DIRECTIONS.
    """
    if direction not in DIRECTIONS:
        raise AnalysisError(f"unknown direction {direction!r}: {nearest(direction, DIRECTIONS)}")


def falls(
    direction: str, metric: str | None, curves: Curves, level: Level
) -> tuple[np.ndarray, float]:
    """Which of some curves of one metric are taken as falling.

    Args:
        direction: `up`, `down`, or `auto`: as the metric is known to go; of other metrics a curve
            is falling that surely does, goes further down from its base than up, and begins above
            the threshold where there is one.
        metric: the name of the metric.
        curves: J trajectories.
        level: what is looked for.

    Returns:
        bool [J], and the alpha for p: half of ALPHA where the items themselves chose the direction.
    """
    known = direction == "down" or (direction == "auto" and metric in FALLING)
    if known or direction == "up" or metric in RISING:
        return np.full(len(curves.sums), known), ALPHA
    height = Level(floor=level.floor)
    upright = cross(curves.means, curves.grid, height)
    upside_down = curves.negated()
    found = cross(upside_down.means, curves.grid, height.negated())
    down = found.height > upright.height
    if curves.has_items:
        down &= rise_of(upside_down, found, height.negated()).p_uneven <= ALPHA / 2
    if level.threshold is not None:
        down &= curves.means @ curves.grid.base > level.threshold
    return np.asarray(down), ALPHA / 2
