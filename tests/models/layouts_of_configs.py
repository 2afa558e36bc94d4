"""Layouts that differ in what `config.json` says."""

from transformers.activations import ACT2CLS

from pythia_traj.architectures.settings import ACTIVATIONS
from tests.models.layouts import Layout, each, files, removed, to_root

OLD_ROTARY = {"rope_parameters": None, "rotary_pct": 0.25, "rotary_emb_base": 500}

ACTIVATION = (
    *(Layout(f"activation {name}", model={"hidden_act": name}) for name in ACTIVATIONS),
    *(
        Layout(
            f"activation {name}",
            settings={"hidden_act": name},
            refused=f"hidden_act {name!r} is not supported",
        )
        for name in sorted(ACT2CLS.keys() - ACTIVATIONS.keys())
    ),
    Layout(
        "an activation that is none", settings={"hidden_act": "gelux"}, refused="did you mean gelu"
    ),
)


def rope(kind, **more):
    """Old spelling of scaled rotary frequencies."""
    return {**OLD_ROTARY, "rope_scaling": {"type": kind, "factor": 4.0, **more}}


SCALED = "is not supported, only default and linear"
ROTARY = (
    Layout("a quarter rotated", model={"rotary_pct": 0.25}),
    Layout("all rotated", model={"rotary_pct": 1.0}),
    Layout(
        "an odd number rotated",
        model={"rotary_pct": 0.34, "hidden_size": 128, "num_attention_heads": 2},
    ),
    Layout("one dimension rotated", model={"rotary_pct": 0.2}),
    Layout(
        "none rotated", settings={**OLD_ROTARY, "rotary_pct": 0.01}, refused="rotates none of them"
    ),
    Layout(
        "a head of an odd size, all rotated",
        model={"hidden_size": 36, "rotary_pct": 1.0},
        refused="rotates 10 of them",
    ),
    Layout(
        "rotary_pct 0",
        settings={**OLD_ROTARY, "rotary_pct": 0},
        refused="rotary_pct is 0: it must be a number above 0",
    ),
    Layout(
        "rotary_pct 1.5",
        settings={**OLD_ROTARY, "rotary_pct": 1.5},
        refused="a number above 0 and at most 1",
    ),
    Layout("another base", model={"rotary_emb_base": 500}),
    Layout(
        "an infinite base",
        settings={**OLD_ROTARY, "rotary_emb_base": float("inf")},
        refused="holds Infinity, which is not a finite number",
    ),
    Layout("old spelling", settings=OLD_ROTARY),
    Layout("old spelling, nothing said", settings={"rope_parameters": None}),
    Layout(
        "new spelling",
        settings={
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 700,
                "partial_rotary_factor": 1.0,
            }
        },
    ),
    Layout(
        "new spelling, part of it",
        settings={**OLD_ROTARY, "rope_parameters": {"rope_theta": 700.0}},
    ),
    Layout(
        "old and new, which disagree",
        settings={
            **OLD_ROTARY,
            "rope_parameters": {"rope_theta": 700, "partial_rotary_factor": 1.0},
        },
    ),
    Layout(
        "rope_theta where it is not read",
        settings={**OLD_ROTARY, "rope_theta": 5, "partial_rotary_factor": 1.0},
    ),
    Layout("rope_scaling null", settings={**OLD_ROTARY, "rope_scaling": ...}),
    Layout("rope_scaling empty", settings={**OLD_ROTARY, "rope_scaling": {}}),
    Layout(
        "rope_scaling default", settings={**OLD_ROTARY, "rope_scaling": {"rope_type": "default"}}
    ),
    Layout("rope_scaling linear, old", settings=rope("linear")),
    Layout(
        "rope_scaling linear, new",
        settings={**OLD_ROTARY, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    ),
    Layout(
        "rope_scaling before rope_parameters",
        settings={**rope("linear"), "rope_parameters": {"rope_theta": 700.0}},
    ),
    Layout(
        "rope_parameters linear",
        settings={"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 700.0}},
    ),
    Layout("rope_scaling linear, odd number", settings={**rope("linear"), "rotary_pct": 0.4}),
    Layout(
        "rope_scaling linear, no factor",
        settings={**OLD_ROTARY, "rope_scaling": {"type": "linear"}},
        refused="factor of rope_scaling is None: it must be a number",
    ),
    *(
        Layout(f"rope_scaling {kind}", settings=rope(kind), refused=f"rope_type {kind!r} {SCALED}")
        for kind in ("dynamic", "yarn", "llama3", "longrope")
    ),
    Layout(
        "rope_parameters yarn",
        settings={"rope_parameters": {"rope_type": "yarn", "factor": 2.0}},
        refused=f"rope_type 'yarn' {SCALED}",
    ),
    Layout(
        "rope_scaling that is a word",
        settings={"rope_scaling": "linear"},
        refused="rope_scaling is 'linear': it must be an object",
    ),
)

SHAPES = (
    Layout("no biases of attention", model={"attention_bias": False}),
    Layout(
        "no biases of attention, says config.json",
        settings={"attention_bias": False},
        refused="has no place in the model that config.json promises",
    ),
    Layout(
        "biases of attention, says config.json",
        model={"attention_bias": False},
        settings={"attention_bias": True},
        refused="query_key_value.bias is missing",
    ),
    Layout("MLP after attention", model={"use_parallel_residual": False}),
    Layout("a LayerNorm of another eps", model={"layer_norm_eps": 0.1}),
    Layout("a padded vocabulary", model={"vocab_size": 384}),
    Layout("a vocabulary smaller than the tokenizer's", model={"vocab_size": 298}),
    Layout(
        "a vocabulary of another size in config.json",
        settings={"vocab_size": 304},
        refused="the config promises [304, 32]: config.json and weights",
    ),
    Layout(
        "one layer fewer in config.json",
        settings={"num_hidden_layers": 1},
        refused="has no place in the model",
    ),
    Layout(
        "one layer more in config.json",
        settings={"num_hidden_layers": 3},
        refused="layers.2.input_layernorm.weight is missing",
    ),
    Layout(
        "matrices the other way round",
        weights=each(lambda t: t.t(), "query_key_value.weight"),
        refused="[32, 96], the config promises [96, 32]",
    ),
    Layout(
        "left empty by ZeRO",
        weights=each(lambda t: t.new_empty(0), "embed_in"),
        refused="run zero_to_fp32.py",
    ),
)

NOT_PLAIN = "attention to all earlier tokens is what GPT-NeoX has"
CONFIGS = (
    Layout("config.json beside the steps", folder=to_root("config.json"), theirs=False),
    Layout("tokenizer beside the steps", folder=to_root("tokenizer.json")),
    Layout("no tokenizer", folder=removed("tokenizer.json")),
    Layout("no architectures", settings={"architectures": None}),
    Layout("architectures null", settings={"architectures": ...}),
    Layout("no model_type", settings={"model_type": None}),
    Layout(
        "neither",
        settings={"architectures": None, "model_type": None},
        refused="names neither architectures nor model_type",
    ),
    Layout(
        "architectures is a name",
        settings={"architectures": "GPTNeoXForCausalLM"},
        refused="it must be a list",
    ),
    Layout(
        "GPT-2",
        settings={"architectures": ["GPT2LMHeadModel"]},
        refused="supported is GPTNeoXForCausalLM",
    ),
    Layout(
        "a classifier",
        settings={"architectures": ["GPTNeoXForSequenceClassification"]},
        refused="supported is GPTNeoXForCausalLM",
    ),
    Layout(
        "another model_type",
        settings={"model_type": "gpt_neox_japanese"},
        refused="architecture gpt_neox_japanese: supported is",
    ),
    Layout(
        "a model with code of its own",
        settings={"auto_map": {"AutoModelForCausalLM": "model.Mine"}},
        refused="remove the key if it is a plain",
    ),
    Layout(
        "a tokenizer with code of its own",
        settings={"auto_map": {"AutoTokenizer": ["tokenizer.Mine", None]}},
    ),
    Layout(
        "written by others",
        settings={
            "unsloth_version": "2025.1",
            "_name_or_path": "x",
            "torch_dtype": "float16",
            "dtype": None,
        },
    ),
    Layout("dropout", settings={"attention_dropout": 0.5, "hidden_dropout": 0.5}),
    Layout("the size of a head", settings={"head_dim": 8}),
    Layout(
        "another size of a head",
        settings={"head_dim": 4},
        refused="head_dim is 4: GPT-NeoX has heads of",
    ),
    Layout("not causal", settings={"is_causal": False}, refused=NOT_PLAIN),
    Layout("a window", settings={"sliding_window": 16}, refused=NOT_PLAIN),
    Layout(
        "layers with windows",
        settings={"layer_types": ["full_attention", "sliding_attention"]},
        refused=NOT_PLAIN,
    ),
    Layout(
        "layers that differ",
        settings={"per_layer_config": {"1": {"intermediate_size": 32}}},
        refused="layers that differ",
    ),
    Layout(
        "a size missing",
        settings={"max_position_embeddings": None},
        refused="lacks max_position_embeddings",
    ),
    Layout(
        "a size as text",
        settings={"vocab_size": "300"},
        refused="vocab_size is '300': it must be a whole number above 0",
    ),
    Layout(
        "a size that is true",
        settings={"num_hidden_layers": True},
        refused="num_hidden_layers is True: it must be a whole number",
    ),
    Layout("a size below 0", settings={"num_hidden_layers": -2}, refused="num_hidden_layers is -2"),
    Layout(
        "heads that do not divide",
        settings={"num_attention_heads": 5},
        refused="is not a multiple of num_attention_heads 5",
    ),
    Layout(
        "eps 0",
        settings={"layer_norm_eps": 0.0},
        refused="layer_norm_eps is 0.0: it must be a number above 0",
    ),
    Layout(
        "eps that is no number",
        settings={"layer_norm_eps": float("nan")},
        refused="holds NaN, which is not a finite number",
    ),
    Layout(
        "a switch as text",
        settings={"use_parallel_residual": "false"},
        refused="use_parallel_residual is 'false': it must be true or false",
    ),
    Layout(
        "config.json is a list",
        folder=files({"config.json": "[]"}),
        refused="config.json holds list",
    ),
    Layout(
        "a tokenizer that is none",
        folder=files({"tokenizer.json": "{"}),
        refused="tokenizer.json is not JSON",
    ),
)

OF_CONFIGS = (*ACTIVATION, *ROTARY, *SHAPES, *CONFIGS)
