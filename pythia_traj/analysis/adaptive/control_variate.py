"""The mean of all items at a step where only some were measured, by the same items elsewhere.

Items that are hard at one step are hard at the next. Where all N items are known at neighbouring
steps (anchors) and m of them at the step between, the items' values at the anchors are control
variates:

    mean(Y) = mean_S(Y) + b (mean_all(A) - mean_S(A)),   b: least squares of Y on A over S

S are the m items, drawn without regard to their values; the same items at all steps. This is the
regression estimator of double sampling (Cochran 1977, *Sampling Techniques*, 12.7). It is worth it
where items keep their places from step to step: benchmarks/few_items.py says how much.
"""

from dataclasses import dataclass

import numpy as np

from pythia_traj.errors import AnalysisError

LEAST_SPARE = 3
"""Items beyond one for the mean and one for each control: with fewer, residuals say too little."""


@dataclass(frozen=True)
class Corrected:
    """The mean over all items, of which some were measured.

    Attributes:
        mean: corrected by the controls.
        stderr: of it, as of a mean over drawn items.
        plain, plain_stderr: the mean of the measured items alone, and its standard error.
        completed: float64 [N], the measured values, and what the regression expects of the other
            items. Their mean is `mean`; they vary less than items do.
        degrees: of freedom, for Student's t.
    """

    mean: float
    stderr: float
    plain: float
    plain_stderr: float
    completed: np.ndarray
    degrees: int

    @property
    def gain(self) -> float:
        """The variance of the plain mean over that of the corrected one."""
        return (self.plain_stderr / self.stderr) ** 2 if self.stderr else float("inf")


def between(low: np.ndarray, high: np.ndarray, share: float) -> np.ndarray:
    """One control for each item: its value between two anchors, linear in log2(step + 1).

    Args:
        low, high: float64 [N], the items at the anchor before and at the one after.
        share: of the way from one to the other, 0 to 1.

    Returns:
        float64 [N, 1]. Two controls, one for each anchor, cost a degree of freedom more.
    """
    return np.asarray((1 - share) * low + share * high)[:, None]


def corrected(values: np.ndarray, subset: np.ndarray, controls: np.ndarray) -> Corrected:
    """The mean of N items from m of them.

    With e the residuals, s^2 = sum(e^2) / (m - 1 - K) and d = mean_all(A) - mean_S(A):

        variance = s^2 (1 / m + d' (A_S' A_S)^-1 d) + b' cov(A) b / N

    (A_S centred). The first part is what the measured items leave unknown, the second is that the N
    items are drawn themselves. With m = N it is the variance of an ordinary mean.

    Args:
        values: float64 [m], at the step in between.
        subset: int64 [m], which items they are of.
        controls: float64 [N, K], of all items.

    Raises:
        AnalysisError: too few items were measured, or one of them twice.
    """
    (n, k), m = controls.shape, len(values)
    if len(set(subset.tolist())) < m or m < 1 + k + LEAST_SPARE:
        raise AnalysisError(
            f"{m} of {n} items with {k} controls: measure at least {1 + k + LEAST_SPARE}, each once"
        )
    plain, plain_stderr = float(values.mean()), float(values.std(ddof=1) / np.sqrt(m))
    if m == n:
        completed = np.empty(n)
        completed[subset] = values
        return Corrected(plain, plain_stderr, plain, plain_stderr, completed, m - 1)
    known = controls[subset]
    centred = known - known.mean(0)
    inverse = np.linalg.pinv(centred.T @ centred)
    slope = inverse @ centred.T @ (values - plain)
    expected = plain + (controls - known.mean(0)) @ slope
    residuals = values - expected[subset]
    off = controls.mean(0) - known.mean(0)
    unknown = (residuals @ residuals) / (m - 1 - k) * (1 / m + off @ inverse @ off)
    drawn = slope @ np.atleast_2d(np.cov(controls.T)) @ slope / n
    completed = expected.copy()
    completed[subset] = values
    return Corrected(
        float(expected.mean()),
        float(np.sqrt(unknown + drawn)),
        plain,
        plain_stderr,
        completed,
        m - 1 - k,
    )
