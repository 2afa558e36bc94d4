"""The mean of all items from some of them: right on average, with an honest standard error, and
better than those items alone where items keep their places.
"""

import numpy as np
import pytest
from scipy.stats import t as student

from pythia_traj.analysis.adaptive.control_variate import between, corrected
from pythia_traj.errors import AnalysisError

N, M = 60, 15


def simulated(correlation, repetitions=1500, controls=1, seed=0):
    """Repetitions of a draw of N items whose values and controls correlate; true mean 1.5."""
    rng = np.random.default_rng(seed)
    for _ in range(repetitions):
        own = rng.normal(size=N)
        noise = np.sqrt(1 - correlation**2)
        anchors = own[:, None] + (0.5 if controls > 1 else 0.0) * rng.normal(size=(N, controls))
        values = 1.5 + correlation * own + noise * rng.normal(size=N)
        subset = rng.choice(N, M, replace=False)
        yield values, subset, anchors


@pytest.mark.parametrize("controls", [1, 2])
@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.95])
def test_it_is_unbiased_and_its_standard_error_is_that_of_repetitions(correlation, controls):
    found = [
        corrected(values[subset], subset, anchors)
        for values, subset, anchors in simulated(correlation, controls=controls)
    ]
    means = np.array([one.mean for one in found])
    assert abs(means.mean() - 1.5) < 4 * means.std() / np.sqrt(len(means))
    said = np.sqrt(np.mean([one.stderr**2 for one in found]))
    assert said == pytest.approx(means.std(), rel=0.08)
    half = np.array([one.stderr * student.ppf(0.975, one.degrees) for one in found])
    assert 0.93 <= np.mean(np.abs(means - 1.5) <= half) <= 0.975


def test_the_gain_is_what_the_correlation_allows():
    for correlation, low, high in ((0.95, 2.4, 3.6), (0.0, 0.8, 1.0)):
        draws = list(simulated(correlation))
        ours = np.var([corrected(v[s], s, a).mean for v, s, a in draws])
        plain = np.var([v[s].mean() for v, s, _ in draws])
        # 1 / (1 - r^2 (1 - m / n)) without the price of an estimated slope: 3.1, and 1.
        assert low < plain / ours < high
        full = np.var([v.mean() for v, _, _ in draws])
        assert ours > full


def test_a_perfect_control_gives_the_mean_of_all_items():
    values, subset, _ = next(simulated(0.5))
    found = corrected(values[subset], subset, 3 * values[:, None] - 2)
    assert found.mean == pytest.approx(values.mean())
    assert found.stderr == pytest.approx(values.std(ddof=1) / np.sqrt(N))
    assert found.completed == pytest.approx(values)


def test_items_that_are_unlike_the_others_say_less():
    values, _, anchors = next(simulated(0.6))
    order = np.argsort(anchors[:, 0])
    spread, extreme = order[:: N // M], order[-M:]
    low, high = (corrected(values[some], some, anchors) for some in (spread, extreme))
    assert high.stderr > 2 * low.stderr


def test_all_items_are_an_ordinary_mean():
    values, _, anchors = next(simulated(0.5))
    order = np.random.default_rng(1).permutation(N)
    found = corrected(values[order], order, anchors)
    assert (found.mean, found.gain) == (pytest.approx(values.mean()), 1.0)
    assert found.stderr == pytest.approx(values.std(ddof=1) / np.sqrt(N))
    assert found.completed == pytest.approx(values)


def test_completed_items_have_the_corrected_mean_and_keep_what_was_measured():
    values, subset, anchors = next(simulated(0.6))
    found = corrected(values[subset], subset, anchors)
    assert found.completed.mean() == pytest.approx(found.mean)
    assert found.completed[subset] == pytest.approx(values[subset])


def test_controls_that_say_the_same_twice_do_not_break_it():
    values, subset, anchors = next(simulated(0.6))
    twice = np.hstack([anchors, anchors])
    found = corrected(values[subset], subset, twice)
    assert found.mean == pytest.approx(corrected(values[subset], subset, anchors).mean)
    constant = corrected(values[subset], subset, np.ones((N, 1)))
    assert constant.mean == pytest.approx(values[subset].mean())


def test_one_control_lies_between_two_anchors():
    low, high = np.array([0.0, 2.0]), np.array([1.0, 4.0])
    assert between(low, high, 0.25).tolist() == [[0.25], [2.5]]


@pytest.mark.parametrize("subset", [[0, 1, 2, 3], [0, 1, 2, 3, 3]])
def test_too_few_items_or_one_twice_are_refused(subset):
    with pytest.raises(AnalysisError, match="at least 5, each once"):
        corrected(np.arange(len(subset), dtype=float), np.array(subset), np.ones((9, 1)))
