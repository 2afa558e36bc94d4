"""Repositories as data: branches point at commits, commits name blobs, blobs lie in files.

A blob is served from the file it was published from, so a published file must not be changed in
place: publish what is new from another file. Publishing the same files to the same branch again
gives the same commit; any other files give another one, and the former commit stays.
"""

import hashlib
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

LFS_THRESHOLD = 10 * 1024 * 1024
LFS_SUFFIXES = (".safetensors", ".bin")


@dataclass(frozen=True)
class Blob:
    """One content: where it lies, and by which hashes clients know it."""

    file: Path
    size: int
    sha256: str
    oid: str
    """What git calls it: the sha1 of the content, or of the LFS pointer that stands for it."""
    lfs: bool

    @property
    def etag(self) -> str:
        """What a client names its cached copy by."""
        return self.sha256 if self.lfs else self.oid

    @property
    def pointer_size(self) -> int:
        return len(_pointer(self.sha256, self.size))


Files = Mapping[str, Blob]
"""The files of one commit, by path."""


class Repository:
    """A repository of a model, or of a dataset.

    `private`: to everybody without a token it looks as if it did not exist. `gated`: everybody can
    list its files, a download needs a token. Files of `lfs_threshold` bytes or more, and weights of
    any size, are LFS files.
    """

    def __init__(
        self,
        name: str,
        *,
        private: bool = False,
        gated: bool = False,
        lfs_threshold: int = LFS_THRESHOLD,
        kind: Literal["model", "dataset"] = "model",
    ) -> None:
        if name.count("/") != 1 or not all(name.split("/")):
            raise ValueError(f"{name!r} is no repository: give it as org/name")
        self.name = name
        self.key = f"datasets/{name}" if kind == "dataset" else name
        """How paths of the hub name it."""
        self.private = private
        self.gated = gated
        self.lfs_threshold = lfs_threshold
        self.branches: dict[str, str] = {}
        self.commits: dict[str, Files] = {}
        self.blobs: dict[str, Blob] = {}
        """Every blob of every commit, by sha256."""
        self.history: dict[str, list[str]] = {}
        """The commits each branch has pointed at, oldest first."""

    def publish(self, branch: str, folder: Path, extra: Mapping[str, Path] | None = None) -> str:
        """Makes a commit of all files in `folder` and its subfolders and moves the branch there.

        Returns the commit. `extra` are files that lie elsewhere, by their path in the repository.
        """
        found = {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_file()
        }
        return self._commit(
            branch, {path: self._blob(file) for path, file in {**found, **(extra or {})}.items()}
        )

    def add(self, branch: str, path: str, file: Path) -> str:
        """Makes a commit of the branch's files and one more, and returns the commit.

        The path can be any at all, `../x` too.
        """
        files = self.commits[self.branches[branch]] if branch in self.branches else {}
        return self._commit(branch, {**files, path: self._blob(file)})

    def change(self, branch: str, added: Mapping[str, Path], deleted: Collection[str]) -> str:
        """Makes a commit of the branch's files with some more and some less, and returns it."""
        files = self.commits[self.branches[branch]]
        kept = {path: blob for path, blob in files.items() if path not in deleted}
        return self._commit(branch, {**kept, **{p: self._blob(file) for p, file in added.items()}})

    def commit_of(self, revision: str) -> str | None:
        """The commit that a branch or a commit's own name stands for."""
        return self.branches.get(revision) or (revision if revision in self.commits else None)

    def history_of(self, revision: str) -> list[str]:
        """A branch's commits, the newest first; of a commit itself only that."""
        return list(reversed(self.history.get(revision, [revision])))

    def _commit(self, branch: str, files: dict[str, Blob]) -> str:
        named = [branch, *(f"{path}\0{blob.oid}" for path, blob in sorted(files.items()))]
        commit = hashlib.sha1("\n".join(named).encode()).hexdigest()
        self.blobs |= {blob.sha256: blob for blob in files.values()}
        self.commits.setdefault(commit, MappingProxyType(files))
        history = self.history.setdefault(branch, [])
        if self.branches.get(branch) != commit:
            history.append(commit)
        self.branches[branch] = commit
        return commit

    def _blob(self, file: Path) -> Blob:
        size = file.stat().st_size
        lfs = size >= self.lfs_threshold or file.name.endswith(LFS_SUFFIXES)
        return Blob(file.resolve(), size, *_hashes(file, lfs), lfs)


_hashed: dict[tuple[Path, int, int, bool], tuple[str, str]] = {}
_hashed_lock = threading.Lock()
_SETTLED_NS = 100_000_000
"""A file written this recently may be written again without a change of its time stamp.

So its hashes are not remembered.
"""


def _hashes(file: Path, lfs: bool) -> tuple[str, str]:
    """A file's sha256 and its git oid, remembered as long as the file stays as it is."""
    status = file.stat()
    key = (file.resolve(), status.st_size, status.st_mtime_ns, lfs)
    with _hashed_lock:
        if key in _hashed:
            return _hashed[key]
    settled = time.time_ns() - status.st_mtime_ns > _SETTLED_NS
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    oid = _git_sha1(_pointer(sha256, status.st_size) if lfs else file.read_bytes())
    if settled:
        with _hashed_lock:
            _hashed[key] = sha256, oid
    return sha256, oid


def _git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _pointer(sha256: str, size: int) -> bytes:
    """The text that git keeps in place of an LFS file."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    )
