"""N-gram models: probabilities by hand, normalised over the vocabulary, and samples that follow
them.
"""

import json

import numpy as np
import pytest

from pythia_traj.data import text as text_module
from pythia_traj.data.cutting import spaced
from pythia_traj.data.ngrams import ORDERS, NGramCounts, NGramText
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary
from tests.support import byte_tokenizer

VOCABULARY = Vocabulary(d_vocab=310, n_ctx=128, tokenizer=byte_tokenizer())
SIZE = 280


def dense(counts, order, contexts):
    """The distributions of an order, from the lowest up [context, size]."""
    found = np.repeat(counts.unigram[None].astype(np.float64), len(contexts), 0)
    for k in range(2, order + 1):
        rows = counts.rows(k, contexts)
        found = found * rows.below[:, None]
        np.add.at(found, (rows.context, rows.token), rows.mass)
    return found


@pytest.fixture(scope="module")
def data():
    return NGramText(n=6, length=32, null_n=3, positions=10, sampled=24, train_tokens=100_000).bind(
        VOCABULARY, seed=0
    )


def test_probabilities_by_hand():
    counts = NGramCounts([np.array([0, 1, 0, 1, 2]), np.array([1, 1, 3])], size=5)
    # Eight tokens of four types, and as many shares of the uniform distribution as types.
    unigram = (np.array([2, 4, 1, 1, 0]) + 4 / 5) / 12
    np.testing.assert_allclose(counts.unigram, unigram, rtol=1e-6)
    # After 1: 0, 2, 1, 3, once each.
    bigram = (np.array([1, 1, 1, 1, 0]) + 4 * unigram) / 8
    np.testing.assert_allclose(dense(counts, 2, np.array([[1]]))[0], bigram, rtol=1e-6)
    # After 0, 1: 0 and 2; after 2, 1, which never occurs, what follows 1.
    trigram = dense(counts, 3, np.array([[0, 1], [2, 1]]))
    np.testing.assert_allclose(trigram[0], (np.array([1, 0, 1, 0, 0]) + 2 * bigram) / 4, rtol=1e-6)
    np.testing.assert_allclose(trigram[1], bigram, rtol=1e-6)
    # 2 ends a document: nothing follows it.
    np.testing.assert_allclose(dense(counts, 2, np.array([[2]]))[0], unigram, rtol=1e-6)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_every_distribution_sums_to_one_over_the_tokenizers_entries(data, order):
    ids = data.groups["text"]
    contexts = np.stack([ids[:, :-1], ids[:, 1:]], -1).reshape(-1, 2)
    unseen = np.random.default_rng(0).integers(0, SIZE, (50, 2))
    found = dense(data.counts, order, np.concatenate([contexts, unseen]))
    assert found.shape[1] == SIZE == data.facts["vocabulary_entries"]
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    assert (found > 0).all()


@pytest.mark.parametrize("order", [1, 2, 3])
def test_samples_follow_their_model(order):
    counts = NGramCounts([np.array([0, 1, 0, 1, 2, 0, 0, 1]), np.array([1, 1, 3, 2])], size=4)
    sampled = counts.sample(order, 40_000, 3, np.random.default_rng(0))
    for context in ([0, 1], [1, 1], [2, 0]):
        after = sampled[(sampled[:, :2] == context).all(1), 2]
        shares = np.bincount(after, minlength=4) / len(after)
        expected = dense(counts, order, np.array([context]))[0]
        np.testing.assert_allclose(shares, expected, atol=4 * (0.25 / len(after)) ** 0.5)


def test_groups_hold_text_and_samples_with_their_nulls(data):
    assert set(data.groups) == {
        name + null for name in ("text", *ORDERS) for null in ("", "/shuffled")
    }
    for name in ("text", *ORDERS):
        group, shuffled = data.groups[name], data.groups[f"{name}/shuffled"]
        assert group.shape == (6, 32 if name == "text" else 24)
        assert group.max() < SIZE
        assert (np.sort(shuffled) == np.sort(group[spaced(6, 3)])).all()
    for name, at in data.positions.items():
        assert at.shape == (len(data.groups[name]), 10 if name.startswith("text") else 23)
        # Text is read where two tokens are known and one follows.
        assert at.min() >= (1 if name.startswith("text") else 0)
        assert at.max() <= data.groups[name].shape[1] - 2
        assert (np.diff(at) > 0).all()
    again = NGramText(
        n=6, length=32, null_n=3, positions=10, sampled=24, train_tokens=100_000
    ).bind(VOCABULARY, seed=0)
    other = NGramText(
        n=6, length=32, null_n=3, positions=10, sampled=24, train_tokens=100_000
    ).bind(VOCABULARY, seed=1)
    for name, group in data.groups.items():
        assert (group == again.groups[name]).all()
        assert (group != other.groups[name]).any()


def test_n_grams_and_text_come_from_disjoint_documents(tmp_path):
    texts = [f"def f{i}(): return {i}\n" * 20 for i in range(60)]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts + texts[:5]))
    train, heldout = (set(part(str(path))) for part in (text_module.training, text_module.heldout))
    assert not train & heldout
    assert train | heldout == set(texts)
    data = NGramText(n=2, length=16, null_n=1, corpus=str(path)).bind(VOCABULARY, seed=0)
    measured = VOCABULARY.tokenizer.decode(data.groups["text"][0].tolist())
    assert any(measured in text for text in heldout)
    assert not any(measured in text for text in train)
    assert not set(text_module.training("stdlib")) & set(text_module.heldout("stdlib"))


def test_a_source_that_cannot_be_split_is_refused(tmp_path):
    path = tmp_path / "one.txt"
    for text, message in (
        ("def one(): pass\n", "one in ten is measured and the others are not, holds 0 sequences"),
        # The hash of this one puts it among the tenth.
        ("def f0(): pass\n", "no document of 3 tokens"),
    ):
        path.write_text(text * 50)
        with pytest.raises(DataError, match=message):
            NGramText(n=1, length=16, corpus=str(path)).bind(VOCABULARY, seed=0)
    with pytest.raises(DataError, match="hold no trigram: set length to at least 3"):
        NGramText(length=2).bind(VOCABULARY, seed=0)
    with pytest.raises(DataError, match="predict nothing: set sampled to at least 3"):
        NGramText(length=16, sampled=2, bos=True).bind(VOCABULARY, seed=0)
    with pytest.raises(
        DataError,
        match="a sample needs a context of 129 tokens, the model has 128: set sampled to at most",
    ):
        NGramText(length=16, sampled=129).bind(VOCABULARY, seed=0)


def test_bos_stands_in_front_and_is_never_sampled():
    data = NGramText(n=2, length=16, null_n=1, sampled=16, train_tokens=20_000, bos=True).bind(
        VOCABULARY, seed=0
    )
    for group in data.groups.values():
        assert group.shape[1] == 16
        assert (group[:, 0] == VOCABULARY.bos_token_id).all()


def test_the_spec_names_both_parts_of_the_corpus():
    spec = NGramText().spec(seed=3)
    assert len({spec["sha256"], spec["train_sha256"]}) == 2
    assert spec["smoothing"] == "witten-bell"
