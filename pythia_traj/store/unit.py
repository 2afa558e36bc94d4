"""A measured unit -> files: its tables and tensors first, its metrics last.

The metrics file alone means that the unit is done.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from pythia_traj import schema
from pythia_traj.rows import Parts
from pythia_traj.store.layout import Run
from pythia_traj.store.parquet import (
    FOOTER_KEY,
    TYPES,
    DamagedError,
    arrow_schema,
    read_parquet,
    write_parquet,
)
from pythia_traj.store.records import as_json
from pythia_traj.store.tables import Declared, UnitId, items_table, metrics_table, own_table
from pythia_traj.store.tensors import write_tensors
from pythia_traj.store.writing import link_exclusively, writing
from pythia_traj.values import Rows


def write_unit(
    run: Run,
    unit: UnitId,
    rows: Rows,
    footer: Mapping[str, Any],
    *,
    tables: Declared | None = None,
    cached: bool = False,
) -> Path:
    """Writes a unit; when this returns it is on disk and done.

    Before that its metrics cannot be seen. Tables and tensors of an earlier measurement of the unit
    are removed unless this one replaces them.

    Args:
        footer: provenance, as JSON, stored in every file of the unit.
        tables: the columns of the tables that the experiment may have beside its rows.
        cached: only references need the rows, which go to the run's cache.

    Raises:
        StoreError: the disk is full, read-only or forbidden.
        ValueError: the rows hold two values under one key, or a table is not as it was declared.
    """
    rows.check_keys()
    made: dict[str, pa.Table] = {"items": items_table(unit, rows.items)} if rows.items else {}
    for name, columns in rows.tables.items():
        made[name] = own_table(unit, name, columns, tables or {})
    metrics = metrics_table(unit, rows.metrics)
    place = partial(run.unit_path, unit.model, unit.label, unit.step, cached=cached)
    beside = [
        *(f"{name}.parquet" for name in made),
        *(f"{name}.safetensors" for name in rows.arrays),
    ]
    footer = {**footer, "beside": beside}
    written = set()
    with writing(run.path):
        for name, table in made.items():
            written.add(place(table=name))
            _write(run, place(table=name), table, footer)
        for name, tensors in rows.arrays.items():
            written.add(place(table=name, suffix=".safetensors"))
            _write_tensors(run, place(table=name, suffix=".safetensors"), tensors, footer)
        for stale in run.unit_tables(unit.model, unit.label, unit.step, cached=cached) - written:
            stale.unlink(missing_ok=True)
        path = place()
        _write(run, path, metrics, footer)
    return path


def write_model(
    run: Run, model: str, facts: Mapping[str, Any], footer: Mapping[str, Any], *, anew: bool
) -> bool:
    """Writes a model's row of the `models` table.

    Args:
        facts: the columns of schema.MODELS by name; those left out are null.
        footer: its provenance: where the model is published.
        anew: whether the row is new: an existing one is not replaced.

    Returns:
        whether it was written.

    Raises:
        StoreError: the disk is full, read-only or forbidden.
    """
    arrays = [
        pa.array([facts.get(column.name)], type=TYPES[column.type]) for column in schema.MODELS
    ]
    table = pa.Table.from_arrays(arrays, schema=arrow_schema(schema.MODELS))
    path = run.model_path(model)
    with writing(run.path), run.replacing(path) as temporary:
        write_parquet(temporary, table, footer)
        return not anew or link_exclusively(temporary, path)


def read_footer(path: Path) -> dict[str, Any] | None:
    """The provenance in a unit's file; None where the file is missing or damaged."""
    try:
        return read_parquet(path, None).footer.model_dump(exclude_unset=True)
    except (FileNotFoundError, DamagedError):
        return None


def _write(run: Run, path: Path, table: pa.Table, footer: Mapping[str, Any]) -> None:
    with run.replacing(path) as temporary:
        write_parquet(temporary, table, footer)


def _write_tensors(
    run: Run, path: Path, tensors: Mapping[str, Parts], footer: Mapping[str, Any]
) -> None:
    with run.replacing(path) as temporary:
        write_tensors(temporary, tensors, {FOOTER_KEY.decode(): as_json(footer)})
