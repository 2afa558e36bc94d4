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
from pythia_traj.store.compacted import (
    INDEX,
    compacted_steps,
    holder_of,
    index_state,
    read_index,
    read_unit_footer,
)
from pythia_traj.store.layout import COMPACTED, SUFFIXES, Run, step_file, step_of
from pythia_traj.store.parquet import DamagedError, check_tensors, read_parquet
from pythia_traj.store.records import Footer, Request

_PARTITION = re.compile(r"([a-z]+)=([A-Za-z0-9_][A-Za-z0-9._-]*)")

_LOOKS = 3
"""How often names are listed, at most, where compactions begin or end meanwhile."""

_REQUEST = re.compile(r"[0-9a-f]{16}\.json")


@dataclass(frozen=True)
class Found:
    """A unit's file, by its name alone; of the `models` table a model's, without label and step.

    Units that were compacted share a file: see compacted.py.
    """

    model: str
    path: Path
    label: str = ""
    step: int | None = None

    @property
    def unit(self) -> str:
        """The unit in a log or a message."""
        return f"{self.model}/{self.label}/step{self.step}"

    @property
    def is_compacted(self) -> bool:
        """Whether the file holds other units too."""
        return self.path.name == COMPACTED


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
    """The units whose rows exist, sorted.

    Only names and indices of compacted files are read; files with other names are ignored.

    Args:
        table: look for their part of this table, not for their metrics.
        cached: look among the rows that only references need.
        unreadable: collects the folders that cannot be read.
        partition: the folders' word for a label.
    """
    noted: Damage = {} if unreadable is None else unreadable
    if table == "models":
        paths = {
            model: run.model_path(model)
            for model, _ in _partitions(run.folder(table), "model", noted)
        }
        return [Found(model, path) for model, path in paths.items() if os.path.lexists(path)]
    if suffix != ".parquet" or partition != "label" or cached:
        return [
            Found(model, folder / name, label, step)
            for model, label, folder, names in _folders(run, table, cached, partition, noted)
            for name in names
            if name.endswith(suffix) and (step := step_of(name)) is not None
        ]
    return [
        Found(model, folder / (step_file(step) if is_own else COMPACTED), label, step)
        for model, label, folder, steps in _steps(run, table, noted)
        for step, is_own in sorted(steps.items())
    ]


def unit_names(run: Run, *, unreadable: Damage) -> set[str]:
    """The units of `list_units`, by `model/label/step512`.

    No path is made of any: that would be half the time of counting a hundred thousand.
    """
    return {
        f"{model}/{label}/step{step}"
        for model, label, _, steps in _steps(run, None, unreadable)
        for step in steps
    }


def _steps(
    run: Run, table: str | None, unreadable: Damage
) -> list[tuple[str, str, Path, dict[int, bool]]]:
    """The steps of each model and label, and whether each has a file of its own.

    They are listed again where a compaction began or ended meanwhile.
    """
    for _ in range(_LOOKS):
        before = index_state(run, compacted_labels(run))
        found = {
            (model, label): (folder, names)
            for model, label, folder, names in _folders(run, table, False, "label", unreadable)
        }
        for model, label in before:
            found.setdefault((model, label), (run.label_folder(model, label, table=table), []))
        steps = {}
        for (model, label), (folder, names) in found.items():
            own = {step: True for name in names if (step := _own_step(name)) is not None}
            if (model, label) in before or COMPACTED in names:
                try:
                    compacted = compacted_steps(run, model, label, table)
                except DamagedError as error:
                    unreadable[folder / COMPACTED] = str(error)
                else:
                    own = {**dict.fromkeys(compacted, False), **own}
            steps[model, label] = (folder, own)
        if index_state(run, compacted_labels(run)) == before:
            break
    return [(*name, folder, own) for name, (folder, own) in sorted(steps.items()) if own]


