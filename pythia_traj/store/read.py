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
from pythia_traj.suites.catalog import catalog

_PARTITIONS = ("model", "experiment")

_PANDAS = {"dictionary": "category", "bool": "boolean", "int32": "Int32", "int64": "Int64"}

_NULLABLE = {
    pa.bool_(): pd.BooleanDtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
}


def load(run: str | Path, *, table: str | None = None, **where: Any) -> pd.DataFrame:
    """The rows of a run, one row one value of one metric.

    Args:
        run: the run's directory.
        table: another table than the metrics: `items`, one of an experiment's own, or `models`, which joins on `model`.
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
    # Of each path only what a unit or a model is called by; half-written files lie elsewhere.
    files = sorted(str(path) for path in root.glob("model=*/**/*.parquet"))
    if not files:
        return _empty(opened, table)
    partitions = [name for name in _PARTITIONS if f"{name}=" in files[0].removeprefix(str(root))]
    partitioning = ds.partitioning(pa.schema([(name, pa.string()) for name in partitions]), flavor="hive")
    dataset = ds.dataset(files, format="parquet", partitioning=partitioning, partition_base_dir=str(root))
    columns = [*partitions, *(name for name in dataset.schema.names if name not in partitions)]
    found = dataset.to_table(filter=_filter(where, dataset.schema.names), columns=columns)
    frame: pd.DataFrame = found.to_pandas(types_mapper=_NULLABLE.get)
    for name in partitions:
        frame[name] = frame[name].astype("category")
    if "step" in frame:
        # step x tokens per step, which everybody computes sooner or later, exceeds 32 bits, and pandas would not say so.
        frame["step"] = frame["step"].astype("Int64")
    order = [name for name in (*_PARTITIONS, "step") if name in columns]
    return frame.sort_values(order, kind="stable", ignore_index=True)


def published_models() -> pd.DataFrame:
    """The published models that are known by name, a row each.

    A run has the same table of its own models, directories included: `load(run, table="models")`. Both join on `model`:
    `load(run).merge(pythia_traj.published_models(), on="model", suffixes=("", "_of_model"))`.

    Returns:
        columns `model` and those of pythia_traj.schema.MODELS.
    """
    records = [record.as_dict() for record in catalog().values()]
    frame = pd.DataFrame(records, columns=["model", *(column.name for column in schema.MODELS)])
    return frame.astype({c.name: _PANDAS[c.type] for c in schema.MODELS})


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
        if next((run.path / "tables" / table).rglob("*.safetensors"), None) is not None:
            raise StoreError(
                f"{table} holds tensors, not rows: read the .safetensors files below {run.path / 'tables' / table}"
            )
    columns = schema.METRICS if table is None else schema.ITEMS
    return pd.DataFrame(columns=[*_PARTITIONS, *(column.name for column in columns)])
