"""Tables of schema 1 as tables of today: the same rows and values, other columns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pythia_traj import schema
from pythia_traj.keys import Key
from pythia_traj.store import schema1
from pythia_traj.store.parquet import TYPES, arrow_schema
from pythia_traj.store.schema1 import Origin, Words

_WORDS = ("metric", "variant", "control", "component", "part", "target", "size", "reference")
"""The columns of a key that old words determine."""

_TAKEN = (*schema.PARTITIONS, *(column.name for column in schema.UNIT_COLUMNS), "control")
"""Names that every table's columns use today, or that say which control a row is."""

_ENDS = ("low", "high")
"""The ends of an interval: linear_probe had them as separate rows, named in `dim`."""


def words_of(table: pa.Table) -> set[Words]:
    """All words of keys in a table."""
    return set(_encoded(table)[1])


def metrics_table(
    old: pa.Table, experiment: str, keys: Mapping[Words, Key], origin: Origin
) -> pa.Table:
    """Rows of metrics; a row that held an end of another's interval becomes columns of that row."""
    codes, words = _encoded(old)
    columns = _columns(old, experiment, codes, [keys[one] for one in words])
    ends = _ends(old, codes, words) if origin.experiment == "linear_probe" else {}
    for end in _ENDS:
        own = {row: value for (row, name), (_, value) in ends.items() if name == end}
        columns[end] = pa.array([own.get(row) for row in range(len(old))], pa.float64())
    columns["clusters"] = pa.nulls(len(old), pa.int64())
    table = _arranged(columns, schema.METRICS)
    if ends:
        kept = np.ones(len(old), bool)
        kept[[row for row, _ in ends.values()]] = False
        table = table.filter(pa.array(kept))
    return table


def items_table(old: pa.Table, experiment: str, keys: Mapping[Words, Key]) -> pa.Table:
    """The items of metrics; schema 1 did not say which of them are independent."""
    codes, words = _encoded(old)
    columns = _columns(old, experiment, codes, [keys[one] for one in words])
    columns["cluster"] = pa.nulls(len(old), pa.int32())
    return _arranged(columns, schema.ITEMS)


def own_table(
    old: pa.Table, experiment: str, name: str, origin: Origin, types: Mapping[str, pa.DataType]
) -> tuple[pa.Table, dict[str, str]]:
    """A table of an experiment's own, and which of its columns have new names.

    Args:
        types: of columns by name, for a column that is all null at this step, and so has no type.
    """
    unit = _unit_columns(old, experiment)
    front = arrow_schema(schema.UNIT_COLUMNS)
    own = old.select(own_columns(old.schema))
    columns = schema1.PACKAGED.get(origin.experiment or "", {}).get(name)
    declared = None if columns is None else _as_declared(own, columns, name)
    renamed: dict[str, str] = {}
    if declared is None:
        renamed = _renamed(own.column_names)
        declared = _typed(own, types).rename_columns([renamed.get(n, n) for n in own.column_names])
    arrays = [*(unit[field.name] for field in front), *declared.columns]
    return pa.Table.from_arrays(arrays, schema=pa.schema([*front, *declared.schema])), renamed


def own_columns(columns: pa.Schema) -> list[str]:
    """The names of those columns of an old table that are its experiment's own."""
    return list(columns.names[len(schema1.UNIT_COLUMNS) :])


