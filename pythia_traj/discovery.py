"""Finding experiments: in `pythia_traj.experiments`, behind entry points, in a user's file.

Nothing imports one by name. Entry points of the group `pythia_traj.experiments` name a module or an
experiment. A file is given by its path, `./mine.py`, or `./mine.py:name` where it defines several.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge

from pythia_traj.errors import ConfigError, nearest
from pythia_traj.experiment import Experiment
from pythia_traj.outside import read_file, shown
from pythia_traj.parameters import without_arguments
from pythia_traj.standins import standing_in

GROUP = "pythia_traj.experiments"


@dataclass(frozen=True)
class Unavailable:
    """An experiment that is there but cannot be imported.

    Attributes:
        name: its own, or that of its entry point.
        requires: the distributions that it needs and that are not installed.
        error: what its import raised, where it is not that.
    """

    name: str
    requires: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Definition:
    """The file that an experiment was defined in.

    Attributes:
        file: its name, or that of the module.
        sha256: of its bytes, when it was imported.
        packaged: whether it came with pythia-traj.
        description: the first line of the experiment's docstring.
        cites: where its measures come from.
    """

    file: str
    sha256: str
    packaged: bool
    description: str
    cites: str


@lru_cache(maxsize=1)
def discover() -> dict[str, Experiment | Unavailable]:
    """All experiments that are installed, by name.

    Raises:
        ConfigError: two have one name.
    """
    found: dict[str, Experiment | Unavailable] = {}
    for candidate in (*_packaged(), *_entry_points()):
        known = found.get(candidate.name)
        if known is not None and known != candidate:
            raise ConfigError(
                f"two experiments are named {candidate.name}: uninstall or rename one of them"
            )
        found[candidate.name] = candidate
    return dict(sorted(found.items()))


def find(use: str) -> Experiment:
    """The experiment of a name, or of a file's path.

    Raises:
        ConfigError: the name is unknown, or what the experiment needs is not installed.
    """
    path, _, name = use.partition(":")
    if path.endswith(".py"):
        return _in_file(Path(path), name)
    experiments = discover()
    if use not in experiments:
        raise ConfigError(f"unknown experiment {shown(use)}: {nearest(use, experiments)}")
    return _installed(experiments[use])


def _installed(candidate: Experiment | Unavailable) -> Experiment:
    if isinstance(candidate, Unavailable) and candidate.error:
        raise ConfigError(f"experiment {candidate.name} cannot be imported: {candidate.error}")
    missing = (
        candidate.requires
        if isinstance(candidate, Unavailable)
        else missing_requirements(candidate)
    )
    if missing:
        raise ConfigError(
            f"experiment {candidate.name} needs {', '.join(missing)}:"
            f" pip install {' '.join(missing)}"
        )
    assert isinstance(candidate, Experiment)
    return candidate


def missing_requirements(candidate: Experiment) -> tuple[str, ...]:
    """The distributions an experiment needs that are not installed."""
    missing = []
    for requirement in candidate.requires:
        try:
            metadata.version(requirement)
        except metadata.PackageNotFoundError:
            missing.append(requirement)
    return tuple(missing)


def definition(candidate: Experiment) -> Definition | None:
    """The file that defines an experiment; None of one that was typed into an interpreter."""
    module = candidate.function.__module__
    path = _file_of(module)
    digest = _digest_at_import(module)
    if path is None or digest is None:
        return None
    packaged = module.startswith(f"{GROUP}.")
    name = module if packaged else path.name
    return Definition(name, digest, packaged, candidate.description, candidate.cites)


def has_changed(candidate: Experiment) -> Path | None:
    """The file of an experiment, if it has changed since it was imported."""
    path, known = _file_of(candidate.function.__module__), definition(candidate)
    return (
        path if path is not None and known is not None and _digest(path) != known.sha256 else None
    )


def _file_of(module: str) -> Path | None:
    file = getattr(sys.modules.get(module), "__file__", None)
    return None if file is None else Path(file)


@lru_cache(maxsize=256)
def _digest_at_import(module: str) -> str | None:
    path = _file_of(module)
    return None if path is None else _digest(path)


def _digest(path: Path) -> str | None:
    try:
        return sha256(read_file(path, error=ConfigError)).hexdigest()
    except (FileNotFoundError, ConfigError):
        return None


def _packaged() -> Iterator[Experiment | Unavailable]:
    package = importlib.import_module(GROUP)
    for module in pkgutil.iter_modules(package.__path__):
        yield from _experiments_of(f"{GROUP}.{module.name}", module.name)


def _entry_points() -> Iterator[Experiment | Unavailable]:
    for entry in metadata.entry_points(group=GROUP):
        try:
            with standing_in(entry.module.partition(".")[0]):
                loaded = entry.load()
        except ModuleNotFoundError as error:
            yield Unavailable(entry.name, (error.name or "?",))
            continue
        except (
            Exception,
            SystemExit,
        ) as error:  # what others have installed may raise anything, and is not always asked for
            yield Unavailable(entry.name, error=f"{entry.value}: {type(error).__name__}: {error}")
            continue
        yield from [loaded] if isinstance(loaded, Experiment) else _in_module(loaded)


def _experiments_of(module_name: str, fallback: str) -> Iterator[Experiment | Unavailable]:
    try:
        with standing_in():
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        yield Unavailable(fallback, (error.name or "?",))
    else:
        yield from _in_module(module)


def _in_module(module: ModuleType) -> list[Experiment]:
    """The experiments a module defines, not those it imports."""
    values = [value for value in vars(module).values() if isinstance(value, Experiment)]
    return [value for value in values if value.function.__module__ == module.__name__]


@lru_cache(maxsize=64)
def _in_file(path: Path, name: str) -> Experiment:
    try:
        # Only a regular file is imported, and only one that is small enough to be written by hand.
        read_file(path, error=ConfigError)
    except FileNotFoundError:
        raise ConfigError(f"no such experiment file: {path}") from None
    module_name = f"pythia_traj_user_{sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    # Before it is executed, so that every later edit is noticed.
    _digest_at_import(module_name)
    try:
        with standing_in(module_name):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        raise ConfigError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    found = {value.name: value for value in _in_module(module)}
    if not found:
        raise ConfigError(
            f"{path} defines no experiment: decorate a function with"
            " pythia_traj.experiment.experiment"
        )
    if not name and len(found) > 1:
        raise ConfigError(f"{path} defines several experiments: choose one, as {path}:{min(found)}")
    if name and name not in found:
        raise ConfigError(f"{path} defines no experiment {name!r}: {nearest(name, found)}")
    return _installed(found[name or next(iter(found))])


def describe(candidate: Experiment | Unavailable) -> dict[str, Any]:
    """An experiment as `experiments --json` lists it.

    One that cannot be imported is known by name and by what it needs.
    """
    if isinstance(candidate, Unavailable):
        text = (
            "cannot be imported:"
            f" {candidate.error or 'pip install ' + ' '.join(candidate.requires)}"
        )
        listed: dict[str, Any] = {
            "name": candidate.name,
            "version": None,
            "description": text,
            "cites": "",
            "parameters": [],
        }
        return {**listed, "requires": list(candidate.requires), "documentation": text}
    return {
        "name": candidate.name,
        "version": candidate.version,
        "description": candidate.description,
        "cites": candidate.cites,
        "parameters": [
            {
                "name": p.name,
                "default": p.default,
                "type": _type_name(p.annotation),
                "meaning": p.meaning,
            }
            for p in candidate.parameters.values()
        ],
        "requires": list(missing_requirements(candidate)),
        "documentation": without_arguments(inspect.getdoc(candidate.function) or ""),
    }


def _type_name(annotation: object) -> str:
    """An annotation as a user reads it: `int, at least 1`, not `Annotated[int, Ge(ge=1)]`."""
    if hasattr(annotation, "__metadata__"):
        limits = [
            f"at least {limit.ge}" for limit in annotation.__metadata__ if isinstance(limit, Ge)
        ]
        return ", ".join([_type_name(getattr(annotation, "__origin__", None)), *limits])
    inner = get_args(annotation)
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, inner))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join("null" if member is NoneType else _type_name(member) for member in inner)
    if get_origin(annotation) is tuple and inner[-1] is Ellipsis:
        return f"list of {_type_name(inner[0])}"
    return (
        annotation.__name__
        if isinstance(annotation, type) and not inner
        else str(annotation).replace("typing.", "")
    )
