"""A run's directory: its paths, its creation, and which directories can be one.

    RUN/run.json                 what this directory is; written once
    RUN/requests/<digest>.json   each distinct request, resolved
    RUN/metrics/model=<model>/label=<label>/step-000512.parquet
    RUN/tables/<table>/model=<model>/label=<label>/step-000512.parquet
    RUN/tables/<name>/model=<model>/label=<label>/step-000512.safetensors
    RUN/tables/models/model=<model>/model.parquet
    RUN/metrics/model=<model>/label=<label>/compacted.parquet   many units; of tables likewise
    RUN/compacted/model=<model>/label=<label>/compacted.json    which ones; beside it next/ and old/
                                 until a compaction is finished, and damaged/ for what was set aside
    RUN/cache/                   rows that only references need; may be deleted
    RUN/log/<worker>.jsonl       events of a worker, or of a command that changes finished units
    RUN/log/<name>.out           what a worker that `submit` started printed
    RUN/scripts/                 job scripts that `submit` wrote
    RUN/jobs/<submission>/       an array of tasks that `submit` gave to Slurm: what it is, its
                                 script, and the log of each task
    RUN/claims/model=<model>/step-000512   the worker that has the step in hand
    RUN/claims/upkeep            the process that changes files of finished units
    RUN/refinements/<name>.json  how a search for an onset chose its steps
    RUN/.tmp/                    files being written
    RUN/conversion.json          in place of run.json until a conversion is complete
    RUN/merge.json               in place of run.json until a merge is complete

The first worker that needs a directory creates it; workers never wait for each other. writing.py
says how a file gets into it.
"""

import os
import re
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pythia_traj import schema
from pythia_traj.errors import StoreError
from pythia_traj.outside import checked, read_file, read_json
from pythia_traj.store.records import MARKER, RunFacts, as_json
from pythia_traj.store.writing import link_exclusively, remove_leftovers, replacing, writing

_OURS = {
    ".tmp",
    "cache",
    "claims",
    "compacted",
    "jobs",
    "log",
    "metrics",
    "refinements",
    "requests",
    "scripts",
    "tables",
}
"""What a run's directory holds beside run.json."""

CONVERSION = "conversion.json"
"""What a directory has until all files of an older run are converted into it."""

MERGE = "merge.json"
"""What a directory has until all files of several runs are in it."""

COMPACTED = "compacted.parquet"
"""The name of a file of many units."""

SUFFIXES = (".parquet", ".safetensors")
"""Of a unit's files."""

_FIRST_VERSION = "0.1.0"
"""The version that wrote the runs that do not name one."""

_VERSION = re.compile(r"[0-9][0-9A-Za-z.+!]{0,40}")

_STEP_FILE = re.compile(r"step-([0-9]{6,10})\.[a-z]+")


