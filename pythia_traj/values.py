"""What an experiment yields: values of metrics under their keys.

`ItemValues` is what an experiment that `reads` activations returns for a batch: one value per item,
from which mean, standard error and n are made. `Rows` is what an experiment that gets the model
returns: finished values, with items or tables beside them. Both say *which* metric of *what* in the
words of the schema's key columns.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pythia_traj.engines.ratios import Ratio, guarded_ratio
from pythia_traj.keys import Axis, Extent, check_tensor, one_each, say_key
from pythia_traj.keys import Key as Key

if TYPE_CHECKING:
    from torch import Tensor

HEAD_BLOCKS = 16
"""Per-head values are kept as the means of this many blocks of consecutive items.

It is enough for a paired bootstrap.
"""

_TABLE = re.compile(r"[a-z][a-z0-9_]*")
_STORES_TABLES = ("items", "models")


@dataclass(frozen=True)
class Row:
    """One value of one metric.

    `value` is None where it is not defined, and then `reason` says why.
    """

    key: Key
    value: float | None
    stderr: float | None = None
    n: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Item:
    """The value of one item, or the mean of a block of `n` consecutive ones."""

    key: Key
    item: int
    n: int
    value: float


class Rows:
    """The rows of one unit, with the per-item values and further tables that belong to it."""

    def __init__(self) -> None:
        self.metrics: list[Row] = []
        self.items: list[Item] = []
        self.tables: dict[str, Mapping[str, Sequence[Any]]] = {}
        self.arrays: dict[str, Mapping[str, np.ndarray]] = {}

    def add(
        self, key: Key, value: float, *, stderr: float | None = None, n: int | None = None
    ) -> None:
        """Adds a finished value.

        One that is not a finite number is stored as undefined, saying so.
        """
        if not hasattr(value, "__float__"):
            raise TypeError(f"{key.metric}: expected a number, found {type(value).__name__}")
        if math.isfinite(value):
            finite_error = stderr if stderr is not None and math.isfinite(stderr) else None
            self.metrics.append(Row(key, float(value), finite_error, n))
        else:
            self.undefined(key, f"not finite ({value})")

    def undefined(self, key: Key, reason: str) -> None:
        """Adds a metric that has no value here, and why."""
        self.metrics.append(Row(key, None, reason=reason))

    def add_items(
        self, key: Key, values: "Iterable[float] | np.ndarray", *, blocks: int | None = None
    ) -> None:
        """Adds the mean of per-item values with its standard error, and the items themselves.

        Args:
            values: one value an item, in the order of the items.
            blocks: keep the means of so many blocks of consecutive items instead of the items.
        """
        array = one_each(key, values)
        self.add_mean(key, array)
        if not len(array):
            return
        parts = np.array_split(array, min(blocks, len(array))) if blocks else array[:, None]
        self.items += [Item(key, i, len(part), float(part.mean())) for i, part in enumerate(parts)]

    def add_mean(self, key: Key, values: "Iterable[float] | np.ndarray") -> None:
        """Adds the mean of per-item values with its standard error, without keeping them."""
        array = one_each(key, values)
        n = len(array)
        if not n:
            self.undefined(key, "no items")
            return
        stderr = float(array.std(ddof=1) / math.sqrt(n)) if n > 1 else None
        self.add(key, float(array.mean()), stderr=stderr, n=n)

    def add_ratio(self, key: Key, ratio: Ratio) -> None:
        """Adds a ratio of means, or says why it has no value."""
        if ratio.value is None:
            self.undefined(key, ratio.reason or "not defined")
        else:
            self.add(key, ratio.value, stderr=ratio.stderr, n=ratio.n)

    def check(self, extent: Extent) -> None:
        """Whether all rows and items are of layers, heads and positions that there are.

        Raises:
            ValueError: one is not.
        """
        for key in {row.key for row in self.metrics} | {item.key for item in self.items}:
            extent.check(key)

    def check_keys(self) -> None:
        """Refuses two values under one key: a reader could not tell which of them is meant.

        Raises:
            ValueError: there are two.
        """
        _refuse_twice(row.key for row in self.metrics)
        _refuse_twice((item.key, item.item) for item in self.items)

    def without_values(self, reason: str) -> "Rows":
        """The same metrics, undefined for a reason that holds for all, and nothing beside them."""
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

    def tensors(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Adds a safetensors file beside the metrics, where tables are.

        It holds what is too large, or of the wrong shape, for rows.

        Args:
            name: as of a table; the file stands alone under it, because readers of a table's folder
                fail on other files in it.
            arrays: by their name in the file, of the types that safetensors knows.

        Raises:
            ValueError: the name is not a lower-case word, is one of the store's own tables, or is
                taken by a table.
        """
        _check_name(name, taken=self.tables)
        self.arrays[name] = arrays


