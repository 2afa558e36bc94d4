"""Random tokens that repeat."""

import numpy as np
import pytest

from pythia_traj.data.repeated import RepeatedTokens
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary

VOCABULARY = Vocabulary(d_vocab=1000, n_ctx=256, bos_token_id=7)


def test_the_second_half_is_the_first_and_the_null_holds_the_same_types():
    groups = RepeatedTokens(n=5, length=50).bind(VOCABULARY, seed=0).groups
    tokens, shuffled = groups["two_halves"], groups["two_halves/shuffled"]
    assert tokens.shape == (5, 100)
    assert (tokens[:, :50] == tokens[:, 50:]).all()
    assert (shuffled[:, :50] == tokens[:, :50]).all()
    assert (np.sort(shuffled[:, 50:]) == np.sort(tokens[:, 50:])).all()
    assert not (shuffled == tokens).all()


def test_ids_are_uniform_over_the_whole_embedding():
    tokens = RepeatedTokens(n=2000, length=50).bind(VOCABULARY, seed=0).groups["two_halves"][:, :50]
    assert tokens.min() == 0
    assert tokens.max() == 999
    counts = np.bincount(tokens.ravel(), minlength=1000)
    assert abs(counts.mean() - 100) < 1e-9
    assert counts.std() < 15


def test_olssons_layout_has_bos_four_copies_and_no_extreme_types():
    tokens = RepeatedTokens(n=200).bind(VOCABULARY, seed=0).groups["olsson"]
    assert tokens.shape == (200, 101)
    assert (tokens[:, 0] == 7).all()
    copies = tokens[:, 1:].reshape(200, 4, 25)
    assert (copies == copies[:, :1]).all()
    assert tokens[:, 1:].min() >= 40
    assert tokens[:, 1:].max() < 960


def test_bos_stands_before_the_halves_where_it_is_asked_for():
    data = RepeatedTokens(n=3, length=1, bos=True).bind(VOCABULARY, seed=0)
    tokens = data.groups["two_halves"]
    assert tokens.shape == (3, 3)
    assert (tokens[:, 0] == 7).all()
    assert (tokens[:, 1] == tokens[:, 2]).all()


def test_a_seed_gives_the_same_tokens_and_another_seed_others():
    first, again, other = (
        RepeatedTokens().bind(VOCABULARY, seed=seed).groups["two_halves"] for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_what_does_not_fit_is_refused_or_left_out():
    short = Vocabulary(d_vocab=1000, n_ctx=64)
    assert set(RepeatedTokens(length=25).bind(short, seed=0).groups) == {
        "two_halves",
        "two_halves/shuffled",
    }
    with pytest.raises(
        DataError,
        match=(
            "a sequence of two halves of 50 tokens needs a context of 100 tokens, the model has 64:"
            " set length to at most 32$"
        ),
    ):
        RepeatedTokens(length=50).bind(short, seed=0)
