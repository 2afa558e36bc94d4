"""`logit_lens` in a sweep: what must hold of its rows, and of the text it reads and trains on."""

import json

import numpy as np
import pytest
import torch

import pythia_traj as pt
from pythia_traj.data.lens import LensText
from pythia_traj.data.text import heldout, training
from pythia_traj.experiment import Vocabulary
from tests.support import byte_tokenizer, random_model

VOCABULARY = Vocabulary(300, 128, byte_tokenizer())
LENS = {"length": 32, "n": 6, "null_n": 2, "positions": 8}


@pytest.fixture(scope="module")
def run(suite, tmp_path_factory):
    out = tmp_path_factory.mktemp("lens") / "run"
    experiments = {
        "plain": {"use": "logit_lens", **LENS},
        "tuned": {"use": "logit_lens", **LENS, "updates": 4},
    }
    result = pt.sweep(
        pt.SweepConfig(
            model=str(suite), steps="1,4", experiments=experiments, out=out, device="cpu"
        )
    )
    assert not result.failed
    return out


def test_every_layer_has_every_metric_and_its_control(run):
    for control, n in ((None, 6), ("shuffled", 2)):
        rows = pt.load(run, label="tuned", step=4, control=control)
        keys = set(zip(rows.metric, rows.variant, rows.layer, strict=True))
        assert keys == {
            (metric, lens, layer)
            for metric in ("cross_entropy", "kl", "agreement", "entropy")
            for lens in ("logit", "tuned")
            for layer in (0, 1)
        }
        assert set(rows.n) == {n}
        assert set(pt.load(run, label="plain", control=control).variant) == {"logit"}


def test_the_last_layer_is_the_model_itself(run):
    rows = pt.load(run, controls=True)
    last = rows[rows.layer == 1]
    assert (last[last.metric == "kl"].value == 0).all()
    assert (last[last.metric == "agreement"].value == 1).all()
    assert (rows[(rows.layer == 0) & (rows.metric == "kl")].value > 0).all()
    assert rows[rows.metric == "entropy"].value.between(0, np.log(300) + 1e-5).all()


def test_the_last_layers_cross_entropy_is_the_loss_of_hugging_faces_model(run, suite):
    """At the positions that are read, of the token that follows each."""
    data = LensText(**LENS).bind(VOCABULARY, seed=0)
    tokens, at = (torch.from_numpy(array["text"]) for array in (data.groups, data.positions))
    with torch.no_grad():
        log_probs = random_model(4).half().float()(tokens).logits.log_softmax(-1)
    of_next = log_probs[:, :-1].gather(-1, tokens[:, 1:, None]).squeeze(-1)
    expected = -of_next.gather(1, at).mean(1)
    entropy = -(log_probs.exp() * log_probs).sum(-1).gather(1, at).mean(1)
    for metric, values in (("cross_entropy", expected), ("entropy", entropy)):
        items = pt.load(
            run, table="items", label="plain", step=4, metric=metric, variant="logit", layer=1
        )
        assert items.sort_values("item").value.tolist() == pytest.approx(values.tolist(), abs=1e-5)


def test_training_moves_the_tuned_lens_alone(run):
    rows = pt.load(run, label="tuned").set_index(["step", "metric", "variant", "layer"]).value
    for step in (1, 4):
        assert rows[step, "kl", "tuned", 0] != rows[step, "kl", "logit", 0]
        assert rows[step, "cross_entropy", "tuned", 1] == rows[step, "cross_entropy", "logit", 1]


def test_it_depends_on_no_other_step(run, suite, tmp_path):
    experiments = {"tuned": {"use": "logit_lens", **LENS, "updates": 4}}
    pt.sweep(
        pt.SweepConfig(
            model=str(suite), steps="4", experiments=experiments, out=tmp_path / "r", device="cpu"
        )
    )
    alone = pt.load(tmp_path / "r", controls=True).reset_index(drop=True)
    among = pt.load(run, label="tuned", step=4, controls=True).reset_index(drop=True)
    assert alone.value.equals(among.value)


def test_items_are_kept_and_add_up(run):
    for control in (None, "shuffled"):
        rows, items = (
            pt.load(run, label="plain", step=4, control=control, **table)
            for table in ({}, {"table": "items"})
        )
        assert len(rows) == 8
        for row in rows.itertuples():
            own = items[(items.metric == row.metric) & (items.layer == row.layer)]
            assert len(own) == row.n
            assert own.value.mean() == pytest.approx(row.value, abs=1e-5)


def test_positions_are_drawn_once_and_can_be_predicted_from():
    data = LensText(**LENS, updates=2, batch=3, bos=True).bind(VOCABULARY, seed=0)
    assert data.train.shape == (6, 32)
    assert data.facts["training_positions"] == 2 * 3 * 8
    assert set(data.positions) == {"text", "shuffled", "train"}
    for name, at in data.positions.items():
        assert at.shape == (len({**data.groups, "train": data.train}[name]), 8)
        assert at.min() >= 1
        assert at.max() <= 30
        assert (np.diff(at) > 0).all()
    all_of_them = (
        LensText(n=3, length=32, null_n=1, positions=40).bind(VOCABULARY, seed=0).positions["text"]
    )
    assert (all_of_them == np.arange(31)).all()


def test_what_is_trained_on_is_not_measured_and_a_short_corpus_is_gone_through_again(tmp_path):
    texts = [f"def f{i}(): return {i}\n" * 8 for i in range(40)]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    data = LensText(
        n=2, length=16, null_n=1, positions=4, updates=50, batch=8, corpus=str(path)
    ).bind(VOCABULARY, seed=0)
    decode = VOCABULARY.tokenizer.decode
    train, measured = set(training(str(path))), set(heldout(str(path)))
    assert len(data.train) == 400 > data.facts["training_sequences_to_draw_from"]
    for row in data.groups["text"]:
        assert any(decode(row.tolist()) in text for text in measured)
        assert not any(decode(row.tolist()) in text for text in train)
    for row in data.train[:20]:
        assert any(decode(row.tolist()) in text for text in train)
