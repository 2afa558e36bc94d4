"""Copies of a text stand on one side of the split, as one document: what a probe knows by heart of
them is no finding.
"""

import json

import numpy as np
import pytest
from tokenizers import normalizers

import pythia_traj as pt
from pythia_traj.data.labelled import LabelledTokens
from pythia_traj.discovery import find
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary
from tests.support import byte_tokenizer, n_documents, publish_suite

VOCABULARY = Vocabulary(300, 128, byte_tokenizer())
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def rows(texts=24, length=60):
    """Random letters, each with a label that is a matter of chance."""
    rng = np.random.default_rng(0)
    drawn = [
        ("".join(rng.choice(list(LETTERS), length)), rng.choice(list("xy"), length).tolist())
        for _ in range(texts)
    ]
    return [
        {"text": text, "spans": [[i, i + 1, label] for i, label in enumerate(labels)]}
        for text, labels in drawn
    ]


def labelled(path, content, vocabulary=VOCABULARY, n=5000, **parameters):
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return LabelledTokens(task=str(path), n=n, **parameters).bind(vocabulary, seed=0)


def texts_of_splits(data):
    """The texts in which tokens of each split stand."""
    group_of = {
        number: (name, row)
        for name, p in data.places.items()
        for number, row in zip(p.numbers, p.rows, strict=True)
    }
    texts = {}
    for split in ("train", "validation", "test"):
        where = {group_of[number] for number in range(len(data.labels))[data.split(split)]}
        texts[split] = {data.groups[name][row].tobytes() for name, row in where}
    return texts


def test_chance_labels_stay_at_chance_whatever_the_copies(tmp_path):
    root = publish_suite(tmp_path / "wide", steps=(0,), num_hidden_layers=1, hidden_size=192)
    (ckpt,) = pt.checkpoints(root, steps="0", device="cpu")
    data = labelled(tmp_path / "own.jsonl", rows() * 6)
    found = find("linear_probe")(
        ckpt.model,
        data,
        sites=("resid_post",),
        kinds=("logistic",),
        strengths=(0.001,),
        resamples=50,
    )
    (accuracy,) = (
        row.value
        for row in found.metrics
        if (row.key.metric, row.key.variant, row.key.control) == ("accuracy", "logistic", None)
    )
    assert 0.4 < accuracy < 0.6


@pytest.mark.parametrize("order", ["in turn", "together", "shuffled"])
def test_no_text_is_in_two_splits(tmp_path, order):
    content = rows() * 6
    if order == "together":
        content = [row for row in rows() for _ in range(6)]
    elif order == "shuffled":
        content = [content[i] for i in np.random.default_rng(0).permutation(len(content))]
    data = labelled(tmp_path / "own.jsonl", content)
    texts = texts_of_splits(data)
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]
    assert n_documents(data) == 24
    assert data.facts["copies"] == 5 * 24


def test_without_copies_nothing_changes(tmp_path):
    """The digest of a draw with this stream of random numbers, before copies were looked for."""
    data = labelled(tmp_path / "own.jsonl", rows(), n=700)
    assert data.facts["copies"] == 0
    assert data.facts["sha256"] == WITHOUT_COPIES
    assert data.facts["documents"] == {"train": 8, "validation": 2, "test": 2}


WITHOUT_COPIES = "bfabd999a16168756b6477011bb77aa9e95f8ab53390c3e6e9c926abbb588576"


def test_copies_that_differ_in_their_labels_alone_are_copies(tmp_path):
    content = rows()
    others = [{**row, "spans": [[a, b, "z"] for a, b, _ in row["spans"]]} for row in content]
    data = labelled(tmp_path / "own.jsonl", content + others)
    assert n_documents(data) == 24


def test_texts_that_the_tokenizer_reads_alike_are_copies(tmp_path):
    tokenizer = byte_tokenizer()
    tokenizer.normalizer = normalizers.Lowercase()
    content = [*rows(), *({**row, "text": row["text"].upper()} for row in rows())]
    assert n_documents(labelled(tmp_path / "own.jsonl", content)) == 48
    assert (
        n_documents(labelled(tmp_path / "own.jsonl", content, Vocabulary(300, 128, tokenizer)))
        == 24
    )


def test_documents_are_copies_where_all_their_rows_are(tmp_path):
    content = [{**row, "document": i // 3} for i, row in enumerate(rows())]
    copies = [{**row, "document": f"again {row['document']}"} for row in content]
    other = [{**row, "document": f"other {row['document']}"} for row in content if row["document"]][
        1:
    ]
    data = labelled(tmp_path / "own.jsonl", content + copies + other)
    assert n_documents(data) == 9
    assert data.facts["copies"] == 8 + 6


def test_documents_of_a_source_are_compared_too(tmp_path):
    corpus = tmp_path / "code.jsonl"
    texts = [f"def f{i}(x):\n    return x + {i}\n" for i in range(12)]
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts * 4))
    data = LabelledTokens(task="python_class", corpus=str(corpus), n=5000).bind(VOCABULARY, seed=0)
    assert n_documents(data) == 12
    texts = texts_of_splits(data)
    assert not texts["train"] & texts["test"]


def test_too_few_documents_are_refused_with_their_copies_counted(tmp_path):
    with pytest.raises(
        DataError, match=r"labels in 3 documents; .* 4 at least: .* \(9 more are copies\)"
    ):
        labelled(tmp_path / "own.jsonl", rows(3) * 4)
