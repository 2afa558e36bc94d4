"""Means with standard errors by clusters and strata, and intervals that cover what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pythia_traj.engines.means import FEWEST_CLUSTERS, Design, mean, standard_error


def left_out(values, design):
    """The jackknife of one stratum, cluster by cluster, from the means that are left."""
    names = np.unique(design.cluster)
    means = np.array([values[design.cluster != name].mean() for name in names])
    return float(np.sqrt((len(names) - 1) / len(names) * ((means - values.mean()) ** 2).sum()))


@settings(deadline=None)
@given(st.lists(st.integers(0, 7), min_size=2, max_size=40), st.integers(0, 2**31))
def test_in_one_stratum_it_is_the_jackknife_that_leaves_out_clusters(cluster, seed):
    values = np.random.default_rng(seed).normal(size=len(cluster))
    design = Design.of(np.array(cluster))
    if design.n_clusters < 2:
        assert standard_error(values, design) is None
        return
    assert standard_error(values, design) == pytest.approx(left_out(values, design), rel=1e-9)


def test_independent_items_have_the_usual_error_to_the_bit():
    values = np.random.default_rng(0).normal(size=50)
    usual = float(values.std(ddof=1)) / 50**0.5
    for design in (None, Design.independent(50), Design.of(np.arange(50)[::-1])):
        assert standard_error(values, design) == usual
    found = mean(values)
    assert (found.value, found.stderr, found.n, found.clusters) == (values.mean(), usual, 50, 50)
    low, high = stats.t.interval(0.95, 49, values.mean(), usual)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_of_equal_strata_it_is_the_error_of_a_stratified_mean():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(10, 8)) + 5 * rng.normal(size=(10, 1))
    design = Design.of(np.arange(80), np.repeat(list("abcdefghij"), 8))
    expected = np.sqrt((values.var(1, ddof=1) / 8).sum()) / 10
    assert standard_error(values.ravel(), design) == pytest.approx(expected)
    # As one stratum the differences of templates count, which no draw has changed.
    assert standard_error(values.ravel()) > 3 * expected


def test_a_cluster_that_is_in_every_stratum_counts_once():
    """The singular and the plural of a noun: what they share does not average out."""
    rng = np.random.default_rng(0)
    nouns = rng.normal(size=30)
    values = np.stack([nouns + 3, nouns - 3], 1).ravel()
    design = Design.of(np.repeat(np.arange(30), 2), np.tile([0, 1], 30))
    assert standard_error(values, design) == pytest.approx(nouns.std(ddof=1) / 30**0.5)


def test_strata_of_one_cluster_each_are_put_together():
    rng = np.random.default_rng(0)
    values = rng.normal(size=12)
    alone = Design.of(np.arange(12), np.arange(12))
    assert standard_error(values, alone) == pytest.approx(values.std(ddof=1) / 12**0.5)
    for stratum in ("aaaaaaaaaaab", "baaaaaaaaaaa", "abcccccccccc"):
        assert np.isfinite(standard_error(values, Design.of(np.arange(12), list(stratum))))


@pytest.mark.parametrize("clusters", range(1, FEWEST_CLUSTERS + 2))
def test_fewer_than_six_clusters_have_no_error_and_say_so(clusters):
    values = np.arange(4.0 * clusters)
    found = mean(values, Design.of(np.arange(4 * clusters) % clusters))
    assert found.value == values.mean()
    assert (found.n, found.clusters) == (4 * clusters, clusters)
    if clusters < 6:
        assert (found.stderr, found.low, found.high) == (None, None, None)
        assert f"no standard error: {clusters} independent item" in found.reason
    else:
        assert found.reason is None
        assert found.low < found.value < found.high
        t = (found.high - found.value) / found.stderr
        assert t == pytest.approx(stats.t.ppf(0.975, clusters - 1))


@pytest.mark.parametrize(
    ("sizes", "strata"),
    [([1] * 100, 10), ([1] * 48, 2), ([2] * 30, 2), ([4] * 10 + [3] * 20, 1), ([5, 3, 2] * 8, 1)],
)
def test_intervals_cover_the_mean_as_often_as_they_say(sizes, strata):
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    stratum = (cluster if max(sizes) == 1 else np.arange(len(cluster))) % strata
    design, of_stratum = Design.of(cluster, stratum), 3 * rng.normal(size=strata)
    true, covered = of_stratum[stratum].mean(), 0
    for _ in range(1000):
        values = of_stratum[stratum] + rng.normal(size=len(sizes))[cluster]
        found = mean(values + rng.normal(size=len(cluster)), design)
        covered += found.low <= true <= found.high
    assert 930 <= covered <= 970
