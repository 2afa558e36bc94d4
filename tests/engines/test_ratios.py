"""Ratios of means: a value only where the denominator says something, and its error."""

import numpy as np
import pytest

from pythia_traj.engines.means import Design
from pythia_traj.engines.ratios import guarded_ratio


def test_a_denominator_near_zero_or_of_the_wrong_sign_says_nothing():
    below = np.random.default_rng(0).normal(0, 1, 100)
    defined = guarded_ratio(below, below + 10, "it")
    assert defined.value == pytest.approx(below.mean() / (below.mean() + 10))
    assert defined.n == 100
    near = guarded_ratio(below, below, "it")
    assert near.value is None
    assert "it is" in near.reason
    assert "within 3 standard errors" in near.reason
    assert guarded_ratio(below, below - 10, "it").value is not None
    assert (
        "not above 3 standard errors"
        in guarded_ratio(below, below - 10, "it", positive=True).reason
    )
    assert guarded_ratio(np.ones(1), np.ones(1), "it").reason == "one item has no standard error"


def test_its_error_is_the_spread_over_samples():
    rng = np.random.default_rng(0)
    draws = rng.normal((1.0, 4.0), (0.5, 0.5), (2000, 50, 2))
    spread = (draws[..., 0].mean(1) / draws[..., 1].mean(1)).std()
    assert guarded_ratio(draws[0, :, 0], draws[0, :, 1], "it").stderr == pytest.approx(
        spread, rel=0.3
    )


def test_clusters_widen_the_error_of_a_ratio_and_of_one_alone_there_is_none():
    rng = np.random.default_rng(0)
    of_cluster = np.repeat(rng.normal(0, 1, 20), 10)
    above, below = of_cluster + rng.normal(0, 0.1, 200), np.full(200, 2.0)
    apart = guarded_ratio(above, below, "it")
    together = guarded_ratio(above, below, "it", design=Design.of(np.repeat(np.arange(20), 10)))
    assert together.value == apart.value
    assert (together.n, together.clusters, apart.clusters) == (200, 20, 200)
    assert together.stderr / apart.stderr == pytest.approx(10**0.5, rel=0.1)
    alone = guarded_ratio(above, below, "it", design=Design.of(np.zeros(200)))
    assert alone.value == apart.value
    assert (alone.stderr, alone.low, alone.high, alone.clusters) == (None, None, None, 1)
    assert alone.reason == "no standard error: 1 independent item, 6 are needed"
