"""Removes a label from a run: from its requests, its rows, its tables and its cache.

The requests come first, so that units which are gone never count as left, then the metrics, which
alone make a unit done, then the rest. Repeating it completes a removal that was killed.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pythia_traj.errors import StoreError, nearest
from pythia_traj.outside import checked, parse_json, read_file
from pythia_traj.store.compacted import INDEX
from pythia_traj.store.done import list_tables, list_units, read_requests, request_files
from pythia_traj.store.layout import COMPACTED, SUFFIXES, Run, step_of
from pythia_traj.store.parquet import DamagedError
from pythia_traj.store.records import Refinement, as_json
from pythia_traj.store.refinements import FOLDER
from pythia_traj.store.taking_out import remove_empty
from pythia_traj.store.writing import writing
from pythia_traj.suites.catalog import look_up


@dataclass(frozen=True)
class Removal:
    """What is removed, or was.

    Attributes:
        label: the label.
        models: those that it is removed of.
        units: how many units have rows.
        requests: how many requests name them.
    """

    label: str
    models: tuple[str, ...]
    units: int
    requests: int


def what_goes(run: Run, label: str, model: str | None = None) -> Removal:
    """What `remove_label` would remove.

    Raises:
        StoreError: the run has no such label, or none of that model.
    """
    requested = [
        {(one, name) for one in asked.explicit_steps for name in asked.experiments}
        for asked in read_requests(run, {}).values()
    ]
    named = {pair for pairs in requested for pair in pairs}
    named |= {
        (found.model, found.label)
        for cached in (False, True)
        for table in (None, *(t for t in list_tables(run, cached=cached) if t != "models"))
        for suffix in SUFFIXES
        for found in list_units(run, table=table, cached=cached, suffix=suffix)
    }
    labels = sorted({name for _, name in named})
    if label not in labels:
        raise StoreError(f"{run.path} has no label {label!r}: {nearest(label, labels)}")
    models = sorted({one for one, name in named if name == label})
    if model is not None and model not in models:
        raise StoreError(
            f"{run.path} has no label {label!r} of model {model!r}: {nearest(model, models)}"
        )
    going = (model,) if model is not None else tuple(models)
    units = [one for one in list_units(run) if one.label == label and one.model in going]
    goes = {(one, label) for one in going}
    return Removal(label, going, len(units), sum(bool(pairs & goes) for pairs in requested))


def remove_label(run: Run, label: str, model: str | None = None) -> Removal:
    """Removes a label, or that of one model; no compaction may be unfinished.

    Raises:
        StoreError: as `what_goes`, or the disk is read-only or forbidden.
    """
    going = what_goes(run, label, model)
    with writing(run.path):
        _remove_requests(run, label, model)
        _remove_refinements(run, label, going.models)
        for one in going.models:
            _remove_rows(run, one, label)
        _remove_models(run, going.models)
    return going


def without(document: Mapping[str, Any], label: str, model: str | None) -> list[dict[str, Any]]:
    """A request without a label, or without that of one model: one request, two or none.

    A request is each of its models with each of its labels, so what remains without one label of
    one model of several are two requests.
    """
    steps, labels = document["explicit_steps"], document["experiments"]
    if label not in labels or (model is not None and model not in steps):
        return [dict(document)]
    others = {name: asked for name, asked in labels.items() if name != label}
    remaining = [{**document, "experiments": others}] if others else []
    if model is not None and len(steps) > 1:
        remaining.append(_without_model({**document, "experiments": {label: labels[label]}}, model))
    return remaining


def _without_model(document: dict[str, Any], model: str) -> dict[str, Any]:
    for name in ("explicit_steps", "weight_bytes"):
        if isinstance(document.get(name), Mapping):
            document[name] = {m: value for m, value in document[name].items() if m != model}
    asked = document.get("model")
    if isinstance(asked, list):
        document["model"] = [one for one in asked if not _is_name_of(one, model)]
    return document


def _is_name_of(asked: Any, model: str) -> bool:
    """Whether a model in a request, a name, a path or NAME=PATH, has this name in the run."""
    record = look_up(str(asked))
    names = {str(asked), str(asked).partition("=")[0], Path(str(asked)).name}
    return model in names or (record is not None and record.name == model)


def _remove_requests(run: Run, label: str, model: str | None) -> None:
    """Each keeps its name, because logs refer to requests by name, and its time."""
    whole = read_requests(run, {})
    for path in request_files(run):
        if path.stem not in whole:
            # A damaged request asks for nothing.
            continue
        document = parse_json(read_file(path, error=StoreError), path, error=StoreError)
        remaining = without(document, label, model)
        if remaining == [document]:
            continue
        was = path.stat()
        for more in remaining[1:]:
            name = run.record_request(more)
            os.utime(path.with_name(f"{name}.json"), ns=(was.st_atime_ns, was.st_mtime_ns))
        if not remaining:
            path.unlink(missing_ok=True)
            continue
        with run.replacing(path) as temporary:
            temporary.write_text(as_json(remaining[0], indent=1) + "\n", encoding="utf-8")
            os.utime(temporary, ns=(was.st_atime_ns, was.st_mtime_ns))


def _remove_refinements(run: Run, label: str, models: tuple[str, ...]) -> None:
    for path in sorted((run.path / FOLDER).glob("*.json")):
        with suppress(DamagedError, FileNotFoundError):
            document = parse_json(read_file(path, error=DamagedError), "it", error=DamagedError)
            found = checked(Refinement, document, "it", error=DamagedError)
            if found.label == label and found.model in models:
                path.unlink()


def _remove_rows(run: Run, model: str, label: str) -> None:
    """The index of compacted files first, which names units, then the metrics, then the rest."""
    aside = run.compaction(model, label)
    (aside / INDEX).unlink(missing_ok=True)
    for folder in _folders(run, model, label):
        names = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208 - names are all
        for name in sorted(names):
            is_unit = step_of(name) is not None and Path(name).suffix in SUFFIXES
            if is_unit or name == COMPACTED:
                (folder / name).unlink(missing_ok=True)
        remove_empty(folder, run.path)
    if aside.is_dir():
        shutil.rmtree(aside)
    remove_empty(aside.parent, run.path)


def _folders(run: Run, model: str, label: str) -> Iterator[Path]:
    for cached in (False, True):
        for table in (None, *(t for t in list_tables(run, cached=cached) if t != "models")):
            yield run.folder(table, cached=cached) / f"model={model}" / f"label={label}"


def _remove_models(run: Run, models: tuple[str, ...]) -> None:
    """The rows of models that nothing in the run is about any more."""
    kept = {found.model for found in list_units(run)}
    kept |= {name for asked in read_requests(run, {}).values() for name in asked.explicit_steps}
    for model in set(models) - kept:
        path = run.model_path(model)
        path.unlink(missing_ok=True)
        remove_empty(path.parent, run.path)
