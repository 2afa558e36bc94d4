"""A checkpoint's `config.json` -> HookedTransformerConfig, with no Hugging Face config object in between.

GPT-NeoX is the architecture of every suite this project serves. Its files differ in age: the rotary settings stand under
`rotary_pct` and `rotary_emb_base`, or since transformers 5 under `rope_parameters`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from transformer_lens import HookedTransformerConfig

from pythia_traj.errors import CheckpointError, nearest

ARCHITECTURES = ("GPTNeoXForCausalLM",)

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_fast": "gelu_fast",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
"""Hugging Face's names of activation functions -> TransformerLens's, for those that both have."""

_NEEDED = (
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "num_hidden_layers",
    "max_position_embeddings",
    "vocab_size",
)


def hooked_config(
    config: Mapping[str, Any], *, model: str, dtype: torch.dtype, device: torch.device, default_prepend_bos: bool | None
) -> HookedTransformerConfig:
    """The HookedTransformerConfig of a GPT-NeoX checkpoint, with LayerNorms as trained.

    Args:
        config: the parsed `config.json`.
        model: the name that goes into `cfg.model_name`.
        default_prepend_bos: None is TransformerLens's choice for GPT-NeoX, which is not to prepend.

    Raises:
        CheckpointError: another architecture, or a setting that HookedTransformer cannot express.
    """
    return HookedTransformerConfig(
        **shape(config),
        model_name=model,
        original_architecture=ARCHITECTURES[0],
        normalization_type="LN",
        positional_embedding_type="rotary",
        rotary_adjacent_pairs=False,
        use_attn_scale=True,
        use_local_attn=False,
        scale_attn_by_inverse_layer_idx=False,
        default_prepend_bos=bool(default_prepend_bos),
        init_weights=False,
        dtype=dtype,
        device=str(device),
    )


def shape(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config decides what the model computes, by HookedTransformerConfig's names: two checkpoints of one model agree in it.

    Raises:
        CheckpointError: another architecture, or a setting that HookedTransformer cannot express.
    """
    check_architecture(config)
    d_head = config["hidden_size"] // config["num_attention_heads"]
    rotary_dim, rotary_base = _rotary(config, d_head)
    return {
        "n_layers": config["num_hidden_layers"],
        "d_model": config["hidden_size"],
        "d_head": d_head,
        "n_heads": config["num_attention_heads"],
        "d_mlp": config["intermediate_size"],
        "n_ctx": config["max_position_embeddings"],
        "d_vocab": config["vocab_size"],
        "eps": _number(config.get("layer_norm_eps", 1e-5), "layer_norm_eps"),
        "act_fn": _ACTIVATIONS[config.get("hidden_act", "gelu")],
        "parallel_attn_mlp": config.get("use_parallel_residual", True),
        "rotary_dim": rotary_dim,
        "rotary_base": rotary_base,
    }


def parameter_count(config: Mapping[str, Any]) -> int:
    """The number of parameters of a GPT-NeoX model as published, embedding and unembedding included."""
    check_architecture(config)
    d, mlp, vocab, layers = (
        config[key] for key in ("hidden_size", "intermediate_size", "vocab_size", "num_hidden_layers")
    )
    attention = 4 * d * d + 4 * d
    mlp_block = 2 * d * mlp + mlp + d
    return int(2 * vocab * d + layers * (attention + mlp_block + 4 * d) + 2 * d)


def check_architecture(config: Mapping[str, Any]) -> None:
    """Refuses what cannot be turned into a HookedTransformer, naming the setting.

    Raises:
        CheckpointError: see above.
    """
    architectures = config.get("architectures") or [config.get("model_type", "unknown")]
    if not isinstance(architectures, list):
        raise CheckpointError(f"config.json: architectures is {architectures!r}: it must be a list of names")
    if architectures[0] not in ARCHITECTURES:
        raise CheckpointError(
            f"config.json is of architecture {architectures[0]}: supported is {', '.join(ARCHITECTURES)}"
        )
    missing = [key for key in _NEEDED if not isinstance(config.get(key), int) or config[key] <= 0]
    if missing:
        raise CheckpointError(f"config.json lacks {', '.join(missing)}: each must be a whole number above 0")
    if config["hidden_size"] % config["num_attention_heads"]:
        raise CheckpointError(
            f"config.json: hidden_size {config['hidden_size']} is not a multiple of num_attention_heads {config['num_attention_heads']}"
        )
    activation = config.get("hidden_act", "gelu")
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise CheckpointError(
            f"config.json: hidden_act {activation!r} is not supported ({nearest(str(activation), _ACTIVATIONS)})"
        )
    rope = _rope_parameters(config)
    if rope.get("rope_type", "default") != "default":
        raise CheckpointError(f"config.json: rope_type {rope['rope_type']!r} is not supported, only 'default'")


def _rope_parameters(config: Mapping[str, Any]) -> Mapping[str, Any]:
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(found, dict):
        raise CheckpointError(f"config.json: rope_parameters is {found!r}: it must be an object")
    return found


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise CheckpointError(f"config.json: {name} is {value!r}: it must be a number above 0")
    return value


def _rotary(config: Mapping[str, Any], d_head: int) -> tuple[int, float]:
    """How many dimensions of a head are rotated, and TransformerLens's base for them.

    Hugging Face takes frequencies base ** (-2i / dim) for i < dim / 2 with dim = int(pct * d_head), and rotates pairs; so an odd
    dim rotates dim + 1 dimensions by frequencies of dim. TransformerLens knows one number for both. The base that gives the same
    frequencies is base ** (rotated / dim); it is the base itself wherever dim is even, as in every published Pythia.
    """
    rope = _rope_parameters(config)
    pct = _number(config.get("rotary_pct", rope.get("partial_rotary_factor", 0.25)), "rotary_pct")
    base = _number(config.get("rotary_emb_base", rope.get("rope_theta", 10_000)), "rotary_emb_base")
    dim = int(d_head * pct)
    if dim < 1:
        raise CheckpointError(f"config.json: rotary_pct {pct} of a head of {d_head} dimensions rotates none")
    rotated = dim + dim % 2
    return rotated, base if rotated == dim else base ** (rotated / dim)
