"""Bands of seeds, and heads of seeds: nothing depends on the order of the heads."""

import numpy as np
import pytest
from scipy import stats

import pythia_traj as pt
from pythia_traj.errors import AnalysisError
from tests.analysis.trajectories import STEPS, both, heads_of, line, shuffled

SEEDS = [[3.0, 2.0], [3.5, 2.5], [4.0, 1.0]]


def seeds(**columns):
    return both(*(line(v, steps=(0, 8), model=f"s{i}", **columns) for i, v in enumerate(SEEDS)))


def of_heads(model, seed, heads=4, steps=STEPS):
    rng = np.random.default_rng(seed)
    rise = rng.uniform(size=(2, heads, 1)) ** 3 * np.linspace(0, 1, len(steps))
    return heads_of(model, rise + 0.01 * rng.normal(size=rise.shape), steps)


def test_a_band_is_the_mean_over_seeds_with_their_spread_and_the_items_error_beside():
    found = pt.seed_bands(seeds(stderr=0.25)).set_index("step").loc[0]
    low, high = stats.t.interval(0.95, 2, 3.5, 0.5 / np.sqrt(3))
    assert (found["mean"], found["sd"], found["seeds"]) == (3.5, 0.5, 3)
    assert (found["least"], found["most"], found["item_stderr"]) == (3.0, 4.0, 0.25)
    assert (found["low"], found["high"]) == pytest.approx((low, high))


def test_the_items_error_does_not_move_the_band():
    narrow, wide = (pt.seed_bands(seeds(stderr=error)) for error in (0.001, 10.0))
    assert narrow.drop(columns="item_stderr").equals(wide.drop(columns="item_stderr"))


def test_two_seeds_have_a_spread_and_no_interval():
    rows = seeds()
    found = pt.seed_bands(rows[rows["model"] != "s2"])
    assert found["sd"].notna().all()
    assert found["low"].isna().all()
    assert set(found["reason"]) == {"no interval: fewer than 3 seeds"}


def test_a_missing_value_is_one_seed_less():
    rows = seeds()
    rows.loc[0, "value"] = np.nan
    assert pt.seed_bands(rows)["seeds"].tolist() == [2, 3]


def test_bands_over_aligned_rows_are_at_their_points():
    found = pt.seed_bands(pt.align(seeds(), by="tokens"))
    assert found["at"].tolist() == [0, 80]
    assert found["mean"].iloc[0] == 3.5


def test_one_model_alone_and_two_values_of_one_are_refused():
    with pytest.raises(AnalysisError, match="the rows are of 1 model: give those of two or more"):
        pt.seed_bands(line([1.0], steps=(0,)))
    with pytest.raises(AnalysisError, match="s0 has two values at step 0"):
        pt.seed_bands(both(seeds(), seeds()))


def test_bands_never_compare_heads_by_index():
    rows = both(of_heads("s0", 0), of_heads("s1", 1))
    with pytest.raises(AnalysisError, match="pythia_traj.summarise_heads, or match heads with"):
        pt.seed_bands(rows)


def test_a_summary_is_of_all_heads_of_the_model():
    values = np.arange(8.0).reshape(2, 4, 1)
    found = pt.summarise_heads(heads_of("m", values, steps=(0,)), above=[5]).set_index("metric")
    assert found["value"].to_dict() == {
        "prefix_matching (min)": 0,
        "prefix_matching (q10)": pytest.approx(0.7),
        "prefix_matching (median)": 3.5,
        "prefix_matching (q90)": pytest.approx(6.3),
        "prefix_matching (max)": 7,
        "prefix_matching (heads above 5)": 2,
    }
    assert set(found["n"]) == {8}
    assert found["head"].isna().all()
    assert found["stderr"].isna().all()


@pytest.mark.parametrize("by", ["step", "tokens"])
def test_permuting_the_heads_of_one_seed_changes_no_band(by):
    rows = [of_heads(f"s{i}", i) for i in range(3)]
    bands = [
        pt.seed_bands(
            pt.summarise_heads(pt.align(both(rows[0], rows[1], third), by=by), above=[0.2])
        )
        for third in (rows[2], shuffled(rows[2], 1), shuffled(rows[2], 2))
    ]
    assert bands[0].equals(bands[1])
    assert bands[0].equals(bands[2])


