"""What experiments say of themselves: as their rows record it, else read from their source.

A page is made where no torch is installed, and of runs whose experiments are not installed, so that
none is imported. Rows of older versions do not record it: then the file that a footer names is
parsed, one of ours, or one behind an entry point that has the very bytes that measured.
"""

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path

from pythia_traj.discovery import GROUP
from pythia_traj.errors import ConfigError
from pythia_traj.outside import read_file
from pythia_traj.store.records import ExperimentSource


@dataclass(frozen=True)
class Description:
    """What an experiment's source says.

    Attributes:
        summary: the first line of its docstring.
        cites: where its measures come from.
    """

    summary: str = ""
    cites: str = ""


def description_of(name: str, source: ExperimentSource | None) -> Description:
    """What an experiment says of itself; empty where that is not known.

    Args:
        name: the experiment's.
        source: the file that defined it, as the footer of its rows has it; None in rows of older
            versions, whose experiments were our own.
    """
    if source is not None and source.description is not None:
        return Description(source.description, source.cites or "")
    if source is None or source.packaged:
        candidates = iter([_packaged(name if source is None else source.file.rpartition(".")[2])])
    else:
        candidates = (path for path in _behind_entry_points() if _is(path, source))
    for path in candidates:
        found = None if path is None else _said_in(path).get(name)
        if found is not None:
            return found
    return Description()


def _packaged(module: str) -> Path | None:
    # The name is from a footer: a path in it must not lead out of the folder.
    if not module.isidentifier():
        return None
    spec = importlib.util.find_spec(GROUP)
    folders = None if spec is None else spec.submodule_search_locations
    paths = [Path(folder) / f"{module}.py" for folder in folders or ()]
    return next((path for path in paths if path.is_file()), None)


def _behind_entry_points() -> Iterator[Path]:
    """The files behind entry points; only a package's place is looked up, so nothing runs."""
    for entry in metadata.entry_points(group=GROUP):
        top, *below = entry.module.split(".")
        spec = importlib.util.find_spec(top)
        if spec is None:
            continue
        if not below:
            yield from [Path(spec.origin)] if spec.origin else []
        for folder in spec.submodule_search_locations or ():
            inner = Path(folder, *below)
            yield from (inner.with_suffix(".py") if below else inner, inner / "__init__.py")


def _is(path: Path, source: ExperimentSource) -> bool:
    """Whether a file has the very bytes that defined the experiment."""
    data = _bytes(path)
    return data is not None and sha256(data).hexdigest() == source.sha256


def _bytes(path: Path) -> bytes | None:
    try:
        return read_file(path, error=ConfigError)
    except (OSError, ConfigError):
        return None


@lru_cache(maxsize=256)
def _said_in(path: Path) -> dict[str, Description]:
    """The experiments that a file defines, by name."""
    try:
        tree = ast.parse(_bytes(path) or b"")
    except (SyntaxError, ValueError):
        return {}
    found = {}
    for function in tree.body:
        if isinstance(function, ast.FunctionDef):
            for decorator in function.decorator_list:
                if isinstance(decorator, ast.Call) and _name(decorator.func) == "experiment":
                    summary = (ast.get_docstring(function) or "").partition("\n")[0].strip()
                    found[function.name] = Description(summary, _cites(decorator))
    return found


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _cites(call: ast.Call) -> str:
    values = [one.value for one in call.keywords if one.arg == "cites"]
    known = [one.value for one in values if isinstance(one, ast.Constant)]
    return known[0] if known and isinstance(known[0], str) else ""
