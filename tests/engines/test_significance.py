"""p-values against a pooled null, and discoveries, against their definitions written out."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from pythia_traj.engines.significance import discoveries, p_values


def test_a_p_value_counts_the_null_values_that_are_as_large():
    null = np.array([[0.1, 0.5], [0.5, 0.9]])
    values = np.array([1.0, 0.9, 0.6, 0.5, 0.0])
    assert p_values(values, null).tolist() == [1 / 5, 2 / 5, 2 / 5, 4 / 5, 5 / 5]


def test_equal_shares_are_equal_whatever_the_order_of_their_mean():
    third = np.float32(1) / 3
    value = np.array([1, third, 2 * third], dtype=np.float32).mean(dtype=np.float64)
    assert value != 2 / 3
    for sign in (1, -1):
        assert p_values(sign * np.array([value]), sign * np.array([2 / 3])).tolist() == [1]
        assert p_values(sign * np.array([2 / 3]), sign * np.array([value])).tolist() == [1]


def test_p_values_of_the_null_itself_are_rarely_small():
    rng = np.random.default_rng(0)
    p = np.array([p_values(rng.random(5), rng.random(100)) for _ in range(2000)])
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() <= level + 3 * np.sqrt(level / p.size)


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_discoveries_are_those_of_scipy(rate):
    rng = np.random.default_rng(1)
    for _ in range(300):
        p = rng.integers(1, 40, (3, 4)) / 200
        expected = false_discovery_control(p.ravel()).reshape(p.shape) <= rate + 1e-12
        np.testing.assert_array_equal(discoveries(p, rate), expected)


def test_a_null_of_twenty_draws_a_head_is_enough_for_one_head_alone():
    """The smallest p-value has to reach the rate over the number of heads."""
    scores, null = np.zeros(144), np.ones(20 * 144)
    scores[7] = 2
    assert discoveries(p_values(scores, null), 0.05).nonzero()[0].tolist() == [7]
    assert not discoveries(p_values(scores, null[: 19 * 144]), 0.05).any()
