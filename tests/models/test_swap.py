"""Weights are swapped in place: nothing of an earlier step is left, nothing grows, nothing is
half-written.
"""

import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file, save_file

import pythia_traj as pt
from pythia_traj.architectures.gpt_neox import ARCHITECTURE
from pythia_traj.architectures.tensors import parameter_count
from pythia_traj.errors import CheckpointError, DeviceError
from pythia_traj.models.device import check_fits, free_memory
from pythia_traj.models.swap import SwappableModel
from pythia_traj.models.tensors import read_tensors
from pythia_traj.processing import FOLDED, RAW
from pythia_traj.suites.local import LocalModel
from tests.support import TINY, publish_suite


def test_one_model_holds_each_step_in_turn(suite):
    tokens = torch.randint(0, 300, (2, 30))
    seen = {}
    for ckpt in pt.checkpoints(suite, device="cpu"):
        seen[ckpt.step] = (id(ckpt.model), ckpt.model(tokens).detach())
        assert ckpt.tokens == 2048 * ckpt.step
        assert ckpt.revision == f"step{ckpt.step}"
    assert list(seen) == [0, 1, 2, 4]
    assert len({identity for identity, _ in seen.values()}) == 1
    for step, (_, logits) in seen.items():
        (alone,) = pt.checkpoints(suite, steps=str(step), device="cpu")
        assert torch.equal(alone.model(tokens), logits)


def test_raw_and_folded_come_from_the_same_bytes_and_back(suite):
    checkpoint = LocalModel.open(suite).checkpoint(2)
    swappable = SwappableModel(checkpoint, device=torch.device("cpu"))
    tokens = torch.randint(0, 300, (2, 30))
    with checkpoint.open() as files:
        tensors = read_tensors(files, ARCHITECTURE)
        outcomes = []
        for processing in (RAW, FOLDED, RAW):
            swappable.swap(tensors, processing)
            outcomes.append(swappable.model(tokens).log_softmax(-1).detach())
        assert swappable.model.cfg.normalization_type == "LN"
        assert torch.equal(outcomes[0], outcomes[2])
        torch.testing.assert_close(outcomes[0], outcomes[1], atol=1e-4, rtol=0)
        raw = load_file(suite / "step2" / "model.safetensors")[
            "gpt_neox.layers.1.mlp.dense_h_to_4h.weight"
        ]
        assert torch.equal(swappable.model.W_in[1], raw.float().T)


def test_hooks_and_the_cache_work_as_ever(suite):
    (ckpt,) = pt.checkpoints(suite, steps="1", device="cpu")
    logits, cache = ckpt.model.run_with_cache(torch.randint(0, 300, (2, 20)))
    assert logits.shape == (2, 20, 300)
    assert cache["pattern", 1].shape == (2, 4, 20, 20)
    assert ckpt.model.to_str_tokens("def f", prepend_bos=True)[0] == "<|endoftext|>"
    assert ckpt.model.W_Q.shape == (2, 4, 32, 8)


def test_default_prepend_bos_is_passed_on(suite):
    (ckpt,) = pt.checkpoints(suite, steps="1", device="cpu", default_prepend_bos=True)
    assert ckpt.model.to_tokens("def")[0, 0] == 0
    (ckpt,) = pt.checkpoints(suite, steps="1", device="cpu")
    assert ckpt.model.to_tokens("def")[0, 0] != 0


def test_it_works_in_inference_mode_and_outside_of_it(suite):
    with torch.inference_mode():
        stream = pt.checkpoints(suite, steps="0,1", device="cpu")
        first = next(stream)
    second = next(stream)
    assert second.model is first.model
    second.model(torch.tensor([[1, 2, 3]])).sum().backward()


def edit(suite, step, change):
    """Rewrites a checkpoint's weights."""
    path = suite / f"step{step}" / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def load(suite, step=2):
    list(pt.checkpoints(suite, steps=f"0,{step}", device="cpu"))


def test_a_missing_tensor_is_named(own_suite):
    edit(own_suite, 2, lambda tensors: tensors.pop("gpt_neox.layers.1.attention.dense.bias"))
    with pytest.raises(
        CheckpointError, match=r"tensor gpt_neox\.layers\.1\.attention\.dense\.bias is missing"
    ):
        load(own_suite)


def test_a_tensor_of_the_wrong_shape_is_named(own_suite):
    edit(
        own_suite,
        2,
        lambda tensors: tensors.update({"gpt_neox.embed_in.weight": torch.zeros(10, 32)}),
    )
    with pytest.raises(
        CheckpointError,
        match=r"embed_in.weight has shape \[10, 32\], the config promises \[300, 32\]",
    ):
        load(own_suite)


@pytest.mark.parametrize("kept", [0.5, 0.01, 0.0001])
def test_a_truncated_file_is_found_out(own_suite, kept):
    path = own_suite / "step2" / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: max(4, int(len(data) * kept))])
    with pytest.raises(CheckpointError, match="is truncated"):
        load(own_suite)


def test_causal_mask_buffers_are_skipped(own_suite):
    def add(tensors):
        tensors["gpt_neox.layers.0.attention.bias"] = torch.ones(1, 1, 128, 128, dtype=torch.bool)
        tensors["gpt_neox.layers.0.attention.masked_bias"] = torch.tensor(-1e9)
        tensors["gpt_neox.layers.0.attention.rotary_emb.inv_freq"] = torch.ones(2)

    edit(own_suite, 2, add)
    load(own_suite)


