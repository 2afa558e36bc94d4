"""A run at an address that fsspec reads: `s3://bucket/run`, `hf://datasets/org/name`.

It is mirrored by name: a temporary run has a file, empty at first, for each one that is listed
there. So names choose, without a request, which files a filter needs; each of those is fetched when
it is first read, and all goes when the reader is done. Which units are compacted is not in a name:
the indices of compacted files are fetched too. Addresses such as `simplecache::s3://...`
keep files, by fsspec's own rules.

A listing is text from elsewhere: a name becomes a path only if a run of ours can have it.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, Literal

from pythia_traj.errors import StoreError
from pythia_traj.outside import SMALL, in_one_line
from pythia_traj.printable import one_line
from pythia_traj.store.compacted import INDEX, NEXT
from pythia_traj.store.layout import COMPACTED, SUFFIXES, Run
from pythia_traj.store.writing import writing

Folder = Literal["metrics", "tables"]
"""A folder of a run whose names a reader needs."""

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=-]{0,249}")
"""A folder or a file as a run has it: no hidden one, and none that leads out of its folder."""

_DEEPEST = 9
"""Segments of the longest name: that of a table's compacted file before it takes its place."""


@contextmanager
def reading(run: str | Path | Run, *folders: Folder) -> Iterator[Run]:
    """A run to read from, until the block ends.

    Args:
        run: its directory, its address, or the run itself.
        folders: those that are read; at an address only these are listed.

    Raises:
        StoreError: it is not a run, the address cannot be read, or what reads it is not installed.
    """
    if isinstance(run, Run):
        yield run
    elif not is_address(run):
        yield Run.open(Path(run))
    else:
        with TemporaryDirectory(prefix="pythia-traj-") as temporary:
            folder = Path(temporary) / "run"
            try:
                yield _mirrored(str(run), folder, folders)
            except StoreError as error:
                said = str(error).replace(str(folder), one_line(str(run)))
                raise StoreError(said) from error


def is_address(run: str | Path) -> bool:
    """Whether that is an address rather than a directory.

    >>> is_address("s3://bucket/run"), is_address("runs/induction"), is_address(Path("a/b"))
    (True, False, False)
    """
    return isinstance(run, str) and "://" in run


@dataclass(frozen=True)
class _Mirror(Run):
    """A run whose files arrive when they are read.

    Attributes:
        there: fsspec's file system.
        root: the run in it.
        address: as messages name it.
    """

    there: Any
    root: str
    address: str
    _arrived: set[Path] = field(default_factory=set, repr=False, compare=False)
    _locks: dict[Path, Lock] = field(default_factory=dict, repr=False, compare=False)

    def arrive(self, path: Path) -> None:
        """Fetches a file, once.

        Raises:
            FileNotFoundError: it is gone, or was not listed.
            StoreError: it cannot be read.
        """
        # Several threads may ask for one compacted file.
        with self._locks.setdefault(path, Lock()):
            # What was compacted since it was listed is in a file that was not there then.
            may_exist = path.exists() or (path.name == COMPACTED and path.parent.exists())
            if path not in self._arrived and may_exist:
                self._fetch(path)
                self._arrived.add(path)
        if not path.exists():
            raise FileNotFoundError(path)

    def _fetch(self, path: Path) -> None:
        name = path.relative_to(self.path).as_posix()
        with in_one_line(f"{self.address}/{name}", error=StoreError):
            try:
                self.there.get_file(f"{self.root}/{name}", str(path))
            except FileNotFoundError:
                path.unlink(missing_ok=True)


def _mirrored(address: str, folder: Path, folders: tuple[Folder, ...]) -> Run:
    """A run whose names are those at an address."""
    said = one_line(address)
    there, root = _opened(address, said)
    with in_one_line(said, error=StoreError):
        try:
            facts = there.cat_file(f"{root}/run.json", start=0, end=SMALL)
        except FileNotFoundError:
            raise StoreError(f"{said} is not a run: it has no run.json that can be read") from None
        names = [n for one in (*folders, "compacted") for n in _listed(there, f"{root}/{one}")]
    with writing(folder):
        folder.mkdir()
        (folder / "run.json").write_bytes(facts)
        made = set()
        for name in names:
            path = _path_of(name.removeprefix(f"{root}/"), folder)
            if path is not None and path.parent not in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.add(path.parent)
            if path is not None:
                path.touch()
    return _Mirror(Run.open(folder).path, there, root, said)


def _opened(address: str, said: str) -> tuple[Any, str]:
    """The file system of an address, and the place in it."""
    from fsspec.core import url_to_fs

    try:
        # Not an instance that others use: it may hold listings from before.
        there, root = url_to_fs(address, skip_instance_cache=True)
    except ImportError as error:
        raise StoreError(
            f"{said} cannot be read here: {one_line(str(error)).rstrip('.')}, then repeat"
        ) from None
    except ValueError as error:
        raise StoreError(
            f"{said} cannot be read ({one_line(str(error))}): give a directory, or an address that"
            " fsspec knows, such as s3://bucket/run or hf://datasets/org/name"
        ) from None
    return there, str(root).rstrip("/")


def _listed(there: Any, folder: str) -> list[str]:
    try:
        return [str(name) for name in there.find(folder)]
    except FileNotFoundError:
        return []


def _path_of(name: str, folder: Path) -> Path | None:
    """Where a listed file is in the mirror; None for a name that no file of a run has."""
    segments = name.split("/")
    if len(segments) > _DEEPEST or not (_is_index(segments) or _has_rows(segments)):
        return None
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        return None
    return folder.joinpath(*segments)


def _is_index(segments: Sequence[str]) -> bool:
    return segments[0] == "compacted" and segments[-1] == INDEX


def _has_rows(segments: Sequence[str]) -> bool:
    """Whether readers look there: not in what a compaction has replaced, nor in what is damaged."""
    is_read = segments[0] != "compacted" or segments[3:4] == [NEXT]
    return is_read and segments[-1].endswith(SUFFIXES)
