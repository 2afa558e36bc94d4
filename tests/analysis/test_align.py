"""Values at the same step, number of tokens or loss."""

import math

import numpy as np
import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.errors import AnalysisError
from tests.analysis.trajectories import both, line


def losses(values, steps, model="m"):
    return line(values, steps=steps, model=model, metric="nll", experiment="loss")


def scores(values, steps, model="m", **more):
    return line(values, steps=steps, model=model, metric="score", label="b", **more)


def test_steps_that_all_have_are_compared_as_they_are():
    rows = both(line([1.0, 2.0, 3.0], steps=(0, 1, 4)), line([5.0, 6.0], steps=(0, 4), model="n"))
    found = pt.align(rows)
    assert found["at"].tolist() == [0, 4, 0, 4]
    assert found["value"].tolist() == [1, 3, 5, 6]
    assert not found["interpolated"].any()


def test_between_steps_a_value_is_linear_in_log_step_and_its_error_no_smaller():
    rows = line([1.0, 5.0], steps=(1, 7), stderr=0.5)
    found = pt.align(rows, points=[3]).iloc[0]  # log2(step + 1): 1, 2, 3
    assert (found["value"], found["stderr"], found["step"]) == (3.0, 0.5, 3.0)
    assert found["interpolated"]


def test_between_steps_the_error_is_between_theirs_and_the_counts_are_the_smaller():
    rows = line([1.0, 5.0], steps=(1, 7)).assign(stderr=[0.2, 0.6], n=[8, 6], clusters=[5, 4])
    for given in (rows, rows.assign(n=[6, 8], clusters=[4, 5])):
        found = pt.align(given, points=[1, 3, 7])  # log2(step + 1): 1, 2, 3
        assert found["stderr"].tolist() == pytest.approx([0.2, 0.4, 0.6])
        assert (found["n"].iloc[1], found["clusters"].iloc[1]) == (6, 4)
        assert found["n"].iloc[[0, 2]].tolist() == given["n"].tolist()


def test_nothing_is_extrapolated():
    found = pt.align(line([1.0, 5.0], steps=(1, 7)), points=[0, 1, 7, 8])
    assert found["value"].isna().tolist() == [True, False, False, True]
    assert found["reason"].iloc[3] == "not extrapolated: measured at a step from 1 to 7"


def test_nothing_is_extrapolated_where_step_0_was_measured_either():
    found = pt.align(line([1.0, 5.0], steps=(0, 7)), points=[7, 8])
    assert found["value"].isna().tolist() == [False, True]
    assert found["step"].isna().tolist() == [False, True]


def test_a_missing_value_keeps_its_reason():
    rows = line([1.0, math.nan], steps=(1, 7), reason="the context is too short")
    found = pt.align(rows, points=[3, 7])
    assert found["reason"].tolist() == ["the context is too short"] * 2


def test_tokens_are_those_of_the_column():
    first = line([1.0, 2.0], steps=(10, 20))
    second = line([3.0, 4.0], steps=(5, 10), model="n").assign(tokens=[100, 200])
    found = pt.align(both(first, second), by="tokens")
    assert found["at"].tolist() == [100, 200, 100, 200]
    assert found["value"].tolist() == [1, 2, 3, 4]
    assert found["step"].tolist() == [10, 20, 5, 10]
    with pytest.raises(AnalysisError, match="the rows of m do not say how many tokens"):
        pt.align(both(first.assign(tokens=pd.NA), second), by="tokens")


def test_at_the_same_loss_each_model_is_where_it_first_came_down_to_it():
    rows = both(
        losses([4.0, 3.0, 2.0], (1, 3, 7)),
        scores([0.0, 1.0, 2.0], (1, 3, 7)),
        losses([4.0, 3.5, 3.0], (1, 3, 7), "n"),
        scores([10.0, 11.0, 12.0], (1, 3, 7), "n"),
    )
    found = pt.align(rows, by="loss", points=[3.5, 3.0])
    found = found[found["metric"] == "score"]
    assert found["value"].tolist() == pytest.approx([1.0, 0.5, 12.0, 11.0])
    assert found["at"].tolist() == [3.0, 3.5, 3.0, 3.5]


