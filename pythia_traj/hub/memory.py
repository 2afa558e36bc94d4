"""What was learnt of a repository, kept on this machine so that it is not asked for again.

    <cache>/hub/<endpoint>/<org>--<name>/branches.json          where the branches pointed when it was last asked
    <cache>/hub/<endpoint>/<org>--<name>/files/<commit>.json    the files of a commit, which never change

`<cache>` is PYTHIA_TRAJ_CACHE, or pythia-traj in the user's cache directory. Files are replaced whole; one that cannot be read is as good
as none; a cache that cannot be written is done without.
"""

import json
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

from pythia_traj.hub.client import RemoteFile


def cache_directory() -> Path:
    """Where pythia-traj keeps what it may lose at any time."""
    if own := os.environ.get("PYTHIA_TRAJ_CACHE", "").strip():
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME", "").strip() or Path.home() / ".cache") / "pythia-traj"


class Memory:
    """What is remembered of one repository at one endpoint."""

    def __init__(self, endpoint: str, repo: str) -> None:
        self._folder = cache_directory() / "hub" / plain_name(endpoint) / plain_name(repo.replace("/", "--"))

    def branches(self) -> dict[str, str] | None:
        """The commit of every branch, as last seen."""
        found = self._read("branches.json")
        return {str(name): str(commit) for name, commit in found.items()} if isinstance(found, dict) else None

    def keep_branches(self, branches: Mapping[str, str]) -> None:
        """Remembers a listing of branches."""
        self._write("branches.json", dict(branches))

    def files(self, commit: str) -> tuple[RemoteFile, ...] | None:
        """The files of a commit."""
        found = self._read(f"files/{commit}.json")
        try:
            return None if found is None else tuple(RemoteFile(*map(_as_is, entry)) for entry in found)
        except (TypeError, ValueError):
            return None

    def keep_files(self, commit: str, files: Sequence[RemoteFile]) -> None:
        """Remembers the files of a commit."""
        self._write(f"files/{commit}.json", [astuple(file) for file in files])

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self._folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _write(self, name: str, document: Any) -> None:
        path = self._folder / name
        temporary = path.with_name(f".{uuid.uuid4().hex}")
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(document), encoding="utf-8")
            temporary.replace(path)


def _as_is(value: Any) -> Any:
    if not isinstance(value, str | int):
        raise TypeError(f"{value!r} is no field of a file")
    return value


def plain_name(text: str) -> str:
    """Text from elsewhere as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "unnamed"
