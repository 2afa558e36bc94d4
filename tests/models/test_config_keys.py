"""Every key that transformers knows of a GPT-NeoX config stands in one list, and means here what it
means there.
"""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

import pythia_traj as pt
from pythia_traj.architectures.finding import IDENTITY
from pythia_traj.architectures.gpt_neox import APPLIED, HARMLESS, REFUSED, SETTINGS
from pythia_traj.architectures.settings import forward_settings
from pythia_traj.errors import CheckpointError
from pythia_traj.outside import shown
from tests.models.layouts import change_config, transformers_reading
from tests.support import TINY, publish, random_model

SIZES = [key.name for key in SETTINGS.values() if key.default is None]
LISTS = {"IDENTITY": IDENTITY, "APPLIED": APPLIED, "REFUSED": REFUSED, "HARMLESS": HARMLESS}
TOKENS = torch.arange(60)[None] * 7 % 300
NO_NEW_SPELLING = {"rope_parameters": None}

# Key -> another value, and what config.json says besides for it to be read.
OTHER_VALUES = {
    "hidden_act": ("relu", {}),
    "layer_norm_eps": (0.3, {}),
    "use_parallel_residual": (False, {}),
    "rotary_pct": (1.0, NO_NEW_SPELLING),
    "rotary_emb_base": (300, NO_NEW_SPELLING),
    "rope_parameters": (
        {"rope_type": "default", "rope_theta": 300.0, "partial_rotary_factor": 1.0},
        {},
    ),
    "rope_scaling": ({"type": "linear", "factor": 4.0}, NO_NEW_SPELLING),
}

# Keys that change which tensors there are -> another value.
OTHER_SHAPES = {
    "hidden_size": 64,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "max_position_embeddings": 64,
    "vocab_size": 320,
    "attention_bias": False,
    "tie_word_embeddings": True,
}

REFUSED_VALUES = {
    "architectures": [["LlamaForCausalLM"], "GPTNeoXForCausalLM", ["GPTNeoXForQuestionAnswering"]],
    "model_type": ["llama", None, 5],
    "quantization_config": [{"quant_method": "gptq"}, {}],
    "head_dim": [4, "8", True],
    "is_causal": [False, 0],
    "sliding_window": [16],
    "attention_chunk_size": [16],
    "kv_sharing_modes": [["reuse", None]],
    "layer_types": [["sliding_attention", "full_attention"], "full_attention"],
    "per_layer_config": [{"0": {"intermediate_size": 32}}],
    "pruned_heads": [{"0": [1]}],
    "text_config": [{}],
    "decoder": [{}],
    "generator": [{}],
    "fusion_config": [{"mlp": True}],
    "transformers_weights": ["other.safetensors"],
    "auto_map": [{"AutoModelForCausalLM": "mine.Model"}, {"AutoModel": "mine.Model"}],
}

HARMLESS_VALUES = {
    "transformers_version": "4.28.0",
    "_name_or_path": "elsewhere",
    "name_or_path": "elsewhere",
    "dtype": "float16",
    "torch_dtype": "bfloat16",
    "output_hidden_states": True,
    "output_attentions": True,
    "_output_attentions": True,
    "return_dict": False,
    "tie_last_hidden_states": True,
    "use_cache": False,
    "chunk_size_feed_forward": 4,
    "is_decoder": True,
    "is_encoder_decoder": True,
    "id2label": {"0": "a", "1": "b", "2": "c"},
    "label2id": {"a": 0},
    "num_labels": 5,
    "problem_type": "regression",
    "classifier_dropout": 0.9,
    "attention_dropout": 0.9,
    "hidden_dropout": 0.9,
    "gradient_checkpointing": True,
    "initializer_range": 5.0,
    "bos_token_id": 7,
    "eos_token_id": [3, 4],
    "pad_token_id": 9,
    "rope_theta": 5,
    "partial_rotary_factor": 1.0,
    "attn_implementation": "sdpa",
    "_attn_implementation": "sdpa",
    "_attn_implementation_internal": "sdpa",
    "experts_implementation": "eager",
    "_experts_implementation": "eager",
    "_experts_implementation_internal": "eager",
    "vision_feature_layer": 3,
    "vision_feature_select_strategy": "full",
    "vision_aspect_ratio": "anyres",
    "base_model_tp_plan": {"layers.*": "rowwise"},
    "base_model_ep_plan": {"layers.*": "rowwise"},
    "base_model_pp_plan": {"layers": [["x"], ["y"]]},
    "base_model_fsdp_plan": {"layers.*": "keep_full_weight"},
    "distributed_config": {"tp_size": 2},
}


