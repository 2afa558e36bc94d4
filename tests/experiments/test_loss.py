"""`loss` against a plain computation with Hugging Face's model; in-context learning scores and
losses by kind of token by hand.
"""

import math

import numpy as np
import pytest
import torch

import pythia_traj as pt
from pythia_traj.data.text import FREQUENCY_BANDS, TOKEN_CLASSES
from pythia_traj.engines.means import standard_error
from pythia_traj.suites.local import LocalModel
from pythia_traj.sweeps.datasets import Datasets
from tests.support import publish_suite, random_model


def test_it_is_the_mean_loss_of_hugging_faces_model(suite, tmp_path):
    config = pt.SweepConfig(
        model=str(suite),
        steps="4",
        experiments={"loss": {"length": 50, "n": 12, "null_n": 3}},
        out=tmp_path / "run",
        device="cpu",
    )
    pt.sweep(config)
    rows = pt.load(tmp_path / "run")
    data = Datasets(config, LocalModel.open(suite).checkpoint(4)).get("loss")
    tokens = torch.from_numpy(data.groups["text"])
    model = random_model(4).half().float()
    with torch.no_grad():
        logits = model(tokens).logits
    nll = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
    ).view(12, 49)
    text = rows[rows.control.isna()]
    mean = text[(text.metric == "nll") & text.position.isna()].iloc[0]
    assert mean.value == pytest.approx(nll.mean().item(), abs=1e-4)
    expected = standard_error(nll.mean(1).double().numpy(), data.designs["text"])
    assert mean.clusters == data.designs["text"].n_clusters
    assert mean.stderr == pytest.approx(expected, abs=1e-4)
    assert mean.n == 12
    per_position = text[(text.metric == "nll") & text.position.notna()].sort_values("position")
    assert per_position.position.tolist() == list(range(1, 50))
    assert per_position.value.tolist() == pytest.approx(nll.mean(0).tolist(), abs=1e-4)
    accuracy = text[(text.metric == "accuracy") & text.position.isna()].iloc[0].value
    assert accuracy == pytest.approx(
        (logits[:, :-1].argmax(-1) == tokens[:, 1:]).float().mean().item()
    )


def test_in_context_learning_scores_are_null_with_a_reason_where_the_context_is_short(
    suite, tmp_path
):
    pt.sweep(
        pt.SweepConfig(
            model=str(suite),
            steps="0",
            experiments={"loss": {"length": 64, "n": 4}},
            out=tmp_path / "r",
            device="cpu",
        )
    )
    rows = pt.load(tmp_path / "r", metric=["icl_score", "icl_window"], controls=True)
    assert rows.value.isna().all()
    assert rows.control.isna().sum() == (rows.control == "shuffled").sum() == 2
    assert set(rows.reason) == {
        "context too short: 64 tokens, 501 are needed",
        "context too short: 64 tokens, 550 are needed",
    }


def test_in_context_learning_scores_are_differences_of_the_per_position_loss(tmp_path):
    long = publish_suite(tmp_path / "long", steps=(0,), max_position_embeddings=600)
    experiments = {"loss": {"length": 550, "n": 3, "null_n": 2}}
    pt.sweep(
        pt.SweepConfig(
            model=str(long), steps="0", experiments=experiments, out=tmp_path / "r", device="cpu"
        )
    )
    rows = pt.load(tmp_path / "r")
    nll = rows[(rows.metric == "nll") & rows.position.notna()].set_index("position").value
    score = rows[rows.metric == "icl_score"].iloc[0].value
    window = rows[rows.metric == "icl_window"].iloc[0].value
    assert score == pytest.approx(nll[500] - nll[50], abs=1e-5)
    assert window == pytest.approx(nll.loc[450:549].mean() - nll.loc[40:59].mean(), abs=1e-5)


