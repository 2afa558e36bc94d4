"""What an experiment yields: values of metrics under their keys.

`ItemValues` is what an experiment that `reads` activations returns for a batch: one value per item,
from which mean, standard error and n are made. `Rows` is what an experiment that gets the model
returns: finished values, with items or tables beside them. Both name the metric, and what it is
about, with the schema's key columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pythia_traj.engines.means import Design
from pythia_traj.engines.ratios import guarded_ratio
from pythia_traj.keys import Axis, Extent, check_tensor, say_key
from pythia_traj.keys import Key as Key
from pythia_traj.rows import HEAD_BLOCKS as HEAD_BLOCKS
from pythia_traj.rows import Item as Item
from pythia_traj.rows import Parts, items_of
from pythia_traj.rows import Row as Row
from pythia_traj.rows import Rows as Rows

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _Entry:
    """Values of one metric for a batch: [item, *axes]."""

    key: Key
    axes: tuple[Axis, ...]
    first_position: int


class ItemValues:
    """Per-item values of a batch, under the keys of their metrics."""

    def __init__(self, *, items: int | None = None) -> None:
        """Starts without values.

        Args:
            items: how many of the batch's items, from the first, will have values; all if not
                given.
        """
        self._items = items
        self._values: dict[_Entry, list[Tensor]] = {}
        self._ratios: dict[tuple[Key, str], list[tuple[Tensor, Tensor]]] = {}
        self._tables: dict[str, list[Mapping[str, Tensor | Sequence[Any]]]] = {}
        self._tensors: dict[tuple[str, str], list[Tensor]] = {}
        self._undefined: dict[Key, str] = {}
        self._designs: dict[_Entry | tuple[Key, str], list[Design]] = {}

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
            ValueError: the axes are unknown or do not fit the shape, or the key has values already.
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
            name: of the denominator, for the reason of a missing value.
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

    def belong_together(self, design: Design) -> None:
        """Says which items of this batch belong together; each is independent otherwise.

        Args:
            design: of the batch's items. What has values of fewer has those of the first.
        """
        for entry, (values,) in self._values.items():
            self._designs[entry] = [design.part(slice(len(values)))]
        for ratio, ((above, _),) in self._ratios.items():
            self._designs[ratio] = [design.part(slice(len(above)))]

    def check(self, extent: Extent) -> None:
        """Checks that this batch's values belong to existing items, layers, heads and positions.

        Raises:
            ValueError: they do not; the message names the axis, what was expected and what was
                found.
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
        for what, designs in batch._designs.items():
            self._designs.setdefault(what, []).extend(designs)
        self._undefined.update(batch._undefined)

    def rows(self, *, keep_items: bool) -> Rows:
        """Means, standard errors and n over all items; reads the values from the device once each.

        Call it only once. Values along positions are only averaged: keeping them would multiply the
        size of every unit by its context length.
        """
        rows = Rows()
        for entry, parts in self._values.items():
            if len({part.shape[1:] for part in parts}) > 1:
                found = " and ".join(dict.fromkeys(str(list(part.shape)) for part in parts))
                raise ValueError(
                    f"{entry.key.metric}: axis {entry.axes[0]}:"
                    f" batches have values of shapes {found}"
                )
            array, design = np.concatenate([_array(part) for part in parts]), self._design(entry)
            for key, column in _columns(entry, array):
                if keep_items and "position" not in entry.axes:
                    rows.add_items(
                        key, column, design, blocks=HEAD_BLOCKS if "head" in entry.axes else None
                    )
                else:
                    rows.add_mean(key, column, design)
        for (key, name), pairs in self._ratios.items():
            above, below = (
                np.concatenate([_array(part) for part in parts])
                for parts in zip(*pairs, strict=True)
            )
            design = self._design((key, name))
            rows.add_found(key, guarded_ratio(above, below, name, positive=True, design=design))
            if keep_items and below.any():
                rows.items += items_of(key, above / below.mean(), design)
        for key, reason in self._undefined.items():
            rows.undefined(key, reason)
        for table, batches in self._tables.items():
            rows.table(
                table,
                {name: [v for batch in batches for v in _list(batch[name])] for name in batches[0]},
            )
        files: dict[str, dict[str, Parts]] = {}
        for (file, name), tensors in self._tensors.items():
            files.setdefault(file, {})[name] = [part.numpy() for part in tensors]
        for file, arrays in files.items():
            rows.tensors(file, arrays)
        return rows

    def _design(self, what: "_Entry | tuple[Key, str]") -> Design | None:
        return Design.joined(self._designs[what]) if what in self._designs else None


def _list(column: "Tensor | Sequence[Any]") -> Sequence[Any]:
    return column if isinstance(column, Sequence) else column.tolist()


def _array(values: "Tensor") -> np.ndarray:
    array: np.ndarray = values.float().cpu().numpy()
    return array


def _columns(entry: _Entry, array: np.ndarray) -> Iterator[tuple[Key, np.ndarray]]:
    """The key of each combination of the further axes, with its values over items."""
    for index in np.ndindex(array.shape[1:]):
        key = entry.key
        for axis, i in zip(entry.axes, index, strict=True):
            key = (
                replace(key, head=i)
                if axis == "head"
                else replace(key, position=entry.first_position + i)
            )
        yield key, array[(slice(None), *index)]
