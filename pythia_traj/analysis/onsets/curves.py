"""Trajectories through the same items: what an estimator of onsets takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pythia_traj.analysis.onsets.grid import Grid
from pythia_traj.errors import AnalysisError


@dataclass(frozen=True)
class Curves:
    """J trajectories that were measured at the same T steps, on the same items.

    Items are drawn again in clusters, C of them; without clusters each item is one. A mean is the
    sum of the clusters' sums over the sum of their counts.

    Attributes:
        grid: the steps.
        sums: float64 [J, C, T], the sum of a cluster's items.
        counts: float64 [C], how many items each cluster has.
        has_items: whether the items are known. Without them there is one cluster, the mean, and no
            uncertainty can be given.
    """

    grid: Grid
    sums: np.ndarray
    counts: np.ndarray
    has_items: bool = True

    @classmethod
    def of_items(cls, steps: Sequence[int], values: np.ndarray) -> "Curves":
        """Curves of independent items.

        Args:
            steps: T ascending steps.
            values: [n, T] of one trajectory, or [J, n, T].

        Raises:
            AnalysisError: steps do not ascend, shapes differ, or a value is not finite.
        """
        values = np.asarray(values, float)
        if values.ndim == 2:
            values = values[None]
        if values.ndim != 3 or values.shape[-1] != len(steps):
            raise AnalysisError(
                f"values of shape {values.shape} at {len(steps)} steps: give [items, steps] or"
                " [trajectories, items, steps]"
            )
        if not len(steps) or list(steps) != sorted(set(steps)) or steps[0] < 0:
            raise AnalysisError("steps ascend, each once, from 0 or later")
        if not np.isfinite(values).all():
            raise AnalysisError("items have values that are not finite: leave those items out")
        return cls(Grid(tuple(map(int, steps))), values, np.ones(values.shape[1]))

    @property
    def n(self) -> float:
        """How many items there are."""
        return float(self.counts.sum())

    @property
    def clusters(self) -> int:
        """How many clusters."""
        return len(self.counts)

    @cached_property
    def means(self) -> np.ndarray:
        """The mean over items, float64 [J, T]."""
        return np.asarray(self.sums.sum(1) / self.n)

    def negated(self) -> "Curves":
        """The same curves upside down."""
        return replace(self, sums=-self.sums)

    def weights(self, draws: int, seed: int) -> np.ndarray:
        """How often each cluster is in each draw of a bootstrap, int64 [draws, C].

        The same for all steps and trajectories, so that what they share cancels.
        """
        c = self.clusters
        return np.random.default_rng(seed).multinomial(c, [1 / c] * c, size=draws)

    def drawn(self, weights: np.ndarray) -> np.ndarray:
        """The mean over items in each draw, float64 [J, draws, T]."""
        total = weights @ self.counts
        return np.asarray((weights @ self.sums) / total[:, None])

    def standard_error(self, of: np.ndarray) -> np.ndarray:
        """The standard error of a mean of values that are linear in the items.

        Args:
            of: [J, C, ...], the clusters' sums of those values.

        Returns:
            [J, ...]: sqrt(C / (C - 1) sum over clusters of (its summed deviation)^2) / N; 0 with
            one cluster.
        """
        if self.clusters < 2:
            return np.zeros(of.shape[:1] + of.shape[2:])
        counts = self.counts.reshape(-1, *[1] * (of.ndim - 2))
        deviations = of - counts * (of.sum(1, keepdims=True) / self.n)
        factor = self.clusters / (self.clusters - 1)
        return np.asarray(np.sqrt(factor * (deviations**2).sum(1)) / self.n)
