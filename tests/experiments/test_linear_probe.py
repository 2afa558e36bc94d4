"""`linear_probe` as rows: agreement with scikit-learn, controls where there is nothing to find, a
planted feature, the buffer.
"""

import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

import pythia_traj as pt
from pythia_traj.data.labelled import LabelledTokens
from pythia_traj.discovery import find
from pythia_traj.errors import ConfigError, DataError
from pythia_traj.experiment import Vocabulary
from pythia_traj.values import Key
from tests.support import byte_tokenizer, publish_suite

VOCABULARY = Vocabulary(300, 128, byte_tokenizer())
ALL = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    root = publish_suite(
        tmp_path_factory.mktemp("probe") / "wide", steps=(0,), num_hidden_layers=3, hidden_size=48
    )
    (ckpt,) = pt.checkpoints(root, steps="0", device="cpu")
    return ckpt.model


@pytest.fixture(scope="module")
def python_tokens():
    return LabelledTokens(n=2400, length=64).bind(VOCABULARY, seed=0)


def probe(model, data, **parameters):
    return find("linear_probe")(model, data, **{"resamples": 200, **parameters})


def row_of(rows, metric, variant, component, layer, control=None):
    key = Key(metric, variant, component, layer, control=control)
    (found,) = (row for row in rows.metrics if row.key == key)
    return found


def value(rows, *key, control=None):
    return row_of(rows, *key, control=control).value


def activations(model, data, name):
    found = np.empty((len(data.labels), model.cfg.d_model), dtype=np.float32)
    for group, place in data.places.items():
        _, cache = model.run_with_cache(torch.from_numpy(data.groups[group]), names_filter=name)
        found[place.numbers] = cache[name][place.rows, place.positions].numpy()
    return found


def test_it_agrees_with_scikit_learn_on_the_same_splits_and_strength(model, python_tokens):
    data = python_tokens
    rows = probe(model, data, sites=("resid_post", "mlp_out"), kinds=("logistic",))
    chosen = rows.tables["probes"]
    for site, layer in (("resid_post", 0), ("resid_post", 2), ("mlp_out", 1)):
        (strength,) = (
            chosen["strength"][i]
            for i in range(len(chosen["site"]))
            if (chosen["site"][i], chosen["layer"][i], chosen["control"][i]) == (site, layer, None)
        )
        x = activations(model, data, f"blocks.{layer}.hook_{site}")
        train, test = data.split("train"), data.split("test")
        x = (x - x[train].mean(0)) / x[train].std(0)
        theirs = LogisticRegression(C=1 / (strength * data.sizes[0]), max_iter=2000, tol=1e-6)
        theirs.fit(x[train], data.labels[train])
        accuracy = value(rows, "accuracy", "logistic", site, layer)
        assert accuracy == pytest.approx(theirs.score(x[test], data.labels[test]), abs=0.005)
        predicted = theirs.predict(x[test])
        assert value(rows, "macro_f1", "logistic", site, layer) == pytest.approx(
            f1_score(data.labels[test], predicted, average="macro"), abs=0.01
        )
        row = row_of(rows, "accuracy", "logistic", site, layer)
        assert row.low < accuracy < row.high
        majority = value(rows, "majority", None, None, None)
        assert value(rows, "excess", "logistic", site, layer) == pytest.approx(accuracy - majority)
        control = value(rows, "accuracy", "logistic", site, layer, control="control_task")
        assert value(rows, "selectivity", "logistic", site, layer) == pytest.approx(
            accuracy - control
        )


def test_items_are_documents_whose_weighted_mean_is_the_value(model, python_tokens):
    rows = probe(model, python_tokens, sites=("resid_post",), kinds=("logistic",))
    for metric in ("accuracy", "cross_entropy"):
        for control in (None, "control_task"):
            row = row_of(rows, metric, "logistic", "resid_post", 1, control=control)
            items = [item for item in rows.items if item.key == row.key]
            assert row.clusters == len(items)
            assert sum(item.n for item in items) == row.n == python_tokens.sizes[2]
            mean = np.average([item.value for item in items], weights=[item.n for item in items])
            assert row.value == pytest.approx(mean, abs=1e-6)


def test_every_defined_value_has_its_interval_and_every_probe_its_strength(model, python_tokens):
    rows = probe(model, python_tokens, sites=("resid_post",), kinds=("k_sparse",))
    for row in rows.metrics:
        assert row.low <= row.value <= row.high, row
        assert row.low < row.high, row
    chosen = rows.tables["probes"]
    problems = list(zip(chosen["layer"], chosen["control"], chosen["draw"], strict=True))
    of_layer = [(None, None), *(("control_task", draw) for draw in range(2))]
    assert problems == [(layer, *problem) for layer in range(3) for problem in of_layer]
    features = rows.tables["features"]
    assert features["rank"] == [*range(16)] * 3


def noise(tmp_path, per_type):
    """Random letters, each with a random one of three labels: drawn for each token, or for each
    letter.
    """
    rng = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    of_letter = dict(
        zip(letters, rng.choice(list("xyz"), size=len(letters), p=(0.5, 0.3, 0.2)), strict=True)
    )
    rows = []
    for _ in range(60):
        text = "".join(rng.choice(letters, size=100))
        drawn = rng.choice(list("xyz"), size=100, p=(0.5, 0.3, 0.2))
        labels = [of_letter[letter] for letter in text] if per_type else drawn
        rows.append(
            {"text": text, "spans": [[i, i + 1, str(label)] for i, label in enumerate(labels)]}
        )
    path = tmp_path / "noise.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return LabelledTokens(task=str(path), n=5000).bind(VOCABULARY, seed=0)


