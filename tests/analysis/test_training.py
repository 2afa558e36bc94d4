"""Where models are in training: the axes of tokens and of the loss."""

import pandas as pd

from pythia_traj.analysis.training import training_of
from tests.analysis.frames import frame


def test_each_step_has_its_tokens_and_the_loss_on_text():
    rows = frame(
        {"value": 3.0, "step": 8, "tokens": 800},
        {"value": 5.0, "step": 0, "tokens": 0},
        {"value": 9.0, "step": 0, "tokens": 0, "control": "shuffled"},
        {"value": 0.1, "step": 4, "tokens": 400, "metric": "accuracy"},
    )
    of_model = {"steps": [0, 4, 8], "tokens": [0, 400, 800], "loss": [5.0, None, 3.0]}
    assert training_of(rows) == {"m": of_model}


def test_of_several_labels_the_loss_is_that_with_most_steps():
    some = ({"value": 2.0, "label": "short", "step": step} for step in (0, 1))
    rows = frame(*some, {"value": 7.0, "label": "long", "step": 0})
    assert training_of(rows)["m"]["loss"] == [2.0, 2.0]


def test_unknown_tokens_and_losses_that_are_not_finite_are_missing():
    rows = frame({"value": float("inf")}, {"value": float("nan"), "step": 1})
    found = training_of(rows.assign(tokens=pd.array([None, None], "Int64")))
    assert found["m"]["tokens"] == [None, None]
    assert found["m"]["loss"] == [None, None]


def test_no_rows_are_of_no_model():
    assert training_of(pd.DataFrame()) == {}
