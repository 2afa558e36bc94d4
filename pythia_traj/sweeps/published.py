"""A model's name -> its published checkpoints; and the files that its units are measured on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pythia_traj.checkpoint import PublishedModel
from pythia_traj.errors import HubError, SuiteError
from pythia_traj.suites.catalog import look_up, unknown_model
from pythia_traj.suites.local import LocalModel
from pythia_traj.sweeps.plan import Unit

HUB = "hub"


def open_model(name: str, source: str = HUB, *, refresh: bool = False) -> PublishedModel:
    """Finds a model: a directory of checkpoints, a model of a known suite, or any repository of the Hub with step branches.

    A directory of checkpoints comes before a model of the same name. Nothing is asked of the Hub, but for the branches of a
    repository that belongs to no known suite.

    Args:
        name: a path, a name or an alias, or `org/name`.
        source: `hub`, or the directory that holds the models' directories (or is the model's own).
        refresh: whether the Hub is asked again for what is known already.

    Raises:
        SuiteError: there is no such model or directory, or it holds no checkpoints.
        HubError: the Hub cannot be asked.
    """
    if source != HUB:
        below = Path(source) / name
        return LocalModel.open(below if below.is_dir() else Path(source))
    record = look_up(name)
    if Path(name).is_dir():
        try:
            return LocalModel.open(Path(name))
        except SuiteError:
            if record is None:
                raise
    if record is None and name.count("/") != 1:
        raise unknown_model(name)
    from pythia_traj.hub.model import HubModel

    if record is not None:
        return HubModel.of(record, refresh=refresh)
    if name.startswith((".", "/", "~")):
        raise SuiteError(f"there is no directory {name!r}")
    try:
        return HubModel.open(name, refresh=refresh)
    except HubError as error:
        raise HubError(f"{error} (nor is there a directory {name!r} here)") from None


def facts_of(published: PublishedModel, config: Mapping[str, Any]) -> dict[str, Any]:
    """A model's row of the `models` table: what its suite says of it, and what its config does.

    Raises:
        CheckpointError: the config is of another architecture.
    """
    from pythia_traj.models.architecture import parameter_count, shape

    sizes = shape(config)
    return {
        "suite": published.suite,
        "tokens_per_step": published.tokens_per_step,
        "n_steps": len(published.steps),
        **{name: sizes[name] for name in ("n_layers", "n_heads", "d_model", "d_vocab")},
        "n_parameters": parameter_count(config),
        **published.facts(),
    }


def source_of(published: PublishedModel, unit: Unit) -> dict[str, Any]:
    """What identifies the files of a unit, its references' included, as JSON.

    Raises:
        CheckpointError: the checkpoint is not there.
    """
    source = dict(published.source(unit.step))
    if unit.references:
        source["references"] = {name: published.source(step) for name, step in unit.references.items()}
    # Through JSON, so that what is compared with a stored footer has been through the same.
    return dict(json.loads(json.dumps(source)))


def is_current(published: PublishedModel, unit: Unit, recorded: Mapping[str, Any]) -> bool:
    """Whether the files that a unit was measured on are still those of its steps."""
    own = {key: value for key, value in recorded.items() if key != "references"}
    references = recorded.get("references", {})
    return published.is_current(unit.step, own) and all(
        published.is_current(step, references.get(name, {})) for name, step in unit.references.items()
    )
