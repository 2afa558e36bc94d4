"""Rows of a control that was drawn several times, and of the place of a measurement among them."""

import numpy as np
import pytest

from pythia_traj.values import Key, Rows

KEY = Key("effect", "mean", "head", 1, 2, control="matched")


def test_draws_are_a_mean_with_their_number_and_a_spread_of_its_own():
    rows = Rows()
    rows.add_draws(KEY, [1.0, 2.0, 6.0])
    mean, spread = rows.metrics
    assert (mean.key, mean.value, mean.n, mean.stderr) == (KEY, 3.0, 3, None)
    assert (spread.key.metric, spread.n) == ("effect_sd", 3)
    assert spread.key.control == "matched"
    assert spread.value == pytest.approx(np.std([1, 2, 6], ddof=1))
    assert rows.items == []


def test_one_draw_has_no_spread():
    rows = Rows()
    rows.add_draws(KEY, [4.0])
    (only,) = rows.metrics
    assert (only.value, only.n) == (4.0, 1)


def test_items_of_draws_are_kept_as_their_means():
    rows = Rows()
    rows.add_draws(KEY, np.array([[1.0, 2.0], [3.0, 6.0]]))
    mean, spread = rows.metrics
    assert mean.value == 3.0
    assert spread.value == pytest.approx(np.std([1.5, 4.5], ddof=1))
    assert [(item.item, item.n, item.value) for item in rows.items] == [(0, 1, 2.0), (1, 1, 4.0)]


def test_a_rank_counts_from_1_among_the_draws_and_the_measurement():
    rows = Rows()
    rows.add_rank(Key("effect", "mean"), 2, 5)
    (rank,) = rows.metrics
    assert (rank.key.metric, rank.value, rank.n) == ("effect_rank", 3, 6)
