"""The files that a unit is measured on: what identifies them, and their known defects."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pythia_traj.checkpoint import Integrity, PublishedModel
from pythia_traj.errors import CheckpointError
from pythia_traj.stream.flaws import say_non_finite
from pythia_traj.sweeps.plan import Unit


def source_of(published: PublishedModel, unit: Unit) -> dict[str, Any]:
    """What identifies the files of a unit, its references' included, as JSON.

    Raises:
        CheckpointError: the checkpoint is missing.
    """
    source = dict(published.source(unit.step))
    if unit.references:
        source["references"] = {
            name: published.source(step) for name, step in unit.references.items()
        }
    # Through JSON, as in a stored footer, so that the two can be compared.
    return dict(json.loads(json.dumps(source)))


def integrity_of(published: PublishedModel, unit: Unit) -> Integrity:
    """The known defects of a unit's weights, before they are read.

    Those of its own step, unless a reference's weights are known to be wrong.

    Raises:
        CheckpointError: its checkpoint is missing.
    """
    own = published.checkpoint(unit.step).integrity()
    for name, step in unit.references.items():
        try:
            compared = published.checkpoint(step).integrity()
        except CheckpointError:
            # Missing where it is opened, if it is opened: its rows may be all that is needed.
            continue
        if own.verdict != "known-defect" and compared.verdict == "known-defect":
            return replace(own, verdict="known-defect", why=f"its reference {name}: {compared.why}")
    return own


def with_non_finite(
    integrity: Integrity, unit: Unit, non_finite: Mapping[int, Mapping[str, str]]
) -> Integrity:
    """The same, once the weights were read.

    Args:
        non_finite: by step, the tensors that were found to hold NaN or infinity.
    """
    found = non_finite_weights(unit, non_finite)
    if found is None:
        return integrity
    why = say_non_finite(*found)
    return replace(integrity, verdict="known-defect", why=why, non_finite=found[1])


def non_finite_weights(
    unit: Unit, non_finite: Mapping[int, Mapping[str, str]]
) -> tuple[int, Mapping[str, str]] | None:
    """The step whose weights hold NaN or infinity, among those a unit is measured on.

    It comes with the names of these tensors.
    """
    return next(
        (
            (step, non_finite[step])
            for step in (unit.step, *unit.references.values())
            if step in non_finite
        ),
        None,
    )


def what_changed(published: PublishedModel, unit: Unit, recorded: Mapping[str, Any]) -> str | None:
    """How a unit's files differ from those it was measured on; None where they are the same."""
    own = {key: value for key, value in recorded.items() if key != "references"}
    if (found := published.what_changed(unit.step, own)) is not None:
        return f"files: {found}"
    references = recorded.get("references", {})
    for name, step in unit.references.items():
        if (found := published.what_changed(step, references.get(name, {}))) is not None:
            return f"files of reference {name}: {found}"
    return None
