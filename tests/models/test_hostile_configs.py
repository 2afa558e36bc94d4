"""Configs that are no configs of a model: each is refused in one line that names the key, what it
is and what it must be.
"""

import json
import os
import re
import resource
import time

import pytest
import torch

from pythia_traj.architectures.config_values import LinearScaling, RopeParameters, Values
from pythia_traj.architectures.settings import forward_settings, shape
from pythia_traj.errors import CheckpointError, DeviceError
from pythia_traj.models.architecture import hooked_config
from pythia_traj.models.device import check_fits
from pythia_traj.settings import size_in_bytes
from pythia_traj.suites.local import LocalModel
from tests.support import TINY

GOOD = {**TINY, "model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"]}
NAN, INF, MANY_DIGITS = float("nan"), float("inf"), 10**400

VALUES = {
    "heads that are true": (
        {"num_attention_heads": True},
        "num_attention_heads is True: it must be a whole number",
    ),
    "layers that are true": (
        {"num_hidden_layers": True},
        "num_hidden_layers is True: it must be a whole number",
    ),
    "a thousand million layers": (
        {"num_hidden_layers": 10**9},
        "a whole number above 0 and at most 1000",
    ),
    "twenty thousand layers": (
        {"num_hidden_layers": 20_000},
        "num_hidden_layers is 20000: it must be a whole number",
    ),
    "a layer more than any": ({"num_hidden_layers": 1001}, "above 0 and at most 1000"),
    "no layers": (
        {"num_hidden_layers": 0},
        "num_hidden_layers is 0: it must be a whole number above 0",
    ),
    "fewer than no layers": (
        {"num_hidden_layers": -2},
        "num_hidden_layers is -2: it must be a whole number above 0",
    ),
    "layers as a float": (
        {"num_hidden_layers": 2.0},
        "num_hidden_layers is 2.0: it must be a whole number",
    ),
    "layers as text": (
        {"num_hidden_layers": "2"},
        "num_hidden_layers is '2': it must be a whole number",
    ),
    "layers in a list": (
        {"num_hidden_layers": [2]},
        "num_hidden_layers is [2]: it must be a whole number",
    ),
    "layers that are missing": ({"num_hidden_layers": None}, "lacks num_hidden_layers"),
    "a vocabulary of 10**12": (
        {"vocab_size": 10**12},
        "vocab_size is 1000000000000: it must be a whole number",
    ),
    "a vocabulary of 400 digits": (
        {"vocab_size": MANY_DIGITS},
        "vocab_size is a number of more than 60 digits",
    ),
    "a vocabulary as an object": (
        {"vocab_size": {"n": 300}},
        "vocab_size is {'n': 300}: it must be a whole number",
    ),
    "a width of 400 digits": (
        {"hidden_size": MANY_DIGITS},
        "hidden_size is a number of more than 60 digits",
    ),
    "a width of 5000 digits": (
        {"hidden_size": 10**5000},
        "hidden_size is a number of more than 60 digits",
    ),
    "a width below 0": ({"hidden_size": -32}, "hidden_size is -32"),
    "a width that heads do not share": (
        {"hidden_size": 34},
        "hidden_size 34 is not a multiple of num_attention_heads 4",
    ),
    "more heads than width": (
        {"num_attention_heads": 64},
        "hidden_size 32 is not a multiple of num_attention_heads 64",
    ),
    "heads of a wide model": ({"num_attention_heads": 2**20}, "num_attention_heads is 1048576"),
    "an MLP of 10**30": (
        {"intermediate_size": 10**30},
        "intermediate_size is 1000000000000000000000000000000",
    ),
    "an MLP of half a row": ({"intermediate_size": 63.5}, "intermediate_size is 63.5"),
    "a context of 10**30": (
        {"max_position_embeddings": 10**30},
        "max_position_embeddings is 1000000",
    ),
    "a context of 0": ({"max_position_embeddings": 0}, "max_position_embeddings is 0"),
    "an epsilon of 0": (
        {"layer_norm_eps": 0},
        "layer_norm_eps is 0: it must be a number above 0 and at most 1",
    ),
    "an epsilon below 0": (
        {"layer_norm_eps": -1},
        "layer_norm_eps is -1: it must be a number above 0",
    ),
    "an epsilon of 1e10": (
        {"layer_norm_eps": 1e10},
        "layer_norm_eps is 10000000000.0: it must be a number above 0",
    ),
    "an epsilon of NaN": ({"layer_norm_eps": NAN}, "layer_norm_eps is nan"),
    "an infinite epsilon": ({"layer_norm_eps": INF}, "layer_norm_eps is inf"),
    "an epsilon of 400 digits": (
        {"layer_norm_eps": MANY_DIGITS},
        "layer_norm_eps is a number of more than 60 digits",
    ),
    "an epsilon as text": ({"layer_norm_eps": "1e-5"}, "layer_norm_eps is '1e-5'"),
    "an epsilon that is true": ({"layer_norm_eps": True}, "layer_norm_eps is True"),
    "an epsilon of null": ({"layer_norm_eps": None}, "layer_norm_eps is None"),
    "a share of 1e300": (
        {"rotary_pct": 1e300},
        "rotary_pct is 1e+300: it must be a number above 0 and at most 1",
    ),
    "a share below 0": ({"rotary_pct": -0.25}, "rotary_pct is -0.25"),
    "a share that is true": ({"rotary_pct": True}, "rotary_pct is True"),
    "a share that rotates nothing": ({"rotary_pct": 1e-9}, "rotates none of them"),
    "a head of odd size": (
        {"hidden_size": 36, "rotary_pct": 1.0},
        "of a head of 9 dimensions rotates 10 of them",
    ),
    "a base of 0": (
        {"rotary_emb_base": 0},
        "rotary_emb_base is 0: it must be a number from 1 to 1e+15",
    ),
    "a base below 0": ({"rotary_emb_base": -1}, "rotary_emb_base is -1"),
    "a base of 1e300": ({"rotary_emb_base": 1e300}, "rotary_emb_base is 1e+300"),
    "a base of 400 digits": (
        {"rotary_emb_base": MANY_DIGITS},
        "rotary_emb_base is a number of more than 60 digits",
    ),
    "a base of NaN": ({"rotary_emb_base": NAN}, "rotary_emb_base is nan"),
    "a base too small for a frequency": ({"rotary_emb_base": 1e-300}, "rotary_emb_base is 1e-300"),
    "rope_theta of 0": (
        {"rope_parameters": {"rope_theta": 0}},
        "rope_theta of rope_parameters is 0",
    ),
    "rope_theta that is true": (
        {"rope_parameters": {"rope_theta": True}},
        "rope_theta of rope_parameters is True",
    ),
    "a factor of 1e300": (
        {"rope_parameters": {"partial_rotary_factor": 1e300}},
        "partial_rotary_factor of rope_parameters is 1e+300",
    ),
    "a scaling of 0": (
        {"rope_scaling": {"type": "linear", "factor": 0}},
        "factor of rope_scaling is 0",
    ),
    "a scaling of 1e300": (
        {"rope_scaling": {"type": "linear", "factor": 1e300}},
        "factor of rope_scaling is 1e+300",
    ),
    "a scaling without a factor": (
        {"rope_scaling": {"type": "linear"}},
        "factor of rope_scaling is None",
    ),
    "a kind of scaling that is a list": (
        {"rope_scaling": {"type": [1]}},
        "rope_type [1] is not supported",
    ),
    "a switch that is 1": (
        {"use_parallel_residual": 1},
        "use_parallel_residual is 1: it must be true or false",
    ),
    "a switch as text": (
        {"attention_bias": "true"},
        "attention_bias is 'true': it must be true or false",
    ),
    "a switch of null": (
        {"tie_word_embeddings": None},
        "tie_word_embeddings is None: it must be true or false",
    ),
    "an activation in a list": ({"hidden_act": ["gelu"]}, "hidden_act ['gelu'] is not supported"),
    "an activation of a megabyte": ({"hidden_act": "x" * 10**6}, "hidden_act 'xxx"),
    "an architecture as an object": (
        {"architectures": {"a": 1}},
        "architectures is {'a': 1}: it must be a list",
    ),
    "an architecture of number": ({"architectures": [5]}, "is of architecture 5"),
    "a model type of true": ({"model_type": True}, "is of architecture True"),
}


