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
    of_model = {"steps": [0, 4, 8], "tokens": [0, 400, 800], "loss": [5.0, None, 3.0], "label": "a"}
    assert training_of(rows) == {"m": of_model}


def test_of_several_labels_the_loss_is_that_with_most_steps():
    some = ({"value": 2.0, "label": "short", "step": step} for step in (0, 1))
    found = training_of(frame(*some, {"value": 7.0, "label": "long", "step": 0}))["m"]
    assert (found["loss"], found["label"]) == ([2.0, 2.0], "short")


def test_models_have_the_loss_of_one_label_where_all_have_it():
    many = ({"value": 9.0, "label": "long", "step": step} for step in (0, 1, 2))
    both = ({"value": 2.0, "label": "short", "model": model} for model in ("m", "m2"))
    found = training_of(frame(*many, *both))
    assert {one["label"] for one in found.values()} == {"short"}
    assert found["m"]["loss"] == [2.0, None, None]


def test_the_loss_is_the_lowest_until_then():
    values = ({"value": value, "step": step} for step, value in enumerate((5.0, 3.0, 4.0, 2.0)))
    assert training_of(frame(*values))["m"]["loss"] == [5.0, 3.0, 3.0, 2.0]


def test_unknown_tokens_and_losses_that_are_not_finite_are_missing():
    rows = frame({"value": float("inf")}, {"value": float("nan"), "step": 1})
    found = training_of(rows.assign(tokens=pd.array([None, None], "Int64")))
    assert found["m"]["tokens"] == [None, None]
    assert found["m"]["loss"] == [None, None]


def test_no_rows_are_of_no_model():
    assert training_of(pd.DataFrame()) == {}
