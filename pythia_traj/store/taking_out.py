"""Compacted units get files of their own again, as a sweep needs that measures them anew.

For each table their own files come first and the smaller compacted file after them: between these
renames other readers see the units twice, and ours take a unit's own file. A process that is killed
in between leaves the rest to `compacting.finish`.
"""

import uuid
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from pythia_traj.store.compacted import (
    INDEX,
    CompactedFile,
    UnitRows,
    read_index,
    write_compacted,
)
from pythia_traj.store.done import list_tables
from pythia_traj.store.layout import COMPACTED, Run
from pythia_traj.store.parquet import DamagedError, Whole, write_parquet
from pythia_traj.store.records import Index, as_json
from pythia_traj.store.writing import link_exclusively, writing

_DAMAGED = "damaged"
"""The folder of compacted files that were found damaged, which nothing reads any more."""


def take_out(run: Run, model: str, label: str, steps: Iterable[int]) -> None:
    """Gives units files of their own again, where they are compacted.

    A damaged compacted file is moved out of the readers' way; its units then have no rows.

    Raises:
        StoreError: the disk is full, read-only or forbidden.
    """
    leaving = set(steps)
    tables = (*tables_of(run), None)
    with writing(run.path):
        lost = _set_damaged_aside(run, model, label, tables)
        for table in tables:
            _take_out_of(run, model, label, table, leaving)
        _shorten_index(run, model, label, leaving, lost)


def _set_damaged_aside(
    run: Run, model: str, label: str, tables: Sequence[str | None]
) -> set[str | None]:
    """The tables whose compacted files were damaged; they are not in the readers' way any more."""
    damaged: set[str | None] = set()
    for table in tables:
        try:
            CompactedFile(run.label_folder(model, label, table=table) / COMPACTED, table)
        except FileNotFoundError:
            continue
        except DamagedError:
            damaged.add(table)
    # Without metrics there is nothing that rows of tables belong to.
    damaged = set(tables) if None in damaged else damaged
    for table in damaged:
        path = run.label_folder(model, label, table=table) / COMPACTED
        kept = run.compaction(model, label) / _DAMAGED / kind_of(run, table)
        kept.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            path.rename(kept / f"{uuid.uuid4().hex[:8]}-{COMPACTED}")
    return damaged


def _take_out_of(run: Run, model: str, label: str, table: str | None, leaving: set[int]) -> None:
    path = run.label_folder(model, label, table=table) / COMPACTED
    try:
        file = CompactedFile(path, table)
    except FileNotFoundError:
        return
    going = [step for step in file.contents.shares if step in leaving]
    staying = [step for step in file.contents.shares if step not in leaving]
    if not going:
        return
    with ExitStack() as stack:
        if staying:
            # What is entered first takes its place last.
            smaller = stack.enter_context(run.replacing(path))
            columns = _unit(file, staying[0]).columns
            write_compacted(smaller, columns, (_unit_rows(file, step) for step in staying))
        written = {}
        for step in going:
            own = run.unit_path(model, label, step, table=table)
            written[own] = stack.enter_context(run.replacing(own))
            unit = _unit_rows(file, step)
            write_parquet(written[own], unit.rows, unit.footer)
        for own, temporary in written.items():
            # A unit that has a file of its own keeps it.
            link_exclusively(temporary, own)
    if not staying:
        path.unlink(missing_ok=True)


def _shorten_index(run: Run, model: str, label: str, gone: set[int], lost: set[str | None]) -> None:
    """Takes units out of the index, and the tables whose compacted file was damaged."""
    index: Index | None = None
    with suppress(DamagedError):
        index = read_index(run, model, label)
    units = [
        one.model_copy(update={"tables": [name for name in one.tables if name not in lost]})
        for one in (index.units if index is not None and None not in lost else ())
        if one.step not in gone
    ]
    if units:
        write_index(run, model, label, Index(finished=True, units=units))
    else:
        path = run.compaction(model, label) / INDEX
        path.unlink(missing_ok=True)
        remove_empty(path.parent, run.path)


def write_index(run: Run, model: str, label: str, index: Index) -> None:
    """Writes the index of a label. Raises OSError."""
    with run.replacing(run.compaction(model, label) / INDEX) as temporary:
        temporary.write_text(as_json(index.model_dump(mode="json")) + "\n", encoding="utf-8")


def _unit(file: CompactedFile, step: int) -> Whole:
    unit = file.unit(step)
    assert unit is not None
    return unit


def _unit_rows(file: CompactedFile, step: int) -> UnitRows:
    unit = _unit(file, step)
    return UnitRows(step, as_written(unit), unit.table())


def as_written(whole: Whole) -> dict[str, Any]:
    """A unit's provenance as it is written."""
    return whole.footer.model_dump(exclude_unset=True)


def tables_of(run: Run) -> list[str]:
    """The tables and tensors of a run's units."""
    return [table for table in list_tables(run) if table != "models"]


def kind_of(run: Run, table: str | None) -> Path:
    """The metrics or a table as a path within the run."""
    return run.folder(table).relative_to(run.path)


def remove_empty(folder: Path, root: Path) -> None:
    """Removes a folder and those above it below the root, as far as they are empty."""
    with suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent
