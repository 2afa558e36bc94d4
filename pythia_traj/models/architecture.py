"""A checkpoint's `config.json` -> HookedTransformerConfig.

No Hugging Face config object stands in between. GPT-NeoX is the architecture of every suite this
project serves; `suites/gpt_neox` says what its config means.
"""

from collections.abc import Mapping
from typing import Any

import torch
from transformer_lens import HookedTransformerConfig

from pythia_traj.suites.gpt_neox import ARCHITECTURES, forward_settings


def hooked_config(
    config: Mapping[str, Any],
    *,
    model: str,
    dtype: torch.dtype,
    device: torch.device,
    default_prepend_bos: bool | None,
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
    """What of a config decides what the model computes, by HookedTransformerConfig's names.

    Raises:
        CheckpointError: another architecture, or a setting that HookedTransformer cannot express.
    """
    settings = forward_settings(config)
    return {
        "n_layers": settings["num_hidden_layers"],
        "d_model": settings["hidden_size"],
        "d_head": settings["hidden_size"] // settings["num_attention_heads"],
        "n_heads": settings["num_attention_heads"],
        "d_mlp": settings["intermediate_size"],
        "n_ctx": settings["max_position_embeddings"],
        "d_vocab": settings["vocab_size"],
        "eps": settings["layer_norm_eps"],
        "act_fn": settings["hidden_act"],
        "parallel_attn_mlp": settings["use_parallel_residual"],
        "rotary_dim": settings["rotary_dim"],
        "rotary_base": settings["rotary_base"],
        "rotary_scaling_factor": settings["rotary_scaling"],
    }


def parameter_count(config: Mapping[str, Any]) -> int:
    """The parameter count of a GPT-NeoX model as published, embedding and unembedding included.

    Raises:
        CheckpointError: as `shape`.
    """
    settings = forward_settings(config)
    d, mlp, vocab, layers = (
        settings[key]
        for key in ("hidden_size", "intermediate_size", "vocab_size", "num_hidden_layers")
    )
    attention = 4 * d * d + 4 * d
    mlp_block = 2 * d * mlp + mlp + d
    return int(2 * vocab * d + layers * (attention + mlp_block + 4 * d) + 2 * d)
