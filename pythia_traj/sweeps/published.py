"""A model's name -> its published checkpoints; and the files that its units are measured on."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pythia_traj.architectures.settings import shape
from pythia_traj.architectures.tensors import parameter_count
from pythia_traj.checkpoint import Integrity, PublishedModel
from pythia_traj.errors import HubError, SuiteError
from pythia_traj.suites.catalog import look_up, unknown_model
from pythia_traj.suites.local import LocalModel
from pythia_traj.suites.names import HUB, check_name, find_directory
from pythia_traj.sweeps.plan import Unit

_NAMED = 4
"""Tensors that a message names; the footer has all."""


def open_model(name: str, source: str = HUB, *, refresh: bool = False) -> PublishedModel:
    """Finds a model by its name, in a directory or on the Hub.

    It is a directory of checkpoints, a model of a known suite, or any repository of the Hub with
    step branches. A directory of checkpoints comes before a model of the same name. Nothing is
    asked of the Hub, but for the branches of a repository that belongs to no known suite.

    Args:
        name: a path, `NAME=PATH`, a name or an alias, or `org/name`.
        source: `hub`, or the directory that holds the models' directories (or is the model's own).
        refresh: whether the Hub is asked again for what is known already.

    Raises:
        SuiteError: there is no such model or directory, it holds no checkpoints, or NAME cannot
            name a model.
        HubError: the Hub cannot be asked.
    """
    record, found = look_up(name), find_directory(name, source)
    if found is not None and found[0] is not None:
        return LocalModel.open(found[1], name=check_name(found[0]))
    if source != HUB:
        return LocalModel.open(Path(source) if found is None else found[1])
    if found is not None:
        try:
            return LocalModel.open(found[1])
        except SuiteError:
            if record is None:
                raise
    if record is not None:
        from pythia_traj.hub.model import HubModel

        return HubModel.of(record, refresh=refresh)
    return _open_repository(name, refresh=refresh)


def _open_repository(name: str, *, refresh: bool) -> PublishedModel:
    """Any repository of the Hub.

    A name that is none of a repository is refused before the Hub is asked.
    """
    given, equals, directory = name.partition("=")
    if equals:
        raise SuiteError(
            f"there is no directory {directory!r} to be named {given!r}, nor a directory {name!r}: "
            "NAME=DIRECTORY names a directory of checkpoints"
        )
    if name.startswith((".", "/", "~")):
        raise SuiteError(f"there is no directory {name!r}")
    if name.count("/") != 1:
        raise unknown_model(name)
    from pythia_traj.hub.model import HubModel

    try:
        return HubModel.open(name, refresh=refresh)
    except HubError as error:
        raise HubError(f"{error} (nor is there a directory {name!r} here)") from None


def facts_of(published: PublishedModel, config: Mapping[str, Any]) -> dict[str, Any]:
    """A model's row of the `models` table: what its suite says of it, and what its config does.

    Raises:
        CheckpointError: the config is of another architecture.
    """
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
        source["references"] = {
            name: published.source(step) for name, step in unit.references.items()
        }
    # Through JSON, so that what is compared with a stored footer has been through the same.
    return dict(json.loads(json.dumps(source)))


def integrity_of(
    published: PublishedModel, unit: Unit, non_finite: Mapping[int, Mapping[str, str]] | None = None
) -> Integrity:
    """What is known of the truth of a unit's weights.

    These are its own step's, unless those of a reference are known to be wrong.

    Args:
        non_finite: by step, the tensors that were found to hold NaN or infinity when they were
            read.

    Raises:
        CheckpointError: a checkpoint is not there.
    """
    own = published.checkpoint(unit.step).integrity()
    if found := non_finite_weights(unit, non_finite or {}):
        step, tensors = found
        return replace(
            own, verdict="known-defect", why=say_non_finite(step, tensors), non_finite=tensors
        )
    for name, step in unit.references.items():
        compared = published.checkpoint(step).integrity()
        if own.verdict != "known-defect" and compared.verdict == "known-defect":
            return replace(own, verdict="known-defect", why=f"its reference {name}: {compared.why}")
    return own


def non_finite_weights(
    unit: Unit, non_finite: Mapping[int, Mapping[str, str]]
) -> tuple[int, Mapping[str, str]] | None:
    """The step, of those a unit is measured on, whose weights hold NaN or infinity.

    With it come its tensors that do.
    """
    return next(
        (
            (step, non_finite[step])
            for step in (unit.step, *unit.references.values())
            if step in non_finite
        ),
        None,
    )


def say_non_finite(step: int, tensors: Mapping[str, str]) -> str:
    """That in a sentence, which names the first few tensors."""
    named = [f"{name} ({count})" for name, count in list(tensors.items())[:_NAMED]]
    more = f" and {len(tensors) - _NAMED} more tensors" if len(tensors) > _NAMED else ""
    return f"the weights of step {step} are not finite: {', '.join(named)}{more}"


def what_changed(published: PublishedModel, unit: Unit, recorded: Mapping[str, Any]) -> str | None:
    """How the files of a unit are no longer those it was measured on; None where they are."""
    own = {key: value for key, value in recorded.items() if key != "references"}
    if (found := published.what_changed(unit.step, own)) is not None:
        return f"files: {found}"
    references = recorded.get("references", {})
    for name, step in unit.references.items():
        if (found := published.what_changed(step, references.get(name, {}))) is not None:
            return f"files of reference {name}: {found}"
    return None
