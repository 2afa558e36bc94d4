"""Ratios of means over paired items, with a value only where the denominator says something."""

import numpy as np

from pythia_traj.engines.means import Design, Mean, PerItem, standard_error, with_error

GUARD = 3
"""A denominator that lies within so many of its own standard errors of 0 says nothing."""


def guarded_ratio(
    above: PerItem,
    below: PerItem,
    name: str,
    *,
    positive: bool = False,
    design: Design | None = None,
) -> Mean:
    """Mean of one over mean of the other, never a mean of the items' ratios.

    Its standard error is to first order (the delta method), from the items' residuals.

    Args:
        above, below: numerator and denominator, item by item.
        name: of the denominator, for the reason.
        positive: whether the denominator must be positive: above 0 by that many standard errors.
        design: which items belong together; each is a cluster if not given.
    """
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    mean, error = float(below.mean()), standard_error(below, design)
    if error is None:
        # Of one document, say: its items are what there is to judge the denominator by.
        error = standard_error(below)
    if error is None:
        return Mean(None, reason="one item has no standard error")
    if (mean if positive else abs(mean)) <= GUARD * error:
        where = "not above" if positive else "within"
        return Mean(
            None, reason=f"{name} is {mean:.3g}, {where} {GUARD} standard errors ({error:.2g}) of 0"
        )
    value = float(above.mean()) / mean
    of_residuals = standard_error(above - value * below, design)
    stderr = None if of_residuals is None else of_residuals / abs(mean)
    clusters = len(below) if design is None else design.n_clusters
    return with_error(value, stderr, len(below), clusters)
