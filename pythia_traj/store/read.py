"""A run -> a tidy DataFrame.

Any Parquet reader does the same on `RUN/metrics`; this one knows the types, and what is damaged.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from pythia_traj import schema
from pythia_traj.errors import StoreError, nearest
from pythia_traj.outside import shown
from pythia_traj.store.done import COLUMNS, Damage, Found, list_tables, list_units
from pythia_traj.store.filters import Filter
from pythia_traj.store.layout import Run
from pythia_traj.store.mixed import say_mixed
from pythia_traj.store.parquet import TYPES, DamagedError, arrow_schema, read_parquet
from pythia_traj.store.records import Footer
from pythia_traj.suites.catalog import catalog

_PARTITIONS = ("model", "experiment")

_PANDAS = {"dictionary": "category", "bool": "boolean", "int32": "Int32", "int64": "Int64"}

_NULLABLE = {
    pa.bool_(): pd.BooleanDtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
}

_THREADS = 4

_NAMED = 3
"""Damaged files that a warning names; `pythia-traj status` names all."""


@dataclass(frozen=True)
class Read:
    """What was read of a run.

    Attributes:
        frame: the rows.
        footers: the provenance of each file that was read.
        notes: what whoever looks at the rows must know: what was left out, what cannot be compared.
    """

    frame: pd.DataFrame
    footers: Mapping[Found, Footer]
    notes: tuple[str, ...]


def load(run: str | Path, *, table: str | None = None, **where: Any) -> pd.DataFrame:
    """The rows of a run, one row one value of one metric.

    Damaged files are left out with a warning; so is said where rows of a label were made with
    different parameters.

    Args:
        run: the run's directory.
        table: another table than the metrics: `items`, one of an experiment's own, or `models`,
            which joins on `model`.
        **where: columns to filter by, pushed down to the files: a value, a list of values, or None
            for null, as in
            `load(run, experiment="induction", metric="prefix_matching", step=[0, 512])`.

    Returns:
        columns `model`, `experiment` and those of pythia_traj.schema, sorted by model, experiment
        and step; words are categories, layer, head, position, step and n are nullable integers.

    Raises:
        StoreError: it is no run, has no such table or column, or a word stands nowhere in that
            column.
    """
    found = read_run(run, table=table, **where)
    for note in found.notes:
        warnings.warn(note, stacklevel=2)
    return found.frame


def read_run(run: str | Path, *, table: str | None = None, **where: Any) -> Read:
    """The rows of a run, as `load`, with what there is to be said of them.

    Raises:
        StoreError: as `load`.
    """
    reader = _Reader(Run.open(Path(run)), table)
    if not reader.there:
        return Read(_empty(table), {}, reader.notes({}))
    filters = [Filter.of(name, value) for name, value in where.items()]
    for one in filters:
        if reader.is_stores or one.name in reader.columns.names:
            one.check(reader.columns)
    rows, footers = reader.read(
        [found for found in reader.there if all(one.may_take(found) for one in filters)], filters
    )
    for one in filters:
        missing = one.words() - _words(rows, one.name)
        if missing:
            known = reader.words(one.name)
            one.refuse_unknown(missing - known, sorted(known))
    return Read(_as_frame(rows, reader.partitions), footers, reader.notes(footers))


class _Reader:
    """Reads files of one table."""

    def __init__(self, run: Run, table: str | None) -> None:
        self._run, self._table = run, table
        self._damaged: Damage = {}
        self.there = _list(run, table, self._damaged)
        self.partitions = _PARTITIONS[:1] if table == "models" else _PARTITIONS
        self.is_stores = table in COLUMNS
        """Whether the store alone says which columns it has."""
        own = arrow_schema(COLUMNS.get(table, schema.UNIT_COLUMNS))
        self.columns = pa.schema(
            [*(pa.field(name, TYPES["dictionary"]) for name in self.partitions), *own]
        )
        """Those that are known without a look into a file."""

    def read(
        self, wanted: Sequence[Found], filters: Sequence[Filter]
    ) -> tuple[pa.Table, dict[Found, Footer]]:
        """The rows of these files, and the provenance of each that is whole."""
        expression = None
        for one in filters:
            expression = one.expression() if expression is None else expression & one.expression()
        early = expression if self.is_stores else None
        tables, footers = {}, {}
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            for found, opened in zip(
                wanted, pool.map(lambda found: self._open(found, early), wanted), strict=True
            ):
                if opened is not None:
                    tables[found], footers[found] = opened
        common = self.columns if self.is_stores else self._common_schema(tables)
        kept = {found: rows for found, rows in tables.items() if found.path not in self._damaged}
        rows = (
            pa.concat_tables(kept.values(), promote_options="permissive")
            if kept
            else common.empty_table()
        )
        if expression is not None and not self.is_stores:
            for one in filters:
                one.check(rows.schema)
            rows = rows.filter(expression)
        return rows, {found: footers[found] for found in kept}

    def words(self, name: str) -> set[str]:
        """All words that stand in a column, whatever the other columns hold."""
        if name == "model":
            return {found.model for found in self.there}
        if name == "experiment":
            return {found.label for found in self.there}
        known: set[str] = set()
        for found in self.there:
            opened = self._open(found, None)
            known |= set() if opened is None else _words(opened[0], name)
        return known

    def notes(self, footers: Mapping[Found, Footer]) -> tuple[str, ...]:
        """What is to be said of the rows."""
        said = say_mixed(footers) if self._table != "models" else []
        if self._damaged:
            names = [
                f"{path.relative_to(self._run.path)} ({why})" for path, why in self._damaged.items()
            ]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            said.append(
                f"left out {len(names)} damaged {'file' if len(names) == 1 else 'files'}:"
                f" {', '.join(names[:_NAMED])}{more}; the next sweep makes them anew"
            )
        return tuple(said)

    def _open(self, found: Found, expression: Any) -> tuple[pa.Table, Footer] | None:
        """The rows of a file with its partitions in front.

        None where it is damaged or no longer there.
        """
        try:
            whole = read_parquet(found.path, COLUMNS.get(self._table), step=found.step)
            rows = whole.table()
        except FileNotFoundError:
            return None
        except DamagedError as error:
            self._damaged[found.path] = str(error)
            return None
        for i, name in enumerate(self.partitions):
            word = found.model if name == "model" else found.label
            codes = pa.repeat(pa.scalar(0, pa.int32()), len(rows))
            rows = rows.add_column(i, name, pa.DictionaryArray.from_arrays(codes, pa.array([word])))
        return rows if expression is None else rows.filter(expression), whole.footer

    def _common_schema(self, tables: Mapping[Found, pa.Table]) -> pa.Schema:
        """The columns of an experiment's own table: what fits those that most files have."""
        of_schema: dict[pa.Schema, list[Found]] = {}
        for found, rows in tables.items():
            of_schema.setdefault(rows.schema, []).append(found)
        common = self.columns
        for columns, founds in sorted(of_schema.items(), key=lambda item: -len(item[1])):
            try:
                common = pa.unify_schemas([common, columns], promote_options="permissive")
            except pa.ArrowException:
                why = "its columns are of other types than those of other units"
                self._damaged |= {found.path: why for found in founds}
        return common


