"""Means over items that need not be independent: their standard errors and 95 % intervals.

Prompts about one name, or windows of one document, resemble each other: they are a cluster, and
only clusters are independent. Templates are chosen, not drawn: they are strata, and the error
leaves out how they differ.

The standard error is that of the jackknife that leaves out one cluster at a time, by stratum
(Rust and Rao 1996): it stays right where a few clusters have most of the items. Where each item is
a cluster of its own and there is one stratum, it is the standard deviation over the root of n.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtrit

FEWEST_CLUSTERS = 6
"""With fewer, the error itself is too uncertain to be shown."""

PerItem = Float[np.ndarray, " item"]


@dataclass(frozen=True)
class Design:
    """Which items belong together.

    Attributes:
        cluster: which cluster each item belongs to, any numbers [item].
        stratum: which stratum, such as the template of a prompt [item].
    """

    cluster: Int[np.ndarray, " item"]
    stratum: Int[np.ndarray, " item"]

    @staticmethod
    def of(cluster: np.ndarray, stratum: Sequence[str] | np.ndarray | None = None) -> "Design":
        """Clusters, and strata by any names; one stratum if not given."""
        strata = (
            np.zeros(len(cluster), dtype=np.int64)
            if stratum is None
            else np.unique(np.asarray(stratum), return_inverse=True)[1].astype(np.int64)
        )
        return Design(np.asarray(cluster, dtype=np.int64), strata)

    @staticmethod
    def independent(n: int) -> "Design":
        """Items each of which is a cluster."""
        return Design.of(np.arange(n))

    def part(self, items: slice | np.ndarray) -> "Design":
        """That of some of the items: a slice of them, or where an array is true."""
        return Design(self.cluster[items], self.stratum[items])

    @staticmethod
    def joined(designs: "Sequence[Design]") -> "Design":
        """That of items one after the other; equal numbers mean equal clusters and strata."""
        return Design(
            np.concatenate([design.cluster for design in designs]),
            np.concatenate([design.stratum for design in designs]),
        )

    @cached_property
    def n_clusters(self) -> int:
        """How many clusters there are."""
        return len(np.unique(self.cluster))

    @cached_property
    def is_plain(self) -> bool:
        """Whether all items are independent, and of one stratum."""
        return self.n_clusters == len(self.cluster) and len(np.unique(self.stratum)) <= 1

    @cached_property
    def cells(self) -> "_Cells":
        """What the jackknife leaves out."""
        return _Cells.of(self.cluster, _strata_with_spread(self))


@dataclass(frozen=True)
class _Cells:
    """The items of one cluster in one stratum, cell by cell.

    Attributes:
        stratum: of each item, from 0 [item].
        cell: of each item, from 0 [item].
        cluster: of each cell, from 0 [cell].
        factor: how far the mean of the stratum moves without the cell, for each unit of the sum of
            its residuals, times the stratum's items [cell].
    """

    stratum: Int[np.ndarray, " item"]
    cell: Int[np.ndarray, " item"]
    cluster: Int[np.ndarray, " cell"]
    factor: Float[np.ndarray, " cell"]

    @staticmethod
    def of(cluster: np.ndarray, stratum: np.ndarray) -> "_Cells":
        numbers = np.unique(cluster, return_inverse=True)[1]
        cells, cell = np.unique(np.stack([stratum, numbers]), axis=1, return_inverse=True)
        left = 1 - np.bincount(cell) / np.bincount(stratum)[cells[0]]
        factor = np.sqrt(1 - 1 / np.bincount(cells[0])[cells[0]]) / left
        return _Cells(stratum, cell, cells[1], factor)


@dataclass(frozen=True)
class Mean:
    """A mean, or a ratio of means.

    Attributes:
        value: None where it has none, and then `reason` says why.
        stderr: its standard error; None where there are too few clusters, as `reason` says.
        low, high: the ends of its 95 % interval.
        n: items.
        clusters: how many of them are independent.
        reason: why the value or its standard error is None.
    """

    value: float | None
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    clusters: int | None = None
    reason: str | None = None


def mean(values: PerItem, design: Design | None = None) -> Mean:
    """The mean of items, with its error.

    Args:
        values: one value an item; at least one.
        design: which of them belong together; each is a cluster if not given.
    """
    return with_error(
        float(values.mean()), standard_error(values, design), len(values), _clusters(values, design)
    )


def with_error(value: float, stderr: float | None, n: int, clusters: int) -> Mean:
    """A value with its interval, by t with clusters - 1 degrees of freedom.

    Args:
        value: a number.
        stderr: its standard error.
        n: items.
        clusters: how many of them are independent.
    """
    if stderr is None or clusters < FEWEST_CLUSTERS:
        return Mean(value, n=n, clusters=clusters, reason=why_no_error(clusters))
    reach = float(stdtrit(clusters - 1, 0.975)) * stderr
    return Mean(value, stderr, value - reach, value + reach, n, clusters)


def why_no_error(clusters: int) -> str | None:
    """Why so many clusters give no standard error; None if they do."""
    if clusters >= FEWEST_CLUSTERS:
        return None
    items = "1 independent item" if clusters == 1 else f"{clusters} independent items"
    return f"no standard error: {items}, {FEWEST_CLUSTERS} are needed"


def _clusters(values: PerItem, design: Design | None) -> int:
    return len(values) if design is None else design.n_clusters


def standard_error(values: PerItem, design: Design | None = None) -> float | None:
    """The standard error of the mean; None of fewer than two clusters."""
    n = len(values)
    if _clusters(values, design) < 2:
        return None
    if design is None or design.is_plain:
        return float(values.std(ddof=1)) / sqrt(n)
    cells, stratum = design.cells, design.cells.stratum
    residual = values - (np.bincount(stratum, values) / np.bincount(stratum))[stratum]
    moved = np.bincount(cells.cluster, np.bincount(cells.cell, residual) * cells.factor)
    return float(np.sqrt((moved**2).sum())) / n


def _strata_with_spread(design: Design) -> Int[np.ndarray, " item"]:
    """Strata numbered from 0; those of a single cluster, which show no spread, are put together.

    Collapsed strata make the error too large rather than too small (Cochran 1977, section 5A.12).
    """
    of_cells = np.unique(np.stack([design.stratum, design.cluster]), axis=1)[0]
    names, clusters = np.unique(of_cells, return_counts=True)
    alone = np.isin(design.stratum, names[clusters == 1])
    found = np.where(alone, -1, design.stratum)
    if len(np.unique(design.cluster[alone])) == 1:
        # One that is alone among them too goes to the first of the others.
        found = np.where(alone, found[~alone][0], found)
    numbered: np.ndarray = np.unique(found, return_inverse=True)[1].astype(np.int64)
    return numbered
