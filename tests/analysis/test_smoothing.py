"""Smoothing over log step."""

import numpy as np
import pytest

import pythia_traj as pt
from pythia_traj.errors import AnalysisError
from tests.analysis.frames import frame
from tests.analysis.trajectories import both, line


def test_steps_an_octave_apart_are_left_as_they_are():
    found = pt.smooth(line([3.0, 2.0, 9.0], steps=(1, 3, 7)))
    assert found["smooth"].tolist() == [3.0, 2.0, 9.0]
    assert found["value"].tolist() == [3.0, 2.0, 9.0]


def test_close_steps_are_means_weighted_by_their_distance_in_octaves():
    steps = (1023, 1447, 2047)  # log2(step + 1) = 10, 10.5, 11, nearly
    found = pt.smooth(line([0.0, 1.0, 5.0], steps=steps), octaves=1.0)
    x = np.log2(np.array(steps) + 1)
    near = 1 - (x[1] - x[0])
    assert found["smooth"].iloc[0] == pytest.approx(near / (1 + near))


def test_a_constant_stays_and_noise_gets_smaller():
    rng = np.random.default_rng(0)
    steps = (0, *(2**i for i in range(10)), *range(1000, 143001, 1000))
    assert pt.smooth(line(np.full(154, 2.0), steps=steps))["smooth"].to_numpy() == pytest.approx(2)
    found = pt.smooth(line(rng.normal(size=154), steps=steps))
    assert found["smooth"].tail(100).std() < 0.3 * found["value"].tail(100).std()


def test_a_missing_value_stays_missing_and_counts_for_no_neighbour():
    rows = line([1.0, 1.0, float("nan"), 1.0], steps=(100, 110, 120, 130))
    found = pt.smooth(rows)["smooth"]
    assert found.isna().tolist() == [False, False, True, False]
    assert found.dropna().tolist() == pytest.approx([1.0] * 3)


def test_trajectories_do_not_mix_and_their_rows_come_in_the_order_of_steps():
    rows = both(line([1.0, 1.0], steps=(100, 101)), line([5.0, 5.0], steps=(100, 101), model="n"))
    found = pt.smooth(rows.iloc[::-1])
    assert sorted(found["smooth"]) == pytest.approx([1, 1, 5, 5])
    assert found["step"].tolist() == [100, 101, 100, 101]


@pytest.mark.parametrize("octaves", [0, -1, float("nan"), "1", None])
def test_a_width_that_is_not_above_0_is_refused(octaves):
    with pytest.raises(AnalysisError, match="the half-width is a number above 0"):
        pt.smooth(line([1.0], steps=(1,)), octaves=octaves)


def test_two_values_at_a_step_are_refused_with_the_trajectory():
    rows = frame({"value": 1.0}, {"value": 2.0})
    with pytest.raises(AnalysisError, match="two values at step 0 of model m, label a, metric nll"):
        pt.smooth(rows)


def test_rows_without_a_needed_column_are_refused():
    with pytest.raises(AnalysisError, match="no column value"):
        pt.smooth(line([1.0], steps=(1,)).drop(columns="value"))


def test_no_rows_give_no_rows():
    assert pt.smooth(frame()).empty
