"""A checkpoint that is still being written, or was damaged, costs its own step and no other, be it
the first one.
"""

import json
import logging

import pytest
import torch

import pythia_traj as pt
from pythia_traj.architectures.gpt_neox import ARCHITECTURE
from pythia_traj.checkpoint import WeightFile
from pythia_traj.errors import CheckpointError, ConfigError
from pythia_traj.models.tensors import read_tensors
from tests.models.layouts import (
    INDEX,
    SAFE,
    change_config,
    cut,
    files,
    only,
    removed,
    sharded,
    then,
)

BROKEN = {
    "an empty folder": only(),
    "config.json not there yet": removed("config.json"),
    "config.json cut": cut("config.json", 0.5),
    "config.json of another model": lambda folder: change_config(folder, intermediate_size=128),
    "config.json of another architecture": lambda folder: change_config(
        folder, architectures=["GPT2LMHeadModel"]
    ),
    "weights not there yet": removed(SAFE),
    "weights empty": cut(SAFE, 0),
    "weights cut": cut(SAFE, 0.6),
    "an index without shards": then(
        sharded, removed("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    ),
    "shards without an index": then(sharded, removed(INDEX)),
    "an optimizer alone": only("optimizer.pt", "rng_state.pth"),
    "a tokenizer that is none": files({"tokenizer.json": "{"}),
}


@pytest.mark.parametrize("step", [0, 2])
@pytest.mark.parametrize("name", BROKEN)
def test_checkpoints_goes_on_without_a_broken_step_if_told_to(own_suite, caplog, name, step):
    BROKEN[name](own_suite / f"step{step}")
    tokens = torch.arange(30)[None]
    logits = {}
    with caplog.at_level(logging.WARNING, logger="pythia_traj"):
        for ckpt in pt.checkpoints(own_suite, device="cpu", on_error="skip"):
            logits[ckpt.step] = ckpt.model(tokens).detach()
    assert list(logits) == [other for other in (0, 1, 2, 4) if other != step]
    (warning,) = caplog.records
    assert warning.getMessage().startswith(f"step {step} is skipped: ")
    (alone,) = pt.checkpoints(own_suite, steps="4", device="cpu")
    assert torch.equal(alone.model(tokens), logits[4])
    with pytest.raises(CheckpointError):
        list(pt.checkpoints(own_suite, device="cpu"))


def test_a_run_of_broken_steps_alone_is_empty_if_told_to_go_on(own_suite, caplog):
    for step in (0, 1, 2, 4):
        removed(SAFE)(own_suite / f"step{step}")
    assert list(pt.checkpoints(own_suite, device="cpu", on_error="skip")) == []
    assert len(caplog.records) == 4


def test_what_the_loop_itself_raises_is_never_skipped(own_suite):
    stream = pt.checkpoints(own_suite, device="cpu", on_error="skip")
    next(stream)
    with pytest.raises(CheckpointError, match="mine"):
        stream.throw(CheckpointError("mine"))


def test_another_word_for_on_error_is_refused_at_the_call(suite):
    with pytest.raises(ConfigError, match="on_error: 'ignore': give raise or skip"):
        pt.checkpoints(suite, on_error="ignore")


@pytest.mark.parametrize(
    ("name", "step"), [*((name, 0) for name in BROKEN), ("weights cut", 2), ("config.json cut", 2)]
)
def test_a_broken_step_fails_alone_in_a_sweep(own_suite, tmp_path, name, step):
    BROKEN[name](own_suite / f"step{step}")
    request = {
        "model": str(own_suite),
        "steps": "all",
        "experiments": {"loss": {"length": 32, "n": 2}},
        "device": "cpu",
    }
    result = pt.sweep(pt.SweepConfig(**request, out=tmp_path / "run"))
    assert [unit.step for unit in result.done] == [other for other in (0, 1, 2, 4) if other != step]
    ((unit, reason),) = result.failed
    assert unit.step == step
    assert "\n" not in reason


def test_a_config_beside_the_steps_serves_all_that_have_none(own_suite, tmp_path):
    config = (own_suite / "step1" / "config.json").read_text()
    for step in (1, 2):
        removed("config.json")(own_suite / f"step{step}")
    (own_suite / "config.json").write_text(json.dumps(json.loads(config) | {"layer_norm_eps": 0.5}))
    eps = {}
    for step in (0, 1, 2):
        (ckpt,) = pt.checkpoints(own_suite, steps=str(step), device="cpu")
        eps[step] = ckpt.model.cfg.eps
    assert eps == {0: 1e-5, 1: 0.5, 2: 0.5}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("as_zip", [True, False])
@pytest.mark.parametrize("is_file", [True, False])
def test_whatever_becomes_of_a_bin_it_is_tensors_or_refused_in_a_line(tmp_path, as_zip, is_file):
    path = tmp_path / "pytorch_model.bin"
    torch.save(
        {"a.weight": torch.randn(20, 5), "b.bias": torch.ones(3)},
        path,
        _use_new_zipfile_serialization=as_zip,
    )
    whole = path.read_bytes()
    draw = torch.Generator().manual_seed(0)
    for _ in range(150):
        data = bytearray(whole)
        for place in torch.randint(min(len(data), 600), (4,), generator=draw).tolist():
            data[place] = int(torch.randint(256, (1,), generator=draw))
        del data[int(torch.randint(1, 2 * len(data), (1,), generator=draw)) :]
        path.write_bytes(data)
        try:
            read_tensors(
                [WeightFile(path.name, memoryview(data), path if is_file else None)], ARCHITECTURE
            )
        except CheckpointError as error:
            assert "\n" not in str(error)