@dataclass(frozen=True)
class Run:
    """A directory that is a run."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> "Run":
        """Opens a run; creates it in an empty or new directory.

        Any number of workers may do so at once.

        Raises:
            StoreError: the directory holds something else, or cannot be written.
        """
        if (path / "run.json").exists():
            return cls.open(path)
        with writing(path):
            _refuse_unfinished(path)
            foreign = foreign_entry(path)
            if foreign and not _was_run(path) and not (path / "run.json").exists():
                raise StoreError(
                    f"{path} holds {foreign} and is not a run: give an empty or a new directory"
                )
            run = cls(path)
            return run if run.write_facts() else cls.open(path)

    @classmethod
    def find(cls, path: Path) -> "Run | None":
        """The run in a directory, even if it has lost its run.json.

        None if it is not a run. Writes nothing.

        Raises:
            StoreError: as `open`.
        """
        if (path / "run.json").exists():
            return cls.open(path)
        _refuse_unfinished(path)
        return cls(path) if path.is_dir() and _was_run(path) else None

    @classmethod
    def open(cls, path: Path, *, newer: bool = False) -> "Run":
        """Opens a run that exists.

        Args:
            path: its directory.
            newer: also one of a newer schema, to read what of it can be read: every file says
                which schema it is of.

        Raises:
            StoreError: it is not a run, is damaged, or was written by a version with another
                schema.
        """
        facts = read_facts(path, newer=newer)
        if facts.schema_version < schema.VERSION:
            raise _older(path, facts)
        return cls(path)

    def write_facts(self, **more: Any) -> bool:
        """Writes run.json, which makes a directory a run; False if it has one already.

        Raises:
            StoreError: the disk is full, read-only or forbidden.
        """
        facts = {
            "kind": MARKER,
            "id": uuid.uuid4().hex,
            "schema": schema.VERSION,
            "version": version("pythia-traj"),
            "created": datetime.now(UTC).isoformat(),
            **more,
        }
        file = self.path / "run.json"
        with writing(self.path), self.replacing(file) as temporary:
            temporary.write_text(as_json(facts, indent=1) + "\n", encoding="utf-8")
            return link_exclusively(temporary, file)

    @property
    def metrics(self) -> Path:
        """The directory of the metric rows."""
        return self.path / "metrics"

    @property
    def jobs(self) -> Path:
        """The directory of what was given to a scheduler."""
        return self.path / "jobs"

    def unit_path(
        self,
        model: str,
        label: str,
        step: int,
        *,
        table: str | None = None,
        suffix: str = ".parquet",
        cached: bool = False,
    ) -> Path:
        """Where a unit's rows are, or one of its tables or tensors.

        With `cached`, where the rows are that only references need.
        """
        return (
            self.folder(table, cached=cached)
            / f"model={model}"
            / f"label={label}"
            / step_file(step, suffix)
        )

    def folder(self, table: str | None, *, cached: bool = False) -> Path:
        """Where the metrics are, or a table's rows; for an empty name, all tables."""
        base = self._base(cached)
        return base / "metrics" if table is None else base / "tables" / table

    def label_folder(self, model: str, label: str, *, table: str | None = None) -> Path:
        """Where the rows of all units of a model and label are, or those of a table."""
        return self.folder(table) / f"model={model}" / f"label={label}"

    def compaction(self, model: str, label: str) -> Path:
        """Where it says which units of a model and label are compacted."""
        return self.path / "compacted" / f"model={model}" / f"label={label}"

    def model_path(self, model: str) -> Path:
        """Where a model's row of the `models` table is."""
        return self.folder("models") / f"model={model}" / "model.parquet"

    def claim_path(self, model: str, step: int) -> Path:
        """Where it says which worker has a step in hand."""
        return self.path / "claims" / f"model={model}" / step_file(step, "")

    def arrive(self, path: Path) -> None:
        """Makes sure that a file's bytes are here: those of a run on a disk are."""

    @property
    def upkeep_path(self) -> Path:
        """Where it says which process changes files of finished units."""
        return self.path / "claims" / "upkeep"

    def unit_tables(self, model: str, label: str, step: int, *, cached: bool = False) -> set[Path]:
        """The files that a unit has beside its metrics: tables and tensors."""
        tables, unit = self.folder("", cached=cached), f"model={model}/label={label}"
        found = [
            path
            for suffix in SUFFIXES
            for path in tables.glob(f"*/{unit}/{step_file(step, suffix)}")
        ]
        return {path for path in found if path.is_symlink() or not path.is_dir()}

    def _base(self, cached: bool) -> Path:
        return self.path / "cache" if cached else self.path

    def replacing(self, target: Path) -> AbstractContextManager[Path]:
        """A temporary file that takes the target's place when the block ends well."""
        return replacing(target, self.path / ".tmp")

    def record_request(self, request: Mapping[str, Any]) -> str:
        """Writes a resolved request, once for each distinct one, and returns its name.

        The file's time of change says when it was last asked for.
        """
        text, name = _text_of(request), name_of(request)
        target = self.path / "requests" / f"{name}.json"
        if not _holds(target, text):
            with writing(self.path), self.replacing(target) as temporary:
                temporary.write_text(text, encoding="utf-8")
        else:
            # A finished run may be read-only, and its request can still be repeated.
            with suppress(OSError):
                os.utime(target)
        return name

    def drop_request(self, name: str) -> None:
        """Removes a request whose units are all in another one.

        Raises:
            StoreError: the run cannot be written.
        """
        with writing(self.path):
            (self.path / "requests" / f"{name}.json").unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Removes what dead processes of this host left in `.tmp/`."""
        remove_leftovers(self.path / ".tmp")


def name_of(request: Mapping[str, Any]) -> str:
    """The name that a request has in a run."""
    return name_of_text(_text_of(request))


def name_of_text(text: str) -> str:
    """The name of a request, by the text of its file."""
    return sha256(text.encode()).hexdigest()[:16]


def _text_of(request: Mapping[str, Any]) -> str:
    return as_json(request, indent=1) + "\n"


def read_facts(path: Path, *, newer: bool = False) -> RunFacts:
    """What a run's run.json says, of this schema or an older one; `newer`: or of a newer one.

    Raises:
        StoreError: it is missing, damaged, or was written by a newer version.
    """
    file = path / "run.json"
    try:
        document = read_json(file, error=StoreError)
    except FileNotFoundError:
        _refuse_unfinished(path)
        raise StoreError(f"{path} is not a run directory: it has no run.json") from None
    except StoreError as error:
        raise _damaged(file, error) from None
    if not isinstance(document, dict) or document.get("kind") != MARKER:
        raise StoreError(f"{file} was not written by pythia-traj: give another directory")
    try:
        facts = checked(RunFacts, document, file, error=StoreError)
    except StoreError as error:
        raise _damaged(file, error) from None
    if facts.schema_version > schema.VERSION and not newer:
        raise StoreError(f"{path} {say_newer(facts)}")
    return facts


def say_newer(facts: RunFacts) -> str:
    """Which newer version wrote a run, and what to do: the rest of a sentence about it."""
    if facts.version is None or not _VERSION.fullmatch(facts.version):
        return (
            f"was written by a newer pythia-traj (schema {facts.schema_version}): update"
            " pythia-traj to read it"
        )
    theirs, ours = (
        f"pythia-traj {name} (schema {number})"
        for name, number in (
            (facts.version, facts.schema_version),
            (version("pythia-traj"), schema.VERSION),
        )
    )
    return f"was written by {theirs}, this is {ours}: install that version to read it"


def foreign_entry(path: Path) -> str | None:
    """The first entry of a directory; None where it is empty or does not exist.

    Raises:
        StoreError: it is a file.
    """
    if path.exists() and not path.is_dir():
        raise StoreError(f"{path} is a file: give a directory for the run")
    names = (entry.name for entry in path.iterdir()) if path.exists() else iter(())
    return min((name for name in names if name != ".tmp"), default=None)


def step_file(step: int, suffix: str = ".parquet") -> str:
    """The name of a unit's file; names sort as steps do.

    >>> step_file(512), step_file(143000, ".safetensors")
    ('step-000512.parquet', 'step-143000.safetensors')
    """
    return f"step-{step:06d}{suffix}"


def step_of(name: str) -> int | None:
    """The step in the name of a unit's file; None for any other name."""
    match = _STEP_FILE.fullmatch(name)
    step = int(match[1]) if match else None
    return step if step is not None and name.startswith(step_file(step, ".")) else None