ASKED: set[str] = set()


class WatchedConfig(GPTNeoXConfig):
    """Notes what is asked of it."""

    def __getattribute__(self, name):
        ASKED.add(name)
        return super().__getattribute__(name)


def of_the_config_class(name):
    """Whether an attribute is a method, property or constant of the class, and no key of a file."""
    is_field = name in {field.name for field in dataclasses.fields(GPTNeoXConfig)}
    return (
        not is_field
        and hasattr(GPTNeoXConfig, name)
        and name not in HARMLESS
        and name not in REFUSED
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run of one checkpoint in fp32."""
    run = tmp_path_factory.mktemp("plain") / "run"
    publish(run / "step0", random_model(), dtype=torch.float32)
    return run


@pytest.fixture
def configured(plain):
    """Rewrites keys of the checkpoint's config for one test; returns its run."""
    path = plain / "step0" / "config.json"
    before = path.read_text()

    def change(**settings):
        change_config(plain / "step0", **settings)
        return plain

    yield change
    path.write_text(before)


def ours(run):
    (checkpoint,) = pt.checkpoints(run, device="cpu")
    with torch.no_grad():
        return checkpoint.model(TOKENS).log_softmax(-1)


def theirs(run):
    return transformers_reading(run / "step0", TOKENS)


def written_keys():
    return {
        field.name for field in dataclasses.fields(GPTNeoXConfig)
    } | GPTNeoXConfig().to_dict().keys()


def test_every_key_of_transformers_config_stands_in_one_list():
    for key in written_keys() | {"rotary_pct", "rotary_emb_base", "rope_scaling"}:
        assert [name for name, keys in LISTS.items() if key in keys] != [], (
            f"{key} stands in no list"
        )
    every = [key for keys in LISTS.values() for key in keys]
    assert len(every) == len(set(every)), "a key stands in two lists"


def test_every_key_that_transformers_model_reads_stands_in_a_list(plain):
    """Which is why a key that stands in none cannot change what it computes."""
    ASKED.clear()
    config = WatchedConfig.from_pretrained(plain / "step0")
    model = GPTNeoXForCausalLM.from_pretrained(
        plain / "step0", config=config, dtype=torch.float32
    ).eval()
    with torch.no_grad():
        model(TOKENS)
    read = {name for name in ASKED if not name.startswith("__") and not of_the_config_class(name)}
    # What transformers keeps for itself; none of it can be written into a file that it loads.
    read -= {"_heterogeneity_spec", "_post_init_done", "_auto_class", "_rope_type_labels"}
    # Only renamed on the way in: no GPT-NeoX has such layers.
    read -= {"mtp_layer_types"}
    unlisted = {name for name in read if not any(name in keys for keys in LISTS.values())}
    assert unlisted == set()
    assert {"head_dim", "is_causal", "layer_types", "rope_parameters", "hidden_act"} <= read


@pytest.mark.parametrize("key", OTHER_VALUES)
def test_an_applied_key_changes_logits_as_it_does_in_transformers(configured, key):
    value, besides = OTHER_VALUES[key]
    default = ours(configured())
    run = configured(**{**besides, key: value})
    assert (ours(run) - theirs(run)).abs().max() < 1e-4
    assert (ours(run) - default).abs().max() > 1e-2


@pytest.mark.parametrize("key", OTHER_SHAPES)
def test_an_applied_key_changes_shapes_as_it_does_in_transformers(tmp_path, key):
    publish(
        tmp_path / "run" / "step0", random_model(**{key: OTHER_SHAPES[key]}), dtype=torch.float32
    )
    assert (ours(tmp_path / "run") - theirs(tmp_path / "run")).abs().max() < 1e-4
    config = json.loads((tmp_path / "run" / "step0" / "config.json").read_text())
    assert forward_settings(config)[key] == OTHER_SHAPES[key]


def test_every_applied_key_has_another_value_here():
    assert OTHER_VALUES.keys() | OTHER_SHAPES.keys() == APPLIED.keys()
    assert REFUSED_VALUES.keys() == REFUSED.keys() | set(IDENTITY)
    assert HARMLESS_VALUES.keys() == HARMLESS.keys()
    assert set(SIZES) <= OTHER_SHAPES.keys()


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in REFUSED_VALUES.items() for value in values]
)
def test_a_refused_key_is_refused_in_a_line(key, value):
    config = {**TINY, "architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox"}
    with pytest.raises(CheckpointError) as refusal:
        forward_settings({**config, key: value})
    said = str(refusal.value)
    assert said.startswith(f"config.json: {key} is {value!r}: ") or (
        key in ("architectures", "model_type")
        and said.startswith("config.json is of architecture ")
    )
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("key", HARMLESS)
def test_a_harmless_key_changes_no_logits_in_transformers_either(configured, key):
    run = configured()
    before, settings = (
        theirs(run),
        forward_settings(json.loads((run / "step0" / "config.json").read_text())),
    )
    run = configured(**{key: HARMLESS_VALUES[key]})
    torch.testing.assert_close(theirs(run), before, atol=1e-5, rtol=0)
    assert forward_settings(json.loads((run / "step0" / "config.json").read_text())) == settings
    torch.testing.assert_close(ours(run), before, atol=1e-4, rtol=0)


