"""Rows of a control that was drawn several times, and of the place of a measurement among them;
which items are not independent.
"""

import numpy as np
import pytest
import torch

from pythia_traj.engines.means import Design
from pythia_traj.values import ItemValues, Key, Rows

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


PAIRS = Design.of(np.array([7, 3, 7, 3, 9]))
"""Two pairs and one alone."""


def clusters(rows):
    return [item.cluster for item in rows.items]


def test_items_have_the_number_of_their_cluster_in_order_of_appearance():
    rows = Rows()
    rows.add_items(KEY, np.arange(5.0), PAIRS)
    assert clusters(rows) == [0, 1, 0, 1, 2]
    assert rows.metrics[0].clusters == 3


def test_items_that_are_independent_have_no_cluster():
    rows = Rows()
    rows.add_items(KEY, np.arange(4.0))
    rows.add_items(KEY, np.arange(4.0), Design.independent(4))
    templates = Design.of(np.array([5, 2, 8, 1]), ["a", "a", "b", "b"])
    rows.add_items(KEY, np.arange(4.0), templates)
    assert clusters(rows) == [None] * 12


def test_blocks_have_no_cluster_because_they_divide_none():
    rows = Rows()
    rows.add_items(KEY, np.arange(5.0), PAIRS, blocks=3)
    assert [(item.n, item.cluster) for item in rows.items] == [(2, None), (2, None), (1, None)]


def test_items_of_draws_are_in_the_clusters_of_what_they_stand_beside():
    rows = Rows()
    rows.add_draws(KEY, np.ones((2, 5)), PAIRS)
    assert clusters(rows) == [0, 1, 0, 1, 2]


def test_items_of_batches_are_in_the_clusters_of_all_of_them():
    """Means and ratios; the second batch has items of the first's clusters."""
    cluster, found = np.array([4, 4, 1, 4, 1, 0]), ItemValues()
    for batch in (slice(0, 3), slice(3, 6)):
        values = ItemValues()
        values.add(Key("mean"), torch.ones(3))
        values.add(Key("heads", component="head", layer=0), torch.ones(3, 2), axes=("head",))
        values.add_ratio(Key("ratio"), torch.ones(3), torch.ones(3), "ones")
        values.belong_together(Design.of(cluster[batch]))
        found.extend(values)
    rows = found.rows(keep_items=True)
    of_metric = {
        metric: [item.cluster for item in rows.items if item.key.metric == metric]
        for metric in ("mean", "ratio", "heads")
    }
    assert of_metric["mean"] == of_metric["ratio"] == [0, 0, 1, 0, 1, 2]
    assert of_metric["heads"] == [None] * 6
