"""A run of schema 1 -> a run of this version, without measuring anything again.

The old run is only read. Every file of it is converted alone, so a damaged file costs only its own
rows. A converted file is whole or does not exist: an interrupted conversion goes on where it
stopped. run.json comes last; with it the new directory is a run.
"""

import filecmp
import json
import os
import shutil
import struct
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from pythia_traj import schema
from pythia_traj.errors import StoreError
from pythia_traj.keys import Key
from pythia_traj.outside import checked, open_file, parse_json, read_file
from pythia_traj.store import old_tables, schema1
from pythia_traj.store.done import (
    Damage,
    Found,
    list_tables,
    list_units,
    read_request,
    request_files,
)
from pythia_traj.store.layout import (
    CONVERSION,
    SUFFIXES,
    Run,
    foreign_entry,
    holds_schema1,
    read_facts,
)
from pythia_traj.store.parquet import (
    COLUMNS,
    FOOTER_KEY,
    DamagedError,
    Whole,
    check_tensors,
    read_parquet,
    write_parquet,
)
from pythia_traj.store.records import Footer, as_json, digest
from pythia_traj.store.schema1 import Origin, Words
from pythia_traj.store.writing import writing


@dataclass
class Conversion:
    """How a conversion ended.

    Attributes:
        out: the new run.
        units: the units whose metrics were converted, now or before.
        rows: the rows of metrics that they had in the old run.
        intervals: rows among them that held an end of another row's interval: now columns.
        written: files written now.
        there: files that existed already.
        damaged: what is wrong with each file of the old run that was left out, by its path in it.
        notes: further remarks, such as columns that have new names.
    """

    out: Path
    units: int = 0
    rows: int = 0
    intervals: int = 0
    written: int = 0
    there: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def convert(old: str | Path, new: str | Path) -> Conversion:
    """Makes a run of this version from one of schema 1 (pythia-traj 0.1.0), measuring nothing.

    Keeps all its rows. Needs neither model nor network. A sweep takes a unit for done if
    experiment, parameters and files are the same today.

    Args:
        old: the run; it is only read.
        new: a new or an empty directory, or one that holds a conversion of the same run: its files
            stay as they are.

    Raises:
        StoreError: `old` is not a run of schema 1, `new` holds something else or cannot
            be written.
    """
    source, target = Path(old), Path(new)
    identity = _identity(source)
    with writing(target):
        is_complete = _claim(source, target, identity)
        converter = _Converter(Run(source), Run(target), is_complete)
        result = converter.convert()
        if not is_complete:
            Run(target).write_facts(converted={"id": identity, "schema": schema1.VERSION})
        (target / CONVERSION).unlink(missing_ok=True)
    return result


def _identity(old: Path) -> str:
    """What identifies the old run.

    Raises StoreError: it is not a run of schema 1.
    """
    known = None
    if (old / "run.json").exists() or not holds_schema1(old):
        facts = read_facts(old)
        if facts.schema_version != schema1.VERSION:
            raise StoreError(
                f"{old} is a run of this version (schema {facts.schema_version}): there is nothing"
                " to convert"
            )
        known = facts.id
    names = ",".join(path.name for path in request_files(Run(old)))
    return known or sha256(names.encode()).hexdigest()[:32]


def _claim(old: Path, new: Path, identity: str) -> bool:
    """Marks the new directory as a conversion of the old run; returns whether it is complete.

    Raises StoreError: it holds something else.
    """
    inner, outer = new.resolve(), old.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise StoreError(f"one of {new} and {old} contains the other: give a directory elsewhere")
    run, marker = Run(new), new / CONVERSION
    if (new / "run.json").exists():
        if (read_facts(new).converted or {}).get("id") != identity:
            raise StoreError(f"{new} is another run: give an empty or a new directory")
        return True
    text = as_json({"kind": "pythia-traj conversion", "id": identity}, indent=1) + "\n"
    if marker.exists():
        if read_file(marker, error=StoreError) != text.encode():
            raise StoreError(
                f"{new} is an interrupted conversion of another run: give an empty or a new"
                " directory"
            )
        run.remove_leftovers()
        return False
    foreign = foreign_entry(new)
    if foreign is not None:
        raise StoreError(f"{new} holds {foreign}: give an empty or a new directory")
    with run.replacing(marker) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return False


_WHY_TAKEN = {"control": "one of that name says which control a row is now"}


