"""The tokenizer comes from the checkpoint's own repository, by commit; tried with Pythia's real one
where the tests find it.
"""

from pathlib import Path

import pytest
import torch

import pythia_traj as pt
from pythia_traj.stream.published import open_model
from pythia_traj.suites.catalog import TOKENIZER_SIZE
from pythia_traj.sweeps.datasets import read_vocabulary
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import random_pythia
from tests.hub.repository import Repository

REAL = Path(__file__).parents[3] / "shared" / "reference" / "pythia_tokenizer.json"

needs_the_real_one = pytest.mark.skipif(
    not REAL.exists(), reason="Pythia's tokenizer is not at hand"
)


@pytest.fixture
def pythia(serve, tmp_path):
    """Random weights in pythia-14m's shape with Pythia's real tokenizer."""
    random_pythia(tmp_path / "step0", "14m", seed=0)
    (tmp_path / "step0" / "tokenizer.json").write_bytes(REAL.read_bytes())
    repository = Repository("EleutherAI/pythia-14m")
    repository.publish("step0", tmp_path / "step0")
    serve(repository)
    return repository


@needs_the_real_one
def test_text_becomes_pythias_tokens(pythia):
    (ckpt,) = pt.checkpoints("pythia-14m", steps="0", device="cpu")
    model = ckpt.model
    assert model.to_str_tokens("Hello world", prepend_bos=True) == [
        "<|endoftext|>",
        "Hello",
        " world",
    ]
    assert model.to_tokens("Hello world", prepend_bos=False).tolist() == [[12092, 1533]]
    assert model.to_string(torch.tensor([12092, 1533])) == "Hello world"
    assert model.tokenizer.eos_token_id == 0


@needs_the_real_one
def test_the_padded_and_the_real_vocabulary_are_told_apart(pythia, tmp_path):
    vocabulary = read_vocabulary(open_model("pythia-14m").checkpoint(0))
    assert vocabulary.d_vocab == 50304
    assert vocabulary.tokenizer.get_vocab_size() == TOKENIZER_SIZE
    config = pt.SweepConfig(
        model="pythia-14m",
        steps="0",
        experiments={"loss": {"n": 2, "null_n": 2}},
        out=tmp_path / "run",
        device="cpu",
    )
    assert not pt.sweep(config).failed
    assert pt.load(tmp_path / "run", metric="nll").value.notna().all()
