"""What the Hub says of a repository: pure functions to the JSON that the real client reads."""

import hashlib
from collections.abc import Iterator
from typing import Any

from tests.hub.repository import Blob, Files, Repository

_DATE = "2023-04-01T00:00:00.000Z"
"""Of everything: the client wants dates, nothing depends on them."""


def refs(repository: Repository) -> dict[str, Any]:
    """The branches and what they point at."""
    branches = [
        {"name": branch, "ref": f"refs/heads/{branch}", "targetCommit": commit}
        for branch, commit in repository.branches.items()
    ]
    return {"branches": branches, "converts": [], "tags": []}


def info(repository: Repository, commit: str, *, blobs: bool) -> dict[str, Any]:
    """A repository as of a commit.

    The files' sizes and hashes are there only with `blobs`, as from the real Hub.
    """
    files = sorted(repository.commits[commit].items())
    return {
        **summary(repository),
        "sha": commit,
        "siblings": [
            {"rfilename": path, **(_sibling(blob) if blobs else {})} for path, blob in files
        ],
    }


def summary(repository: Repository) -> dict[str, Any]:
    """One line of the list of models."""
    return {
        "id": repository.name,
        "modelId": repository.name,
        "author": repository.name.split("/")[0],
        "private": repository.private,
        "gated": "auto" if repository.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": ["gpt_neox"],
        "createdAt": _DATE,
        "lastModified": _DATE,
    }


def commits(repository: Repository, revision: str) -> list[dict[str, Any]]:
    """A revision's commits, newest first."""
    return [
        {
            "id": commit,
            "authors": [{"user": "publisher"}],
            "date": _DATE,
            "title": f"Publish {revision}",
            "message": "",
        }
        for commit in repository.history_of(revision)
    ]


def tree(files: Files, folder: str = "", *, recursive: bool = False) -> list[dict[str, Any]]:
    """The files and folders in a folder, by path; with `recursive` those in its subfolders too."""
    prefix = f"{folder}/" if folder else ""
    inside = {path: blob for path, blob in files.items() if path.startswith(prefix)}
    folders = {parent for path in inside for parent in _parents(path) if parent.startswith(prefix)}
    items = [_file(path, blob) for path, blob in inside.items()] + [
        _folder(files, path) for path in folders
    ]
    if not recursive:
        items = [item for item in items if "/" not in item["path"][len(prefix) :]]
    return sorted(items, key=lambda item: item["path"])


def at_paths(files: Files, paths: list[str]) -> list[dict[str, Any]]:
    """The files and folders of these names.

    Names that do not exist are left out, as by the real Hub.
    """
    folders = {parent for path in files for parent in _parents(path)}
    items = []
    for path in paths:
        if path in files:
            items.append(_file(path, files[path]))
        elif path in folders:
            items.append(_folder(files, path))
    return items


def _file(path: str, blob: Blob) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": blob.size, "oid": blob.oid, **_lfs(blob, "oid")}


def _sibling(blob: Blob) -> dict[str, Any]:
    return {"size": blob.size, "blobId": blob.oid, **_lfs(blob, "sha256")}


def _lfs(blob: Blob, name_of_hash: str) -> dict[str, Any]:
    if not blob.lfs:
        return {}
    return {"lfs": {name_of_hash: blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}}


def _folder(files: Files, folder: str) -> dict[str, Any]:
    inside = sorted(
        f"{path}\0{blob.oid}" for path, blob in files.items() if path.startswith(f"{folder}/")
    )
    return {
        "type": "directory",
        "path": folder,
        "size": 0,
        "oid": hashlib.sha1("\n".join(inside).encode()).hexdigest(),
    }


def _parents(path: str) -> Iterator[str]:
    """The folders above a path. Not by `pathlib`, which would tidy a hostile name away."""
    position = path.find("/")
    while position >= 0:
        yield path[:position]
        position = path.find("/", position + 1)