def published_models() -> pd.DataFrame:
    """The published models that are known by name, a row each.

    A run has the same table of its own models, directories included: `load(run, table="models")`.
    Both join on `model`:
    `load(run).merge(pythia_traj.published_models(), on="model", suffixes=("", "_of_model"))`.

    Returns:
        columns `model` and those of pythia_traj.schema.MODELS.
    """
    records = [record.as_dict() for record in catalog().values()]
    frame = pd.DataFrame(records, columns=["model", *(column.name for column in schema.MODELS)])
    return frame.astype({c.name: _PANDAS[c.type] for c in schema.MODELS})


def _list(run: Run, table: str | None, unreadable: Damage) -> list[Found]:
    if table is not None and table not in list_tables(run):
        known = list_tables(run)
        if known:
            raise StoreError(f"{run.path} has no table {shown(table)}: {nearest(table, known)}")
        return []
    found = list_units(run, table=table, unreadable=unreadable)
    if not found and table is not None and list_units(run, table=table, suffix=".safetensors"):
        raise StoreError(
            f"{table} holds tensors, not rows: read the .safetensors files below"
            f" {run.folder(table)}"
        )
    return sorted(found, key=lambda one: (one.model, one.label, one.step or 0))


def _words(rows: pa.Table, name: str) -> set[str]:
    if name not in rows.column_names:
        return set()
    found: set[Any] = set()
    for chunk in rows[name].chunks:
        found |= set(chunk.unique().to_pylist())
    return {word for word in found if isinstance(word, str)}


def _as_frame(rows: pa.Table, partitions: Sequence[str]) -> pd.DataFrame:
    frame: pd.DataFrame = rows.to_pandas(types_mapper=_NULLABLE.get)
    for name in partitions:
        words = frame[name].astype("category").cat.remove_unused_categories()
        frame[name] = words.cat.reorder_categories(sorted(words.cat.categories))
    if "step" in frame:
        # step x tokens per step, which everybody computes sooner or later, exceeds 32 bits, and
        # pandas would not say so.
        frame["step"] = frame["step"].astype("Int64")
    return frame


def _empty(table: str | None) -> pd.DataFrame:
    columns = COLUMNS.get(table, schema.UNIT_COLUMNS)
    partitions = _PARTITIONS[:1] if table == "models" else _PARTITIONS
    return pd.DataFrame(columns=[*partitions, *(column.name for column in columns)])