def _own_step(name: str) -> int | None:
    return step_of(name) if name.endswith(".parquet") else None


def _folders(
    run: Run, table: str | None, cached: bool, partition: str, unreadable: Damage
) -> Iterator[tuple[str, str, Path, list[str]]]:
    """Each model and label with its folder, and the names in there."""
    for model, folder in _partitions(run.folder(table, cached=cached), "model", unreadable):
        for label, units in _partitions(folder, partition, unreadable):
            yield model, label, units, _names(units, unreadable)


def compacted_labels(run: Run) -> list[tuple[str, str]]:
    """The models and labels that were compacted, or are being compacted."""
    return [
        (model, label)
        for model, folder in _partitions(run.path / "compacted", "model", {})
        for label, _ in _partitions(folder, "label", {})
    ]


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
        footer = read_unit_footer(run, model, label, step, cached=cached)
        own = {
            (file.parents[2].name, file.suffix)
            for file in run.unit_tables(model, label, step, cached=cached)
        }
        for table, suffix in sorted(own | _beside(footer)):
            path = run.unit_path(model, label, step, table=table, suffix=suffix, cached=cached)
            if suffix == ".safetensors":
                check_tensors(path)
            else:
                read_unit_footer(run, model, label, step, table=table, cached=cached)
    except FileNotFoundError:
        if path == run.unit_path(model, label, step, cached=cached):
            return None
        raise DamagedError(f"{path}: it is missing") from None
    except DamagedError as error:
        raise DamagedError(f"{holder_of(path)}: {error}") from None
    return footer


def read_footer(run: Run, found: Found) -> Footer | None:
    """The provenance of a unit's metrics; None where they are missing or damaged."""
    try:
        return read_unit_footer(run, found.model, found.label, found.step or 0)
    except (FileNotFoundError, DamagedError):
        return None


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
    there: set[tuple[str, str, str]] = set()
    for table in (None, *list_tables(run, cached=cached)):
        for suffix in SUFFIXES:
            for found in list_units(
                run, table=table, cached=cached, suffix=suffix, unreadable=damaged
            ):
                there.add((table or "", suffix, found.unit))
                if found.path in damaged:
                    broken.add(found.unit)
                    continue
                try:
                    footer = _check(run, found, table, cached=cached)
                except FileNotFoundError:
                    if not found.is_compacted:
                        continue
                    damaged[found.path] = "units that were compacted into it are missing"
                    broken.add(found.unit)
                except DamagedError as error:
                    damaged[found.path] = str(error)
                    broken.add(found.unit)
                else:
                    whole |= {found.unit: footer} if table is None else {}
    for unit, footer in whole.items():
        model, label, step = unit.split("/")
        for table, suffix in _beside(footer):
            if (table, suffix, unit) not in there:
                place = run.unit_path(
                    model,
                    label,
                    int(step.removeprefix("step")),
                    table=table,
                    suffix=suffix,
                    cached=cached,
                )
                damaged[place] = "it is missing"
                broken.add(unit)
    if not cached:
        damaged |= _damaged_indices(run)
    return whole.keys() - broken


def _damaged_indices(run: Run) -> Damage:
    """The indices of compacted files that cannot be read; the files say the same."""
    damaged: Damage = {}
    for model, label in compacted_labels(run):
        try:
            read_index(run, model, label)
        except DamagedError as error:
            damaged[run.compaction(model, label) / INDEX] = str(error)
    return damaged


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


def _check(run: Run, found: Found, table: str | None, *, cached: bool) -> Footer:
    """The provenance of a whole unit; an empty one for tensors.

    Raises DamagedError, FileNotFoundError.
    """
    if found.path.suffix == ".safetensors":
        check_tensors(found.path)
        return Footer()
    if table == "models":
        return read_parquet(found.path, schema.MODELS).footer
    return read_unit_footer(
        run, found.model, found.label, found.step or 0, table=table, cached=cached
    )


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
