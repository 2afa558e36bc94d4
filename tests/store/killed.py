"""Kills a process, as far as its files can tell, at each operation that renames or deletes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

OPERATIONS = ("rename", "replace", "link", "unlink", "rmdir", "mkdir")


class Killed(BaseException):
    """The process is gone."""


@contextmanager
def killed_at(operation: int | None) -> Iterator[list[str]]:
    """Lets so many operations happen; the next one and all after it are not done.

    What runs after the end, such as a `finally`, changes nothing either. None lets all happen.
    Yields the names of the operations that happened.
    """
    happened: list[str] = []
    real = {name: getattr(os, name) for name in OPERATIONS}

    def limited(name: str):
        def call(*args, **options):
            if operation is not None and len(happened) >= operation:
                raise Killed(name)
            result = real[name](*args, **options)
            happened.append(name)
            return result

        return call

    for name in OPERATIONS:
        setattr(os, name, limited(name))
    try:
        yield happened
    except Killed:
        pass
    finally:
        for name, function in real.items():
            setattr(os, name, function)
