"""A run as a dataset of the Hub: its files, one file each of metrics and items, and a card.

What goes up is listed by names that a run has; each file is read and checked on the way. Units that
are compacted go up as files of their own: so the dataset is the same before a compaction and after
it, and readers there fetch only the steps that they need. `run.json`
and the card come with the last commit, so that an upload that was interrupted is not yet a run; the
same call goes on, as the Hub's client sends nothing that is there. Files that the run no longer has
are deleted there with that commit.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from pythia_traj.errors import ConfigError, StoreError
from pythia_traj.outside import shown
from pythia_traj.reports.methods import methods_of
from pythia_traj.reports.reading import read_models
from pythia_traj.sharing.card import LOADED, Told, card
from pythia_traj.sharing.dataset import Dataset, OnFile
from pythia_traj.sharing.one_file import export
from pythia_traj.sharing.unnamed import (
    paths_in,
    request_unnamed,
    unnamed,
    write_rows,
    write_tensors,
)
from pythia_traj.store.done import Found, list_tables, list_units, request_files
from pythia_traj.store.layout import Run
from pythia_traj.store.opening import Opener
from pythia_traj.store.parquet import DamagedError
from pythia_traj.store.read import Read, read_run
from pythia_traj.store.writing import writing
from pythia_traj.sweeps.status import status

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")

_FILES = 500
"""Of one commit, and on this disk at a time."""

_CARD, _FACTS = "README.md", "run.json"


@dataclass(frozen=True)
class Published:
    """A run on the Hub, or what a dry run would put there.

    Attributes:
        name: the dataset, `org/name`.
        files: its files, by their names there.
        card: its card.
        notes: what was left out, what is being written, which paths stand in parameters.
        address: what `pythia_traj.load` reads.
        commit: the last commit; None of a dry run.
    """

    name: str
    files: tuple[str, ...]
    card: str = field(repr=False)
    notes: tuple[str, ...]
    address: str
    commit: str | None = None


def publish(
    run: str | Path,
    name: str,
    *,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    on_file: OnFile | None = None,
) -> Published:
    """Uploads a run as a dataset of the Hub, or brings the dataset to the run's present state.

    It holds `run.json`, requests, metrics and tables, one file each of metrics and items with
    `model` and `label` as columns, and a card made from the provenance. No logs, jobs or scripts;
    the names of hosts, workers, jobs and folders are left out of the files.

    Args:
        run: the run's directory.
        name: the dataset, `org/name`; it is made if it does not exist.
        private: make it a private one.
        revision: the branch; None is the main one.
        dry_run: ask nothing of the Hub, and say what would be uploaded.
        on_file: is called as files arrive.

    Raises:
        StoreError: it is not a run, or holds no unit.
        ConfigError: the name is not one that a dataset can have.
        HubError: a token is missing, or the Hub refuses.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{shown(name)} cannot be the name of a dataset: give it as org/name")
    opened = Run.open(Path(run))
    files = list(_files(opened))
    read = read_run(opened, controls=True, mixed=True)
    if not read.footers:
        raise StoreError(f"{run} holds no unit that can be read: measure something first")
    notes = [*read.notes, *_being_written(opened), *_paths(read)]
    made = _Made(opened, name, revision, _card(opened, name, revision, read, notes))
    names = tuple(sorted({*(one.name for one in files), *made.names}))
    address = f"hf://datasets/{name}{'' if revision is None else f'@{revision}'}"
    if dry_run:
        return Published(name, names, made.card, tuple(notes), address)
    left_out, commit = _upload(made, files, private, on_file)
    names = tuple(one for one in names if one not in left_out)
    said = dict.fromkeys((*notes, *left_out.values()))
    return Published(name, names, made.card, tuple(said), address, commit)


@dataclass(frozen=True)
class _File:
    """A file of the dataset.

    Attributes:
        name: its name there.
        source: the file of the run that it is made from.
        write: writes it as others may have it.
    """

    name: str
    source: str
    write: Callable[[Path], None]


@dataclass(frozen=True)
class _Made:
    """What is made for the dataset beside the run's own files."""

    run: Run
    dataset: str
    revision: str | None
    card: str

    @property
    def names(self) -> tuple[str, ...]:
        """Their names in the dataset."""
        loaded = (LOADED[one] for one in _loaded(self.run))
        return (*loaded, _FACTS, _CARD)


