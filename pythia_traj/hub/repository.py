"""A repository of the Hub: what it holds, and its small files on this machine."""

from functools import cached_property
from pathlib import Path

from pythia_traj.errors import CheckpointError
from pythia_traj.hub import small
from pythia_traj.hub.client import Client
from pythia_traj.hub.disk import OnDisk
from pythia_traj.hub.inventory import MAIN, Inventory
from pythia_traj.hub.listed import RemoteFile, is_file
from pythia_traj.hub.masks import Masks
from pythia_traj.outside import read_file
from pythia_traj.suites.files import what_it_is_instead

_BEGINNING = 200
"""Bytes that are enough to tell what a file is."""


class Repository:
    """One repository, by commit: a commit never changes.

    Attributes:
        name: `org/name`.
        client: asks the Hub.
        inventory: its commits and their files.
        masks: tensors that all its checkpoints share.
    """

    def __init__(self, name: str, *, refresh: bool) -> None:
        self.name = name
        self.client = Client()
        self.inventory = Inventory(self.client, name, refresh=refresh)
        self.masks = Masks()

    def has(self, commit: str, file: RemoteFile) -> bool:
        """Whether a file of a commit is on this machine, by its name."""
        with OnDisk().hold_if_there(self.name, file) as path:
            if path is not None:
                return True
        cached = self.client.cached(self.name, commit, file.path) or self.client.cached_blob(
            self.name, file.blob
        )
        return cached is not None

    def listing(self, commit: str) -> dict[str, RemoteFile]:
        """The files of a commit by name.

        Names from a listing do not become paths: only the names of a checkpoint's files are looked
        up.
        """
        return {file.path: file for file in self.inventory.files(commit)}

    @cached_property
    def main(self) -> tuple[str, dict[str, RemoteFile]] | None:
        """The commit and the files of `main`; None if it does not exist or cannot be listed."""
        commit = self.inventory.branches().get(MAIN)
        try:
            return None if commit is None else (commit, self.listing(commit))
        except CheckpointError:
            return None

    def fetch(self, commit: str, file: RemoteFile) -> Path:
        """A small file on this machine, as it is listed.

        Commits that share its content share one download. A file with wrong content, in the cache
        or as it came, is fetched once more.

        Raises:
            CheckpointError: it cannot be fetched, has wrong content the second time too, is too
                large for its name, or was published as something else.
        """
        small.check_size(file, self.name, commit)
        there = self.client.cached(self.name, commit, file.path) or self.client.cached_blob(
            self.name, file.blob
        )
        if there is None or not _is_as_listed(there, file):
            there = self.client.download(self.name, commit, file)
        with there.open("rb") as opened:
            instead = what_it_is_instead(memoryview(opened.read(_BEGINNING)))
        if instead is not None:
            raise CheckpointError(
                f"{file.path} of {self.name} at {commit[:12]} was published as {instead}"
            )
        return there


def _is_as_listed(path: Path, file: RemoteFile) -> bool:
    """Whether a cached file is the listed one; anything but a regular file is not read."""
    try:
        return is_file(memoryview(read_file(path, error=CheckpointError, most=file.size)), file)
    except (CheckpointError, FileNotFoundError):
        return False
