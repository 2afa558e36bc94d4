"""Many unit files of a model and label -> one, so that no crash costs a unit.

Where readers look is in compacted.py. `compact_label` takes these steps:

1. What is to replace the folders of the label, for the metrics and for each table, is written below
   `next/`: a folder with one file each. It is read back before anything else happens.
2. The index, not finished, is renamed into place. From here the compaction will be completed.
3. One folder after the other is renamed to `old/`, and its successor takes its place.
4. What is in `old/` is deleted; files that were not compacted go back where they were.
5. The index, finished, is renamed into place.

A process that is killed before step 2 leaves a `next/` that counts for nothing, one that is killed
later leaves the rest to whoever comes next: `finish` does it, which a sweep and every command that
changes the run call first. Our readers see the same rows throughout. Other readers see a table's
label before or after step 3, never twice, and for the moment between the two renames not at all;
if the process dies in that moment, until `finish`.

One process at a time may do any of this (`pythia_traj.sweeps.upkeep`), and for `compact_label` no
worker may write. taking_out.py does the reverse.
"""

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pythia_traj.errors import StoreError
from pythia_traj.store.compacted import (
    NEXT,
    CompactedFile,
    UnitRows,
    next_folder,
    open_unit,
    read_index,
    write_compacted,
)
from pythia_traj.store.done import Found, compacted_labels, list_units
from pythia_traj.store.layout import COMPACTED, Run, step_file, step_of
from pythia_traj.store.parquet import DamagedError, Whole
from pythia_traj.store.records import Footer, Index, IndexedUnit
from pythia_traj.store.taking_out import (
    as_written,
    kind_of,
    remove_empty,
    tables_of,
    take_out,
    write_index,
)
from pythia_traj.store.writing import flush, writing

_OLD = "old"
"""The folder of what was replaced and is about to be deleted."""


class NotCompactedError(StoreError):
    """A label is left as it is; the text says why."""


@dataclass(frozen=True)
class Label:
    """The units of a model and label, by their steps, of the metrics (None) and of each table."""

    model: str
    label: str
    units: Mapping[str | None, Sequence[Found]]

    @property
    def name(self) -> str:
        """In messages."""
        return f"{self.model}/{self.label}"

    @property
    def files(self) -> int:
        """How many files these are."""
        return len({found.path for units in self.units.values() for found in units})


def list_labels(run: Run) -> list[Label]:
    """All models and labels that have units."""
    units: dict[tuple[str, str], dict[str | None, list[Found]]] = {}
    # The metrics come last, as they do when a unit is written.
    for table in (*tables_of(run), None):
        for found in list_units(run, table=table):
            units.setdefault((found.model, found.label), {}).setdefault(table, []).append(found)
    return [Label(*name, parts) for name, parts in sorted(units.items()) if None in parts]


def compact_label(run: Run, label: Label) -> bool:
    """Makes one file of each table of a label; False where it has no files to put together.

    Raises:
        NotCompactedError: it is left as it is.
        StoreError: the disk is full, read-only or forbidden.
    """
    metrics = label.units[None]
    if len(metrics) < 2 or _is_compacted(run, label):
        return False
    _refuse_others(run, label)
    is_ready = False
    with writing(run.path):
        try:
            units = _write_successors(run, label)
            is_ready = True
        finally:
            if not is_ready:
                aside = run.compaction(label.model, label.label)
                _remove(aside / NEXT)
                remove_empty(aside, run.path)
        write_index(run, label.model, label.label, Index(finished=False, units=units))
        _complete(run, label.model, label.label)
    return True


def finish(run: Run) -> None:
    """Completes or undoes what a killed process left of compactions.

    Raises:
        StoreError: the disk is full, read-only or forbidden.
    """
    with writing(run.path):
        for model, label in unfinished(run):
            _finish_label(run, model, label)


def unfinished(run: Run) -> list[tuple[str, str]]:
    """The models and labels of which a killed process left something; nothing is written."""
    return [name for name in compacted_labels(run) if _is_unfinished(run, *name)]


def _is_unfinished(run: Run, model: str, label: str) -> bool:
    aside = run.compaction(model, label)
    if any((aside / name).is_dir() for name in (NEXT, _OLD)) or not _names(aside):
        return True
    index = _index(run, model, label)
    return index is not None and (not index.finished or bool(_twice(run, model, label, index)))


def _twice(run: Run, model: str, label: str, index: Index) -> set[int]:
    """The units that are compacted and have files of their own."""
    own = {
        step_of(name)
        for table in (None, *tables_of(run))
        for name in _names(run.label_folder(model, label, table=table))
        if name.endswith(".parquet")
    }
    return {one.step for one in index.units} & own


def _index(run: Run, model: str, label: str) -> Index | None:
    """The index of a label; None where it is missing or damaged."""
    with suppress(DamagedError):
        return read_index(run, model, label)
    return None


def _is_compacted(run: Run, label: Label) -> bool:
    """Whether all units are, and the index says so."""
    is_indexed = _index(run, label.model, label.label) is not None
    return is_indexed and all(found.is_compacted for found in label.units[None])