def _refuse_twice(keys: "Iterable[Key | tuple[Key, int]]") -> None:
    seen: set[Key | tuple[Key, int]] = set()
    for key in keys:
        if key in seen:
            raise ValueError(
                f"two values under one key, {say_key(key)}:"
                " give each a key of its own, by variant or dim"
            )
        seen.add(key)


def _check_name(name: str, taken: Iterable[str]) -> None:
    if not _TABLE.fullmatch(name) or name in _STORES_TABLES:
        raise ValueError(
            f"table {name!r}: a lower-case word other than {' and '.join(_STORES_TABLES)}"
        )
    if name in taken:
        raise ValueError(
            f"{name!r} is the name of a table and of tensors: give one of them another"
        )


@dataclass(frozen=True)
class _Entry:
    """Values of one metric for a batch: [item, *axes]."""

    key: Key
    axes: tuple[Axis, ...]
    first_position: int


class ItemValues:
    """Per-item values of a batch, under the keys of their metrics."""

    def __init__(self, *, items: int | None = None) -> None:
        """Begins without values.

        Args:
            items: for how many of the batch's items, from its first, there will be values; all if
                not given.
        """
        self._items = items
        self._values: dict[_Entry, list[Tensor]] = {}
        self._ratios: dict[tuple[Key, str], list[tuple[Tensor, Tensor]]] = {}
        self._tables: dict[str, list[Mapping[str, Tensor | Sequence[Any]]]] = {}
        self._tensors: dict[tuple[str, str], list[Tensor]] = {}
        self._undefined: dict[Key, str] = {}

    def add(
        self, key: Key, values: "Tensor", *, axes: tuple[Axis, ...] = (), first_position: int = 0
    ) -> None:
        """Adds values for the items of this batch.

        Args:
            key: the metric; the columns named in `axes` are left None.
            values: [item, *axes], on any device.
            axes: which key columns the further axes run over.
            first_position: the position of the first entry of a `position` axis.

        Raises:
            ValueError: the axes are none or others than the shape has, or the key has values
                already.
        """
        check_tensor(key, values, axes)
        entry = _Entry(key, axes, first_position)
        if entry in self._values:
            raise ValueError(
                f"{say_key(key)} has values of this batch already: give each a key of its own"
            )
        self._values[entry] = [values.detach()]

    def add_ratio(self, key: Key, above: "Tensor", below: "Tensor", name: str) -> None:
        """Adds a ratio of sums over all items.

        It has a value where its denominator is clearly above 0 (see engines.ratios). Its items are
        each item's numerator over the mean denominator, so that their mean is the ratio.

        Args:
            key: the metric.
            above, below: [item].
            name: of the denominator, for the reason why there is no value.
        """
        for part in (above, below):
            check_tensor(key, part, ())
        if (key, name) in self._ratios:
            raise ValueError(
                f"{say_key(key)} has a ratio of this batch already: give each a key of its own"
            )
        self._ratios[key, name] = [(above.detach(), below.detach())]

    def add_table(self, name: str, columns: "Mapping[str, Tensor | Sequence[Any]]") -> None:
        """Adds rows to a table of the experiment's own, as columns of equal length.

        The table stands beside the metrics (see Rows.table).
        """
        self._tables.setdefault(name, []).append(columns)

    def add_tensor(self, file: str, name: str, values: "Tensor") -> None:
        """Adds items of a tensor of a safetensors file beside the metrics (see Rows.tensors).

        Args:
            file: the file's name.
            name: the tensor's name in it.
            values: [item, ...].
        """
        self._tensors.setdefault((file, name), []).append(values.detach().cpu())

    def undefined(self, key: Key, reason: str) -> None:
        """Says that a metric has no value here, and why."""
        self._undefined[key] = reason

    def check(self, extent: Extent) -> None:
        """Whether this batch's values are of items, layers, heads and positions that there are.

        Raises:
            ValueError: they are of others; the message names the axis, what was expected and what
                was found.
        """
        expected = extent.n_items if self._items is None else self._items
        parts = [(entry.key, entry.axes, values[0]) for entry, values in self._values.items()]
        parts += [(key, (), part) for (key, _), pairs in self._ratios.items() for part in pairs[0]]
        for key, axes, values in parts:
            where = f"in values of shape {list(values.shape)} as [{', '.join(('item', *axes))}]"
            extent.check(key)
            if values.shape[0] != expected:
                raise ValueError(
                    f"{key.metric}: axis item: expected {expected}, found {values.shape[0]} {where}"
                )
            if "head" in axes and (found := values.shape[1 + axes.index("head")]) != extent.n_heads:
                raise ValueError(
                    f"{key.metric}: axis head: expected {extent.n_heads}, found {found} {where}"
                )
        for entry, (values,) in self._values.items():
            if "position" in entry.axes:
                last = entry.first_position + values.shape[1 + entry.axes.index("position")] - 1
                for position in (entry.first_position, last):
                    extent.check(replace(entry.key, position=position))
        for (file, name), (tensor,) in self._tensors.items():
            if tensor.ndim < 1 or tensor.shape[0] != expected:
                raise ValueError(
                    f"{file} {name}: axis item: expected {expected},"
                    f" found a tensor of shape {list(tensor.shape)}"
                )
        for key in self._undefined:
            extent.check(key)

    def extend(self, batch: "ItemValues") -> None:
        """Appends the items of a later batch."""
        for entry, values in batch._values.items():
            self._values.setdefault(entry, []).extend(values)
        for ratio, parts in batch._ratios.items():
            self._ratios.setdefault(ratio, []).extend(parts)
        for table, columns in batch._tables.items():
            self._tables.setdefault(table, []).extend(columns)
        for name, tensors in batch._tensors.items():
            self._tensors.setdefault(name, []).extend(tensors)
        self._undefined.update(batch._undefined)

    def rows(self, *, keep_items: bool) -> Rows:
        """Means, standard errors and n over all items; reads the values from the device once each.

        To be called once. Values along positions are reduced only: to keep them would multiply
        every unit by its context length.
        """
        rows = Rows()
        for entry, parts in self._values.items():
            if len({part.shape[1:] for part in parts}) > 1:
                found = " and ".join(dict.fromkeys(str(list(part.shape)) for part in parts))
                raise ValueError(
                    f"{entry.key.metric}: axis {entry.axes[0]}:"
                    f" batches have values of shapes {found}"
                )
            array = np.concatenate([_array(part) for part in parts])
            for key, column in _columns(entry, array):
                if keep_items and "position" not in entry.axes:
                    rows.add_items(
                        key, column, blocks=HEAD_BLOCKS if "head" in entry.axes else None
                    )
                else:
                    rows.add_mean(key, column)
        for (key, name), pairs in self._ratios.items():
            above, below = (
                np.concatenate([_array(part) for part in parts])
                for parts in zip(*pairs, strict=True)
            )
            rows.add_ratio(key, guarded_ratio(above, below, name, positive=True))
            if keep_items and below.any():
                rows.items += [
                    Item(key, i, 1, float(value)) for i, value in enumerate(above / below.mean())
                ]
        for key, reason in self._undefined.items():
            rows.undefined(key, reason)
        for table, batches in self._tables.items():
            rows.table(
                table,
                {name: [v for batch in batches for v in _list(batch[name])] for name in batches[0]},
            )
        files: dict[str, dict[str, np.ndarray]] = {}
        while self._tensors:
            # One tensor after the other, its parts let go: all at once would be a second copy of
            # the file.
            (file, name), tensors = self._tensors.popitem()
            files.setdefault(file, {})[name] = np.concatenate([part.numpy() for part in tensors])
        for file, arrays in files.items():
            rows.tensors(file, arrays)
        return rows


def _list(column: "Tensor | Sequence[Any]") -> Sequence[Any]:
    return column if isinstance(column, Sequence) else column.tolist()


def _array(values: "Tensor") -> np.ndarray:
    array: np.ndarray = values.float().cpu().numpy()
    return array


def _columns(entry: _Entry, array: np.ndarray) -> Iterator[tuple[Key, np.ndarray]]:
    """Each combination of the further axes as the key it stands for, with its values over items."""
    for index in np.ndindex(array.shape[1:]):
        key = entry.key
        for axis, i in zip(entry.axes, index, strict=True):
            key = (
                replace(key, head=i)
                if axis == "head"
                else replace(key, position=entry.first_position + i)
            )
        yield key, array[(slice(None), *index)]
