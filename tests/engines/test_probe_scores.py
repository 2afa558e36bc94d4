"""Scores of predictions, and their bootstrap, against plain loops over resampled documents."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from pythia_traj.engines.probe_scores import Documents
from pythia_traj.engines.streams import stream

NUMBERS = np.array([7, 2, 2, 7, 7, 9, 2, 11, 9, 11, 11, 11])
"""The documents of twelve tokens, numbered as they come."""

RESAMPLES = 40


@pytest.fixture(scope="module")
def drawn():
    """Which tokens each resample holds; the first holds all of them once."""
    rng = stream(0, "bootstrap of documents")
    counts = rng.multinomial(4, np.full(4, 1 / 4), size=RESAMPLES)
    members = [np.flatnonzero(number == NUMBERS) for number in (2, 7, 9, 11)]
    resampled = [
        np.concatenate([np.repeat(ids, n) for ids, n in zip(members, row, strict=True)])
        for row in counts
    ]
    return [np.arange(len(NUMBERS)), *resampled]


@pytest.fixture(scope="module")
def tokens():
    rng = np.random.default_rng(1)
    return {
        "values": rng.normal(size=12),
        "predicted": rng.integers(0, 3, 12),
        "labels": rng.integers(0, 3, 12),
    }


def test_documents_are_counted_and_averaged_over(tokens):
    documents = Documents(NUMBERS, RESAMPLES)
    assert documents.n == 4
    assert documents.tokens.tolist() == [3, 3, 2, 4]
    expected = [tokens["values"][number == NUMBERS].mean() for number in (2, 7, 9, 11)]
    assert documents.means(tokens["values"]) == pytest.approx(expected)


def test_a_share_is_the_mean_over_the_tokens_of_the_drawn_documents(drawn, tokens):
    found = Documents(NUMBERS, RESAMPLES).share(tokens["values"])
    assert found == pytest.approx([tokens["values"][ids].mean() for ids in drawn])
    assert found[1:].std() > 0


def test_a_share_among_some_is_not_defined_where_none_of_them_is_drawn(drawn, tokens):
    among = NUMBERS == 9
    found = Documents(NUMBERS, RESAMPLES).share(tokens["values"], among)
    for value, ids in zip(found, drawn, strict=True):
        counted = ids[among[ids]]
        if len(counted):
            assert value == pytest.approx(tokens["values"][counted].mean())
        else:
            assert np.isnan(value)
    assert 0 < np.isnan(found).sum() < RESAMPLES


def test_macro_f1_is_scikit_learns(drawn, tokens):
    predicted, labels = tokens["predicted"], tokens["labels"]
    found = Documents(NUMBERS, RESAMPLES).macro_f1(predicted, labels, 5)
    expected = [f1_score(labels[ids], predicted[ids], average="macro") for ids in drawn]
    assert found == pytest.approx(expected)
