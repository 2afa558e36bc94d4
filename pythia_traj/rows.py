"""Finished values of metrics under their keys, with the items and tables that belong to them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pythia_traj.engines.means import Design, Mean, mean
from pythia_traj.keys import Extent, Key, one_each, say_key
from pythia_traj.schema import check_table_name

HEAD_BLOCKS = 16
"""Per-head values are kept as the means of this many blocks of consecutive items.

They are enough for a paired bootstrap.
"""


@dataclass(frozen=True)
class Row:
    """One value of one metric.

    An undefined `value` is None, and then `reason` says why. Beside a value, `reason` says why
    the standard error is missing.
    """

    key: Key
    value: float | None
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    clusters: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Item:
    """The value of one item, or the mean of a block of `n` consecutive ones.

    Items of one `cluster` are not independent; None where each of a metric's items is, and of
    blocks, which divide no cluster.
    """

    key: Key
    item: int
    n: int
    value: float
    cluster: int | None = None


Parts = Sequence[np.ndarray]
"""A tensor in parts along its first axis, which are never joined in memory."""


class Rows:
    """The rows of one unit, with the per-item values and further tables that belong to it."""

    def __init__(self) -> None:
        self.metrics: list[Row] = []
        self.items: list[Item] = []
        self.tables: dict[str, Mapping[str, Sequence[Any]]] = {}
        self.arrays: dict[str, Mapping[str, Parts]] = {}

    def add(
        self,
        key: Key,
        value: float,
        *,
        stderr: float | None = None,
        low: float | None = None,
        high: float | None = None,
        n: int | None = None,
        clusters: int | None = None,
        reason: str | None = None,
    ) -> None:
        """Adds a finished value.

        A value that is not finite is stored as undefined, with that reason.

        Args:
            key: the metric.
            value: a number, in the metric's own unit.
            stderr: its standard error.
            low, high: the ends of its 95 % interval.
            n: the number of its items.
            clusters: the number of independent ones.
            reason: why it has no standard error, where one is expected.
        """
        if not hasattr(value, "__float__"):
            raise TypeError(f"{key.metric}: expected a number, found {type(value).__name__}")
        if not math.isfinite(value):
            self.undefined(key, f"not finite ({value})")
            return
        self.metrics.append(
            Row(
                key,
                float(value),
                stderr=_finite(stderr),
                low=_finite(low),
                high=_finite(high),
                n=n,
                clusters=clusters,
                reason=reason,
            )
        )

    def undefined(self, key: Key, reason: str) -> None:
        """Adds a metric that has no value here, and why."""
        self.metrics.append(Row(key, None, reason=reason))

    def add_items(
        self,
        key: Key,
        values: "Iterable[float] | np.ndarray",
        design: Design | None = None,
        *,
        blocks: int | None = None,
    ) -> None:
        """Adds the mean of per-item values with its standard error, and the items themselves.

        Args:
            key: the metric.
            values: one value an item, in the order of the items.
            design: which items belong together; each is independent if not given.
            blocks: keep the means of so many blocks instead of the items: consecutive items, or
                clusters, of which none is divided.
        """
        array = one_each(key, values)
        self.add_mean(key, array, design)
        if not len(array):
            return
        if blocks is None:
            self.items += items_of(key, array, design)
            return
        cluster = np.arange(len(array)) if design is None else _by_appearance(design.cluster)
        n_clusters = int(cluster.max()) + 1
        for i, part in enumerate(np.array_split(np.arange(n_clusters), min(blocks, n_clusters))):
            of_block = array[np.isin(cluster, part)]
            self.items.append(Item(key, i, len(of_block), float(of_block.mean())))

    def add_mean(
        self, key: Key, values: "Iterable[float] | np.ndarray", design: Design | None = None
    ) -> None:
        """Adds the mean of per-item values with its standard error, without keeping them."""
        array = one_each(key, values)
        if len(array):
            self.add_found(key, mean(array, design))
        else:
            self.undefined(key, "no items")

    def add_found(self, key: Key, found: Mean) -> None:
        """Adds a mean or a ratio of means, or says why it has no value."""
        if found.value is None:
            self.undefined(key, found.reason or "not defined")
        else:
            self.add(
                key,
                found.value,
                stderr=found.stderr,
                low=found.low,
                high=found.high,
                n=found.n,
                clusters=found.clusters,
                reason=found.reason,
            )

    def add_draws(
        self,
        key: Key,
        values: "Sequence[float] | np.ndarray",
        design: Design | None = None,
    ) -> None:
        """Adds a control that was drawn several times: its mean over draws, and their spread.

        `n` is the number of draws. The standard deviation among them is a row of its own: its
        metric has the same name with `_sd`.

        Args:
            values: of each draw, or [draw, item]: then each item's mean over draws is kept.
            design: which items belong together; each is independent if not given.
        """
        array = np.asarray(values)
        draws = array if array.ndim == 1 else array.mean(1)
        self.add(key, float(draws.mean()), n=len(draws))
        if len(draws) > 1:
            spread = replace(key, metric=f"{key.metric}_sd")
            self.add(spread, float(draws.std(ddof=1)), n=len(draws))
        if array.ndim > 1:
            self.items += items_of(key, array.mean(0), design)

    def add_rank(self, key: Key, as_good: int, n: int) -> None:
        """Adds the place of a measurement among its draws: 1 where no draw is as good.

        Args:
            key: of the measurement; the rank's metric has the same name with `_rank`.
            as_good: how many draws are at least as good.
            n: how many draws there are.
        """
        self.add(replace(key, metric=f"{key.metric}_rank"), as_good + 1, n=n + 1)

    def check(self, extent: Extent) -> None:
        """Checks that all rows and items belong to existing layers, heads and positions.

        Raises:
            ValueError: one does not.
        """
        for key in {row.key for row in self.metrics} | {item.key for item in self.items}:
            extent.check(key)

    def check_keys(self) -> None:
        """Refuses two values under one key, because a reader could not know which one is meant.

        Raises:
            ValueError: a key has two values.
        """
        _refuse_twice(row.key for row in self.metrics)
        _refuse_twice((item.key, item.item) for item in self.items)

    def without_values(self, reason: str) -> "Rows":
        """The same metrics, all undefined for one reason, without items and tables."""
        empty = Rows()
        for row in self.metrics:
            empty.undefined(row.key, reason)
        return empty

    def table(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Adds a table of the experiment's own beside the metrics, as columns of equal length.

        Raises:
            ValueError: the name is not a lower-case word, is one of the store's own tables, or is
                taken by tensors.
        """
        _check_name(name, taken=self.arrays)
        self.tables[name] = columns

    def tensors(self, name: str, arrays: Mapping[str, np.ndarray | Parts]) -> None:
        """Adds a safetensors file beside the metrics, where tables are.

        It holds data that is too large for rows, or does not have their shape.

        Args:
            name: as for a table, but not shared with one, because readers of a table's folder fail
                on other files in it.
            arrays: by their name in the file, of types that safetensors supports; each whole, or in
                parts along its first axis.

        Raises:
            ValueError: the name is not a lower-case word, is one of the store's own tables, or is
                taken by a table.
        """
        _check_name(name, taken=self.tables)
        self.arrays[name] = {
            key: [array] if isinstance(array, np.ndarray) else array
            for key, array in arrays.items()
        }