def test_a_loss_that_rises_again_counts_where_it_was_first_reached():
    rows = both(losses([4.0, 3.0, 3.8, 2.0], (1, 3, 7, 15)), scores([0, 1, 2, 3], (1, 3, 7, 15)))
    found = pt.align(rows, by="loss", points=[3.5, 2.9])
    found = found[found["metric"] == "score"].set_index("at")["value"]
    assert found[3.5] == pytest.approx(0.5)
    # 2.9 is first reached between steps 7 and 15, on the way from 3.8 to 2.
    assert found[2.9] == pytest.approx(2.5)


def test_without_points_losses_are_those_within_the_range_of_all():
    rows = both(losses([4.0, 3.0, 2.0], (1, 3, 7)), losses([3.5, 2.5, 1.0], (1, 3, 7), "n"))
    found = pt.align(rows, by="loss")
    assert found.loc[found["model"] == "m", "at"].tolist() == [3.5, 3.0, 2.5, 2.0]
    assert found["value"].tolist() == pytest.approx([3.5, 3.0, 2.5, 2.0] * 2)


def test_a_loss_that_was_not_reached_is_null_with_the_range():
    rows = both(losses([4.0, 3.0], (1, 3)), scores([0, 1], (1, 3)))
    found = pt.align(rows, by="loss", points=[5.0, 2.0])
    assert found["value"].isna().all()
    assert found["reason"].iloc[0] == "not extrapolated: measured at a loss from 3 to 4"


def test_a_loss_under_two_labels_has_to_be_chosen():
    rows = both(losses([4.0], (1,)), losses([4.0], (1,)).assign(label="short"))
    with pytest.raises(AnalysisError, match="under the labels a, short: choose one with loss_lab"):
        pt.align(rows, by="loss")
    assert len(pt.align(rows, by="loss", loss_label="short")) == 2


def test_a_model_without_a_loss_is_refused():
    with pytest.raises(AnalysisError, match="no loss of m on text"):
        pt.align(scores([1.0], (1,)), by="loss")


def test_a_label_of_the_loss_is_refused_where_no_loss_is_used():
    rows = losses([4.0, 3.0], (1, 3))
    with pytest.raises(AnalysisError, match="loss_label='a' with by='step': only by='loss' uses"):
        pt.align(rows, loss_label="a")
    with pytest.raises(AnalysisError, match="loss_label='a' with by='tokens'"):
        pt.compare(rows, rows, "tokens", loss_label="a")


def test_no_common_step_says_what_each_has():
    rows = both(line([1.0], steps=(1,)), line([2.0], steps=(3,), model="n"))
    with pytest.raises(AnalysisError, match=r"no step in common \(m has step 1; n has step 3"):
        pt.align(rows)


def test_an_unknown_word_is_answered_with_the_known_ones():
    with pytest.raises(AnalysisError, match="align by step, tokens or loss; did you mean tokens?"):
        pt.align(line([1.0], steps=(1,)), by="token")
    with pytest.raises(AnalysisError, match="by=None: align by step, tokens or loss"):
        pt.align(line([1.0], steps=(1,)), by=None)


def test_no_rows_are_refused():
    with pytest.raises(AnalysisError, match="there are no rows to align"):
        pt.align(line([], steps=()))


def test_many_trajectories_are_interpolated_at_once_and_alone_alike():
    rng = np.random.default_rng(0)
    steps = (0, 3, 17, 100)
    many = both(*(line(rng.normal(size=4), steps=steps, part=f"p{i}") for i in range(5)))
    together = pt.align(many, points=[0, 5, 50])
    for part in ("p0", "p4"):
        alone = pt.align(many[many["part"] == part], points=[0, 5, 50])
        assert alone["value"].tolist() == together.loc[together["part"] == part, "value"].tolist()