@pytest.mark.parametrize(("changed", "said"), VALUES.values(), ids=VALUES)
def test_a_value_that_no_model_has_is_refused_in_a_line(changed, said):
    with pytest.raises(CheckpointError) as refusal:
        shape({**GOOD, **changed})
    message = str(refusal.value)
    assert said in message
    assert message.startswith("config.json")
    assert "\n" not in message
    assert len(message) < 300


RANGES = {
    (name, bound): field
    for kind in (Values, RopeParameters, LinearScaling)
    for name, field in kind.model_fields.items()
    for bound in ("le", "ge", "gt")
    if field.annotation is not bool
}


@pytest.mark.parametrize("name", sorted({name for name, _ in RANGES}))
def test_every_number_has_a_range(name):
    field = RANGES[name, "le"]
    bounds = {
        kind for bound in field.metadata for kind in ("le", "ge", "gt") if hasattr(bound, kind)
    }
    assert "le" in bounds, f"{name} has no upper end"
    assert bounds & {"ge", "gt"}, f"{name} has no lower end"


FILES = {
    "nothing": (b"", "is not JSON"),
    "a number": (b"5", "holds int where config.json is an object"),
    "null": (b"null", "holds NoneType where config.json is an object"),
    "100,000 lists": (b"[" * 100_000, "is nested too deep"),
    "100,000 objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "is nested too deep"),
    "objects a little too deep": (b'{"a":' * 70 + b"1" + b"}" * 70, "is nested deeper than 64"),
    "half of a surrogate pair": (b'{"_name_or_path": "\\ud800"}', "holds half of a surrogate pair"),
    "NaN": (b'{"layer_norm_eps": NaN}', "holds NaN, which is not a finite number"),
    "infinity as a float": (
        b'{"rotary_emb_base": 1e999}',
        "holds 1e999, which is not a finite number",
    ),
    "a number of 5000 digits": (
        b'{"vocab_size": ' + b"9" * 5000 + b"}",
        "a number of thousands of digits",
    ),
    "a key twice": (b'{"vocab_size": 300, "vocab_size": 301}', "names 'vocab_size' twice"),
    "another encoding": ("{}".encode("utf-16"), "is not UTF-8 text"),
    "a pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "git lfs pull",
    ),
    "a web page": (b"<!DOCTYPE html><html></html>", "a web page, not the file"),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run" / "step0").mkdir(parents=True)
    return tmp_path / "run" / "step0"