def losses(suite, out, **parameters):
    """The rows of a sweep of one step, its text, and its run."""
    experiments = {"loss": {"length": 50, "n": 7, "null_n": 3, **parameters}}
    config = pt.SweepConfig(
        model=str(suite), steps="4", experiments=experiments, out=out, device="cpu"
    )
    assert not pt.sweep(config).failed
    return pt.load(out, controls=True), Datasets(config, LocalModel.open(suite).checkpoint(4)).get(
        "loss"
    )


@pytest.fixture(scope="module")
def by_kind(suite, tmp_path_factory):
    """Each token's own loss [item, pos] beside the rows."""
    out = tmp_path_factory.mktemp("loss") / "run"
    rows, data = losses(suite, out, per_token=True)
    tokens = pt.load(out, table="tokens", control=None)
    nll = tokens.pivot(index="item", columns="position", values="nll").to_numpy()
    return rows, data, nll


def test_each_tokens_loss_is_kept_when_asked_with_the_token_that_it_is_of(suite, tmp_path):
    rows, data = losses(suite, tmp_path / "kept", per_token=True)
    plain, _ = losses(suite, tmp_path / "plain")
    assert plain.equals(rows)
    assert not (tmp_path / "plain" / "tables" / "tokens").exists()
    for control, group in ((None, "text"), ("shuffled", "shuffled")):
        own = pt.load(tmp_path / "kept", table="tokens", control=control)
        of_group = rows[rows.control.isna() if control is None else rows.control == control]
        ids = own.pivot(index="item", columns="position", values="token_id")
        assert (ids.to_numpy() == data.groups[group][:, 1:]).all()
        assert ids.columns.tolist() == list(range(1, 50))
        for metric, column in (("nll", "nll"), ("accuracy", "correct")):
            of_metric = of_group[of_group.metric == metric]
            by_position = (
                of_metric[of_metric.position.notna()].set_index("position").value.sort_index()
            )
            expected = own.astype({"correct": float}).groupby("position")[column].mean()
            assert by_position.tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_bits_per_byte_are_all_bits_over_all_bytes(by_kind):
    rows, data, nll = by_kind
    (bits,) = rows[(rows.metric == "bits_per_byte") & rows.control.isna()].itertuples()
    texts = [data._vocabulary.tokenizer.decode(row[1:].tolist()) for row in data.groups["text"]]
    assert bits.value == pytest.approx(
        nll.sum() / math.log(2) / sum(len(text.encode()) for text in texts), rel=1e-5
    )
    (per_token,) = rows[(rows.metric == "bytes_per_token") & rows.control.isna()].itertuples()
    assert per_token.value == pytest.approx(
        sum(len(text.encode()) for text in texts) / nll.size, rel=1e-5
    )


@pytest.mark.parametrize(
    ("names", "table"), [(TOKEN_CLASSES, "token_classes"), (FREQUENCY_BANDS, "token_bands")]
)
def test_surprisal_is_the_mean_over_all_tokens_of_a_kind(by_kind, names, table):
    rows, data, nll = by_kind
    kinds = getattr(data, table)[data.groups["text"][:, 1:]]
    text = rows[rows.control.isna()].set_index(["metric", "part"])
    for kind, name in enumerate(names):
        share, surprisal = text.loc["share", name], text.loc["surprisal", name]
        assert share.value == pytest.approx((kinds == kind).mean(), abs=1e-6)
        counts = (kinds == kind).sum(1)
        error = standard_error(counts.astype(float), data.designs["text"])
        if counts.mean() > 3 * error:
            assert surprisal.value == pytest.approx(nll[kinds == kind].mean(), rel=1e-5)
            residuals = np.where(kinds == kind, nll, 0).sum(1) - surprisal.value * counts
            assert surprisal.stderr == pytest.approx(
                standard_error(residuals, data.designs["text"]) / counts.mean(), rel=1e-4
            )
        else:
            assert surprisal.reason.startswith("the number of tokens of this kind is ")
    assert text.loc["surprisal"].value.notna().sum() >= 2
    assert sum(text.loc["share", name].value for name in names) == pytest.approx(1)
