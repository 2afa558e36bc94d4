"""Adds a file to a folder of the package for the length of a test, as a user of a clone would."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

Write = Callable[[str, str], None]


@contextmanager
def added_files(
    package: ModuleType, folder: Path, found: Callable[[], Any], monkeypatch: Any
) -> Iterator[Write]:
    """Yields what writes a file of a name and text, which is then found among the package's own.

    Args:
        package: the folder that is added to.
        folder: where the files really are.
        found: the cached function that finds what its files define.
    """
    names: list[str] = []
    folder.mkdir()
    own = list(package.__path__)
    monkeypatch.setattr(package, "__path__", [*own, str(folder)])

    def write(name: str, text: str) -> None:
        (folder / f"{name}.py").write_text(text)
        names.append(f"{package.__name__}.{name}")
        importlib.invalidate_caches()
        found.cache_clear()

    try:
        yield write
    finally:
        monkeypatch.setattr(package, "__path__", own)
        for name in names:
            sys.modules.pop(name, None)
            vars(package).pop(name.rpartition(".")[2], None)
        found.cache_clear()
