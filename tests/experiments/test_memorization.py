"""`memorization`: a model that copies has learnt all by heart, a random one nothing."""

import numpy as np
import pytest
import torch

import pythia_traj as pt
from tests.support import publish, random_model

HIDDEN = 64


def counting_model():
    """A GPT-NeoX that writes after each token the one with the next id: it can copy any sequence
    that counts.
    """
    model = random_model(hidden_size=HIDDEN)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
        embedding = torch.randn(300, HIDDEN, generator=torch.Generator().manual_seed(0))
        model.get_input_embeddings().weight.copy_(embedding)
        model.get_output_embeddings().weight.copy_(embedding.roll(1, 0))
    return model


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    root = tmp_path_factory.mktemp("counting")
    publish(root / "step0", random_model(hidden_size=HIDDEN))
    publish(root / "step1", counting_model())
    return root


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Sequences that count from different ids."""
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(path, ((np.arange(0, 240, 8)[:, None] + np.arange(60)) % 300).astype(np.uint16))
    return path


def sweep(suite, out, **settings):
    config = pt.SweepConfig(
        model=str(suite), steps="all", experiments={"memorization": settings}, out=out, device="cpu"
    )
    assert not pt.sweep(config).failed
    return pt.load(out, controls=True)


def test_memorisation_of_a_model_that_copies_is_1(counting, rows, tmp_path):
    found = sweep(counting, tmp_path / "run", corpus=str(rows), n=30, prompt=20, continuation=40)
    found = found.set_index(["step", "metric", found.control.astype(object).fillna("real")]).value
    for metric in ("match", "extractible"):
        assert found[1, metric, "real"] == 1
        assert found[0, metric, "real"] < 0.1
        assert found[1, metric, "permuted"] < 0.1
    items = pt.load(tmp_path / "run", table="items", metric="match", step=1)
    assert items.value.tolist() == [1] * 30


def test_a_sequence_with_one_wrong_token_is_not_extractible(counting, rows, tmp_path):
    changed = np.load(rows)[:2].copy()
    changed[1, 25] = 299
    np.save(tmp_path / "changed.npy", changed)
    found = sweep(
        counting,
        tmp_path / "run",
        corpus=str(tmp_path / "changed.npy"),
        n=2,
        prompt=20,
        continuation=10,
    )
    found = found[(found.step == 1) & found.control.isna()].set_index("metric").value
    assert found["match"] == pytest.approx(0.95)
    assert found["extractible"] == 0.5


def test_one_sequence_has_no_other_beside_it(counting, rows, tmp_path):
    found = sweep(counting, tmp_path / "run", corpus=str(rows), n=1, prompt=20, continuation=10)
    control = found[found.control == "permuted"]
    assert len(control) == 4
    assert control.value.isna().all()
    assert set(control.reason) == {"there is no other sequence"}


def test_a_moved_file_is_the_same_file(counting, rows, tmp_path):
    sweep(counting, tmp_path / "run", corpus=str(rows), n=4, prompt=20, continuation=10)
    moved = tmp_path / "moved.npy"
    moved.write_bytes(rows.read_bytes())
    settings = {"corpus": str(moved), "n": 4, "prompt": 20, "continuation": 10}
    config = pt.SweepConfig(
        model=str(counting),
        steps="all",
        experiments={"memorization": settings},
        out=tmp_path / "run",
        device="cpu",
    )
    result = pt.sweep(config)
    assert (len(result.done), len(result.skipped)) == (0, 2)
