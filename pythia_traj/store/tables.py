"""Rows, items and an experiment's own tables as Arrow tables, the unit's columns in front.

Every column has the type that the schema or the experiment declares, whatever it holds at this
step: otherwise a column of nulls would have no type at this step, and readers of all steps together
would fail.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import pyarrow as pa

from pythia_traj import schema
from pythia_traj.errors import nearest
from pythia_traj.store.parquet import TYPES, arrow_schema
from pythia_traj.values import Item, Key, Row

Declared = Mapping[str, Sequence[schema.Column]]
"""The columns of an experiment's own tables, by the tables' names."""

_KEY_FIELDS = tuple(one.name for one in fields(Key))


@dataclass(frozen=True)
class UnitId:
    """A unit, with the columns that are the same for all its rows."""

    model: str
    label: str
    experiment: str
    suite: str
    revision: str
    commit: str | None
    step: int
    tokens: int | None


def metrics_table(unit: UnitId, rows: Sequence[Row]) -> pa.Table:
    """A unit's rows, as the columns of schema.METRICS."""
    own = {c.name: [getattr(row, c.name) for row in rows] for c in schema.VALUE_COLUMNS}
    return _table(schema.METRICS, unit, [row.key for row in rows], own)


def items_table(unit: UnitId, items: Sequence[Item]) -> pa.Table:
    """A unit's items, as the columns of schema.ITEMS."""
    names = ("item", "n", "value", "cluster")
    own = {name: [getattr(item, name) for item in items] for name in names}
    return _table(schema.ITEMS, unit, [item.key for item in items], own)


def own_table(
    unit: UnitId, name: str, columns: Mapping[str, Sequence[Any]], declared: Declared
) -> pa.Table:
    """A table of an experiment's own, as declared.

    Raises:
        ValueError: it was not declared, or has other columns or values than declared.
    """
    if name not in declared:
        raise ValueError(
            f"table {name!r} is not declared: give @experiment its columns, with"
            f" tables={{{name!r}: (Column(name, type, nullable, meaning), ...)}}"
        )
    own = declared[name]
    schema.check_columns(name, own)
    known = [column.name for column in own]
    unknown = next((word for word in columns if word not in known), None)
    if unknown is not None:
        raise ValueError(f"table {name!r} has no column {unknown!r}: {nearest(unknown, known)}")
    missing = [column for column in known if column not in columns]
    if missing:
        raise ValueError(f"table {name!r} lacks the columns {', '.join(missing)}")
    lengths = {word: len(values) for word, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"table {name!r} has columns of unequal length: {lengths}")
    length = next(iter(lengths.values()), 0)
    arrays = [_array(c, [getattr(unit, c.name)] * length) for c in schema.UNIT_COLUMNS]
    try:
        arrays += [_array(column, columns[column.name]) for column in own]
    except ValueError as error:
        raise ValueError(f"table {name!r}, {error}") from None
    return pa.Table.from_arrays(arrays, schema=arrow_schema((*schema.UNIT_COLUMNS, *own)))


def _table(
    columns: tuple[schema.Column, ...],
    unit: UnitId,
    keys: Sequence[Key],
    own: Mapping[str, list[Any]],
) -> pa.Table:
    by_key: dict[str, Sequence[Any]] = (
        dict(zip(_KEY_FIELDS, zip(*map(astuple, keys), strict=True), strict=True))
        if keys
        else dict.fromkeys(_KEY_FIELDS, ())
    )
    arrays = []
    for column in columns:
        values = own.get(column.name, by_key.get(column.name))
        if values is None:
            values = [getattr(unit, column.name)] * len(keys)
        arrays.append(_array(column, values))
    return pa.Table.from_arrays(arrays, schema=arrow_schema(columns))


def _array(column: schema.Column, values: Sequence[Any]) -> pa.Array:
    kind = TYPES[column.type]
    if column.type.startswith("list") and any(isinstance(value, str) for value in values):
        # pyarrow makes a list of its characters.
        raise ValueError(f"column {column.name!r}: a text where a list is expected: give [text]")
    try:
        array = pa.array(values, type=kind)
        if "int" in column.type:
            # pyarrow silently truncates Python's fractions to integers; a cast refuses to.
            pa.array(values).cast(kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"column {column.name!r}: {error}") from None
    if array.null_count and not column.nullable:
        raise ValueError(f"column {column.name!r}: it may not be null, and is in some rows")
    return array