def test_permuting_the_heads_of_one_seed_changes_no_distance():
    rows = [of_heads(f"s{i}", i) for i in range(3)]
    plain = pt.head_distances(both(*rows), draws=199)
    other = pt.head_distances(both(rows[0], shuffled(rows[1], 3), rows[2]), draws=199)
    assert plain.equals(other)
    assert len(plain) == 3 * len(STEPS)


def test_the_distance_is_wassersteins_of_any_numbers_of_heads():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 1)), rng.normal(size=(3, 4, 1))
    rows = both(heads_of("m", a, steps=(0,)), heads_of("n", b, steps=(0,)))
    found = pt.head_distances(rows, draws=100).iloc[0]
    assert found["distance"] == pytest.approx(stats.wasserstein_distance(a.ravel(), b.ravel()))
    assert (found["heads_first"], found["heads_second"]) == (10, 12)


def test_models_with_alike_heads_are_as_near_as_shuffled_ones_and_others_are_not():
    p = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(2, 2, 6, 1))
        far = heads_of("far", b + 3, steps=(0,))
        rows = both(heads_of("m", a, steps=(0,)), heads_of("n", b, steps=(0,)), far)
        found = pt.head_distances(rows, draws=199)
        p.append(found.loc[(found["first"] == "m") & (found["second"] == "n"), "p"].iloc[0])
        assert found.loc[(found["first"] == "far"), "p"].max() == 0.005
    assert np.mean(np.array(p) <= 0.05) < 0.2
    assert np.mean(p) == pytest.approx(0.5, abs=0.15)


def test_beside_the_distance_stand_the_median_and_the_95_percent_of_shuffled_ones():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 5, 1))
    rows = both(heads_of("m", a, steps=(0,)), heads_of("n", b, steps=(0,)))
    found = pt.head_distances(rows, draws=1999).iloc[0]
    pooled = np.concatenate([a.ravel(), b.ravel()])
    orders = (rng.permutation(pooled) for _ in range(2000))
    shuffled_distances = [stats.wasserstein_distance(one[:15], one[15:]) for one in orders]
    expected = np.quantile(shuffled_distances, [0.5, 0.95])
    assert (found["null"], found["null_high"]) == pytest.approx(tuple(expected), rel=0.06)
    assert expected[1] > 1.5 * expected[0]


def test_a_head_that_is_there_twice_is_refused():
    rows = both(of_heads("m", 0), of_heads("n", 1))
    twice = both(rows, rows.iloc[[3]])
    for of_heads_twice in (pt.head_distances, pt.summarise_heads):
        with pytest.raises(AnalysisError, match="m has two values of prefix_matching of a head at"):
            of_heads_twice(twice)


def test_draws_and_seeds_that_say_nothing_are_refused():
    rows = both(of_heads("m", 0), of_heads("n", 1))
    with pytest.raises(AnalysisError, match="draws=99: an interval needs at least 100"):
        pt.head_distances(rows, draws=99)
    with pytest.raises(AnalysisError, match="seed=-1: give a whole number from 0"):
        pt.head_distances(rows, seed=-1)


def test_one_threshold_can_be_a_number():
    rows = of_heads("m", 0)
    assert pt.summarise_heads(rows, above=0.3).equals(pt.summarise_heads(rows, above=[0.3]))
    for above in ("high", float("nan"), [[0.1]], None):
        with pytest.raises(AnalysisError, match=r"above=.*: give a threshold, or several, such as"):
            pt.summarise_heads(rows, above=above)


def test_distances_need_two_models_and_values_of_heads():
    with pytest.raises(AnalysisError, match="the rows are of 1 model"):
        pt.head_distances(of_heads("m", 0))
    with pytest.raises(AnalysisError, match="no value of a head"):
        pt.summarise_heads(line([1.0], steps=(0,)))
    apart = both(of_heads("m", 0, steps=(0, 1)), of_heads("n", 0, steps=(2, 4)))
    with pytest.raises(AnalysisError, match="no step of a metric in common"):
        pt.head_distances(apart)
