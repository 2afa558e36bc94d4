"""Lines of chosen rows: names, order, which of them have a value; and the steps shown for all."""

import pytest

from pythia_traj.analysis.selection import choose
from pythia_traj.analysis.steps import step_position, steps_to_show
from pythia_traj.analysis.trajectories import trajectories
from tests.analysis.frames import frame


def lines(*rows):
    chosen = choose(frame(*rows), ["nll", "accuracy"])
    return [
        (one.name, one.control, one.rows.step.tolist(), one.rows.value.tolist())
        for one in trajectories(chosen.assign(what=chosen["metric"]))
    ]


def test_measurements_come_before_controls_and_steps_in_order():
    assert lines(
        {"value": 9.0, "control": "shuffled"},
        {"value": 2.0, "step": 8},
        {"value": 3.0, "step": 1},
        {"value": 0.5, "metric": "accuracy"},
    ) == [
        ("nll", "", [1, 8], [3.0, 2.0]),
        ("accuracy", "", [0], [0.5]),
        ("nll", "shuffled", [0], [9.0]),
    ]


def test_a_line_without_any_value_is_left_out_and_one_with_gaps_keeps_them():
    (found,) = lines({"value": 3.0}, {"step": 1}, {"metric": "accuracy"})
    assert found[:3] == ("nll", "", [0, 1])


def test_models_and_labels_are_named_where_there_are_several():
    one, other = {"value": 1.0}, {"value": 2.0, "label": "b"}
    assert [name for name, *_ in lines(one)] == ["nll"]
    assert [name for name, *_ in lines(one, other)] == ["a · nll", "b · nll"]
    names = [name for name, *_ in lines(one, other, {"value": 3.0, "model": "m2"})]
    assert names == ["m · a · nll", "m · b · nll", "m2 · a · nll"]


PYTHIA = (0, *(2**i for i in range(10)), *range(1000, 143001, 1000))


@pytest.mark.parametrize(
    "steps", [PYTHIA, tuple(range(0, 1001, 100)), (0,), (5, 7), (0, 1, 2), (143000, 142000)]
)
@pytest.mark.parametrize("most", [3, 8])
def test_the_steps_to_show_are_measured_ones_with_both_ends_and_room_between(steps, most):
    shown = steps_to_show(steps, most)
    assert set(shown) <= set(steps)
    assert (shown[0], shown[-1]) == (min(steps), max(steps))
    assert len(shown) <= most + 1
    assert shown == sorted(set(shown))


def test_pythias_steps_to_show_are_round():
    assert steps_to_show(PYTHIA, 8) == [0, 4, 32, 256, 2000, 16000, 143000]


def test_steps_lie_at_their_logarithm_and_step_0_has_a_place():
    assert [step_position(step) for step in (0, 1, 3, 511)] == [0, 1, 2, 9]
