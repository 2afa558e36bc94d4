"""What a model computes, as its config says it, in the same words for all architectures.

A config means what transformers reads from it, also in old spellings. A key that is in none of an
architecture's tables is accepted: the tables have every key that transformers' model reads, so
another key cannot change what it computes.
"""

from collections.abc import Mapping
from typing import Any

from pythia_traj.architectures.config_values import Values, read_values
from pythia_traj.architectures.finding import architecture_of
from pythia_traj.architectures.rotary import read_rotary
from pythia_traj.architectures.tables import Key, Refusal
from pythia_traj.errors import CheckpointError, nearest
from pythia_traj.outside import shown

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_accurate": "gelu_new",
    "gelu_fast": "gelu_fast",
    "gelu_new": "gelu_new",
    "gelu_python": "gelu",
    "gelu_python_tanh": "gelu_new",
    "gelu_pytorch_tanh": "gelu_pytorch_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "silu": "silu",
    "swish": "silu",
}
"""transformers' names of activation functions -> TransformerLens's, for those that both have."""

_OF_TENSORS = ("attention_bias", "tied")
"""Settings that say which tensors are stored; HookedTransformer has no word for them."""


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a config that decide what the model computes, by HookedTransformer's names.

    It is JSON throughout, and equal for all spellings of the same settings.

    Args:
        config: the parsed `config.json`.

    Raises:
        CheckpointError: another architecture, an invalid value, or a setting that HookedTransformer
            cannot express.
    """
    # The architecture comes first: another one may lack the sizes that are needed to read the rest.
    architecture = architecture_of(config)
    values = _values(config, architecture.settings)
    _refuse(config, architecture.refused)
    settings = {
        role: _activation(config, key) if role == "act_fn" else getattr(values, role)
        for role, key in architecture.settings.items()
    }
    if architecture.rotary is not None:
        settings |= read_rotary(config, architecture.rotary, values.d_model // values.n_heads)
    return settings


def forward_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same under the config's own keys, for messages.

    Raises:
        CheckpointError: as `settings_of`.
    """
    keys = {role: key.name for role, key in architecture_of(config).settings.items()}
    keys["rotary_scaling_factor"] = "rotary_scaling"
    return {keys.get(role, role): value for role, value in settings_of(config).items()}


def differences(own: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The settings in which two configs compute different things, each with both values.

    Raises:
        CheckpointError: one of them is not of a supported architecture.
    """
    theirs, ours = forward_settings(other), forward_settings(own)
    names = architecture_of(own).name, architecture_of(other).name
    if names[0] != names[1]:
        return [("architecture", *names)]
    return [(key, ours[key], theirs[key]) for key in ours if ours[key] != theirs[key]]


def shape(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings in the form that HookedTransformerConfig takes.

    Raises:
        CheckpointError: as `settings_of`.
    """
    settings = settings_of(config)
    return {
        **architecture_of(config).fixed,
        **{role: value for role, value in settings.items() if role not in _OF_TENSORS},
        "d_head": settings["d_model"] // settings["n_heads"],
    }


def _refuse(config: Mapping[str, Any], refusals: Mapping[str, Refusal]) -> None:
    for key, refusal in refusals.items():
        if key in config and not refusal.accepts(config[key], config):
            raise CheckpointError(f"config.json: {key} is {shown(config[key])}: {refusal.because}")


def _values(config: Mapping[str, Any], keys: Mapping[str, Key]) -> Values:
    missing = [
        key.name for key in keys.values() if key.default is None and config.get(key.name) is None
    ]
    if missing:
        raise CheckpointError(
            f"config.json lacks {', '.join(missing)}: each must be a whole number above 0"
        )
    names = {role: key.name for role, key in keys.items()}
    given = {role: config.get(key.name, key.default) for role, key in keys.items()}
    values = read_values(Values, given, names=names)
    if values.d_model % values.n_heads:
        raise CheckpointError(
            f"config.json: {names['d_model']} {values.d_model} is not a multiple of"
            f" {names['n_heads']} {values.n_heads}: one of them is wrong"
        )
    return values


def _activation(config: Mapping[str, Any], key: Key) -> str:
    name = config.get(key.name, key.default)
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise CheckpointError(
            f"config.json: {key.name} {shown(name)} is not supported"
            f" ({nearest(str(name), ACTIVATIONS)})"
        )
    return ACTIVATIONS[name]
