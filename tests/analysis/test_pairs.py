"""Differences of two models and their intervals, independent and paired by item."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import pythia_traj as pt
from pythia_traj.errors import AnalysisError
from tests.analysis.frames import frame
from tests.analysis.trajectories import both, heads_of, line


def measured(values, model="m", steps=(0, 8), clusters=None, **columns):
    """Rows and items of values [step, item]."""
    values = np.asarray(values, dtype=np.float32).astype(float)
    n = values.shape[1]
    errors = values.std(axis=1, ddof=1) / math.sqrt(n)
    rows = frame(
        *(
            {"step": step, "value": v.mean(), "stderr": e, "n": n, "clusters": clusters or n}
            | {"model": model}
            | columns
            for step, v, e in zip(steps, values, errors, strict=True)
        )
    )
    items = pd.concat(
        [
            rows.iloc[[t] * n].drop(columns=["stderr"]).assign(item=range(n), n=1, value=values[t])
            for t in range(len(steps))
        ],
        ignore_index=True,
    )
    return rows, items


def two(seed=0, n=40, shift=0.3, **more):
    """Two models on the same items, most of whose variance is the items'."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(2, n))
    a = common + 0.1 * rng.normal(size=(2, n))
    b = common + 0.1 * rng.normal(size=(2, n)) + shift
    return a, b, measured(a, **more), measured(b, model="other", **more)


def test_a_difference_is_the_second_minus_the_first_with_welchs_interval():
    a, b, (first, _), (second, _) = two()
    found = pt.compare(first, second).set_index("at").loc[8]
    welch = stats.ttest_ind(b[1], a[1], equal_var=False).confidence_interval()
    assert found["difference"] == pytest.approx(b[1].mean() - a[1].mean(), abs=1e-6)
    assert (found["low"], found["high"]) == pytest.approx((welch.low, welch.high), abs=1e-5)
    assert not found["paired"]


def test_with_the_same_items_it_is_paired_and_much_narrower():
    a, b, (first, of_first), (second, of_second) = two()
    found = pt.compare(first, second, items=(of_first, of_second)).set_index("at").loc[8]
    paired = stats.ttest_rel(b[1], a[1]).confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((paired.low, paired.high), abs=1e-5)
    assert found["paired"]
    independent = pt.compare(first, second).set_index("at").loc[8]
    assert found["stderr"] < 0.2 * independent["stderr"]


def test_items_of_other_numbers_are_not_paired():
    _, _, (first, of_first), (second, of_second) = two()
    found = pt.compare(first, second, items=(of_first, of_second.assign(item=lambda d: d.item + 1)))
    assert not found["paired"].any()
    fewer = of_second[of_second["item"] > 0]
    assert not pt.compare(first, second, items=(of_first, fewer))["paired"].any()


def test_items_that_one_lacks_are_not_paired_though_the_mean_is_the_same():
    first, of_first = measured(np.tile([1.0, -1.0], (2, 20)))
    second, of_second = measured(np.ones((2, 40)), model="other")
    assert pt.compare(first, second, items=(of_first, of_second))["paired"].all()
    fewer = of_second[of_second["item"] > 1]
    assert not pt.compare(first, second, items=(of_first, fewer))["paired"].any()


def test_items_whose_mean_is_not_the_value_are_not_paired():
    _, _, (first, of_first), (second, of_second) = two()
    other = of_second.assign(value=of_second["value"] + 0.1)
    assert not pt.compare(first, second, items=(of_first, other))["paired"].any()


def test_an_interpolated_value_is_not_paired():
    _, _, (first, of_first), (second, of_second) = two()
    found = pt.compare(first, second, points=[0, 2], items=(of_first, of_second))
    assert found["paired"].tolist() == [True, False]


def test_where_only_one_was_measured_nothing_is_paired():
    rng = np.random.default_rng(0)
    first, of_first = measured(rng.normal(size=(2, 40)))
    second, of_second = measured(rng.normal(size=(3, 40)), steps=(0, 2, 8), model="other")
    found = pt.compare(first, second, points=[0, 2, 8], items=(of_first, of_second))
    assert found["paired"].tolist() == [True, False, True]


def test_items_of_one_cluster_count_together():
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(10), 4)
    apart = rng.normal(size=10)[cluster]  # the difference is the same in all items of a cluster
    a = rng.normal(size=(2, 40))
    (first, of_first), (second, of_second) = measured(a), measured(a + apart, model="other")
    named = [items.assign(cluster=cluster.tolist() * 2) for items in (of_first, of_second)]
    found = pt.compare(first, second, items=tuple(named)).iloc[0]
    assert (found["paired"], found["df"]) == (True, 9)
    of_clusters = stats.sem(apart[::4])
    assert found["stderr"] == pytest.approx(of_clusters, rel=1e-5)
    plain = pt.compare(first, second, items=(of_first, of_second)).iloc[0]
    assert (plain["df"], plain["stderr"] < found["stderr"]) == (39, True)
    other = named[1].assign(cluster=named[1]["cluster"] + 1)
    assert not pt.compare(first, second, items=(named[0], other))["paired"].any()


def test_where_items_name_no_cluster_the_paired_error_is_wider_as_that_of_the_values_is():
    _, _, (first, of_first), (second, of_second) = two()
    plain = pt.compare(first, second, items=(of_first, of_second)).iloc[0]
    wider = [rows.assign(stderr=rows["stderr"] * 1.5, clusters=10) for rows in (first, second)]
    found = pt.compare(*wider, items=(of_first, of_second)).iloc[0]
    assert found["stderr"] == pytest.approx(1.5 * plain["stderr"], rel=1e-4)
    assert found["df"] == 9