def read(folder):
    return forward_settings(LocalModel.open(folder.parent).checkpoint(0).config())


@pytest.mark.parametrize(("written", "said"), FILES.values(), ids=FILES)
def test_a_file_that_is_no_config_is_refused_in_a_line(folder, written, said):
    (folder / "config.json").write_bytes(written)
    with pytest.raises(CheckpointError) as refusal:
        read(folder)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_byte_order_mark_is_no_damage(folder):
    (folder / "config.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert read(folder) == forward_settings(GOOD)


def make_pipe(path):
    os.mkfifo(path)


def make_sparse(path):
    with path.open("wb") as file:
        file.truncate(3 << 30)


NO_FILES = {
    "a pipe": (make_pipe, "is not a regular file"),
    "a folder": (lambda path: path.mkdir(), "is not a regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
    "a link to itself": (lambda path: path.symlink_to(path), "cannot read"),
    "a link that leads nowhere": (lambda path: path.symlink_to(path.parent / "gone"), "is missing"),
    "three gigabytes of nothing": (make_sparse, "has 3221225472 bytes, at most 10000000 are read"),
}


@pytest.mark.parametrize(("make", "said"), NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_is_not_read_nor_replaced_by_another(folder, make, said):
    """One beside the steps would be taken for it if there were none."""
    (folder.parent / "config.json").write_text(json.dumps(GOOD))
    make(folder / "config.json")
    start = time.monotonic()
    with pytest.raises(CheckpointError, match=said):
        read(folder)
    assert time.monotonic() - start < 20


def config_of(**changed):
    return {**GOOD, **changed}


def test_the_deepest_model_that_is_allowed_is_counted_with_its_tables():
    """Of a deep and narrow model the sines and cosines are most of what it holds: a gigabyte here,
    beside 0.2 of parameters.
    """
    deep = config_of(
        num_hidden_layers=1000,
        hidden_size=64,
        num_attention_heads=1,
        rotary_pct=1.0,
        vocab_size=300,
    )
    deep |= {"max_position_embeddings": 2**24, "intermediate_size": 256}
    copies = 10**4
    with pytest.raises(DeviceError) as refusal:
        check_fits(
            deep, model="deep", dtype=torch.float32, device=torch.device("cpu"), copies=copies
        )
    needed = size_in_bytes("needed", re.search(r"needs (\S+ .B)", str(refusal.value))[1])
    tables = 1000 * 2 * 2048 * 64 * 4
    assert needed > copies * tables > needed / 2


WIDE = {
    "a width of 2**17": {"hidden_size": 2**17, "num_hidden_layers": 100},
    "a vocabulary of 2**24": {"vocab_size": 2**24, "hidden_size": 2**14},
    "an MLP of 2**20": {"intermediate_size": 2**20, "hidden_size": 2**14, "num_hidden_layers": 100},
}


@pytest.mark.parametrize("changed", WIDE.values(), ids=WIDE)
def test_what_is_too_large_is_refused_before_memory_is_taken(changed):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DeviceError, match="needs .* TB .* free: no dtype fits"):
        check_fits(
            config_of(**changed), model="big", dtype=torch.float32, device=torch.device("cpu")
        )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_context_of_ten_million_takes_no_memory_of_its_own(folder):
    from pythia_traj.models.swap import SwappableModel

    (folder / "config.json").write_text(json.dumps(config_of(max_position_embeddings=10**7)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    built = SwappableModel(LocalModel.open(folder.parent).checkpoint(0), device=torch.device("cpu"))
    assert built.model.cfg.n_ctx == 10**7
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_the_ends_of_the_ranges_are_allowed():
    settings = {
        "max_position_embeddings": 2**24,
        "layer_norm_eps": 1,
        "rotary_pct": 1,
        "rotary_emb_base": 10**15,
    }
    cfg = hooked_config(
        config_of(num_hidden_layers=1000, **settings),
        model="deep",
        dtype=torch.float32,
        device=torch.device("cpu"),
        default_prepend_bos=None,
    )
    assert (cfg.n_layers, cfg.n_ctx, cfg.eps, cfg.rotary_base) == (1000, 2**24, 1.0, 1e15)