def has_type(kind: pa.DataType) -> bool:
    """Whether a column has a type: a column of nulls or of empty lists has none."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return has_type(kind.value_type)
    return not pa.types.is_null(kind)


def _encoded(table: pa.Table) -> tuple[np.ndarray, list[Words]]:
    """Which words each row has, as indices of a list of all words."""
    combined = np.zeros(len(table), np.int64)
    known: list[list[str | None]] = []
    for name in schema1.WORDS:
        coded = pc.dictionary_encode(table[name].cast(pa.string()).combine_chunks())
        known.append([*coded.dictionary.to_pylist(), None])
        nulls = len(known[-1]) - 1
        combined = combined * len(known[-1]) + coded.indices.fill_null(nulls).to_numpy()
    found, codes = np.unique(combined, return_inverse=True)
    words = []
    for number in found.tolist():
        named: list[str | None] = []
        for choices in reversed(known):
            number, place = divmod(number, len(choices))
            named.append(choices[place])
        words.append(Words._make(reversed(named)))
    return codes, words


def _unit_columns(old: pa.Table, experiment: str) -> dict[str, Any]:
    columns = {name: old[name] for name in old.column_names[: len(schema1.UNIT_COLUMNS)]}
    columns["step"] = columns["step"].cast(pa.int64())
    columns["experiment"] = pa.array([experiment] * len(old), TYPES["dictionary"])
    return columns


def _columns(
    old: pa.Table, experiment: str, codes: np.ndarray, keys: Sequence[Key]
) -> dict[str, Any]:
    columns = {name: old[name] for name in old.column_names} | _unit_columns(old, experiment)
    rows = pa.array(codes)
    for name in _WORDS:
        of_key = [getattr(key, name) for key in keys]
        if name == "size":
            columns[name] = pa.array(of_key, pa.int32()).take(rows)
        else:
            columns[name] = pc.dictionary_encode(pa.array(of_key, pa.string()).take(rows))
    return columns


def _arranged(columns: Mapping[str, Any], wanted: tuple[schema.Column, ...]) -> pa.Table:
    return pa.Table.from_arrays([columns[c.name] for c in wanted], schema=arrow_schema(wanted))


def _ends(
    old: pa.Table, codes: np.ndarray, words: Sequence[Words]
) -> dict[tuple[int, str], tuple[int, float]]:
    """The ends of a row's interval, by the row and which end: the row it was, and its value.

    A row that says more than an end's value, or whose partner is missing, stays a row.
    """
    places = list(zip(*(old[name].to_pylist() for name in schema1.PLACES), strict=True))
    named = [words[code] for code in codes]
    numbers = {where: row for row, where in enumerate(zip(named, places, strict=True))}
    value, stderr, n, reason = (
        old[name].to_pylist() for name in ("value", "stderr", "n", "reason")
    )
    ends: dict[tuple[int, str], tuple[int, float]] = {}
    for row, one in enumerate(named):
        if one.dim not in _ENDS or value[row] is None or stderr[row] is not None:
            continue
        whole = numbers.get((one._replace(dim=None), places[row]))
        if whole is None or n[row] != n[whole] or reason[row] is not None:
            continue
        ends.setdefault((whole, one.dim), (row, value[row]))
    return ends


def _renamed(names: Sequence[str]) -> dict[str, str]:
    """New names for columns whose old names every table of a unit uses now."""
    renamed: dict[str, str] = {}
    for name in names:
        new = name
        while new in _TAKEN or (new != name and new in names):
            new += "_"
        if new != name:
            renamed[name] = new
    return renamed


def _typed(own: pa.Table, types: Mapping[str, pa.DataType]) -> pa.Table:
    for i, field in enumerate(own.schema):
        if not has_type(field.type) and field.name in types:
            kind = types[field.name]
            own = own.set_column(i, pa.field(field.name, kind), own[field.name].cast(kind))
    return own


def _as_declared(own: pa.Table, columns: Sequence[schema.Column], name: str) -> pa.Table | None:
    """A packaged experiment's table, as declared today.

    None for a table that an older version wrote with other columns.
    """
    change = _CHANGED.get(name)
    if change is not None:
        own = change(own)
    if sorted(own.column_names) != sorted(column.name for column in columns):
        return None
    if any(own[c.name].null_count and not c.nullable for c in columns):
        return None
    try:
        arrays = [_cast(own[column.name], TYPES[column.type]) for column in columns]
    except pa.ArrowException:
        return None
    return pa.Table.from_arrays(arrays, schema=arrow_schema(tuple(columns)))


def _cast(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The same values as another type. Raises pa.ArrowException: the values would change."""
    if pa.types.is_dictionary(kind):
        return pc.dictionary_encode(values.cast(kind.value_type))
    same = values.cast(kind)
    if pa.types.is_floating(kind):
        before, after = (one.to_numpy().astype(np.float64) for one in (values, same))
        if not np.array_equal(before, after, equal_nan=True):
            raise pa.ArrowInvalid(f"not all are {kind}")
    return same


def _tokens(own: pa.Table) -> pa.Table:
    """Of `loss`: the variant of a token was its control, if it was of one."""
    if "variant" not in own.column_names:
        return own
    said = [schema1.split(word) for word in own["variant"].to_pylist()]
    own = own.append_column("control", pa.array([control for control, _ in said], pa.string()))
    at = own.schema.get_field_index("variant")
    return own.set_column(at, "variant", pa.array([variant for _, variant in said], pa.string()))


def _probes(own: pa.Table) -> pa.Table:
    """Of `linear_probe`: a problem was the task, or one of the draws of the control task."""
    if "problem" not in own.column_names:
        return own
    draws = []
    for problem in own["problem"].to_pylist():
        control, _, draw = str(problem).partition(":")
        if problem != "task" and not (control == "control" and draw.isdecimal()):
            return own
        draws.append(int(draw) if draw else None)
    controls = [None if draw is None else "control_task" for draw in draws]
    own = own.drop_columns(["problem"])
    own = own.append_column("control", pa.array(controls, pa.string()))
    return own.append_column("draw", pa.array(draws, pa.int64()))


_CHANGED: Mapping[str, Callable[[pa.Table], pa.Table]] = {"tokens": _tokens, "probes": _probes}
"""Packaged tables that use other columns now, by name."""
