"""One set of promises, kept on the loopback hub and, with `pytest -m hub`, on the real pythia-14m.

The real branches are asked for by `-m hub` only: every other run of the tests stays on this
machine.
"""

import math
import socket

import pytest
from huggingface_hub import constants
from transformers import AutoModelForCausalLM

import pythia_traj as pt
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import random_pythia
from tests.hub.repository import Repository

STEPS = (0, 1, 512, 143000)

pytestmark = pytest.mark.slow
EXPERIMENTS = {"induction": {"n": 10}, "loss": {"n": 4, "null_n": 4}}
REAL = pytest.param("https://huggingface.co", marks=pytest.mark.hub)


@pytest.fixture(scope="module")
def random_14m(tmp_path_factory):
    """Random weights in pythia-14m's shape, with all that its real files hold.

    Steps 0 and 1 are the same.
    """
    folder = tmp_path_factory.mktemp("pythia-14m")
    repository = Repository("EleutherAI/pythia-14m")
    for seed, step in enumerate(STEPS[1:]):
        random_pythia(folder / f"step{step}", "14m", seed)
        repository.publish(f"step{step}", folder / f"step{step}")
    repository.publish("step0", folder / "step1")
    return repository


@pytest.fixture(params=["loopback", REAL])
def pythia_14m(request, serve, random_14m):
    """Whether the Hub that is served is the real one."""
    real = request.param != "loopback"
    if real:
        try:
            socket.create_connection(("huggingface.co", 443), timeout=5).close()
        except OSError as error:
            pytest.skip(f"the Hub cannot be reached: {error}")
    else:
        serve(random_14m)
    return real


def sweep(out, **settings):
    settings = {"steps": ",".join(map(str, STEPS)), "experiments": EXPERIMENTS, **settings}
    return pt.sweep(pt.SweepConfig(model="pythia-14m", out=out, device="cpu", **settings))


def test_a_sweep_gives_rows_with_commits_and_a_repeat_opens_no_connection(
    pythia_14m, tmp_path, monkeypatch
):
    assert not sweep(tmp_path / "run").failed
    rows = pt.load(tmp_path / "run")
    assert rows.commit.str.fullmatch("[0-9a-f]{40}").all()
    assert set(rows.step) == set(STEPS)
    assert (rows.tokens == rows.step * 2_097_152).all()
    monkeypatch.setattr(socket.socket, "connect", None)
    assert len(sweep(tmp_path / "run").skipped) == 2 * len(STEPS)


def test_steps_0_and_1_are_the_same_model_and_know_nothing(pythia_14m, tmp_path):
    sweep(tmp_path / "run", steps="0,1")
    rows = pt.load(tmp_path / "run")
    by_step = [rows[rows.step == step].value.tolist() for step in (0, 1)]
    assert by_step[0] == pytest.approx(by_step[1], nan_ok=True, abs=1e-6)
    halves = rows[(rows.variant == "two_halves") & (rows.step == 0)]
    assert halves[halves.metric == "nll"].value.to_numpy() == pytest.approx(
        math.log(50304), abs=0.1
    )
    assert halves[halves.metric == "prefix_matching"].value.max() < 0.03


def test_logits_are_those_of_transformers(pythia_14m, tmp_path):
    import torch

    repo, tokens = "EleutherAI/pythia-14m", torch.arange(1000, 1064)[None]
    for ckpt in pt.checkpoints("pythia-14m", steps="512,143000", device="cpu"):
        theirs = AutoModelForCausalLM.from_pretrained(
            repo, revision=ckpt.commit, cache_dir=constants.HF_HUB_CACHE, dtype=torch.float32
        )
        with torch.no_grad():
            expected = theirs(tokens).logits.log_softmax(-1)
            assert (ckpt.model(tokens).log_softmax(-1) - expected).abs().max() < 1e-3


def test_one_model_holds_all_steps(pythia_14m):
    models = {
        id(ckpt.model)
        for ckpt in pt.checkpoints("pythia-14m", steps=",".join(map(str, STEPS)), device="cpu")
    }
    assert len(models) == 1
