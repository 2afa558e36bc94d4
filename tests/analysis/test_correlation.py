"""Correlation of changes: independent random walks are not called correlated, common ones are."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import pythia_traj as pt
from pythia_traj.errors import AnalysisError
from tests.analysis.trajectories import both

LOG = (0, *(2**i for i in range(18)))
PYTHIA = (0, *(2**i for i in range(10)), *range(1000, 143001, 1000))


def walk(rng, steps=LOG):
    """A random walk in log step."""
    x = np.log2(np.array(steps) + 1)
    return np.cumsum(rng.normal(size=len(x)) * np.sqrt(np.diff(x, prepend=-1)))


def rows(values, steps=LOG):
    return pd.DataFrame({"model": "m", "label": "a", "step": steps, "value": values})


@pytest.mark.parametrize("null", ["phase", "block"])
@pytest.mark.parametrize("steps", [LOG, PYTHIA], ids=["log:19", "all of Pythia"])
def test_independent_random_walks_are_rarely_called_correlated_though_their_levels_are(null, steps):
    rng = np.random.default_rng(0)
    called, naive = [], []
    for seed in range(120):
        a, b = walk(rng, steps), walk(rng, steps)
        found = pt.correlate(rows(a, steps), rows(b, steps), null, draws=199, seed=seed)
        called.append(found.p <= 0.05)
        naive.append(stats.pearsonr(a, b).pvalue <= 0.05)
    assert np.mean(called) <= 0.13
    assert np.mean(naive) >= 0.35


@pytest.mark.parametrize("null", ["phase", "block"])
def test_walks_with_common_increments_are_found(null):
    rng = np.random.default_rng(0)
    called = []
    for seed in range(40):
        common = walk(rng)
        a, b = (common + 0.5 * walk(rng) for _ in range(2))
        called.append(pt.correlate(rows(a), rows(b), null, draws=199, seed=seed).p <= 0.05)
    assert np.mean(called) >= 0.8


def test_a_common_trend_is_not_a_correlation():
    rng = np.random.default_rng(0)
    x = np.log2(np.array(LOG) + 1)
    a, b = (5 * x + rng.normal(size=len(x)) for _ in range(2))
    assert stats.pearsonr(a, b)[0] > 0.99
    assert abs(pt.correlate(rows(a), rows(b)).r) < 0.5


def test_r_is_that_of_changes_per_octave_and_has_a_sign():
    rng = np.random.default_rng(1)
    a, b = walk(rng), walk(rng)
    changes = [np.diff(v) / np.diff(np.log2(np.array(LOG) + 1)) for v in (a, b)]
    assert pt.correlate(rows(a), rows(b)).r == pytest.approx(stats.pearsonr(*changes)[0])
    found = pt.correlate(rows(a), rows(-a))
    assert found.r == pytest.approx(-1)
    assert found.p < 0.01


def test_steps_nearer_than_half_an_octave_are_thinned():
    rng = np.random.default_rng(0)
    found = pt.correlate(rows(walk(rng, PYTHIA), PYTHIA), rows(walk(rng, PYTHIA), PYTHIA))
    assert np.diff(np.log2(np.array(found.steps) + 1)).min() >= 0.5 - 1e-9
    assert len(found.steps) == 23
    every = pt.correlate(
        rows(walk(rng, PYTHIA), PYTHIA), rows(walk(rng, PYTHIA), PYTHIA), octaves=0
    )
    assert len(every.steps) == 154


def test_the_same_seed_gives_the_same_p():
    rng = np.random.default_rng(0)
    a, b = rows(walk(rng)), rows(walk(rng))
    assert pt.correlate(a, b, seed=3) == pt.correlate(a, b, seed=3)
    assert pt.correlate(a, b, seed=3).p == pytest.approx(pt.correlate(b, a, seed=3).p, abs=0.06)


def test_fewer_than_12_common_steps_are_refused():
    rng = np.random.default_rng(0)
    few = rows(walk(rng)).head(11)
    with pytest.raises(
        AnalysisError, match=r"11 steps that are at least 0.5 octaves apart \(of 11"
    ):
        pt.correlate(few, rows(walk(rng)))
    assert len(pt.correlate(rows(walk(rng)).head(12), rows(walk(rng))).steps) == 12
    missing = rows(walk(rng)).head(12)
    missing.loc[3, "value"] = np.nan
    with pytest.raises(AnalysisError, match="11 steps"):
        pt.correlate(missing, rows(walk(rng)))


def test_an_infinite_value_is_refused_with_its_step():
    a, b = (rows(walk(np.random.default_rng(seed))) for seed in range(2))
    b.loc[5, "value"] = -np.inf
    with pytest.raises(AnalysisError, match="the second rows have an infinite value at step 16: "):
        pt.correlate(a, b)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"draws": 99}, "draws=99: an interval needs at least 100"),
        ({"seed": -1}, "seed=-1: give a whole number from 0"),
        ({"seed": 1.5}, "seed=1.5: give a whole number from 0"),
        ({"octaves": "1"}, "octaves='1': the least distance is a number from 0"),
        ({"octaves": -1}, "octaves=-1: the least distance is a number from 0"),
        ({"null": None}, "null=None: phase or block"),
    ],
)
def test_a_wrong_option_is_a_sentence(option, said):
    a, b = (rows(walk(np.random.default_rng(seed))) for seed in range(2))
    with pytest.raises(AnalysisError, match=said):
        pt.correlate(a, b, **option)


def test_what_does_not_change_or_is_not_one_trajectory_is_refused():
    a = rows(walk(np.random.default_rng(0)))
    x = np.log2(np.array(LOG) + 1)
    with pytest.raises(AnalysisError, match="changes by the same in each octave"):
        pt.correlate(a, rows(3 * x))
    with pytest.raises(AnalysisError, match="the second rows are of 2 trajectories: choose one"):
        pt.correlate(a, both(a, a.assign(label="b")))
    with pytest.raises(AnalysisError, match="phase or block; did you mean phase?"):
        pt.correlate(a, a, "phases")
