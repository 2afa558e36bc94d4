"""What experiments keep of items says which of them are not independent."""

import json

import numpy as np
import pytest
from tokenizers import AddedToken

import pythia_traj as pt
from pythia_traj.data.tasks import agreement
from pythia_traj.suites.local import LocalModel
from pythia_traj.sweeps.datasets import Datasets
from tests.support import byte_tokenizer, publish_suite

STEPS = (0, 1, 2, 4, 8, 16, 32, 64)

WORDS = [
    *(f" {noun}" for pair in agreement.NOUNS for noun in pair),
    *(verb for pair in agreement.VERBS for verb in pair),
]

NAMES = 12


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """Random checkpoints whose tokenizer has the nouns and verbs of agreement as single tokens."""
    root = publish_suite(tmp_path_factory.mktemp("agreement"), STEPS, vocab_size=400)
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in WORDS])
    for step in STEPS:
        tokenizer.save(str(root / f"step{step}" / "tokenizer.json"))
    return root


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A task of 24 rows, two of each name."""
    path = tmp_path_factory.mktemp("own") / "names.jsonl"
    rows = [
        {
            "clean": [10 + i, 50 + i // NAMES, 70],
            "corrupted": [10 + i, 60 + i // NAMES, 70],
            "answer": 100 + i,
            "wrong": 200 + i,
            "cluster": f"name {i % NAMES}",
        }
        for i in range(2 * NAMES)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """Three documents."""
    path = tmp_path_factory.mktemp("text") / "documents.jsonl"
    path.write_text("".join(json.dumps({"text": f"{one} " * 300}) + "\n" for one in "abc"))
    return path


@pytest.fixture(scope="module")
def requests(suite, own, documents, tmp_path_factory):
    """Two for one run: all steps of tasks, and more at the last."""
    out = tmp_path_factory.mktemp("run") / "run"
    tasks = {
        "agreement": {"use": "behaviour", "task": "agreement", "n": 40},
        "names": {"use": "behaviour", "task": str(own)},
    }
    more = {
        "patching": {"task": str(own), "components": ["head", "mlp"]},
        "attribution": {"task": str(own), "sizes": [20], "circuit": 20, "controls": 2, "points": 1},
        "loss": {"corpus": str(documents), "n": 9, "length": 16, "null_n": 3},
        "induction": {"length": 10, "n": 8},
    }
    return [
        pt.SweepConfig(model=str(suite), steps=steps, experiments=labels, out=out, device="cpu")
        for steps, labels in (("all", tasks), (str(STEPS[-1]), more))
    ]


@pytest.fixture(scope="module")
def run(requests):
    for request in requests:
        assert not pt.sweep(request).failed
    return requests[0].out


def kept(run, **where):
    """The clusters of each metric's items at the last step, None where they have none."""
    items = pt.load(run, table="items", step=STEPS[-1], **where)
    keys = ["metric", "variant", "control", "component", "layer", "head", "part"]
    return [
        None if of_one.cluster.isna().all() else of_one.sort_values("item").cluster.tolist()
        for _, of_one in items.groupby(keys, dropna=False, observed=True)
    ]


def by_appearance(cluster):
    return [list(dict.fromkeys(cluster)).index(one) for one in cluster]


def test_items_of_agreement_share_nouns(run, requests, suite):
    data = Datasets(requests[0], LocalModel.open(suite).checkpoint(0)).get("agreement")
    cluster = np.concatenate([batch.cluster for batch in data.batches])
    item = np.concatenate([batch.item for batch in data.batches])
    expected = by_appearance(cluster[np.argsort(item)].tolist())
    assert set(np.bincount(expected)) == {2}
    found = kept(run, label="agreement", controls=True)
    assert len(found) > 3
    assert found == [expected] * len(found)
    rows = pt.load(run, label="agreement", part=None, step=0)
    assert (set(rows.n), set(rows.clusters)) == ({40}, {20})


def test_items_of_a_task_of_ones_own_share_what_its_file_says(run):
    found = kept(run, label="names", controls=True)
    assert found == [[*range(NAMES)] * 2] * len(found)


def test_heads_are_kept_in_blocks_and_other_components_by_item(run):
    assert set(map(str, kept(run, label="patching", component="head"))) == {"None"}
    found = kept(run, label="patching", component=[None, "mlp"])
    assert found == [[*range(NAMES)] * 2] * len(found)
    assert len(found) > 2


def test_circuits_of_random_edges_have_the_clusters_of_the_real_one(run):
    """Of evaluation: half of the names, two items of each."""
    circuit = {"label": "attribution", "metric": "logit_diff", "size": 20}
    real, random = (kept(run, **circuit, control=control) for control in (None, "random"))
    assert real == random == [[*range(NAMES // 2)] * 2]


def test_text_of_few_documents_shares_them_also_in_ratios(run, requests, suite):
    design = Datasets(requests[1], LocalModel.open(suite).checkpoint(0)).get("loss").designs["text"]
    expected = by_appearance(design.cluster.tolist())
    assert sorted(np.bincount(expected)) == [3, 3, 3]
    found = kept(run, label="loss", metric=["nll", "bits_per_byte"])
    assert found
    assert found == [expected] * len(found)


def test_sequences_of_random_tokens_have_none(run):
    assert set(map(str, kept(run, label="induction", controls=True))) == {"None"}


@pytest.mark.parametrize("label", ["agreement", "names"])
def test_onsets_of_a_run_count_its_clusters(run, label):
    rows = pt.load(run, label=label, metric="logit_diff", part=None)
    items = pt.load(run, table="items", label=label)
    found = pt.onset(rows, items).iloc[0]
    assert found.n == rows.n.iloc[0]
    assert found.clusters == rows.clusters.iloc[0] < found.n
    assert "clusters_unknown" not in found["flags"]
    bare = pt.onset(rows, items.drop(columns="cluster")).iloc[0]
    assert bare.clusters == bare.n
    assert bare.unknown_clusters == found.clusters
    assert "clusters_unknown" in bare["flags"]
