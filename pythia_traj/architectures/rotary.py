"""How a config says that positions are rotated.

The settings have keys of the architecture's own, or since transformers 5 are in `rope_parameters`.
`rope_scaling`, if it is not empty, replaces `rope_parameters`. Both come before the older keys.
"""

from collections.abc import Mapping
from typing import Any

from pythia_traj.architectures.config_values import LinearScaling, RopeParameters, read_values
from pythia_traj.architectures.tables import RotaryKeys
from pythia_traj.errors import CheckpointError
from pythia_traj.outside import shown

ROPE_TYPES = ("default", "linear")
"""Kinds of rotary frequencies that HookedTransformer computes as transformers does."""


def read_rotary(config: Mapping[str, Any], keys: RotaryKeys, d_head: int) -> dict[str, Any]:
    """How many dimensions of a head are rotated, and TransformerLens's base and scaling for them.

    transformers takes frequencies base ** (-2i / dim) for i < dim / 2 with dim = int(pct * d_head),
    and rotates pairs; so an odd dim rotates dim + 1 dimensions by frequencies of dim.
    TransformerLens knows one number for both. The base that gives the same frequencies is
    base ** (rotated / dim); it is the base itself wherever dim is even, as in every published
    Pythia.

    Raises:
        CheckpointError: a value is invalid, or HookedTransformer cannot express it.
    """
    place, rope = _rope_parameters(config)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ROPE_TYPES:
        raise CheckpointError(
            f"config.json: rope_type {shown(kind)} is not supported, only"
            f" {' and '.join(ROPE_TYPES)}: use a checkpoint from before its context was extended"
        )
    scaling = read_values(LinearScaling, rope, place=place).factor if kind == "linear" else 1.0
    newer = read_values(RopeParameters, rope, place=place)
    names = {name: key.name for name, key in vars(keys).items()}
    older = read_values(
        RopeParameters,
        {
            name: config.get(key.name, key.default)
            for name, key in vars(keys).items()
            if name not in rope
        },
        names=names,
    )
    pct = (newer if "partial_rotary_factor" in rope else older).partial_rotary_factor
    base = (newer if "rope_theta" in rope else older).rope_theta
    dim = int(d_head * pct)
    rotated = dim + dim % 2
    if dim < 1 or rotated > d_head:
        raise CheckpointError(
            f"config.json: {names['partial_rotary_factor']} {pct:g} of a head of {d_head}"
            f" dimensions rotates {rotated or 'none'} of them: it must be an even number, and at"
            " least 2"
        )
    adjusted = base if rotated == dim else base ** (rotated / dim)
    return {"rotary_dim": rotated, "rotary_base": adjusted, "rotary_scaling_factor": scaling}


def _rope_parameters(config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The object that says how positions are rotated, with its key.

    It is empty if only older keys say it.
    """
    for key in ("rope_scaling", "rope_parameters"):
        found = config.get(key)
        if found is not None and not isinstance(found, Mapping):
            raise CheckpointError(f"config.json: {key} is {shown(found)}: it must be an object")
        if found:
            return key, found
    return "", {}
