"""Which way a metric goes as it is learnt."""

import numpy as np

from pythia_traj.analysis.onsets.curves import Curves
from pythia_traj.analysis.onsets.evidence import ALPHA
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


def falls(direction: str, metric: str | None, curves: Curves) -> tuple[np.ndarray, float]:
    """Which of some curves of one metric are taken as falling.

    Args:
        direction: `up`, `down`, or `auto`: as the metric is known to go, else the way in which the
            smoothed curve goes furthest from its base.
        metric: the name of the metric.
        curves: J trajectories.

    Returns:
        bool [J], and the alpha for p: half of ALPHA where the items themselves chose the direction.
    """
    known = direction == "down" or (direction == "auto" and metric in FALLING)
    if known or direction == "up" or metric in RISING:
        return np.full(len(curves.sums), known), ALPHA
    smooth = curves.means @ curves.grid.kernel.T
    base = (curves.means @ curves.grid.base)[:, None]
    return np.asarray((base - smooth).max(1) > (smooth - base).max(1)), ALPHA / 2
