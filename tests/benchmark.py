"""A program of benchmarks/ as a module, for tests of what it measures with."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

FOLDER = str(Path(__file__).parents[1] / "benchmarks")


@contextmanager
def benchmark(name: str) -> Iterator[ModuleType]:
    """Imports it as if it ran: the programs import each other by name."""
    sys.path.insert(0, FOLDER)
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(FOLDER)
