"""The Hugging Face cache, shared by all tools: read as its own client reads it, never changed here.

In `<cache>/models--<org>--<name>/`:

    refs/<branch>                  the commit of a branch, when a tool last asked for it
    snapshots/<commit>/<file>      a link to a blob, or the file itself
    blobs/<digest>

A blob's name is the digest by which the Hub lists it. Some network disks and copies have no links,
so that names say nothing: the digest is then computed from the file.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from pythia_traj.errors import CheckpointError
from pythia_traj.hub.listed import COMMIT, DIGEST, RemoteFile, is_inside
from pythia_traj.hub.verified import sha256_of
from pythia_traj.outside import read_file
from pythia_traj.suites.files import is_weights, most_bytes

_COMMIT_BYTES = 100
_MANY = 100_000
"""Entries of a folder that are looked at; more are ignored."""


@dataclass(frozen=True)
class Left:
    """What the cache holds of a commit.

    Attributes:
        files: with the Hub's digests, if the names of the blobs give them.
        is_listed: whether all names give them. The digests of a copy come from its own bytes, which
            may be damaged.
    """

    files: tuple[RemoteFile, ...]
    is_listed: bool


def folder(repo: str) -> Path:
    """The folder of a repository in the shared cache."""
    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"


def blob(repo: str, digest: str) -> Path | None:
    """A file by its content, whichever commit it was fetched for.

    A file that is not whole yet has a suffix, and is not found.
    """
    path = folder(repo) / "blobs" / digest
    return path if path.is_file() else None


def branches(repo: str) -> dict[str, str]:
    """Where branches pointed when a tool last asked for them by name.

    Only branches of which files are here.
    """
    refs, found = folder(repo) / "refs", {}
    for path in _walk(refs):
        name = path.relative_to(refs).as_posix()
        with suppress(CheckpointError, FileNotFoundError, UnicodeDecodeError):
            commit = (
                read_file(path, error=CheckpointError, most=_COMMIT_BYTES).decode("ascii").strip()
            )
            if is_inside(name) and COMMIT.fullmatch(commit) and _snapshot(repo, commit).is_dir():
                found[name] = commit
    return found


def left_of(repo: str, commit: str) -> Left | None:
    """The files of a commit that are here; None without any."""
    found, is_listed = [], True
    with suppress(OSError), os.scandir(_snapshot(repo, commit)) as entries:
        for entry in entries:
            path = Path(entry.path)
            if not is_inside(entry.name) or not path.is_file():
                continue
            digest = _linked(path)
            if digest is None:
                digest, is_listed = _computed(path), False
            if digest is not None:
                found.append(RemoteFile(entry.name, path.stat().st_size, digest))
    return Left(tuple(sorted(found, key=lambda file: file.path)), is_listed) if found else None


def _snapshot(repo: str, commit: str) -> Path:
    return folder(repo) / "snapshots" / commit


def _walk(below: Path) -> Iterator[Path]:
    """The files below a folder, links to folders not followed."""
    count = 0
    for where, _, names in os.walk(below):
        for name in names:
            count += 1
            if count > _MANY:
                return
            yield Path(where, name)


def _linked(path: Path) -> str | None:
    """The digest that a blob's name gives; None for a file that is not a blob."""
    with suppress(OSError):
        name = Path(path.readlink()).name
        return name if DIGEST.fullmatch(name) else None
    return None


def _computed(path: Path) -> str | None:
    """The digest of a file as the Hub would list it, weights as large files and others as git does.

    None for a file that is not used here.
    """
    size = path.stat().st_size
    if size == 0:
        return None
    if is_weights(path.name):
        return sha256_of(path)
    if path.suffix != ".json" or size > most_bytes(path.name):
        return None
    content = read_file(path, error=CheckpointError, most=most_bytes(path.name))
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