def _damaged(file: Path, error: StoreError) -> StoreError:
    how = str(error).removeprefix(str(file)).strip(" :").partition(":")[0]
    return StoreError(
        f"{file} is damaged ({how}): remove it and repeat the sweep, which writes it again; no rows"
        " are lost"
    )


def _older(path: Path, facts: RunFacts | None = None) -> StoreError:
    written_by = (facts.version if facts is not None else None) or _FIRST_VERSION
    number = 1 if facts is None else facts.schema_version
    return StoreError(
        f"{path} was written by pythia-traj {written_by} (schema {number}): make a run of this"
        f" version of it with pythia-traj convert {path} NEW"
    )


def _refuse_unfinished(path: Path) -> None:
    """Refuses a directory without run.json that must not become a run of this schema.

    Raises StoreError: its conversion is incomplete, or it holds rows of an older schema.
    """
    if (path / CONVERSION).exists():
        raise StoreError(
            f"{path} is a conversion that was interrupted: repeat pythia-traj convert OLD {path}"
        )
    if (path / MERGE).exists():
        raise StoreError(
            f"{path} is a merge that was interrupted: repeat pythia-traj merge RUN RUN --out {path}"
        )
    if holds_schema1(path):
        raise _older(path)


def holds_schema1(path: Path) -> bool:
    """Whether a directory without run.json is a run of schema 1 that has lost it."""
    return path.is_dir() and _was_run(path) and any(path.glob("metrics/model=*/experiment=*"))


def _was_run(path: Path) -> bool:
    """Whether a directory is a run that has lost its run.json.

    It then holds only a run's files, with at least a request and a log.
    """
    names = {entry.name for entry in path.iterdir()}
    return names <= _OURS and "log" in names and any(path.glob("requests/*.json"))


def _holds(path: Path, text: str) -> bool:
    try:
        return read_file(path, error=StoreError) == text.encode()
    except (FileNotFoundError, StoreError):
        return False
