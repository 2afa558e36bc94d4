"""Text that every machine has: the source of Python's standard library.

Nothing is shipped and nothing is downloaded. The text differs between Python versions, so its
sha256 is part of every digest that depends on it. Documents are split once, by a hash of their
names, so that a model trained on `train` (the toy suite) is measured on `heldout`, which it never
saw.
"""

import hashlib
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal

Split = Literal["train", "heldout", "all"]

# Tests and bundled applications are left out: they are most of the bytes, least like library code,
# and some distributions do not install them.
_LEFT_OUT = {
    "__pycache__", "ensurepip", "idle_test", "idlelib", "lib2to3", "site-packages",
    "dist-packages", "test", "tests", "turtledemo",
}  # fmt: skip


def _paths() -> Iterator[tuple[str, Path]]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if not _LEFT_OUT.intersection(parts):
            yield "/".join(parts), path


def _is_heldout(name: str) -> bool:
    return hashlib.sha256(name.encode()).digest()[0] % 10 == 0


@lru_cache(maxsize=3)
def documents(split: Split = "all") -> tuple[tuple[str, str], ...]:
    """The library's modules as (name, text), sorted by name.

    Args:
        split: `heldout` is one module in ten, chosen by the hash of its name; `train` is the rest.
    """
    found = []
    for name, path in _paths():
        if split != "all" and _is_heldout(name) != (split == "heldout"):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if text.strip():
            found.append((name, text))
    return tuple(found)