def test_old_and_new_spellings_are_the_same_settings():
    config = {**TINY, "model_type": "gpt_neox"}
    old = {
        **config,
        "rotary_pct": 0.5,
        "rotary_emb_base": 500,
        "tie_word_embeddings": False,
        "attention_bias": True,
    }
    del config["rotary_pct"]
    new = {
        **config,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 500.0,
            "partial_rotary_factor": 0.5,
        },
    }
    assert json.dumps(forward_settings(old)) == json.dumps(forward_settings(new))
    scaled = {**old, "rope_scaling": {"type": "linear", "factor": 4}}
    renewed = {**old, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}
    assert (
        json.dumps(forward_settings(scaled))
        == json.dumps(forward_settings(renewed))
        != json.dumps(forward_settings(old))
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in SIZES for value in (0, -1, 2.5, "8", True, [8])),
        *(
            (key, value)
            for key in ("layer_norm_eps", "rotary_pct", "rotary_emb_base")
            for value in (0, -1, True, "1")
        ),
        *(("layer_norm_eps", value) for value in (float("inf"), float("nan"), 10**400, None)),
        *(
            (key, value)
            for key in ("attention_bias", "tie_word_embeddings")
            for value in (0, "true", None)
        ),
        ("rotary_pct", 1.01),
        ("rotary_emb_base", float("inf")),
        ("rope_parameters", [1]),
        ("hidden_act", 5),
        ("hidden_act", "x" * 500),
    ],
)
def test_a_value_that_is_none_is_named(key, value):
    with pytest.raises(CheckpointError) as refusal:
        forward_settings({**TINY, "model_type": "gpt_neox", key: value})
    message = str(refusal.value)
    assert message.startswith("config.json: ")
    assert key in message
    assert shown(value)[:40] in message
    assert "\n" not in message
    assert len(message) < 300


def test_the_facts_are_known_without_torch():
    code = (
        "import sys, pythia_traj.architectures.settings; "
        "sys.exit(bool({'torch', 'transformers'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


ODD = [
    None,
    True,
    0,
    -1,
    2.5,
    1e308,
    10**400,
    float("nan"),
    "",
    "x",
    [],
    [5],
    [[1]],
    {},
    {"a": [1]},
    {"type": [1]},
]
ODD += [
    {"rope_theta": 1e308, "partial_rotary_factor": 0.4},
    {"type": "linear", "factor": "x"},
    ["full_attention", [1]],
]


@pytest.mark.parametrize("key", [*APPLIED, *REFUSED, *HARMLESS])
def test_whatever_stands_under_a_key_it_is_settings_or_refused_in_a_line(key):
    for value in ODD:
        try:
            settings = forward_settings({**TINY, "model_type": "gpt_neox", key: value})
        except CheckpointError as error:
            assert "\n" not in str(error)
        else:
            assert json.loads(json.dumps(settings)) == settings