def _write_successors(run: Run, label: Label) -> list[IndexedUnit]:
    """Writes the compacted files aside, and returns what they hold."""
    steps = {_step(found) for found in label.units[None]}
    footers: dict[int, Footer] = {}
    tables: dict[int, list[str]] = {step: [] for step in sorted(steps)}
    for table, founds in label.units.items():
        # Rows of a table without metrics are of a unit that was not finished.
        wanted = [found for found in founds if found.step in steps]
        if not wanted:
            continue
        footers = _write_successor(run, label, table, wanted)
        for found in wanted if table is not None else ():
            tables[_step(found)].append(str(table))
    # The last ones are those of the metrics.
    for step, footer in footers.items():
        missing = {name for name in footer.beside or () if name.endswith(".parquet")}
        missing -= {f"{table}.parquet" for table in tables[step]}
        if missing:
            raise NotCompactedError(
                f"step {step} lacks its {min(missing)}: repeat the sweep, which measures it again"
            )
    return [
        IndexedUnit(step=step, digest=one.digest, source=one.source, tables=tables[step])
        for step, one in footers.items()
    ]


def _write_successor(
    run: Run, label: Label, table: str | None, founds: Sequence[Found]
) -> dict[int, Footer]:
    """Writes the compacted file of a table aside; returns the provenance of its units."""
    footers: dict[int, Footer] = {}
    target = next_folder(run, label.model, label.label, table) / COMPACTED
    columns = next(_read_all(run, founds[:1], table))[0].columns

    def units() -> Iterator[UnitRows]:
        for found, (whole, rows) in zip(founds, _read_all(run, founds, table), strict=True):
            if whole.unknown:
                raise NotCompactedError(
                    f"step {found.step} has columns of a newer pythia-traj: compact it with that"
                    " version"
                )
            if not rows.schema.equals(columns):
                raise NotCompactedError(
                    f"table {table} has other columns at step {found.step} than at step"
                    f" {founds[0].step}: measure one of them again"
                )
            footers[_step(found)] = whole.footer
            yield UnitRows(_step(found), as_written(whole), rows)

    with run.replacing(target) as temporary:
        write_compacted(temporary, columns, units())
        if list(CompactedFile(temporary, table).contents.shares) != list(footers):
            raise StoreError(f"{target} does not read back as it was written: check the disk")
    return footers


def _read_all(
    run: Run, founds: Sequence[Found], table: str | None
) -> Iterator[tuple[Whole, pa.Table]]:
    """Each unit and its rows; the file that holds many of them is opened once.

    Raises NotCompactedError: one is damaged.
    """
    file = None
    for found in founds:
        try:
            if found.is_compacted and file is None:
                file = CompactedFile(found.path, table)
            whole = file.unit(_step(found)) if found.is_compacted and file is not None else None
            whole = whole or open_unit(run, found.model, found.label, _step(found), table=table)
            yield whole, whole.table()
        except FileNotFoundError:
            raise NotCompactedError(f"{found.path} is missing: repeat the sweep") from None
        except DamagedError as error:
            raise NotCompactedError(
                f"{found.path} is damaged ({error}): repeat the sweep, which measures it again"
            ) from None


def _complete(run: Run, model: str, label: str) -> None:
    """Puts the successors into their places, once the index names what they hold."""
    aside = run.compaction(model, label)
    index = read_index(run, model, label)
    assert index is not None
    for table in (*tables_of(run), None):
        successor = next_folder(run, model, label, table)
        if not os.path.lexists(successor / COMPACTED):
            continue
        place = run.label_folder(model, label, table=table)
        if os.path.lexists(place):
            old = aside / _OLD / kind_of(run, table) / uuid.uuid4().hex
            old.parent.mkdir(parents=True, exist_ok=True)
            place.rename(old)
            flush(old.parent)
        successor.rename(place)
        flush(place.parent)
    _put_back(run, model, label, index)
    write_index(run, model, label, index.model_copy(update={"finished": True}))
    _remove(aside / NEXT)


def _finish_label(run: Run, model: str, label: str) -> None:
    index = _index(run, model, label)
    if index is not None and not index.finished:
        _complete(run, model, label)
        return
    aside = run.compaction(model, label)
    _put_back(run, model, label, index)
    _remove(aside / NEXT)
    remove_empty(aside, run.path)
    if index is not None:
        take_out(run, model, label, _twice(run, model, label, index))


def _put_back(run: Run, model: str, label: str, index: Index | None) -> None:
    """Deletes the files in `old/` whose units the index names, and puts the others back."""
    old = run.compaction(model, label) / _OLD
    for table in (*tables_of(run), None):
        compacted = {
            step_file(one.step)
            for one in (index.units if index is not None else ())
            if table is None or table in one.tables
        } | ({COMPACTED} if index is not None else set())
        place = run.label_folder(model, label, table=table)
        for folder in sorted((old / kind_of(run, table)).glob("*")):
            for name in set(_names(folder)) - compacted:
                if not os.path.lexists(place / name):
                    place.mkdir(parents=True, exist_ok=True)
                    (folder / name).rename(place / name)
    _remove(old)


def _refuse_others(run: Run, label: Label) -> None:
    """Raises NotCompactedError: a folder of the label holds something that is not a unit's rows."""
    for table in label.units:
        folder = run.label_folder(label.model, label.label, table=table)
        for name in _names(folder):
            is_unit = name.endswith(".parquet") and step_of(name) is not None
            if not is_unit and name != COMPACTED and not name.startswith("."):
                raise NotCompactedError(
                    f"{folder} holds {name}, which is not the rows of a unit: move it elsewhere"
                )


def _step(found: Found) -> int:
    assert found.step is not None
    return found.step


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208 - names are all


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
