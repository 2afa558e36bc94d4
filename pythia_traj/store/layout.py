"""A run's directory: its paths, and the one way in which anything is written into it.

    RUN/run.json                 what this directory is; written once
    RUN/requests/<digest>.json   each distinct request, resolved
    RUN/metrics/model=<model>/experiment=<label>/step-000512.parquet
    RUN/tables/<table>/model=<model>/experiment=<label>/step-000512.parquet
    RUN/tables/<name>/model=<model>/experiment=<label>/step-000512.safetensors
    RUN/tables/models/model=<model>/model.parquet
    RUN/cache/                   rows that only references need; may be deleted
    RUN/log/<worker>.jsonl       events
    RUN/.tmp/                    files being written

A file is written to `.tmp/`, flushed to disk and renamed, so a reader sees a whole file or none. Directories are created by whoever
needs them first; workers never wait for each other.
"""

import errno
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from pythia_traj import schema
from pythia_traj.errors import StoreError

_MARKER = "pythia-traj run"


@dataclass(frozen=True)
class Run:
    """A run's directory that exists and is a run."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> "Run":
        """Opens a run, creating it where there is nothing yet. Any number of workers may do so at once.

        Raises:
            StoreError: the directory is something else's, or cannot be written.
        """
        if (path / "run.json").exists():
            return cls.open(path)
        with writing(path):
            if path.exists() and not path.is_dir():
                raise StoreError(f"{path} is a file: give a directory for the run")
            foreign = sorted(entry.name for entry in path.iterdir() if entry.name != ".tmp") if path.exists() else []
            if foreign and not (path / "run.json").exists():
                raise StoreError(f"{path} holds {foreign[0]} and is no run: give an empty or a new directory")
            run = cls(path)
            facts = {
                "kind": _MARKER,
                "id": uuid.uuid4().hex,
                "schema": schema.VERSION,
                "created": datetime.now(UTC).isoformat(),
            }
            with run.replacing(path / "run.json") as temporary:
                temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
                if not _link_exclusively(temporary, path / "run.json"):
                    return cls.open(path)
        return run

    @classmethod
    def open(cls, path: Path) -> "Run":
        """Opens a run that exists.

        Raises:
            StoreError: there is none, or it was written by a newer version.
        """
        try:
            facts = json.loads((path / "run.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StoreError(f"{path} is no run: it has no run.json") from None
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read {path / 'run.json'}: {error}") from None
        if not isinstance(facts, dict) or facts.get("kind") != _MARKER:
            raise StoreError(f"{path / 'run.json'} was not written by pythia-traj: give another directory")
        if facts.get("schema", 0) > schema.VERSION:
            raise StoreError(
                f"{path} was written by a newer pythia-traj (schema {facts['schema']}): update pythia-traj to read it"
            )
        return cls(path)

    @property
    def metrics(self) -> Path:
        """The directory of the metric rows."""
        return self.path / "metrics"

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
        """Where a unit's rows are, or a table or tensors of its; `cached`: where rows that only references need are."""
        base = self._base(cached)
        folder = base / "metrics" if table is None else base / "tables" / table
        return folder / f"model={model}" / f"experiment={label}" / step_file(step, suffix)

    def model_path(self, model: str) -> Path:
        """Where a model's row of the `models` table is."""
        return self.path / "tables" / "models" / f"model={model}" / "model.parquet"

    def unit_tables(self, model: str, label: str, step: int, *, cached: bool = False) -> set[Path]:
        """The files that a unit has beside its metrics: tables and tensors."""
        pattern = f"*/model={model}/experiment={label}/{step_file(step, '.*')}"
        return set((self._base(cached) / "tables").glob(pattern))

    def _base(self, cached: bool) -> Path:
        return self.path / "cache" if cached else self.path

    @contextmanager
    def replacing(self, target: Path) -> Iterator[Path]:
        """A temporary file that takes the target's place when the block ends well, and is gone when it does not."""
        temporary = self.path / ".tmp" / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if temporary.exists():
                _flush(temporary)
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(target)
                _flush(target.parent)
        finally:
            temporary.unlink(missing_ok=True)

    def record_request(self, request: Mapping[str, Any]) -> None:
        """Writes a resolved request, once for each distinct one."""
        text = json.dumps(request, indent=1, sort_keys=True) + "\n"
        target = self.path / "requests" / f"{sha256(text.encode()).hexdigest()[:16]}.json"
        if not target.exists():
            with writing(self.path), self.replacing(target) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def requests(self) -> list[dict[str, Any]]:
        """All requests recorded, oldest first."""
        paths = sorted((self.path / "requests").glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name))
        found = []
        for path in paths:
            try:
                found.append(json.loads(path.read_text(encoding="utf-8")))
            except ValueError:
                raise StoreError(f"{path} is damaged: remove it and repeat the sweep, which writes it again") from None
        return found

    def remove_leftovers(self) -> None:
        """Removes what processes of this host that no longer live left in `.tmp/`."""
        for path in (self.path / ".tmp").glob(f"{socket.gethostname()}-*"):
            pid = path.name.removeprefix(f"{socket.gethostname()}-").partition("-")[0]
            if pid.isdigit() and not _is_alive(int(pid)):
                path.unlink(missing_ok=True)


def step_file(step: int, suffix: str = ".parquet") -> str:
    """The name of a unit's file; names sort as steps do."""
    return f"step-{step:06d}{suffix}"


def step_of(path: Path) -> int:
    """The step of a unit's file."""
    return int(path.stem.removeprefix("step-"))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals to write into a sentence.

    Raises:
        StoreError: the disk is full, read-only or forbidden.
    """
    try:
        yield
    except OSError as error:
        advice = {
            errno.ENOSPC: f"the disk of {path} is full: free some space and repeat the command; what is finished is kept",
            errno.EDQUOT: f"the quota of {path} is used up: free some space and repeat the command; what is finished is kept",
            errno.EROFS: f"the disk of {path} is read-only: give another --out",
            errno.EACCES: f"{path} may not be written: give another --out, or ask for permission",
            errno.EPERM: f"{path} may not be written: give another --out, or ask for permission",
        }
        if error.errno is None:
            raise
        raise StoreError(advice.get(error.errno, f"cannot write {path}: {error.strerror}")) from error


def free_bytes(path: Path) -> int:
    """Free space of the disk a path is on, or will be on."""
    existing = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


def _link_exclusively(temporary: Path, target: Path) -> bool:
    """Gives a whole file its name unless the name is taken; False if it was."""
    _flush(temporary)
    try:
        os.link(temporary, target)
    except FileExistsError:
        temporary.unlink()
        return False
    except OSError:
        # A file system without hard links: the rename that follows may replace a twin written at the same moment, which says the same.
        return True
    temporary.unlink()
    return True


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
