"""The directory in which pythia-traj keeps what it may lose at any time.

This module says where it is, and what in it may be deleted.

    <cache>/pythia-traj-cache    the mark: this directory is ours
    <cache>/weights/             weight files (stored.py)
    <cache>/hub/                 what was learnt of the Hub (listings.py)

`<cache>` is PYTHIA_TRAJ_CACHE, or pythia-traj in the user's cache directory. A user may point it
anywhere, and other programs may put files and links into it. So a file is deleted only in a
directory that has the mark, only if it is a regular file whose name is one of ours, and only if no
link leads to it from the cache.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from huggingface_hub import constants

from pythia_traj.errors import ConfigError, StoreError
from pythia_traj.hub.listed import COMMIT, DIGEST

_MARK = "pythia-traj-cache"
_MARK_TEXT = (
    "pythia-traj keeps weights and listings of the Hub here, and deletes them when it needs room.\n"
)

BLOB = f"(?:{DIGEST.pattern})"
TEMPORARY = r"\.[0-9a-f]{32}"
PLAIN = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
"""A name that `plain_name` gives."""

_FILES = re.compile(
    rf"{_MARK}|weights/\.lock|weights/{PLAIN}/{BLOB}(?:{TEMPORARY})?(?:\.part|\.keep)?"
    rf"|hub/{PLAIN}/{PLAIN}/(?:branches\.json|files/{COMMIT.pattern}\.json|(?:files/)?{TEMPORARY})"
)
_FOLDERS = re.compile(rf"weights(?:/{PLAIN})?|hub(?:/{PLAIN}(?:/{PLAIN}(?:/files)?)?)?")

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def cache_directory() -> Path:
    """Where pythia-traj keeps what it may lose at any time.

    Raises:
        ConfigError: the place does not exist, or is the Hugging Face cache's.
    """
    own = os.environ.get("PYTHIA_TRAJ_CACHE", "").strip()
    shared = os.environ.get("XDG_CACHE_HOME", "").strip()
    if own:
        directory = _expanded("PYTHIA_TRAJ_CACHE", own)
    elif shared:
        directory = _expanded("XDG_CACHE_HOME", shared) / "pythia-traj"
    else:
        directory = _home() / ".cache" / "pythia-traj"
    for name, theirs in (("HF_HOME", constants.HF_HOME), ("HF_HUB_CACHE", constants.HF_HUB_CACHE)):
        if str(theirs).startswith("~"):
            raise ConfigError(
                f"{theirs} is not known, for this user has no home directory: set HOME or {name}"
            )
        if Path(os.path.realpath(theirs)).is_relative_to(os.path.realpath(directory)):
            raise ConfigError(
                f"{directory} cannot be the cache of pythia-traj, for it is or holds that of"
                f" Hugging Face ({name}: {theirs}): set PYTHIA_TRAJ_CACHE to a directory of its"
                f" own, such as {directory / 'pythia-traj'}"
            )
    return directory


def plain_name(text: str) -> str:
    """Text from elsewhere as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "unnamed"


def is_ours(cache: Path) -> bool:
    """Whether a cache is marked, or holds only files of our form, like an older version's cache."""
    return _is_marked(cache) or _foreign(cache) is None


def refuse_foreign(cache: Path) -> None:
    """Raises a StoreError if a cache without the mark holds anything that is not of our form."""
    if not _is_marked(cache) and (found := _foreign(cache)) is not None:
        raise StoreError(
            f"{cache} is not a cache of pythia-traj: it holds {found}; set PYTHIA_TRAJ_CACHE to a"
            f" directory of its own, such as {cache / 'pythia-traj'}"
        )


def claim(cache: Path) -> None:
    """Makes the cache if it does not exist, and marks it.

    Raises:
        StoreError: it holds files that are not ours, or cannot be written.
    """
    if _is_marked(cache):
        return
    try:
        cache.mkdir(parents=True, exist_ok=True)
        refuse_foreign(cache)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(cache / _MARK, flags, 0o644), "w") as mark:
            mark.write(_MARK_TEXT)
    except OSError as error:
        raise cannot_write(cache, error) from None


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The error about a place in the cache that cannot be written."""
    if path.is_symlink():
        return StoreError(
            f"{path} is a link, and pythia-traj follows none inside its cache:"
            " set PYTHIA_TRAJ_CACHE to a directory on that disk"
        )
    return StoreError(
        f"{path} cannot be written ({error.strerror}):"
        " set PYTHIA_TRAJ_CACHE to a directory that can"
    )


@contextmanager
def opened(cache: Path, *names: str, make: bool = False) -> Iterator[int]:
    """A folder inside a cache, reached without following a link.

    Args:
        make: makes the folders that do not exist.

    Raises:
        OSError: it does not exist, or a link is on the way.
    """
    # The cache itself may be a link: the user named it.
    descriptor = os.open(cache, _FOLDER_FLAGS)
    try:
        for name in names:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=descriptor)
            below = os.open(name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def folders(cache: Path, *names: str) -> list[str]:
    """The folders of ours in one of a cache."""
    entries = _entries(cache, *names)
    return sorted(
        name
        for name, status in entries
        if stat.S_ISDIR(status.st_mode) and re.fullmatch(PLAIN, name)
    )


def regular_files(cache: Path, *names: str) -> dict[str, os.stat_result]:
    """The regular files in a folder of a cache."""
    return {
        name: status for name, status in _entries(cache, *names) if stat.S_ISREG(status.st_mode)
    }


def unlink(cache: Path, *names: str) -> bool:
    """Removes a regular file of a cache; says whether it existed."""
    with suppress(OSError), opened(cache, *names[:-1]) as folder:
        if stat.S_ISREG(os.stat(names[-1], dir_fd=folder, follow_symlinks=False).st_mode):
            os.unlink(names[-1], dir_fd=folder)
            return True
    return False


def _entries(cache: Path, *names: str) -> list[tuple[str, os.stat_result]]:
    """What is in a folder, no link followed; nothing where it cannot be reached."""
    found = []
    with suppress(OSError), opened(cache, *names) as folder, os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # Removed by another process meanwhile.
                found.append((entry.name, entry.stat(follow_symlinks=False)))
    return found


def _is_marked(cache: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(cache / _MARK).st_mode)
    except OSError:
        return False


def _foreign(cache: Path) -> str | None:
    """Something in a directory that is not of our form, if there is any."""
    for folder, below, files in os.walk(cache):
        for form, names in ((_FOLDERS, below), (_FILES, files)):
            for name in names:
                path = Path(folder, name)
                inside = path.relative_to(cache).as_posix()
                if (
                    path.is_symlink()
                    or form.fullmatch(inside) is None
                    or (form is _FILES and not path.is_file())
                ):
                    return inside
    return None


def _expanded(name: str, text: str) -> Path:
    """The path that a variable names, as a shell would have it."""
    # As the Hub's client does; an unknown user stays.
    path = os.path.expandvars(os.path.expanduser(text))  # noqa: PTH111
    if not path or path[0] in "~$":
        unknown = text.split("/")[0]
        raise ConfigError(
            f"{name} is {text!r}, and {unknown} is unknown: write the whole path of a directory"
        )
    return Path(path).absolute()


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise ConfigError(
            "this user has no home directory to keep weights and listings in:"
            " set PYTHIA_TRAJ_CACHE to a directory"
        ) from None
