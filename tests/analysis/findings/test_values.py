"""Values and which of two is surely larger, by both of their intervals."""

import numpy as np
import pytest

from pythia_traj.analysis.findings.values import Value, control_of, surely_from, values_of
from pythia_traj.analysis.selection import choose
from pythia_traj.figures.lines import bands
from tests.analysis.frames import frame

WIDE, NARROW = Value(0, 1.0, 0.0, 2.0), Value(0, 1.0, 0.9, 1.1)
ALONE = Value(0, 1.0, np.nan, np.nan)


@pytest.mark.parametrize(
    ("other", "above"), [(WIDE, False), (NARROW, True), (ALONE, True), (None, True)]
)
def test_a_value_is_above_another_whose_interval_ends_below_its_own(other, above):
    assert Value(0, 1.6, 1.5, 1.7).above(other) is above
    assert Value(0, 0.4, 0.3, 0.5).below(other) is above
    assert Value(0, 1.6, 1.5, 1.7).apart(other) is above
    assert not Value(0, 1.6, 1.5, 1.7).below(other) or other is None


@pytest.mark.parametrize("other", [WIDE, NARROW, ALONE, None])
def test_a_value_without_an_interval_is_never_above_or_below(other):
    for value in (-9.0, 9.0):
        assert not Value(0, value, np.nan, np.nan).apart(other)


def test_a_value_whose_own_interval_reaches_the_other_is_not_apart():
    assert not Value(0, 1.6, 1.0, 2.2).apart(NARROW)
    assert not Value(0, 0.4, -0.2, 1.0).apart(ALONE)


@pytest.mark.parametrize("clusters", [2, 6, 64])
def test_a_sentence_and_a_band_have_the_same_interval(clusters):
    stated = {"value": 1.0, "stderr": 0.1, "n": 64, "clusters": clusters}
    chosen = choose(frame(stated, stated | {"step": 1}), ["nll"])
    (band,) = bands(chosen, "#123456", "line")
    value = values_of(chosen)[0]
    assert (value.low, value.high) == (pytest.approx(min(band.y)), pytest.approx(max(band.y)))


def test_values_are_in_the_order_of_steps_without_infinite_ones():
    rows = frame({"value": 2.0, "step": 2}, {"value": np.inf, "step": 1}, {"value": 1.0})
    assert [(one.step, one.value) for one in values_of(choose(rows, ["nll"]))] == [(0, 1), (2, 2)]


def test_a_control_is_that_of_the_step_and_the_name():
    rows = frame(
        {"value": 1.0},
        {"value": 2.0, "control": "shuffled"},
        {"value": 3.0, "control": "random"},
        {"value": np.inf, "control": "corrupted"},
        {"value": 4.0, "control": "shuffled", "step": 1},
    )
    chosen = choose(rows, ["nll"])
    assert control_of(chosen, 0).value == 3.0
    assert control_of(chosen, 0, "shuffled").value == 2.0
    assert control_of(chosen, 1).value == 4.0
    assert control_of(chosen, 2) is None


def test_surely_from_is_the_first_step_of_the_last_unbroken_stretch():
    assert surely_from([(0, True), (1, False), (2, True), (4, True)]) == 2
    assert surely_from([(0, True), (1, False)]) is None
    assert surely_from([]) is None
