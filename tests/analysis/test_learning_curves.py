"""Statistics of learning curves, on curves whose statistics are known."""

import math

import numpy as np
import pytest

import pythia_traj as pt
from pythia_traj.errors import AnalysisError
from tests.analysis.trajectories import both, heads_of, line

TENS = (0, 1, 10, 100, 1000, 10000)
"""More than an octave apart, so that smoothing changes nothing."""


def of(values, **more):
    return pt.learning_curves(line(values, steps=TENS), chance=8.0, **more).iloc[0]


def test_the_age_is_where_the_curve_is_first_halfway_between_chance_and_its_minimum():
    found = of([9.0, 8.0, 8.0, 4.0, 2.0, 2.0])
    assert (found["minimum"], found["level"]) == (2.0, 5.0)
    # From 8 to 4 between steps 10 and 100: 5 is at three quarters.
    assert found["age"] == pytest.approx(1.75)
    assert found["age_step"] == pytest.approx(10**1.75)


def test_step_0_does_not_count():
    assert of([0.0, 8.0, 8.0, 4.0, 2.0, 2.0])["minimum"] == 2.0


def test_forgetting_is_the_sum_of_increases():
    assert of([9.0, 8.0, 3.0, 5.0, 2.0, 2.5])["forgotten"] == pytest.approx(2.5)
    assert of([9.0, 8.0, 7.0, 5.0, 2.0, 1.0])["forgotten"] == 0


def test_a_gap_is_compared_with_the_value_before_it():
    assert of([9.0, 8.0, 3.0, math.nan, 4.0, 2.0])["forgotten"] == pytest.approx(1.0)


def test_what_is_below_the_level_from_the_first_step_has_that_step_as_its_age():
    assert of([9.0, 2.0, 2.0, 2.0, 2.0, 2.0])["age_step"] == 1


def test_a_curve_that_is_never_below_chance_has_no_age_and_says_so():
    found = of([9.0, 9.0, 9.5, 10.0, 9.0, 9.0])
    assert math.isnan(found["age"])
    assert found["reason"] == "never below chance"
    assert found["forgotten"] == pytest.approx(1.0)


def test_a_curve_without_values_has_nothing_and_says_so():
    found = of([math.nan] * 6)
    assert math.isnan(found["forgotten"])
    assert (found["reason"], found["n_steps"]) == ("no value at any step", 0)


def test_the_final_value_is_that_of_the_last_quarter_of_training():
    rows = line([9.0, 5.0, 3.0, 1.0], steps=(0, 100, 750, 1000))
    found = pt.learning_curves(rows, chance=9.0).iloc[0]
    assert (found["final"], found["final_sd"], found["n_final"]) == (2.0, 1.0, 2)


def test_chance_is_taken_from_the_control_of_that_name():
    rows = both(
        line([9.0, 8.0, 8.0, 4.0, 2.0, 2.0], steps=TENS),
        line([8.0] * 6, steps=TENS, control="chance"),
        line([1.0] * 6, steps=TENS, control="shuffled"),
    )
    found = pt.learning_curves(rows)
    assert len(found) == 1
    assert found["age"].iloc[0] == pytest.approx(1.75)


def test_chance_can_be_of_each_model():
    rows = both(
        line([8.0, 8.0, 4.0, 2.0, 2.0, 2.0], steps=TENS),
        line([8.0, 8.0, 4.0, 2.0, 2.0, 2.0], steps=TENS, model="n"),
    )
    found = pt.learning_curves(rows, chance={"m": 8.0, "n": 4.0})
    assert found["level"].tolist() == [5.0, 3.0]
    with pytest.raises(AnalysisError, match="chance= has no model 'n'"):
        pt.learning_curves(rows, chance={"m": 8.0})


def test_without_chance_it_is_asked_for():
    with pytest.raises(AnalysisError, match=r"no control called chance: give chance="):
        pt.learning_curves(line([1.0], steps=(1,)))


def test_each_item_can_have_its_own():
    rows = both(
        line([8.0, 8.0, 8.0, 4.0, 2.0, 2.0], steps=TENS).assign(item=0),
        line([8.0, 8.0, 4.0, 2.0, 2.0, 2.0], steps=TENS).assign(item=1),
    )
    found = pt.learning_curves(rows, chance=8.0)
    assert found["item"].tolist() == [0, 1]
    assert found["age"].tolist() == pytest.approx([1.75, 0.75])


def test_stability_is_the_mean_squared_distance_of_pairs_and_the_spread_of_final_values():
    curves = np.array([[8.0, 8.0, 4.0, 2.0], [8.0, 8.0, 5.0, 3.0], [8.0, 8.0, 6.0, 4.0]])
    rows = both(*(line(c, steps=(1, 10, 100, 1000), model=f"s{i}") for i, c in enumerate(curves)))
    found = pt.stability(rows).iloc[0]
    pairs = [((curves[a] - curves[b]) ** 2).mean() for a, b in ((0, 1), (0, 2), (1, 2))]
    assert found["between_seeds"] == pytest.approx(np.mean(pairs))
    assert found["final_sd"] == pytest.approx(1.0)
    assert (found["seeds"], found["n_steps"]) == (3, 4)


def test_stability_of_one_seed_is_null_with_a_reason():
    found = pt.stability(line([3.0, 2.0], steps=(1, 10))).iloc[0]
    assert math.isnan(found["between_seeds"])
    assert found["reason"] == "one seed alone"


def test_stability_never_compares_heads_by_index():
    with pytest.raises(AnalysisError, match="values of single heads"):
        pt.stability(heads_of("m", np.zeros((1, 2, 14))))
