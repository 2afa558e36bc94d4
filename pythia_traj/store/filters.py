"""What `load` filters by: a column, and its wanted values.

A typing error gives an error, not an empty table.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pythia_traj.errors import StoreError, nearest
from pythia_traj.outside import shown
from pythia_traj.store.done import Found

_OF_SCHEMA_1 = {"dim": "what it held is in part, target, size, low and high now"}
"""Columns of old runs, and where to look today."""


@dataclass(frozen=True)
class Filter:
    """Those rows that have one of the values in a column."""

    name: str
    values: tuple[Any, ...]

    @classmethod
    def of(cls, name: str, value: Any) -> "Filter":
        """The filter as given: a value, None for null, or any collection of them.

        NaN and NA are null too: a frame holds them in place of null.
        """
        is_one = value is None or isinstance(value, str | bytes) or not isinstance(value, Iterable)
        values = (value,) if is_one else tuple(value)
        return cls(name, tuple(None if _is_null(one) else one for one in values))

    def check(self, columns: pa.Schema) -> None:
        """Raises StoreError: the column is unknown, or cannot hold one of the values."""
        if self.name not in columns.names:
            hint = _OF_SCHEMA_1.get(self.name) or nearest(self.name, columns.names)
            raise StoreError(f"unknown column {self.name!r}: {hint}")
        kind = _value_type(columns.field(self.name).type)
        for value in self.values:
            try:
                pa.scalar(value, type=kind)
                if pa.types.is_integer(kind):
                    # pyarrow silently truncates Python's fractions to integers; a cast refuses to.
                    pa.scalar(value).cast(kind)
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                raise StoreError(
                    f"{self.name}={shown(value)}: that column holds {_in_words(kind)}"
                ) from None

    def may_take(self, found: Found) -> bool:
        """Whether a file of that name can hold such a row."""
        by_name = {"model": found.model, "label": found.label or None, "step": found.step}
        own = by_name.get(self.name)
        return own is None or own in self.values

    def may_hold(self, metadata: pq.FileMetaData) -> bool:
        """Whether a unit's file can hold such a row, as far as its footer tells.

        The footer names the experiment, which is the same for all rows: most files of a run belong
        to others and need not be decoded.
        """
        if self.name != "experiment" or None in self.values:
            return True
        for group in range(metadata.num_row_groups):
            columns = metadata.row_group(group)
            own = next(
                one
                for one in map(columns.column, range(columns.num_columns))
                if one.path_in_schema == self.name
            )
            known = own.statistics
            if known is None or not known.has_min_max or known.min != known.max:
                return True
            if known.min in self.values:
                return True
        return False

    def expression(self) -> pc.Expression:
        """The same filter for pyarrow."""
        field = pc.field(self.name)
        some = [value for value in self.values if value is not None]
        found = field.isin(some) if some else pc.scalar(False)
        return found | field.is_null() if None in self.values else found

    def words(self) -> set[str]:
        """The wanted words."""
        return {str(value) for value in self.values if isinstance(value, str)}

    def refuse_unknown(self, missing: Iterable[str], known: Sequence[str]) -> None:
        """Raises StoreError: no row has one of the words."""
        for word in sorted(missing):
            raise StoreError(
                f"these rows have no {self.name} {shown(word)}: {nearest(word, known)}"
            )


def _is_null(value: Any) -> bool:
    return value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _in_words(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "True and False"
    if pa.types.is_integer(kind):
        return "whole numbers"
    if pa.types.is_floating(kind):
        return "numbers"
    return "words" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)
