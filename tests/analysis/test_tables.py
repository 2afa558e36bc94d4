"""Key numbers, metrics without a value, and the facts of a run."""

import pandas as pd

from pythia_traj.analysis.tables import PLACES, key_numbers, undefined_metrics
from tests.analysis.frames import frame, head


def of_metric(numbers, what):
    found = numbers[numbers["what"] == what]
    assert found["place"].tolist() == list(PLACES)
    return [
        None if pd.isna(value) else (step, value)
        for step, value in zip(found["step"], found["value"], strict=True)
    ]


def test_key_numbers_are_the_first_the_last_and_the_control_of_the_last():
    rows = frame(
        {"value": 2.0, "step": 8},
        {"value": 5.0},
        {"value": 6.0, "control": "shuffled"},
        {"value": 4.0, "step": 8, "control": "shuffled"},
        {"value": 0.1, "metric": "accuracy"},
    )
    numbers = key_numbers(rows)
    assert of_metric(numbers, "nll") == [(0, 5.0), (8, 2.0), (8, 4.0)]
    assert of_metric(numbers, "accuracy") == [(0, 0.1), (0, 0.1), None]


def test_a_metric_whose_measurement_is_undefined_has_no_numbers_but_its_place():
    rows = frame({"reason": "too short"}, {"value": 4.0, "control": "shuffled"})
    assert of_metric(key_numbers(rows), "nll") == [None, None, None]


def test_of_heads_the_largest_is_named_and_roles_are_left_out():
    rows = frame(
        head(0, 0, 0.2),
        head(0, 1, 0.1),
        head(0, 1, 0.9, step=4),
        head(1, 1, 0.8, metric="previous_token", variant=None),
    )
    numbers = key_numbers(rows)
    assert numbers["what"].unique().tolist() == ["prefix_matching · two_halves"]
    assert numbers["note"].tolist() == ["L0H0", "L0H1", ""]


def test_key_numbers_of_one_model_stand_together():
    rows = frame(*({"value": 1.0, "model": m, "step": s} for s in (0, 4) for m in ("m2", "m")))
    rows = pd.concat([rows, frame({"value": 1.0, "model": "m2", "metric": "accuracy", "step": 9})])
    assert key_numbers(rows)["model"].tolist() == ["m2"] * 6 + ["m"] * 3


def test_undefined_metrics_have_their_reason_and_their_rows():
    short = {"metric": "icl_score", "reason": "too short"}
    rows = frame(
        short,
        short | {"step": 4},
        short | {"model": "m2"},
        short | {"control": "shuffled"},
        {"metric": "kl", "size": 2},
        {"value": 1.0},
    )
    assert undefined_metrics(rows).to_numpy().tolist() == [
        ["icl_score", "a", "too short", 1, "m, m2", 4],
        ["kl", "a", "no reason given", 1, "m", 1],
    ]
    assert undefined_metrics(rows[-1:]).empty


def test_reasons_that_differ_in_numbers_alone_stand_together():
    rows = frame(
        *(
            {"metric": "faithfulness", "size": size, "reason": f"within 3 errors ({size / 7}) of 0"}
            for size in (10, 20, 30)
        ),
        {"metric": "faithfulness", "reason": "a ratio of losses"},
    )
    assert undefined_metrics(rows)[["reason", "reasons", "rows"]].to_numpy().tolist() == [
        [f"within 3 errors ({10 / 7}) of 0", 3, 3],
        ["a ratio of losses", 1, 1],
    ]


def test_no_rows_have_no_numbers():
    assert key_numbers(pd.DataFrame()).empty
    assert undefined_metrics(pd.DataFrame()).empty
    assert list(undefined_metrics(pd.DataFrame())) == list(undefined_metrics(frame({})))
