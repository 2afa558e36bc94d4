"""Ratios of means over paired items, with a value only where the denominator says something."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from jaxtyping import Float

GUARD = 3
"""A denominator that lies within so many of its own standard errors of 0 says nothing."""

PerItem = Float[np.ndarray, " item"]


@dataclass(frozen=True)
class Ratio:
    """A ratio of means; `value` is None where it has none, and `reason` says why.

    Attributes:
        stderr: to first order (the delta method), from the items' residuals.
        n: items.
    """

    value: float | None
    stderr: float | None = None
    n: int | None = None
    reason: str | None = None


def guarded_ratio(above: PerItem, below: PerItem, name: str, *, positive: bool = False) -> Ratio:
    """Mean of one over mean of the other, never a mean of the items' ratios.

    Args:
        above, below: numerator and denominator, item by item.
        name: of the denominator, for the reason.
        positive: whether the denominator must be positive: above 0 by that many standard errors.
    """
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    n, mean = len(below), float(below.mean())
    if n < 2:
        return Ratio(None, reason="one item has no standard error")
    error = float(below.std(ddof=1)) / sqrt(n)
    if (mean if positive else abs(mean)) <= GUARD * error:
        where = "not above" if positive else "within"
        return Ratio(
            None, reason=f"{name} is {mean:.3g}, {where} {GUARD} standard errors ({error:.2g}) of 0"
        )
    value = float(above.mean()) / mean
    return Ratio(value, float((above - value * below).std(ddof=1)) / sqrt(n) / abs(mean), n)
