"""`loss` against a plain computation with Hugging Face's model, and in-context learning scores by hand."""

import pytest
import torch

import pythia_traj as pt
from pythia_traj.suites.local import LocalModel
from pythia_traj.sweeps.datasets import Datasets
from tests.support import publish_suite, random_model


def test_it_is_the_mean_loss_of_hugging_faces_model(suite, tmp_path):
    config = pt.SweepConfig(
        model=str(suite),
        steps="4",
        experiments={"loss": {"length": 50, "n": 7, "null_n": 3}},
        out=tmp_path / "run",
        device="cpu",
    )
    pt.sweep(config)
    rows = pt.load(tmp_path / "run")
    tokens = torch.from_numpy(Datasets(config, LocalModel.open(suite).checkpoint(4)).get("loss").groups["text"])
    model = random_model(4).half().float()
    with torch.no_grad():
        logits = model(tokens).logits
    nll = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
    ).view(7, 49)
    text = rows[rows.variant.isna()]
    mean = text[(text.metric == "nll") & text.position.isna()].iloc[0]
    assert mean.value == pytest.approx(nll.mean().item(), abs=1e-4)
    assert mean.stderr == pytest.approx((nll.mean(1).std() / 7**0.5).item(), abs=1e-4)
    assert mean.n == 7
    per_position = text[(text.metric == "nll") & text.position.notna()].sort_values("position")
    assert per_position.position.tolist() == list(range(1, 50))
    assert per_position.value.tolist() == pytest.approx(nll.mean(0).tolist(), abs=1e-4)
    accuracy = text[(text.metric == "accuracy") & text.position.isna()].iloc[0].value
    assert accuracy == pytest.approx((logits[:, :-1].argmax(-1) == tokens[:, 1:]).float().mean().item())


def test_in_context_learning_scores_are_null_with_a_reason_where_the_context_is_short(suite, tmp_path):
    pt.sweep(
        pt.SweepConfig(
            model=str(suite), steps="0", experiments={"loss": {"length": 64, "n": 4}}, out=tmp_path / "r", device="cpu"
        )
    )
    rows = pt.load(tmp_path / "r", metric=["icl_score", "icl_window"])
    assert rows.value.isna().all()
    assert set(rows.reason) == {
        "context too short: 64 tokens, 501 are needed",
        "context too short: 64 tokens, 550 are needed",
    }


def test_in_context_learning_scores_are_differences_of_the_per_position_loss(tmp_path):
    long = publish_suite(tmp_path / "long", steps=(0,), max_position_embeddings=600)
    experiments = {"loss": {"length": 550, "n": 3, "null_n": 2}}
    pt.sweep(pt.SweepConfig(model=str(long), steps="0", experiments=experiments, out=tmp_path / "r", device="cpu"))
    rows = pt.load(tmp_path / "r", variant=None)
    nll = rows[(rows.metric == "nll") & rows.position.notna()].set_index("position").value
    score = rows[rows.metric == "icl_score"].iloc[0].value
    window = rows[rows.metric == "icl_window"].iloc[0].value
    assert score == pytest.approx(nll[500] - nll[50], abs=1e-5)
    assert window == pytest.approx(nll.loc[450:549].mean() - nll.loc[40:59].mean(), abs=1e-5)
