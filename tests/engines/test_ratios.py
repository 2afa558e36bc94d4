"""Ratios of means: a value only where the denominator says something, and its error."""

import numpy as np
import pytest

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