@dataclass(frozen=True)
class _File:
    """A unit's file: its metrics, a table or tensors."""

    found: Found
    table: str | None
    suffix: str


class _Converter:
    def __init__(self, old: Run, new: Run, is_complete: bool) -> None:
        self._old, self._new, self._is_complete = old, new, is_complete
        self._damage: Damage = {}
        self._result = Conversion(new.path)
        self._missing = 0
        self._keys: dict[tuple[str, Origin], Mapping[Words, Key]] = {}
        self._types: dict[tuple[str, str], dict[str, pa.DataType]] = defaultdict(dict)

    def convert(self) -> Conversion:
        """All of the run except run.json."""
        for file in self._survey(self._files()):
            is_rows = file.suffix == ".parquet"
            self._each(
                file.found.path, self._convert_rows if is_rows else self._convert_tensors, file
            )
        for path in request_files(self._old):
            self._each(path, self._convert_request, path)
        for found in list_units(self._old, table="models", unreadable=self._damage):
            self._each(found.path, self._copy_model, found)
        for path in sorted((self._old.path / "log").glob("*.jsonl")):
            self._each(path, self._copy, path, self._new.path / "log" / path.name)
        result = self._result
        result.notes = list(dict.fromkeys(result.notes))
        if self._missing:
            result.notes.append(
                f"{self._missing} files of {self._old.path} are not in {self._new.path}, which was"
                " complete before: convert into a new directory to have them"
            )
        result.damaged = {
            str(path.relative_to(self._old.path)): why for path, why in sorted(self._damage.items())
        }
        return result

    def _each(self, path: Path, work: Callable[..., None], *about: Any) -> None:
        """Works on a file; notes it where it is damaged."""
        try:
            work(*about)
        except FileNotFoundError:
            if os.path.lexists(path):
                # The new directory is missing, not the file.
                raise
            self._damage[path] = "it is missing"
        except DamagedError as error:
            self._damage[path] = str(error)

    def _files(self) -> list[_File]:
        """All files of units, tables before metrics."""
        tables = [name for name in list_tables(self._old) if name != "models"]
        return [
            _File(found, table, suffix)
            for table in (*tables, None)
            for suffix in (SUFFIXES if table is not None else SUFFIXES[:1])
            for found in list_units(
                self._old,
                table=table,
                suffix=suffix,
                unreadable=self._damage,
                partition="experiment",
            )
        ]

    def _survey(self, files: list[_File]) -> list[_File]:
        """The files that are whole.

        Finds what a single file cannot tell: all words of a label's keys, so that no two become
        one, and the types of its tables' columns.
        """
        words: dict[tuple[str, Origin], set[Words]] = defaultdict(set)
        for file in files:
            if file.suffix == ".parquet":
                self._each(file.found.path, self._look_into, file, words)
        for (label, origin), found in words.items():
            self._keys[label, origin], said = schema1.keys_of(found, origin)
            self._result.notes += [f"{label}: {one}" for one in said]
        return [file for file in files if file.found.path not in self._damage]

    def _look_into(self, file: _File, words: dict[tuple[str, Origin], set[Words]]) -> None:
        whole, label = self._read(file), file.found.label
        if file.table is None or file.table == "items":
            found = old_tables.words_of(whole.table(schema1.WORDS))
            words[label, Origin.of(whole.footer)] |= found
            return
        columns = whole.file.schema_arrow
        for name in old_tables.own_columns(columns):
            if old_tables.has_type(columns.field(name).type):
                self._types[label, file.table].setdefault(name, columns.field(name).type)

    def _read(self, file: _File) -> Whole:
        return read_parquet(
            file.found.path,
            schema1.COLUMNS.get(file.table),
            step=file.found.step,
            unit=schema1.UNIT_COLUMNS,
        )

    def _convert_rows(self, file: _File) -> None:
        whole, label = self._read(file), file.found.label
        old, origin = whole.table(), Origin.of(whole.footer)
        experiment = str(whole.footer.made_of.get("experiment") or label)
        if file.table is None:
            table = old_tables.metrics_table(old, experiment, self._keys[label, origin], origin)
            self._result.units += 1
            self._result.rows += len(old)
            self._result.intervals += len(old) - len(table)
        elif file.table == "items":
            table = old_tables.items_table(old, experiment, self._keys[label, origin])
        else:
            types = self._types[label, file.table]
            table, renamed = old_tables.own_table(old, experiment, file.table, origin, types)
            self._result.notes += [
                f"{label}, table {file.table}: its column {before} is called {now}, because"
                f" {_WHY_TAKEN.get(before, 'every table has one of that name now')}"
                for before, now in renamed.items()
            ]
        path, footer = self._path(file), _footer(whole.footer)
        if not self._is_there(path, lambda: _has_footer(path, file, footer)):
            with self._new.replacing(path) as temporary:
                write_parquet(temporary, table, footer)

    def _convert_tensors(self, file: _File) -> None:
        """Only the header differs: it holds the provenance."""
        check_tensors(file.found.path)
        path = self._path(file)
        with open_file(file.found.path, error=DamagedError, what="it") as old:
            header = parse_json(_header(old), "its header", error=DamagedError)
            metadata = header["__metadata__"]
            said = parse_json(metadata[FOOTER_KEY.decode()], "its provenance", error=DamagedError)
            footer = checked(Footer, said, "its provenance", error=DamagedError)
            metadata[FOOTER_KEY.decode()] = as_json(_footer(footer))
            text = json.dumps(header, separators=(",", ":")).encode()
            text += b" " * (-len(text) % 8)
            rest = os.fstat(old.fileno()).st_size - old.tell()
            if self._is_there(path, lambda: _has_header(path, text, rest)):
                return
            with self._new.replacing(path) as temporary, temporary.open("wb") as sink:
                sink.write(struct.pack("<Q", len(text)) + text)
                shutil.copyfileobj(old, sink)

    def _convert_request(self, path: Path) -> None:
        read_request(path)
        document = parse_json(read_file(path, error=DamagedError), "it", error=DamagedError)
        for asked in document["experiments"].values():
            if isinstance(asked, dict) and str(asked.get("use")) in schema1.PACKAGED:
                parameters = asked.get("parameters")
                if isinstance(parameters, dict):
                    asked["parameters"] = schema1.parameters_today(parameters)
        text = as_json(document, indent=1) + "\n"
        # It keeps its name, because logs refer to requests by name.
        target = self._new.path / "requests" / path.name
        if not self._is_there(target, lambda: target.read_bytes() == text.encode()):
            with self._new.replacing(target) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def _copy_model(self, found: Found) -> None:
        read_parquet(found.path, schema.MODELS)
        self._copy(found.path, self._new.model_path(found.model))

    def _copy(self, path: Path, target: Path) -> None:
        with open_file(path, error=DamagedError, what="it") as old:
            if self._is_there(target, lambda: filecmp.cmp(path, target, shallow=False)):
                return
            with self._new.replacing(target) as temporary, temporary.open("wb") as sink:
                shutil.copyfileobj(old, sink)

    def _is_there(self, path: Path, is_same: Callable[[], bool]) -> bool:
        """Whether the file needs no writing.

        A complete run is never written to: its rows may have been measured again since.
        """
        exists = os.path.lexists(path)
        if self._is_complete and not exists:
            self._missing += 1
            return True
        if exists and (self._is_complete or is_same()):
            self._result.there += 1
            return True
        self._result.written += 1
        return False

    def _path(self, file: _File) -> Path:
        found = file.found
        assert found.step is not None
        return self._new.unit_path(
            found.model, found.label, found.step, table=file.table, suffix=file.suffix
        )


def _footer(old: Footer) -> dict[str, Any]:
    """The provenance of converted rows: the old one, with the digest that they have today."""
    made_of = schema1.made_of_today(old)
    return {
        **old.model_dump(exclude_unset=True),
        "schema": schema.VERSION,
        "made_of": made_of,
        "digest": digest(made_of),
        "converted": {
            "schema": schema1.VERSION,
            "version": old.versions.get("pythia-traj", schema1.WRITTEN_BY),
            "digest": old.digest,
        },
    }


def _has_footer(path: Path, file: _File, footer: Mapping[str, Any]) -> bool:
    try:
        whole = read_parquet(path, COLUMNS.get(file.table), step=file.found.step)
    except (DamagedError, FileNotFoundError):
        return False
    return whole.footer.model_dump(exclude_unset=True) == footer


def _has_header(path: Path, header: bytes, rest: int) -> bool:
    try:
        with open_file(path, error=DamagedError) as file:
            is_same = _header(file) == header
            return is_same and os.fstat(file.fileno()).st_size - file.tell() == rest
    except (DamagedError, FileNotFoundError):
        return False


def _header(file: BinaryIO) -> bytes:
    """The header of a safetensors file; then the file is at its first tensor."""
    (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
    return file.read(length)