def config_of(suite, step, **settings):
    path = suite / f"step{step}" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def test_another_architecture_is_refused(own_suite):
    config_of(own_suite, 0, architectures=["GPT2LMHeadModel"])
    with pytest.raises(
        CheckpointError, match="architecture GPT2LMHeadModel: supported is GPTNeoXForCausalLM"
    ):
        load(own_suite)


def test_a_step_of_another_shape_is_refused(own_suite):
    config_of(own_suite, 0, intermediate_size=128)
    with pytest.raises(
        CheckpointError,
        match=r"config\.json of step 0 is not that of step 2: intermediate_size 128 instead of 64",
    ):
        load(own_suite)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_act": "gelux"}, "hidden_act 'gelux' is not supported .did you mean"),
        (
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}},
            "rope_type 'yarn' is not supported",
        ),
        ({"num_attention_heads": 5}, "hidden_size 32 is not a multiple of num_attention_heads 5"),
        ({"vocab_size": None}, "lacks vocab_size"),
    ],
)
def test_settings_that_cannot_be_expressed_are_refused(own_suite, settings, message):
    config_of(own_suite, 0, **settings)
    with pytest.raises(CheckpointError, match=message):
        load(own_suite)


def test_a_pickle_with_code_is_never_run(own_suite, tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "was-run"),))

    folder = own_suite / "step2"
    (folder / "model.safetensors").unlink()
    torch.save({"gpt_neox.embed_in.weight": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="holds code, which is never run"):
        load(own_suite)
    assert not (tmp_path / "was-run").exists()


def test_a_damaged_bin_file_is_refused(own_suite):
    folder = own_suite / "step2"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04 but no more")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin (is truncated|was refused)"):
        load(own_suite)


def test_the_count_of_parameters_is_the_models(suite):
    (ckpt,) = pt.checkpoints(suite, steps="0", device="cpu", fold_ln=False)
    count = parameter_count({**TINY, "architectures": ["GPTNeoXForCausalLM"]})
    published = sum(
        tensor.numel() for tensor in load_file(suite / "step0" / "model.safetensors").values()
    )
    assert (
        count
        == published
        == sum(p.numel() for p in ckpt.model.parameters()) - ckpt.model.unembed.b_U.numel()
    )


def test_a_model_that_cannot_fit_is_refused_with_a_dtype_that_fits():
    free = free_memory(torch.device("cpu"))
    # As many embeddings as fill 1.5 times the free memory in fp32, so that half of it fits.
    width = 8192
    config = {
        **TINY,
        "hidden_size": width,
        "vocab_size": int(free * 1.5 / 4 / 2 / width),
        "architectures": ["GPTNeoXForCausalLM"],
    }
    with pytest.raises(
        DeviceError,
        match=r"big in float32 needs .* GB and cpu has .* GB free: use --dtype float16 or bfloat16",
    ):
        check_fits(config, model="big", dtype=torch.float32, device=torch.device("cpu"))
    config |= {"num_hidden_layers": 1000, "intermediate_size": 2**20}
    with pytest.raises(DeviceError, match="no dtype fits"):
        check_fits(config, model="big", dtype=torch.float32, device=torch.device("cpu"))


def test_it_is_refused_before_the_first_byte_of_weights(own_suite):
    for step in (0, 2):
        config_of(own_suite, step, vocab_size=2**24, hidden_size=2**16)
        (own_suite / f"step{step}" / "model.safetensors").write_bytes(b"never read")
    with pytest.raises(DeviceError, match="needs"):
        load(own_suite)


SWAPS = """
    import gc, json, sys, psutil, torch
    resident = []
    process = psutil.Process()
    from pythia_traj.processing import FOLDED
    from pythia_traj.stream.published import open_model
    from contextlib import contextmanager
    from pythia_traj.stream.agreement import Agreement
    from pythia_traj.stream.prefetch import Opened
    from pythia_traj.stream.weights import Weights
    @contextmanager
    def in_place(checkpoint):
        with checkpoint.open() as files:
            yield Opened(files)
    published = open_model(sys.argv[1])
    agreement = Agreement(published.checkpoint(0))
    weights = Weights(torch.device("cpu"), "float32", in_place, agreement=agreement, copies=1)
    tokens = torch.randint(0, 50000, (1, 64))
    for i in range(24):
        model = weights.load(published.checkpoint(i % 8), FOLDED)
        with torch.inference_mode():
            model(tokens, return_type=None)
        weights.close()
        gc.collect()
        resident.append(process.memory_full_info().uss)
    print(json.dumps(resident))
"""


@pytest.mark.slow
def test_24_swaps_of_pythia_70m_grow_no_memory(tmp_path):
    shape = {
        "vocab_size": 50304,
        "hidden_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "intermediate_size": 2048,
    }
    suite = publish_suite(tmp_path / "pythia-70m", steps=(0,), **shape)
    for step in range(1, 8):
        (suite / f"step{step}").symlink_to(suite / "step0", target_is_directory=True)
    output = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SWAPS), str(suite)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    resident = json.loads(output)
    assert len(resident) == 24
    # What leaks only grows; what the allocator has at hand comes and goes.
    assert min(resident[-4:]) <= 1.02 * max(resident[2:6])