def interval(rows, metric, site, layer):
    row = row_of(rows, metric, "logistic", site, layer)
    return [row.low, row.high]


def test_labels_that_are_noise_per_token_are_not_found_and_control_tasks_are(model, tmp_path):
    rows = probe(
        model,
        noise(tmp_path, per_type=False),
        sites=("resid_pre", "resid_post"),
        kinds=("logistic",),
    )
    low, high = interval(rows, "excess", "resid_pre", 0)
    assert low - 0.01 <= 0 <= high + 0.01
    assert max(interval(rows, "selectivity", "resid_pre", 0)) < -0.1


def test_labels_that_are_noise_per_type_are_learnt_by_heart(model, tmp_path):
    rows = probe(
        model,
        noise(tmp_path, per_type=True),
        sites=("resid_pre", "resid_post"),
        kinds=("logistic",),
    )
    low, high = interval(rows, "selectivity", "resid_pre", 0)
    assert low <= 0 <= high
    assert min(interval(rows, "excess", "resid_pre", 0)) > 0.1


@pytest.mark.parametrize("kind", ["logistic", "mean_difference", "k_sparse"])
def test_a_planted_feature_is_found_where_it_was_planted_and_not_before(model, tmp_path, kind):
    data = noise(tmp_path, per_type=False)
    ((group, place),) = data.places.items()
    planted = torch.zeros(*data.groups[group].shape, 3)
    planted[place.rows, place.positions] = torch.eye(3)[data.labels[place.numbers]]
    directions = torch.randn(3, model.cfg.d_model, generator=torch.Generator().manual_seed(0))
    size = TOKENS // data.groups[group].shape[1]
    batches = [0]

    def plant(out, hook):
        start = batches[0] * size
        batches[0] += 1
        return out + 20 * planted[start : start + len(out)] @ directions

    model.add_hook("blocks.1.hook_mlp_out", plant, is_permanent=True)
    try:
        rows = probe(model, data, kinds=(kind,))
    finally:
        model.reset_hooks(including_permanent=True)
    for site, layer in (
        ("resid_pre", 0),
        ("resid_post", 0),
        ("mlp_out", 0),
        ("resid_pre", 1),
        ("attn_out", 1),
    ):
        assert value(rows, "excess", kind, site, layer) < 0.05, (site, layer)
    for site, layer in (("mlp_out", 1), ("resid_post", 1), ("resid_pre", 2)):
        assert value(rows, "excess", kind, site, layer) > 0.3, (site, layer)


TOKENS = 4096


@pytest.mark.slow
def test_what_the_buffer_holds_changes_no_number(model, python_tokens):
    one = 4 * model.cfg.d_model * len(python_tokens.labels)
    whole = probe(model, python_tokens)
    kept = 4 * model.cfg.d_model * sum(tokens.size for tokens in python_tokens.groups.values())
    pieces = probe(model, python_tokens, buffer=4 * one + kept)
    assert [row.key for row in pieces.metrics] == [row.key for row in whole.metrics]
    for ours, theirs in zip(pieces.metrics, whole.metrics, strict=True):
        assert ours == theirs
    with pytest.raises(DataError, match="the activations of one layer take"):
        probe(model, python_tokens, buffer=one)


def test_the_stream_before_a_layer_is_that_after_the_one_below(model, python_tokens):
    both = probe(model, python_tokens, kinds=("logistic",))
    alone = probe(model, python_tokens, kinds=("logistic",), sites=("resid_pre",))
    for layer in range(3):
        accuracy = value(alone, "accuracy", "logistic", "resid_pre", layer)
        assert accuracy == value(both, "accuracy", "logistic", "resid_pre", layer)
        if layer:
            assert accuracy == value(both, "accuracy", "logistic", "resid_post", layer - 1)


def test_a_parallel_model_has_no_stream_between_attention_and_mlp(model, python_tokens, tmp_path):
    assert "resid_mid" not in {
        row.key.component for row in probe(model, python_tokens, kinds=("k_sparse",)).metrics
    }
    root = publish_suite(tmp_path / "sequential", steps=(0,), use_parallel_residual=False)
    (ckpt,) = pt.checkpoints(root, steps="0", device="cpu")
    rows = probe(ckpt.model, python_tokens, kinds=("k_sparse",), sites=ALL)
    assert {row.key.component for row in rows.metrics} == {None, *ALL}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": "logistc"}, "'logistc'"),
        ({"sites": "resid"}, "'resid'"),
        ({"strengths": "0"}, "greater than 0"),
        ({"controls": 1}, "greater than or equal to 2"),
    ],
)
def test_a_wrong_parameter_is_refused_when_the_request_is_read(suite, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        pt.SweepConfig(
            model=str(suite), steps="0", experiments={"linear_probe": settings}, out=tmp_path
        )


def test_too_few_resamples_for_an_error_are_said(model, python_tokens):
    rows = probe(
        model, python_tokens, sites=("resid_post",), kinds=("mean_difference",), resamples=1
    ).metrics
    measured = [row for row in rows if row.value is not None and row.clusters is not None]
    assert measured
    for row in measured:
        assert (row.stderr, row.low, row.high) == (None, None, None)
        assert row.reason == "no standard error: fewer than 2 resamples are defined"
