"""A run -> a tidy DataFrame. Any Parquet reader does the same on `RUN/metrics`; this one knows the types."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from pythia_traj import schema
from pythia_traj.errors import StoreError, nearest
from pythia_traj.store.layout import Run

_PARTITIONS = ("model", "experiment")

_NULLABLE = {pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}


def load(run: str | Path, *, table: str | None = None, **where: Any) -> pd.DataFrame:
    """The rows of a run, one row one value of one metric.

    Args:
        run: the run's directory.
        table: another table than the metrics: `items`, or one of an experiment's own.
        **where: columns to filter by, pushed down to the files: a value, a list of values, or None for null, as in
            `load(run, experiment="induction", metric="prefix_matching", step=[0, 512])`.

    Returns:
        columns `model`, `experiment` and those of pythia_traj.schema, sorted by model, experiment and step; words are categories,
        layer, head, position, step and n are nullable integers.

    Raises:
        StoreError: it is no run, or has no such table or column.
    """
    opened = Run.open(Path(run))
    root = opened.metrics if table is None else opened.path / "tables" / table
    files = sorted(str(path) for path in root.glob("model=*/experiment=*/step-*.parquet"))
    if not files:
        return _empty(opened, table)
    partitioning = ds.partitioning(pa.schema([(name, pa.string()) for name in _PARTITIONS]), flavor="hive")
    dataset = ds.dataset(files, format="parquet", partitioning=partitioning, partition_base_dir=str(root))
    found = dataset.to_table(filter=_filter(where, dataset.schema.names), columns=_columns(dataset.schema.names))
    frame: pd.DataFrame = found.to_pandas(types_mapper=_NULLABLE.get)
    for name in _PARTITIONS:
        frame[name] = frame[name].astype("category")
    return frame.sort_values([*_PARTITIONS, "step"], kind="stable", ignore_index=True)


def _columns(names: Sequence[str]) -> list[str]:
    """The partitions in front."""
    return [*_PARTITIONS, *(name for name in names if name not in _PARTITIONS)]


def _filter(where: dict[str, Any], names: Sequence[str]) -> ds.Expression | None:
    expression = None
    for name, value in where.items():
        if name not in names:
            raise StoreError(f"there is no column {name!r}: {nearest(name, names)}")
        field = ds.field(name)
        if value is None:
            term = field.is_null()
        elif isinstance(value, list | tuple | set | range):
            term = field.isin(list(value))
        else:
            term = field == value
        expression = term if expression is None else expression & term
    return expression


def _empty(run: Run, table: str | None) -> pd.DataFrame:
    if table is not None and (run.path / "tables").is_dir():
        known = [path.name for path in (run.path / "tables").iterdir()]
        if table not in known:
            raise StoreError(f"{run.path} has no table {table!r}: {nearest(table, known)}")
    columns = schema.METRICS if table is None else schema.ITEMS
    return pd.DataFrame(columns=[*_PARTITIONS, *(column.name for column in columns)])
