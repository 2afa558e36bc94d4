"""What the `config.json` of a GPT-NeoX checkpoint says, and what becomes of each key here.

Every key that transformers knows stands in one of three lists. APPLIED decides what the model
computes; REFUSED would too, but HookedTransformer cannot follow, so values other than the usual one
end in a `CheckpointError`; HARMLESS changes no logits. A key that stands in none of them is
accepted: the lists have every key that transformers' model reads, so another one cannot change what
it computes either. Tests ask transformers for the keys and the values, and the model itself for
what it reads.

transformers' reading is the truth, for old spellings too: the rotary settings stand under
`rotary_pct` and `rotary_emb_base`, or since transformers 5 under `rope_parameters`. `rope_scaling`,
where it is not empty, takes the place of `rope_parameters`, and what stands in either comes before
`rotary_pct` and `rotary_emb_base`.

Knows neither torch nor transformers.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pythia_traj.errors import CheckpointError, nearest
from pythia_traj.outside import shown
from pythia_traj.suites.config_values import (
    LinearScaling,
    RopeParameters,
    Rotary,
    Values,
    read_values,
)

ARCHITECTURES = ("GPTNeoXForCausalLM", "GPTNeoXModel")
"""The second is the first without its unembedding, which tied embeddings make up for.

`models/` asks the tensors.
"""

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

SIZES = (
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "num_hidden_layers",
    "max_position_embeddings",
    "vocab_size",
)
"""Keys without which there is no model.

transformers' defaults for them are those of GPT-NeoX-20B.
"""

CONSTANT = re.compile(r"\.attention\.(?:bias|masked_bias)$|(?:^|\.)rotary_emb\.inv_freq$")
"""Names of tensors that follow from the config.

