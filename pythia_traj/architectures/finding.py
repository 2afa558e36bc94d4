"""A config -> its architecture: the files of this folder that define `ARCHITECTURE`."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from pythia_traj import architectures
from pythia_traj.architectures.tables import Architecture
from pythia_traj.errors import CheckpointError
from pythia_traj.folder import defined_in
from pythia_traj.outside import shown

IDENTITY = ("architectures", "model_type")
"""Keys that name the architecture; if a config has both, they must agree."""


@cache
def every() -> tuple[Architecture, ...]:
    """All architectures, in the order of their files' names."""
    return defined_in(architectures, "ARCHITECTURE", Architecture)


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """The architecture that a config names.

    Args:
        config: the parsed `config.json`.

    Raises:
        CheckpointError: it names none, or another one.
    """
    classes, supported = config.get("architectures"), _supported()
    if not classes and "model_type" not in config:
        raise CheckpointError(
            f"config.json names neither architectures nor model_type: {supported}"
        )
    if classes and not isinstance(classes, list):
        raise CheckpointError(
            f"config.json: architectures is {shown(classes)}: it must be a list: {supported}"
        )
    candidates = every()
    if classes:
        candidates = tuple(one for one in candidates if classes[0] in one.classes)
        if not candidates:
            raise _other(classes[0])
    if "model_type" in config:
        candidates = tuple(one for one in candidates if one.model_type == config["model_type"])
        if not candidates:
            raise _other(config["model_type"])
    return candidates[0]


def is_constant(name: str) -> bool:
    """Whether in one of the architectures the config determines a tensor of this name."""
    return any(architecture.constant.search(name) for architecture in every())


def _supported() -> str:
    return f"supported is {' or '.join(architecture.name for architecture in every())}"


def _other(named: Any) -> CheckpointError:
    if isinstance(named, list) and named:
        named = named[0]
    return CheckpointError(
        f"config.json is of architecture {shown(named).strip(chr(39))}: {_supported()}"
    )
