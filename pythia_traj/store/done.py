"""What a run holds already.

Its units by name, whether they are whole, what they were made of, and what was requested.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pythia_traj import schema
from pythia_traj.outside import checked, parse_json, read_file
from pythia_traj.store.layout import SUFFIXES, Run, step_of
from pythia_traj.store.parquet import DamagedError, check_tensors, read_parquet
from pythia_traj.store.records import Footer, Request

COLUMNS = {None: schema.METRICS, "items": schema.ITEMS, "models": schema.MODELS}
"""The columns of the store's own tables; others are their experiments'."""

_PARTITION = re.compile(r"([a-z]+)=([A-Za-z0-9_][A-Za-z0-9._-]*)")

_REQUEST = re.compile(r"[0-9a-f]{16}\.json")


@dataclass(frozen=True)
class Found:
    """A unit's file, by its name alone; of the `models` table a model's, without label and step."""

    model: str
    path: Path
    label: str = ""
    step: int | None = None

    @property
    def unit(self) -> str:
        """The unit in a log or a message."""
        return f"{self.model}/{self.label}/step{self.step}"


Damage = dict[Path, str]
"""Damaged files or folders, each with what is wrong."""


@dataclass(frozen=True)
class Survey:
    """The units and the damaged files of a run.

    Attributes:
        done: the units that are whole, their tables and tensors included, by `model/label/step512`.
        damaged: all damaged files of units.
    """

    done: set[str] = field(default_factory=set)
    damaged: Damage = field(default_factory=dict)


def list_units(
    run: Run,
    *,
    table: str | None = None,
    cached: bool = False,
    suffix: str = ".parquet",
    unreadable: Damage | None = None,
    partition: str = "label",
) -> list[Found]:
    """The units whose files exist, sorted.

    Only names are read; files with other names are ignored.

    Args:
        table: look for their part of this table, not for their metrics.
        cached: look among the rows that only references need.
        unreadable: collects the folders that cannot be read.
        partition: the folders' word for a label.
    """
    found, noted = [], {} if unreadable is None else unreadable
    for model, folder in _partitions(run.folder(table, cached=cached), "model", noted):
        if table == "models":
            found += [
                Found(model, path) for path in [run.model_path(model)] if os.path.lexists(path)
            ]
            continue
        for label, units in _partitions(folder, partition, noted):
            for name in _names(units, noted):
                step = step_of(name)
                if step is not None and name.endswith(suffix):
                    found.append(Found(model, units / name, label, step))
    return found


def unit_names(run: Run, *, unreadable: Damage) -> set[str]:
    """The units of `list_units`, by `model/label/step512`.

    No path is made of any: that would be half the time of counting a hundred thousand.
    """
    return {
        f"{model}/{label}/step{step}"
        for model, folder in _partitions(run.metrics, "model", unreadable)
        for label, units in _partitions(folder, "label", unreadable)
        for name in _names(units, unreadable)
        if name.endswith(".parquet") and (step := step_of(name)) is not None
    }


def list_tables(run: Run, *, cached: bool = False) -> list[str]:
    """The tables and tensors that a run has beside its metrics."""
    return [
        name for name in _names(run.folder("", cached=cached), {}) if schema.TABLE.fullmatch(name)
    ]


def read_unit(
    run: Run, model: str, label: str, step: int, *, cached: bool = False
) -> Footer | None:
    """The provenance of a unit; None where the unit does not exist.

    Raises:
        DamagedError: one of its files is damaged; the text names it.
    """
    path = run.unit_path(model, label, step, cached=cached)
    try:
        footer = _check(path, None, step)
        beside = {
            (file.parents[2].name, file.suffix)
            for file in run.unit_tables(model, label, step, cached=cached)
        }
        for table, suffix in sorted(beside | _beside(footer)):
            path = run.unit_path(model, label, step, table=table, suffix=suffix, cached=cached)
            _check(path, table, step)
    except FileNotFoundError:
        if path == run.unit_path(model, label, step, cached=cached):
            return None
        raise DamagedError(f"{path}: it is missing") from None
    except DamagedError as error:
        raise DamagedError(f"{path}: {error}") from None
    return footer


def survey(run: Run) -> Survey:
    """Reads all files of units once; of tensors only the headers."""
    damaged: Damage = {}
    done = _survey_units(run, damaged, cached=False)
    _survey_units(run, damaged, cached=True)
    return Survey(done, dict(sorted(damaged.items())))


def _survey_units(run: Run, damaged: Damage, *, cached: bool) -> set[str]:
    """The units that are whole."""
    whole: dict[str, Footer] = {}
    broken: set[str] = set()
    for table in (None, *list_tables(run, cached=cached)):
        for suffix in SUFFIXES:
            for found in list_units(
                run, table=table, cached=cached, suffix=suffix, unreadable=damaged
            ):
                try:
                    footer = _check(found.path, table, found.step)
                except FileNotFoundError:
                    continue
                except DamagedError as error:
                    damaged[found.path] = str(error)
                    broken.add(found.unit)
                else:
                    whole |= {found.unit: footer} if table is None else {}
    for unit, footer in whole.items():
        model, label, step = unit.split("/")
        for table, suffix in _beside(footer):
            place = run.unit_path(
                model,
                label,
                int(step.removeprefix("step")),
                table=table,
                suffix=suffix,
                cached=cached,
            )
            if not os.path.lexists(place):
                damaged[place] = "it is missing"
                broken.add(unit)
    return whole.keys() - broken


def read_requests(run: Run, damaged: Damage) -> dict[str, Request]:
    """The requests by name; damaged ones are noted."""
    found = {}
    for path in request_files(run):
        try:
            found[path.stem] = read_request(path)
        except DamagedError as error:
            # One that is followed is replaced by the next one.
            if os.path.lexists(path):
                damaged[path] = str(error)
    return found


def request_files(run: Run) -> list[Path]:
    """The files of requests, sorted by name."""
    folder = run.path / "requests"
    return [folder / name for name in _names(folder, {}) if _REQUEST.fullmatch(name)]


def read_request(path: Path) -> Request:
    """A request that was recorded.

    Raises:
        DamagedError: it is damaged.
    """
    try:
        document = parse_json(read_file(path, error=DamagedError), "it", error=DamagedError)
    except FileNotFoundError:
        raise DamagedError("it is a link that leads nowhere") from None
    request = checked(Request, document, "it", error=DamagedError)
    if not request.is_possible:
        raise DamagedError("it asks for more units than there can be")
    return request


def _check(path: Path, table: str | None, step: int | None) -> Footer:
    """The provenance of a whole file; an empty one for tensors.

    Raises DamagedError, FileNotFoundError.
    """
    if path.suffix == ".safetensors":
        check_tensors(path)
        return Footer()
    whole = read_parquet(path, COLUMNS.get(table), step=step)
    if not whole.is_proven:
        whole.table()
    return whole.footer


def _beside(footer: Footer) -> set[tuple[str, str]]:
    """Tables and tensors that a unit has beside its metrics, as names and suffixes."""
    split = [os.path.splitext(name) for name in footer.beside or ()]  # noqa: PTH122 - they are not paths
    return {
        (name, suffix)
        for name, suffix in split
        if schema.TABLE.fullmatch(name) and suffix in SUFFIXES
    }


def _partitions(root: Path, kind: str, unreadable: Damage) -> Iterator[tuple[str, Path]]:
    for name in _names(root, unreadable):
        match = _PARTITION.fullmatch(name)
        if match is not None and match[1] == kind:
            yield match[2], root / name


def _names(folder: Path, unreadable: Damage) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - names are all that is needed
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        unreadable[folder] = f"it may not be read ({error.strerror})"
        return []
