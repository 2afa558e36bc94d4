"""Other estimators: right where they are right, and wrong where they are known to be."""

import numpy as np
import pytest

from pythia_traj.analysis.onsets.change_points import change_points, changes, penalty
from pythia_traj.analysis.onsets.curves import Curves
from pythia_traj.analysis.onsets.grid import Grid, positions
from pythia_traj.analysis.onsets.methods import (
    METHODS,
    FirstAbove,
    estimate_by,
    half_final,
    half_max,
    logistic,
    method_named,
    ramp,
)
from tests.analysis.onsets.curves_of_tests import STEPS, both, rising, tables

GRID = Grid(tuple(STEPS))
JUMP = np.where(GRID.x >= 8, 1.0, 0.0)
"""From step 256 on (x = 8.006)."""


def at(x):
    """The measured step at a position."""
    return STEPS[int(np.abs(GRID.x - x).argmin())]


@pytest.mark.parametrize("name", METHODS)
def test_each_finds_a_jump(name):
    x = float(METHODS[name](JUMP[None], GRID)[0])
    assert positions([128])[0] - 1e-9 <= x <= positions([256])[0] + 1e-9


def test_half_max_has_no_base():
    lifted = JUMP + 2
    assert at(half_max(lifted, GRID)) == 0
    assert at(half_max(JUMP, GRID)) == 256


def test_half_final_is_wrong_for_a_curve_that_falls_again():
    vanishing = JUMP - np.where(GRID.x >= 11, 0.95, 0)
    assert at(half_final(JUMP, GRID)) == 256
    small = half_final(vanishing + 0.2 * (GRID.x >= 6), GRID)
    assert at(small) == 64
    assert np.isnan(half_final(1 - JUMP, GRID))


def test_a_logistic_curve_has_its_own_midpoint():
    for middle in (4.3, 7.7):
        curve = 2 + 3 / (1 + np.exp(-2 * (GRID.x - middle)))
        assert logistic(curve[None], GRID)[0] == pytest.approx(middle, abs=1e-3)


def test_a_ramp_begins_at_its_knot():
    curve = np.clip((GRID.x - GRID.x[5]) / (GRID.x[9] - GRID.x[5]), 0, 1)
    assert ramp(curve, GRID) == GRID.x[5]
    assert np.isnan(ramp(-curve, GRID))


def test_first_above_asks_for_so_many_in_a_row():
    blip = np.where(np.arange(len(STEPS)) == 3, 1.0, JUMP)
    assert at(FirstAbove(0.5, 1)(blip, GRID)) == STEPS[3]
    assert at(FirstAbove(0.5, 2)(blip, GRID)) == 256
    assert np.isnan(FirstAbove(1.5, 1)(blip, GRID))
    assert np.isnan(FirstAbove(0.5, 99)(blip, GRID))
    assert method_named("first_above:0.5,2") == FirstAbove(0.5, 2)


@pytest.mark.parametrize("name", [*METHODS, "first_above:0.5,2"])
def test_each_has_an_interval_around_its_bracket(name):
    curves = Curves.of_items(STEPS, rising(6.5, noise=0.5))
    (found,) = estimate_by(method_named(name), curves, draws=200)
    assert found.status == "onset"
    assert found.low <= found.bracket_low < found.step <= found.bracket_high <= found.high
    (again,) = estimate_by(method_named(name), curves, draws=200)
    assert again == found


def test_draws_without_an_onset_leave_both_ends_open():
    values = rising(6, noise=1.0, height=0.0)
    values -= values.mean(0)
    values[:, 9] += 0.05 - values[:, :6].mean()
    values[:, -1] += 0.02
    (found,) = estimate_by(half_final, Curves.of_items(STEPS, values))
    assert (found.status, found.low, found.high) == ("unsure", None, None)
    assert found.bracket_high is not None


@pytest.mark.parametrize("name", ["half_final", "logistic", "ramp", "change_point"])
def test_each_takes_falling_curves(name):
    values = rising(6.5, noise=0.1)
    (up,) = estimate_by(METHODS[name], Curves.of_items(STEPS, values), draws=100)
    down = Curves.of_items(STEPS, 3 - values)
    (found,) = estimate_by(METHODS[name], down, draws=100, falling=True)
    assert (found.low, found.high) == (up.low, up.high)
    assert found.step == pytest.approx(up.step, rel=1e-4)


def test_change_points_are_where_the_mean_changes():
    rng = np.random.default_rng(1)
    means = np.concatenate([np.zeros(50), np.full(50, 3.0), np.full(54, 1.0)])
    found = changes(means + 0.3 * rng.normal(size=154))
    assert found == [50, 100]


def test_noise_has_hardly_any():
    rng = np.random.default_rng(0)
    counts = [len(changes(rng.normal(size=154))) for _ in range(200)]
    assert np.mean(np.array(counts) == 0) > 0.6
    assert changes(np.ones(20)) == []


def test_the_penalty_is_that_of_the_bayesian_criterion():
    means = np.random.default_rng(0).normal(size=100_000)
    assert penalty(means) == pytest.approx(2 * np.log(100_000), rel=0.05)
    assert penalty(np.zeros(10), variance=0.5) == pytest.approx(np.log(10))


def test_change_points_of_a_table_name_the_steps_around_them():
    jumps = [np.tile(np.where(GRID.x >= GRID.x[i], 1.0, 0.0), (10, 1)) for i in (4, 9)]
    found = change_points(*both(*(tables(jump, layer=i) for i, jump in enumerate(jumps))))
    assert list(found["layer"]) == [0, 1]
    assert list(found["step_before"]) == [STEPS[3], STEPS[8]]
    assert list(found["step_after"]) == [STEPS[4], STEPS[9]]
    assert found[["before", "after"]].to_numpy().tolist() == [[0, 1], [0, 1]]
