"""A run's files as others may have them: without the names of hosts, workers, jobs and folders.

A file of a unit is read, checked and written again with the rest of its provenance. Values, digests
and the sources that identify a model's files stay as they are. So do parameters, which are part of
the digest, even where one is the path of a text or of an experiment: `paths_in` finds those.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from pythia_traj.outside import LARGE, open_file, parse_json
from pythia_traj.store.done import read_request
from pythia_traj.store.layout import name_of
from pythia_traj.store.parquet import (
    FOOTER_KEY,
    DamagedError,
    Whole,
    check_tensors,
    write_parquet,
)
from pythia_traj.store.records import Footer, as_json

_OF_MACHINES = ("host", "worker", "job")
"""Keys of a footer that name machines, processes and jobs."""

_ALIGNED = 8
"""Bytes: tensors begin at a multiple of so many."""


def unnamed(footer: Footer) -> Footer:
    """Provenance without the names of machines; of a model's folder only the last name."""
    said = footer.model_dump(exclude_unset=True, by_alias=True)
    kept = {name: value for name, value in said.items() if name not in _OF_MACHINES}
    if footer.origin is not None:
        kind, _, place = footer.origin.partition(":")
        kept["origin"] = f"{kind}:{PurePath(place).name}" if kind == "directory" else footer.origin
    return Footer.model_validate(kept)


def write_rows(whole: Whole, target: Path) -> None:
    """Writes a unit's rows into a file of its own, without these names.

    Raises:
        DamagedError: they cannot be decoded.
        OSError: the file cannot be written.
    """
    footer = unnamed(whole.footer).model_dump(exclude_unset=True, by_alias=True)
    write_parquet(target, whole.table(), footer)


def write_tensors(source: Path, target: Path) -> None:
    """Copies the tensors of a unit behind a header without these names.

    Raises:
        FileNotFoundError: they do not exist.
        DamagedError: they are damaged.
        OSError: the other file cannot be written.
    """
    check_tensors(source)
    with open_file(source, error=DamagedError, what="it") as file, target.open("wb") as copy:
        length = int.from_bytes(file.read(8), "little")
        if length > LARGE:
            raise DamagedError(f"its header has {length} bytes")
        header = parse_json(file.read(length), "its header", error=DamagedError)
        key = FOOTER_KEY.decode()
        said = parse_json(
            header["__metadata__"][key].encode(), "its provenance", error=DamagedError
        )
        footer = unnamed(Footer.model_validate(said)).model_dump(exclude_unset=True, by_alias=True)
        header["__metadata__"][key] = as_json(footer)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % _ALIGNED)
        copy.write(len(text).to_bytes(8, "little"))
        copy.write(text)
        shutil.copyfileobj(file, copy)


def request_unnamed(path: Path) -> tuple[str, str]:
    """A request's name and text, with the last names of its models' and experiments' folders.

    Raises:
        DamagedError: it is damaged.
    """
    request = read_request(path).model_dump(exclude_unset=True)
    models = request.get("model")
    if isinstance(models, list):
        request["model"] = [_last_name(str(model)) for model in models]
    for entry in request["experiments"].values():
        if isinstance(entry, dict) and isinstance(entry.get("use"), str):
            entry["use"] = _last_name(entry["use"])
    return f"{name_of(request)}.json", as_json(request, indent=1) + "\n"


def paths_in(value: Any) -> Iterator[str]:
    """The paths of this machine that stand in a value, at any depth."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from paths_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from paths_in(inner)
    elif isinstance(value, str) and _is_path(value):
        yield value


def _is_path(text: str) -> bool:
    return "\n" not in text and (text.startswith("~/") or PurePath(text).is_absolute())


def _last_name(model: str) -> str:
    """A model as a request names it, without the folders above its own."""
    name, equals, place = model.rpartition("=")
    return f"{name}{equals}{PurePath(place).name}" if _is_path(place) else model
