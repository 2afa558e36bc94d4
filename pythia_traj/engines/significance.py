"""Which of many values stand out from those where there is nothing to find."""

import numpy as np

CLOSE = 1e-6
"""Values that differ by less than this share are equal: means of the same shares in another order.
"""


def p_values(values: np.ndarray, null: np.ndarray) -> np.ndarray:
    """The share of the null that is as large as each value, the value itself among it, in (0, 1].

    p = (1 + null values >= the value) / (1 + null values), which is valid where value and null are
    exchangeable (Phipson and Smyth 2010); a value that is equal counts as large. With a null of N,
    p (N + 1) - 1 of its values are as large.

    Args:
        values: of any shape, finite.
        null: any number of them, pooled, finite.
    """
    pooled = np.sort(null, axis=None)
    as_large = len(pooled) - np.searchsorted(pooled, values - CLOSE * np.abs(values), side="left")
    p: np.ndarray = (1 + as_large) / (1 + len(pooled))
    return p


def discoveries(p: np.ndarray, rate: float) -> np.ndarray:
    """Which p-values are significant at a false discovery rate (Benjamini and Hochberg 1995).

    Those up to the largest that is at most rate * its rank / their number.

    >>> discoveries(np.array([0.02, 0.9, 0.03, 0.2]), 0.05)
    array([False, False, False, False])
    >>> discoveries(np.array([0.02, 0.9, 0.01, 0.2]), 0.05)
    array([ True, False,  True, False])
    """
    ordered = np.sort(p, axis=None)
    allowed = ordered[ordered <= rate * np.arange(1, p.size + 1) / p.size]
    found: np.ndarray = p <= (allowed[-1] if len(allowed) else -1.0)
    return found