def items_of(key: Key, values: np.ndarray, design: Design | None = None) -> list[Item]:
    """Each item by itself [item], with the number of its cluster where some share one.

    Clusters have numbers from 0, in the order in which they first occur.
    """
    clusters: Sequence[int | None] = [None] * len(values)
    if design is not None and design.n_clusters < len(values):
        clusters = _by_appearance(design.cluster).tolist()
    return [
        Item(key, i, 1, float(value), cluster)
        for i, (value, cluster) in enumerate(zip(values, clusters, strict=True))
    ]


def _by_appearance(cluster: np.ndarray) -> np.ndarray:
    """Clusters numbered from 0 in the order in which they first occur [item]."""
    _, first, number = np.unique(cluster, return_index=True, return_inverse=True)
    numbers: np.ndarray = np.argsort(np.argsort(first))[number]
    return numbers


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _refuse_twice(keys: "Iterable[Key | tuple[Key, int]]") -> None:
    seen: set[Key | tuple[Key, int]] = set()
    for key in keys:
        if key in seen:
            raise ValueError(
                f"two values under one key, {say_key(key)}:"
                " give each a key of its own, by variant or part"
            )
        seen.add(key)


def _check_name(name: str, taken: Iterable[str]) -> None:
    check_table_name(name)
    if name in taken:
        raise ValueError(
            f"{name!r} is the name of a table and of tensors: give one of them another"
        )
