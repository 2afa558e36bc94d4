"""What is known of a repository, kept on this machine so that it is not asked for again.

In `<cache>/hub/<endpoint>/<org>--<name>/`:

    branches.json          where the branches pointed when the Hub was last asked
    files/<commit>.json    the files of a commit, which never change

Files are replaced whole. One that cannot be read, or has another form, is ignored. A cache that
cannot be written, or is not ours, is not used.
"""

import json
import os
import re
import stat
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, RootModel

from pythia_traj.errors import StoreError
from pythia_traj.hub import cache
from pythia_traj.hub.cache import cache_directory, plain_name
from pythia_traj.hub.listed import COMMIT, DIGEST, LARGEST, RemoteFile
from pythia_traj.outside import LARGE, checked, read_json
from pythia_traj.printable import without_credentials

_HUB, _FILES, _BRANCHES = "hub", "files", "branches.json"
_LISTED_COMMIT = re.compile(rf"{COMMIT.pattern}\.json")
_WRITTEN = re.compile(cache.TEMPORARY)

_Name = Annotated[str, Field(min_length=1, max_length=4096)]
_Size = Annotated[int, Field(ge=0, le=LARGEST, strict=True)]


_Document = TypeVar("_Document", bound=BaseModel)


class _Branches(RootModel[dict[_Name, Annotated[str, Field(pattern=rf"^{COMMIT.pattern}$")]]]):
    """The commit of every branch."""

    model_config = ConfigDict(frozen=True, strict=True)


class _Files(
    RootModel[list[tuple[_Name, _Size, Annotated[str, Field(pattern=rf"^({DIGEST.pattern})$")]]]]
):
    """Name, size and digest of every file of a commit."""

    # Not strict: JSON has lists where this has tuples.
    model_config = ConfigDict(frozen=True)


class Listings:
    """What is remembered of one repository at one endpoint."""

    def __init__(self, endpoint: str, repo: str) -> None:
        self._cache = cache_directory()
        # User and password of an address do not become part of a name.
        self._names = (
            _HUB,
            plain_name(without_credentials(endpoint)),
            plain_name(repo.replace("/", "--")),
        )

    def branches(self) -> dict[str, str] | None:
        """The commit of every branch, as last seen."""
        found = self._read(_Branches, _BRANCHES)
        return None if found is None else dict(found.root)

    def keep_branches(self, branches: Mapping[str, str]) -> None:
        """Remembers a listing of branches."""
        self._write(dict(branches), _BRANCHES)

    def files(self, commit: str) -> tuple[RemoteFile, ...] | None:
        """The files of a commit."""
        found = self._read(_Files, _FILES, f"{commit}.json")
        try:
            return None if found is None else tuple(RemoteFile(*entry) for entry in found.root)
        except ValueError:  # From an older version, which accepted what is refused now.
            return None

    def keep_files(self, commit: str, files: Sequence[RemoteFile]) -> None:
        """Remembers the files of a commit."""
        self._write([astuple(file) for file in files], _FILES, f"{commit}.json")

    def _read(self, form: type[_Document], *names: str) -> _Document | None:
        path = self._cache.joinpath(*self._names, *names)
        try:
            return checked(
                form, read_json(path, error=StoreError, most=LARGE), path, error=StoreError
            )
        except (FileNotFoundError, StoreError):
            return None

    def _write(self, document: Any, *names: str) -> None:
        with suppress(OSError, StoreError):
            cache.claim(self._cache)
            with cache.opened(self._cache, *self._names, *names[:-1], make=True) as folder:
                with suppress(FileNotFoundError):
                    if not stat.S_ISREG(
                        os.stat(names[-1], dir_fd=folder, follow_symlinks=False).st_mode
                    ):
                        return  # Something that is not ours has its name.
                temporary = f".{uuid.uuid4().hex}"
                descriptor = os.open(
                    temporary,
                    os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
                    0o644,
                    dir_fd=folder,
                )
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(json.dumps(document))
                os.replace(temporary, names[-1], src_dir_fd=folder, dst_dir_fd=folder)


def forget() -> int:
    """Removes all that is remembered; returns the number of listings."""
    root, forgotten = cache_directory(), 0
    for endpoint in cache.folders(root, _HUB):
        for repo in cache.folders(root, _HUB, endpoint):
            place = (_HUB, endpoint, repo)
            for names, form in (
                (place, re.compile(re.escape(_BRANCHES))),
                ((*place, _FILES), _LISTED_COMMIT),
            ):
                for name in cache.regular_files(root, *names):
                    if form.fullmatch(name) or _WRITTEN.fullmatch(name):
                        forgotten += cache.unlink(root, *names, name)
    return forgotten