def test_an_interval_holds_the_true_difference_as_often_as_it_says():
    sides = [[], []]
    for seed in range(100):
        _, _, *found = two(seed, n=16, part=f"p{seed}")
        for side, own in zip(sides, found, strict=True):
            side.append(own)
    rows = [both(*(rows for rows, _ in side)) for side in sides]
    items = [both(*(items for _, items in side)) for side in sides]
    for found in (pt.compare(*rows), pt.compare(*rows, items=tuple(items))):
        assert len(found) == 200
        holds = (found["low"] <= 0.3) & (found["high"] >= 0.3)
        assert holds.mean() >= 0.9
    assert holds.mean() <= 0.985  # paired; as if independent they hold it too often


def test_few_clusters_have_no_interval_and_the_reason():
    _, _, (first, _), (second, _) = two(n=4)
    found = pt.compare(first, second).iloc[0]
    assert math.isnan(found["low"])
    assert not math.isnan(found["difference"])


def test_a_missing_error_says_so_and_a_missing_value_keeps_its_reason():
    a = line([1.0, 2.0], steps=(0, 1), stderr=None)
    b = line([1.0, math.nan], steps=(0, 1), reason="too short", model="n")
    found = pt.compare(a, b)
    assert found["reason"].tolist() == ["no standard error of both values", "too short"]


def test_what_only_one_has_is_left_out():
    a, b = line([1.0], steps=(0,)), line([2.0], steps=(0,), model="n")
    found = pt.compare(both(a, line([3.0], steps=(0,), part="p")), b)
    assert found["difference"].tolist() == [1.0]


def test_models_of_one_name_can_be_compared_as_they_are_two_frames():
    found = pt.compare(line([1.0], steps=(0,)), line([3.0], steps=(0,)))
    assert found["difference"].tolist() == [2.0]


def test_at_the_same_loss_the_loss_itself_does_not_differ():
    steps = (1, 3, 7)
    first = both(
        line([4.0, 3.0, 2.0], steps=steps, experiment="loss"),
        line([0.0, 1.0, 2.0], steps=steps, metric="score", label="b"),
    )
    second = both(
        line([4.0, 3.5, 3.0], steps=steps, experiment="loss", model="n"),
        line([1.0, 1.0, 1.0], steps=steps, metric="score", label="b", model="n"),
    )
    found = pt.compare(first, second, by="loss")
    assert found.loc[found["metric"] == "nll", "difference"].abs().max() < 1e-12
    score = found[(found["metric"] == "score") & (found["at"] == 3.0)].iloc[0]
    assert (score["first"], score["second"], score["step_second"]) == (1.0, 1.0, 7.0)


def test_the_largest_difference_says_where_and_its_interval_is_that_of_all():
    a, b = line([1.0, 2.0, 3.0], (0, 1, 4), stderr=0.1), line([1.0, 5.0, 4.0], (0, 1, 4), model="n")
    compared = pt.compare(a, b.assign(stderr=0.1))
    found = pt.largest_difference(compared).iloc[0]
    assert (found["at"], found["difference"], found["points"]) == (1, 3.0, 3)
    own = compared.set_index("at").loc[1]
    reach = stats.t.ppf(1 - 0.025 / 3, own["df"]) * own["stderr"]
    assert found["high"] == pytest.approx(3.0 + reach)
    assert found["high"] > own["high"]


def test_heads_are_never_compared_by_index():
    values = np.zeros((1, 2, 14))
    with pytest.raises(AnalysisError, match="not the head of the same index in another: give"):
        pt.compare(heads_of("m", values), heads_of("n", values))
    named = line([1.0], steps=(0,), part="L0H1+L1H2", metric="effect")
    with pytest.raises(AnalysisError, match=r"single heads \(effect\)"):
        pt.compare(named, named)


def test_what_is_not_the_items_of_both_is_refused():
    _, _, (first, of_first), (second, of_second) = two()
    with pytest.raises(AnalysisError, match="items=: the first is NoneType: give the rows of"):
        pt.compare(first, second, items=(None, None))
    with pytest.raises(AnalysisError, match="items=: give two, the rows of the table items"):
        pt.compare(first, second, items=of_first)
    twice = both(of_second, of_second.tail(1))
    with pytest.raises(AnalysisError, match="the second have item 39 of a metric twice at step 8"):
        pt.compare(first, second, items=(of_first, twice))


def test_rows_without_a_needed_column_are_refused():
    rows = line([1.0], steps=(0,))
    with pytest.raises(AnalysisError, match="no column model: give rows as pythia_traj.load gives"):
        pt.compare(rows.drop(columns="model"), rows)
    with pytest.raises(AnalysisError, match="difference, df: give rows as pythia_traj.compare"):
        pt.largest_difference(rows.assign(at=0))
    with pytest.raises(AnalysisError, match="by=None: align by step"):
        pt.compare(rows, rows, by=None)


def test_nothing_in_common_and_several_models_are_sentences():
    a, b = line([1.0], steps=(0,)), line([1.0], steps=(0,), metric="accuracy")
    with pytest.raises(AnalysisError, match="first has a nll, the second a accuracy"):
        pt.compare(a, b)
    with pytest.raises(AnalysisError, match=r"the second rows are of 2 models \(m, n\)"):
        pt.compare(a, both(a, line([1.0], steps=(0,), model="n")))
    with pytest.raises(AnalysisError, match="no step in common"):
        pt.compare(a, line([1.0], steps=(3,)))