They are the causal mask and the rotary frequencies of older files.
"""

APPLIED = {
    **{key: key for key in SIZES},
    "hidden_act": "hidden_act, by TransformerLens's name",
    "layer_norm_eps": "layer_norm_eps",
    "use_parallel_residual": "use_parallel_residual",
    "attention_bias": "attention_bias",
    "tie_word_embeddings": (
        "tie_word_embeddings: the embedding is the unembedding where the file has none"
    ),
    "rotary_pct": "rotary_dim; partial_rotary_factor of rope_parameters comes first",
    "rotary_emb_base": "rotary_base; rope_theta of rope_parameters comes first",
    "rope_parameters": "rotary_dim, rotary_base, rotary_scaling",
    "rope_scaling": "the same; where it is not empty, rope_parameters is not read",
}
"""Key -> where it goes in `forward_settings`."""

ROPE_TYPES = ("default", "linear")
"""Kinds of rotary frequencies that HookedTransformer computes as transformers does."""


@dataclass(frozen=True)
class Refusal:
    """A key of which only some values are accepted.

    Attributes:
        accepts: whether a value changes nothing; is given the value and the whole config.
        because: completes "config.json: key is value: ": why it is refused, and what to do.
    """

    accepts: Callable[[Any, Mapping[str, Any]], bool]
    because: str


def _is_empty(value: Any, _: Mapping[str, Any]) -> bool:
    return not value


def _is_unset(value: Any, _: Mapping[str, Any]) -> bool:
    return value is None


def _is_architecture(value: Any, _: Mapping[str, Any]) -> bool:
    return not value or (isinstance(value, list) and value[0] in ARCHITECTURES)


def _is_size_of_head(value: Any, config: Mapping[str, Any]) -> bool:
    return value is None or (
        type(value) is int and value * config["num_attention_heads"] == config["hidden_size"]
    )


def _is_full_attention(value: Any) -> bool:
    return isinstance(value, list) and all(kind == "full_attention" for kind in value)


_NOT_PLAIN = "attention to all earlier tokens is what GPT-NeoX has, and all that is supported"

_IDENTITY = {
    "architectures": Refusal(_is_architecture, f"supported is {ARCHITECTURES[0]}"),
    "model_type": Refusal(lambda value, _: value == "gpt_neox", f"supported is {ARCHITECTURES[0]}"),
}

REFUSED = {
    **_IDENTITY,
    "quantization_config": Refusal(
        _is_unset,
        "the weights are quantised: use the unquantised checkpoint, or save `model.dequantize()` in"
        " float16 or float32",
    ),
    "head_dim": Refusal(
        _is_size_of_head, "GPT-NeoX has heads of hidden_size / num_attention_heads: remove the key"
    ),
    "is_causal": Refusal(lambda value, _: value is None or value is True, _NOT_PLAIN),
    "sliding_window": Refusal(_is_unset, _NOT_PLAIN),
    "attention_chunk_size": Refusal(_is_unset, _NOT_PLAIN),
    "kv_sharing_modes": Refusal(_is_unset, _NOT_PLAIN),
    "layer_types": Refusal(lambda value, _: value is None or _is_full_attention(value), _NOT_PLAIN),
    "per_layer_config": Refusal(
        _is_empty, "layers that differ cannot be put into one HookedTransformer"
    ),
    "pruned_heads": Refusal(
        _is_empty, "a model with heads pruned away cannot be put into a HookedTransformer"
    ),
    "text_config": Refusal(_is_unset, "GPT-NeoX has one config: save the language model alone"),
    "decoder": Refusal(_is_unset, "GPT-NeoX has one config: save the language model alone"),
    "generator": Refusal(_is_unset, "GPT-NeoX has one config: save the language model alone"),
    "fusion_config": Refusal(
        _is_empty, "the model was changed before it was saved: save it without fusions"
    ),
    "transformers_weights": Refusal(
        _is_unset,
        "the weights are in a file of another name: rename it to model.safetensors"
        " and remove the key",
    ),
    "auto_map": Refusal(
        lambda value, _: (
            not isinstance(value, Mapping) or not any("AutoModel" in str(name) for name in value)
        ),
        "the model comes with code of its own, which is never run: remove the key if it is a plain"
        " GPT-NeoX",
    ),
}
"""Key -> what of it is accepted, and why nothing else is."""

_TRAINING = "read in training alone"
_OUTPUT = "says what is returned beside the logits"
_PLAN = "says how tensors are spread over devices"
_IMPLEMENTATION = "another implementation of the same attention"
_HEAD = "of heads other than the language model's"
_NOT_READ = "not read for GPT-NeoX: rotary_emb_base and rotary_pct are, or rope_parameters"

HARMLESS = {
    "transformers_version": "says who wrote it",
    "_name_or_path": "says where it was",
    "name_or_path": "says where it was",
    "dtype": "the precision in which transformers would hold the weights; here the request says",
    "torch_dtype": "the old name of dtype",
    "output_hidden_states": _OUTPUT,
    "output_attentions": _OUTPUT,
    "_output_attentions": _OUTPUT,
    "return_dict": _OUTPUT,
    "tie_last_hidden_states": _OUTPUT,
    "use_cache": "keys and values of earlier tokens are kept or computed again",
    "chunk_size_feed_forward": "not read for GPT-NeoX",
    "is_decoder": "not read for GPT-NeoX",
    "is_encoder_decoder": "not read for a model without an encoder",
    "id2label": _HEAD,
    "label2id": _HEAD,
    "num_labels": _HEAD,
    "problem_type": _HEAD,
    "classifier_dropout": _TRAINING,
    "attention_dropout": _TRAINING,
    "hidden_dropout": _TRAINING,
    "gradient_checkpointing": _TRAINING,
    "initializer_range": "for weights that are not loaded",
    "bos_token_id": "for generation",
    "eos_token_id": "for generation",
    "pad_token_id": "for generation",
    "rope_theta": _NOT_READ,
    "partial_rotary_factor": _NOT_READ,
    "attn_implementation": _IMPLEMENTATION,
    "_attn_implementation": _IMPLEMENTATION,
    "_attn_implementation_internal": _IMPLEMENTATION,
    "experts_implementation": "GPT-NeoX has no experts",
    "_experts_implementation": "GPT-NeoX has no experts",
    "_experts_implementation_internal": "GPT-NeoX has no experts",
    "vision_feature_layer": "GPT-NeoX sees no images",
    "vision_feature_select_strategy": "GPT-NeoX sees no images",
    "vision_aspect_ratio": "GPT-NeoX sees no images",
    "base_model_tp_plan": _PLAN,
    "base_model_ep_plan": _PLAN,
    "base_model_pp_plan": _PLAN,
    "base_model_fsdp_plan": _PLAN,
    "distributed_config": _PLAN,
}
"""Key -> why its value does not matter."""


def forward_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config decides what the model computes, JSON throughout.

    It is equal for all spellings of the same settings.

    Args:
        config: the parsed `config.json`.

    Returns:
        `SIZES`, `hidden_act` by TransformerLens's name, `layer_norm_eps`, `use_parallel_residual`,
        `attention_bias`, `tie_word_embeddings`, `rotary_dim`, `rotary_base`, `rotary_scaling`.

    Raises:
        CheckpointError: another architecture, a value that is none, or a setting that
            HookedTransformer cannot express.
    """
    # First what it is a config of: another one need not have the sizes that the rest is read with.
    _check_architecture(config)
    values = _values(config)
    _refuse(config, REFUSED)
    return {
        **{key: getattr(values, key) for key in SIZES},
        "hidden_act": _activation(config),
        "layer_norm_eps": values.layer_norm_eps,
        "use_parallel_residual": values.use_parallel_residual,
        "attention_bias": values.attention_bias,
        "tie_word_embeddings": values.tie_word_embeddings,
        **_rotary(config, values.hidden_size // values.num_attention_heads),
    }


def _check_architecture(config: Mapping[str, Any]) -> None:
    if not config.get("architectures") and "model_type" not in config:
        raise CheckpointError(
            "config.json names neither architectures nor model_type: supported is"
            f" {ARCHITECTURES[0]}"
        )
    for key, refusal in _IDENTITY.items():
        value = config.get(key)
        if isinstance(value, list) and value:
            value = value[0]
        elif key == "architectures" and value:
            raise CheckpointError(
                f"config.json: {key} is {shown(value)}: it must be a list: {refusal.because}"
            )
        if key in config and not refusal.accepts(config[key], config):
            raise CheckpointError(
                f"config.json is of architecture {shown(value).strip(chr(39))}: {refusal.because}"
            )


def _refuse(config: Mapping[str, Any], refusals: Mapping[str, Refusal]) -> None:
    for key, refusal in refusals.items():
        if key in config and not refusal.accepts(config[key], config):
            raise CheckpointError(f"config.json: {key} is {shown(config[key])}: {refusal.because}")


def _values(config: Mapping[str, Any]) -> Values:
    missing = [key for key in SIZES if config.get(key) is None]
    if missing:
        raise CheckpointError(
            f"config.json lacks {', '.join(missing)}: each must be a whole number above 0"
        )
    values = read_values(Values, config)
    d_model, n_heads = values.hidden_size, values.num_attention_heads
    if d_model % n_heads:
        raise CheckpointError(
            f"config.json: hidden_size {d_model} is not a multiple of num_attention_heads"
            f" {n_heads}: one of them is wrong"
        )
    return values


def _activation(config: Mapping[str, Any]) -> str:
    name = config.get("hidden_act", "gelu")
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise CheckpointError(
            f"config.json: hidden_act {shown(name)} is not supported"
            f" ({nearest(str(name), ACTIVATIONS)})"
        )
    return ACTIVATIONS[name]


def _rotary(config: Mapping[str, Any], d_head: int) -> dict[str, Any]:
    """How many dimensions of a head are rotated, and TransformerLens's base and scaling for them.

    transformers takes frequencies base ** (-2i / dim) for i < dim / 2 with dim = int(pct * d_head),
    and rotates pairs; so an odd dim rotates dim + 1 dimensions by frequencies of dim.
    TransformerLens knows one number for both. The base that gives the same frequencies is
    base ** (rotated / dim); it is the base itself wherever dim is even, as in every published
    Pythia.
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
    older = read_values(
        Rotary,
        {key: config[key] for key, new in _RENAMED.items() if key in config and new not in rope},
    )
    pct = newer.partial_rotary_factor if "partial_rotary_factor" in rope else older.rotary_pct
    base = newer.rope_theta if "rope_theta" in rope else older.rotary_emb_base
    dim = int(d_head * pct)
    rotated = dim + dim % 2
    if dim < 1 or rotated > d_head:
        raise CheckpointError(
            f"config.json: rotary_pct {pct:g} of a head of {d_head} dimensions rotates"
            f" {rotated or 'none'} of them: it must be an even number, and at least 2"
        )
    adjusted = base if rotated == dim else base ** (rotated / dim)
    return {"rotary_dim": rotated, "rotary_base": adjusted, "rotary_scaling": scaling}


_RENAMED = {"rotary_pct": "partial_rotary_factor", "rotary_emb_base": "rope_theta"}
"""Keys of older configs, and what they are called in `rope_parameters`."""


def _rope_parameters(config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The object that says how positions are rotated, with its key.

    It is empty where only older keys do.
    """
    for key in ("rope_scaling", "rope_parameters"):
        found = config.get(key)
        if found is not None and not isinstance(found, Mapping):
            raise CheckpointError(f"config.json: {key} is {shown(found)}: it must be an object")
        if found:
            return key, found
    return "", {}
