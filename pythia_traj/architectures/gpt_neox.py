"""GPT-NeoX: its config's keys, its tensors, and what each becomes.

Every key that transformers knows is in one of three lists. APPLIED decides what the model computes.
REFUSED would too, but HookedTransformer cannot do it, so values other than the usual one raise a
`CheckpointError`. HARMLESS changes no logits. Tests take the keys and the values from transformers,
and what is read from the model itself.

A file stores every matrix as [out, in], and interleaves query, key and value by head.
"""

import re
from collections.abc import Mapping
from typing import Any

from pythia_traj.architectures.tables import (
    Architecture,
    Key,
    Norm,
    Reading,
    Refusal,
    RotaryKeys,
    Writing,
)

SETTINGS = {
    "d_model": Key("hidden_size"),
    "n_heads": Key("num_attention_heads"),
    "d_mlp": Key("intermediate_size"),
    "n_layers": Key("num_hidden_layers"),
    "n_ctx": Key("max_position_embeddings"),
    "d_vocab": Key("vocab_size"),
    "act_fn": Key("hidden_act", "gelu"),
    "eps": Key("layer_norm_eps", 1e-5),
    "parallel_attn_mlp": Key("use_parallel_residual", True),
    "attention_bias": Key("attention_bias", True),
    "tied": Key("tie_word_embeddings", False),
}
"""HookedTransformer's name of a setting -> its key.

The sizes have no default here: transformers' are those of GPT-NeoX-20B.
"""

ROTARY = RotaryKeys(
    partial_rotary_factor=Key("rotary_pct", 0.25), rope_theta=Key("rotary_emb_base", 10_000.0)
)

APPLIED = {
    **{key.name: role for role, key in SETTINGS.items()},
    "rotary_pct": "rotary_dim; partial_rotary_factor of rope_parameters comes first",
    "rotary_emb_base": "rotary_base; rope_theta of rope_parameters comes first",
    "rope_parameters": "rotary_dim, rotary_base, rotary_scaling_factor",
    "rope_scaling": "the same; where it is not empty, rope_parameters is not read",
}
"""Key -> where it goes."""


def _is_empty(value: Any, _: Mapping[str, Any]) -> bool:
    return not value


def _is_unset(value: Any, _: Mapping[str, Any]) -> bool:
    return value is None


def _is_size_of_head(value: Any, config: Mapping[str, Any]) -> bool:
    return value is None or (
        type(value) is int and value * config["num_attention_heads"] == config["hidden_size"]
    )


def _is_full_attention(value: Any) -> bool:
    return isinstance(value, list) and all(kind == "full_attention" for kind in value)


_NOT_PLAIN = "attention to all earlier tokens is what GPT-NeoX has, and all that is supported"

REFUSED = {
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
"""Key -> which of its values are accepted, and why the others are not."""

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

_QKV = ("Q", "K", "V")

BLOCK = (
    Norm("ln1", "input_layernorm"),
    Reading(
        "attention.query_key_value",
        "(head_index part d_head) d_model",
        norm="ln1",
        weights=tuple(f"attn.W_{letter}" for letter in _QKV),
        biases=tuple(f"attn.b_{letter}" for letter in _QKV),
        bias_if="attention_bias",
    ),
    Writing(
        "attention.dense",
        "d_model (head_index d_head)",
        weight="attn.W_O",
        bias="attn.b_O",
        bias_if="attention_bias",
        values="attn.b_V",
    ),
    Norm("ln2", "post_attention_layernorm"),
    Reading(
        "mlp.dense_h_to_4h",
        "d_mlp d_model",
        norm="ln2",
        weights=("mlp.W_in",),
        biases=("mlp.b_in",),
    ),
    Writing("mlp.dense_4h_to_h", "d_model d_mlp", weight="mlp.W_out", bias="mlp.b_out"),
)
"""What a layer consists of, and what folds into what."""

_NOT_CONVERTED = "they are GPT-NeoX's own: convert them with its tools/ckpts/convert_neox_to_hf.py"

ARCHITECTURE = Architecture(
    model_type="gpt_neox",
    classes=("GPTNeoXForCausalLM", "GPTNeoXModel"),
    settings=SETTINGS,
    fixed={
        "normalization_type": "LN",
        "positional_embedding_type": "rotary",
        "rotary_adjacent_pairs": False,
        "use_attn_scale": True,
        "use_local_attn": False,
        "scale_attn_by_inverse_layer_idx": False,
    },
    rotary=ROTARY,
    applied=APPLIED,
    refused=REFUSED,
    harmless=HARMLESS,
    embed="gpt_neox.embed_in.weight",
    # transformers 5.14 renamed it inside its model; both kinds of files exist.
    unembed=("embed_out.weight", "lm_head.weight"),
    layer="gpt_neox.layers.{layer}.",
    block=BLOCK,
    last_norm=Norm("ln_final", "gpt_neox.final_layer_norm"),
    base="gpt_neox.",
    # Causal masks, and the rotary frequencies of older files.
    constant=re.compile(r"\.attention\.(?:bias|masked_bias)$|(?:^|\.)rotary_emb\.inv_freq$"),
    foreign=((re.compile(r"^sequential\.\d+\.|(^|\.)word_embeddings\.weight$"), _NOT_CONVERTED),),
)
