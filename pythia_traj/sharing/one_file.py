"""A run's rows as one file, or as metrics by training step for other programs.

Rows are read and written a few files at a time, so that a run may be larger than the memory.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from pythia_traj.errors import ConfigError, StoreError
from pythia_traj.outside import shown
from pythia_traj.sharing.event_files import write_event_files
from pythia_traj.sharing.wandb_runs import log_to_wandb
from pythia_traj.store.parts import Parts
from pythia_traj.store.remote import reading
from pythia_traj.store.writing import remove_leftovers, replacing, writing

Format = Literal["csv", "parquet", "tensorboard", "wandb"]

FILES = ("csv", "parquet")
"""The formats that are one file of rows."""

Write = Callable[[pa.Table], None]


def export(
    run: str | Path,
    path: str | Path,
    *,
    format: Format | None = None,  # noqa: A002 - as the command and other libraries call it
    table: str | None = None,
    controls: bool = False,
    mixed: bool = False,
    **where: Any,
) -> tuple[str, ...]:
    """Writes the rows of a run for programs that read no run.

        export("runs/induction", "induction.csv", metric="prefix_matching")
        export("runs/induction", "items.parquet", table="items", controls=True)
        export("runs/induction", "logs", format="tensorboard")
        export("runs/induction", "my-project", format="wandb")

    A file has the rows and columns of `load`, `model` and `label` first. TensorBoard and Weights &
    Biases get the same values by training step, `label/metric/variant/L3H5`, a run for each model.

    Args:
        run: the run's directory, or its address as for `load`.
        path: the file, or TensorBoard's directory, or the project's name at Weights & Biases. An
            existing file is replaced when the new one is whole.
        format: `csv`, `parquet`, `tensorboard` or `wandb`; None takes it from the file's suffix.
        table, controls, mixed, **where: as for `load`.

    Returns:
        what a reader of the rows must know.

    Raises:
        StoreError: as `load`; or the file cannot be written, or wandb refuses.
        ConfigError: the format is unknown, its package is not installed, or it has no tables.
    """
    chosen = _format_of(path, format)
    if chosen not in FILES and table is not None:
        raise ConfigError(
            f"table={shown(table)}: {chosen} takes metrics by training step: export tables as"
            f" {' or '.join(FILES)}"
        )
    with reading(run, "metrics" if table is None else "tables") as opened:

        def parts() -> Parts:
            return Parts(opened, table=table, controls=controls, **where)

        if chosen == "tensorboard":
            return tuple(write_event_files(parts(), Path(path), mixed=mixed))
        if chosen == "wandb":
            return tuple(log_to_wandb(parts, str(path), str(run), mixed=mixed))
        return tuple(_write_file(parts(), Path(path), _WRITERS[chosen], mixed))


def _format_of(path: str | Path, given: str | None) -> str:
    known = get_args(Format)
    chosen = Path(path).suffix.removeprefix(".").lower() if given is None else given
    if given is None and chosen not in FILES:
        raise ConfigError(
            f"{path}: its name does not say the format: end it in {' or '.join(FILES)}, or give"
            f" format= one of {', '.join(known)}"
        )
    if chosen not in known:
        raise ConfigError(f"unknown format {shown(chosen)}: give one of {', '.join(known)}")
    return chosen


def _write_file(
    parts: Parts, target: Path, writer: Callable[[Path, pa.Schema], Any], mixed: bool
) -> list[str]:
    if target.is_dir():
        raise StoreError(
            f"{target} is a directory: give the file to write, such as {target / 'rows.parquet'}"
        )
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent)
        with replacing(target, target.parent) as temporary:
            rows = parts.in_order()
            first = next(rows, parts.columns.empty_table())
            with writer(temporary, first.schema) as write:
                write(first)
                for some in rows:
                    write(some)
            return parts.said(mixed=mixed)


@contextmanager
def _as_csv(path: Path, columns: pa.Schema) -> Iterator[Write]:
    """Null is an empty cell, a list its values with spaces between."""
    as_text = pa.schema(
        [field.with_type(pa.string()) if _is_list(field) else field for field in columns]
    )
    with csv.CSVWriter(str(path), as_text) as file:

        def write(rows: pa.Table) -> None:
            for i, field in enumerate(rows.schema):
                if _is_list(field):
                    texts = pc.binary_join(rows[i].cast(pa.list_(pa.string())), " ")
                    rows = rows.set_column(i, as_text.field(i), texts)
            file.write_table(rows)

        yield write


@contextmanager
def _as_parquet(path: Path, columns: pa.Schema) -> Iterator[Write]:
    with pq.ParquetWriter(str(path), columns, compression="zstd") as file:
        yield lambda rows: file.write_table(rows.unify_dictionaries())


def _is_list(field: pa.Field) -> bool:
    return bool(pa.types.is_list(field.type))


_WRITERS = {"csv": _as_csv, "parquet": _as_parquet}
