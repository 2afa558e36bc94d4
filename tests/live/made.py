"""Runs made of rows, unit by unit as a sweep writes them, and changes of their files."""

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa

import pythia_traj as pt
from pythia_traj import schema
from pythia_traj.store.layout import Run
from pythia_traj.store.parquet import arrow_schema, write_parquet
from pythia_traj.store.unit import write_model

VERSIONS = {"pythia-traj": pt.__version__}

FACTS = {"suite": "pythia", "n_layers": 2, "n_heads": 4, "d_model": 8, "d_vocab": 300}
NUMBERS = {"n_parameters": 1000, "n_steps": 154}


def made_run(path: Path, rows: pd.DataFrame, **made_of: object) -> Run:
    """A run of these rows: its request, its models, its units, made with these settings."""
    run = Run.create(path)
    asked = {
        model: sorted({int(step) for step in of_model["step"]})
        for model, of_model in rows.groupby("model", observed=True)
    }
    labels = {str(label): {} for label in rows["label"].unique()}
    run.record_request({"explicit_steps": asked, "experiments": labels})
    for model in asked:
        write_model(run, model, FACTS | NUMBERS, {"origin": f"directory:/{model}"}, anew=True)
    write_units(run, rows, **made_of)
    return run


def write_units(run: Run, rows: pd.DataFrame, **more: object) -> list[Path]:
    """Writes the units of some rows; the paths of their files."""
    columns = arrow_schema(schema.METRICS)
    paths = []
    for (model, label, step), unit in rows.groupby(["model", "label", "step"], observed=True):
        table = pa.Table.from_pandas(unit[columns.names], columns, preserve_index=False)
        made_of = {"experiment": str(unit["experiment"].iloc[0]), "version": 1, **more}
        target = run.unit_path(str(model), str(label), int(step))
        with run.replacing(target) as temporary:
            footer = {"made_of": made_of, "versions": VERSIONS, "schema": schema.VERSION}
            write_parquet(temporary, table.replace_schema_metadata(None), footer)
        paths.append(target)
    return paths


def damaged(path: Path, damage: Callable[[Path], None]) -> Callable[[], None]:
    """Damages a file; what is returned repairs it."""
    whole = path.read_bytes()
    damage(path)
    os.utime(path, ns=(path.stat().st_mtime_ns + 1, path.stat().st_mtime_ns + 1))

    def repair() -> None:
        path.unlink()
        path.write_bytes(whole)

    return repair


def without_sources(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows without the columns that only say where weights are from."""
    return rows.drop(columns=["suite", "revision", "commit"])


def tree(path: Path) -> dict[str, tuple[int, bytes]]:
    """All that is below a directory: when it was written, and the bytes of files."""
    return {
        str(one.relative_to(path)): (
            one.stat().st_mtime_ns,
            one.read_bytes() if one.is_file() else b"",
        )
        for one in sorted(path.rglob("*"))
    }
