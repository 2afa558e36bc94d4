"""What the files of a folder define: another file there is all that it takes to add one more."""

import pkgutil
from importlib import import_module
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def defined_in(package: ModuleType, name: str, kind: type[T]) -> tuple[T, ...]:
    """What the modules of a package define under a name, in the order of the files' names.

    A module may define one such object, or a tuple of them.
    """
    found: list[T] = []
    for module in sorted(module.name for module in pkgutil.iter_modules(package.__path__)):
        value = getattr(import_module(f"{package.__name__}.{module}"), name, ())
        found += [
            one
            for one in (value if isinstance(value, tuple) else (value,))
            if isinstance(one, kind)
        ]
    return tuple(found)
