"""Whatever is done to a config, it is refused in a line, or read as transformers reads it."""

import json

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import GPTNeoXConfig

from pythia_traj.architectures.finding import IDENTITY
from pythia_traj.architectures.gpt_neox import APPLIED, HARMLESS, REFUSED
from pythia_traj.architectures.settings import forward_settings
from pythia_traj.errors import CheckpointError
from pythia_traj.models.architecture import hooked_config
from tests.support import TINY

OLD = {**TINY, "model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"]}
NEW = {
    **{key: value for key, value in OLD.items() if key != "rotary_pct"},
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10_000.0,
        "partial_rotary_factor": 0.5,
    },
}

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.sampled_from([10**9, -(10**9), 10**30, 10**400, 2**31, 2**63, 1, 32, 64, 300]),
    st.sampled_from(
        [0.0, -0.0, 0.5, 1.0, 2.0, 1e300, -1e300, 1e-300, float("nan"), float("inf"), float("-inf")]
    ),
    st.text(max_size=5),
    st.sampled_from(
        [
            "gelu",
            "relu",
            "linear",
            "default",
            "GPTNeoXForCausalLM",
            "gpt_neox",
            "x" * 10_000,
            "\ud800",
            "\n",
        ]
    ),
    st.lists(st.integers(-2, 2), max_size=3),
    st.dictionaries(
        st.sampled_from(
            ["rope_type", "type", "rope_theta", "partial_rotary_factor", "factor", "0"]
        ),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-3, 20_000),
            st.floats(),
            st.sampled_from(["default", "linear", "yarn", [1]]),
        ),
        max_size=4,
    ),
)

KEYS = st.sampled_from(sorted([*IDENTITY, *APPLIED, *REFUSED, *HARMLESS, "a_key_of_nobody"]))


@settings(
    max_examples=400,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    base=st.sampled_from([OLD, NEW]),
    changed=st.dictionaries(KEYS, JUNK, max_size=3),
    removed=st.lists(KEYS, max_size=2),
)
def test_a_damaged_config_is_refused_or_read_as_transformers_reads_it(base, changed, removed):
    config = {key: value for key, value in (base | changed).items() if key not in removed}
    try:
        ours = forward_settings(config)
        cfg = hooked_config(
            config,
            model="m",
            dtype=torch.float32,
            device=torch.device("cpu"),
            default_prepend_bos=None,
        )
    except CheckpointError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 400
        return
    assert json.loads(json.dumps(ours)) == ours
    theirs = transformers_reading(config)
    assert {key: ours[key] for key in theirs} == theirs
    assert (cfg.n_layers, cfg.d_model, cfg.n_heads) == (
        theirs["num_hidden_layers"],
        theirs["hidden_size"],
        theirs["num_attention_heads"],
    )
    assert cfg.d_head * cfg.n_heads == cfg.d_model


def transformers_reading(config):
    """What transformers makes of the keys that decide what is computed; keys that do not are left
    out, whatever they hold.
    """
    deciding = {key: value for key, value in config.items() if key in APPLIED}
    found = GPTNeoXConfig.from_dict(json.loads(json.dumps(deciding)))
    rope = found.rope_parameters
    d_head = found.hidden_size // found.num_attention_heads
    dim = int(d_head * rope["partial_rotary_factor"])
    rotated = dim + dim % 2
    base = float(rope["rope_theta"])
    sizes = (
        "hidden_size",
        "num_attention_heads",
        "intermediate_size",
        "num_hidden_layers",
        "max_position_embeddings",
        "vocab_size",
    )
    flags = ("use_parallel_residual", "attention_bias", "tie_word_embeddings", "layer_norm_eps")
    return {
        **{key: getattr(found, key) for key in (*sizes, *flags)},
        "rotary_dim": rotated,
        "rotary_base": base if rotated == dim else base ** (rotated / dim),
        "rotary_scaling": float(rope["factor"]) if rope["rope_type"] == "linear" else 1.0,
    }