def _files(run: Run) -> Iterator[_File]:
    """The run's files. Metrics are listed first: a unit's tables are there before them."""
    opener = Opener(run)
    for table in (None, *list_tables(run)):
        for found in list_units(run, table=table):
            yield _rows(run, opener, found, table)
        if table in (None, "models"):
            continue
        for found in list_units(run, table=table, suffix=".safetensors"):
            name = _name_in(run, found.path)
            yield _File(name, name, partial(write_tensors, found.path))
    for path in request_files(run):
        try:
            name, text = request_unnamed(path)
        except DamagedError:
            continue

        def write_request(target: Path, text: str = text) -> None:
            target.write_text(text, encoding="utf-8")

        yield _File(f"requests/{name}", _name_in(run, path), write_request)


def _rows(run: Run, opener: Opener, found: Found, table: str | None) -> _File:
    """The rows of a unit, as a file of its own."""
    own = (
        found.path
        if found.step is None
        else run.unit_path(found.model, found.label, found.step, table=table)
    )

    def write(target: Path) -> None:
        write_rows(opener.open(found, table), target)

    return _File(_name_in(run, own), _name_in(run, found.path), write)


def _name_in(run: Run, path: Path) -> str:
    return path.relative_to(run.path).as_posix()


def _loaded(run: Run) -> list[str]:
    """The configurations that the dataset has."""
    return ["metrics", *(["items"] if "items" in list_tables(run) else [])]


def _card(run: Run, name: str, revision: str | None, read: Read, notes: Sequence[str]) -> str:
    footers = {found: unnamed(footer) for found, footer in read.footers.items()}
    models, _ = read_models(run, footers)
    told = Told(
        name=name,
        revision=revision,
        run=run.path.resolve().name,
        loaded=_loaded(run),
        tables=list_tables(run),
        version=version("pythia-traj"),
        notes=notes,
    )
    return card(told, methods_of(read.frame, footers, pd.DataFrame(), models))


def _being_written(run: Run) -> list[str]:
    """Whether the run is complete."""
    now = status(run)
    total = len(now.units)
    if any(worker.state == "working" for worker in now.workers):
        return [f"the run is being written: {now.done} of {total} requested units are there"]
    if now.done < total:
        return [f"the run is not complete: {now.done} of {total} requested units are there"]
    return []


def _paths(read: Read) -> list[str]:
    """The paths that stand in parameters, which cannot be left out: they are in the digests."""
    found = {path for footer in read.footers.values() for path in paths_in(footer.made_of)}
    if not found:
        return []
    return [f"parameters name paths of the machine that measured: {', '.join(sorted(found)[:5])}"]


def _upload(
    made: _Made, files: Sequence[_File], private: bool, on_file: OnFile | None
) -> tuple[dict[str, str], str]:
    """Why each file that could not be read was left out, and the last commit."""
    dataset = Dataset(made.dataset, made.revision)
    dataset.create(private=private)
    left_out: dict[str, str] = {}
    sent: set[str] = set()
    with TemporaryDirectory(prefix="pythia-traj-") as temporary, writing(Path(temporary)):
        for first in range(0, len(files), _FILES):
            with TemporaryDirectory(dir=temporary) as folder:
                there = _staged(files[first : first + _FILES], Path(folder), left_out)
                dataset.commit(there, "Add files of the run")
            sent |= there.keys()
            if on_file is not None:
                on_file(first + _FILES, len(files) + len(made.names))
        last = _staged_made(made, Path(temporary))
        return left_out, dataset.commit(last, "Add the run's facts", only={*sent, *last})


def _staged(files: Sequence[_File], folder: Path, left_out: dict[str, str]) -> dict[str, Path]:
    """Files as others may have them, by their names in the dataset."""
    there = {}
    for number, file in enumerate(files):
        target = folder / f"{number}"
        try:
            file.write(target)
        except FileNotFoundError:
            left_out[file.name] = f"left out {file.source} (it is gone)"
        except DamagedError as error:
            left_out[file.name] = f"left out {file.source} ({error})"
        else:
            there[file.name] = target
    return there


def _staged_made(made: _Made, folder: Path) -> dict[str, Path]:
    there = {LOADED[one]: folder / f"{one}.parquet" for one in _loaded(made.run)}
    for one in _loaded(made.run):
        table = None if one == "metrics" else one
        export(made.run.path, there[LOADED[one]], table=table, controls=True, mixed=True)
    there |= {_FACTS: folder / _FACTS, _CARD: folder / _CARD}
    there[_FACTS].write_bytes((made.run.path / _FACTS).read_bytes())
    there[_CARD].write_text(made.card, encoding="utf-8")
    return there
