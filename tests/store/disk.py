"""A disk without room."""

from contextlib import suppress
from pathlib import Path


def fill(path: Path, leaving: int = 0) -> None:
    """Fills a file's disk up to so many bytes."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - leaving)
