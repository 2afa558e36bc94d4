"""The onsets of two models, and whose came first."""

import numpy as np
import pandas as pd
import pytest

from pythia_traj.analysis.comparison.which_first import onsets_of_two
from tests.analysis.trajectories import STEPS, both, line


def rising(model, at, seed=0, **columns):
    """Rows and items of an accuracy that rises from 0 to 1 at a step."""
    items = np.random.default_rng(seed).normal(0, 0.05, (16, len(STEPS))) + (np.array(STEPS) >= at)
    rows = line(items.mean(0), model=model, metric="accuracy", **columns)
    found = [
        line(values, model=model, metric="accuracy", **columns).assign(item=i, n=1)
        for i, values in enumerate(items)
    ]
    return rows, pd.concat(found, ignore_index=True)


def compared(*pairs, same=("a",)):
    (rows_a, items_a), (rows_b, items_b) = pairs
    return onsets_of_two((rows_a, rows_b), (items_a, items_b), same).iloc[0]


def test_the_earlier_model_is_named_with_the_octaves_between():
    found = compared(rising("early", 64), rising("late", 1000))
    assert found["verdict"] == "early before late"
    assert (found["status_first"], found["status_second"]) == ("onset", "onset")
    assert found["octaves"] == pytest.approx(4, abs=0.2)
    found = compared(rising("late", 1000), rising("early", 64))
    assert (found["verdict"], found["octaves"] < 0) == ("early before late", True)


def test_onsets_between_the_same_steps_are_tied():
    assert compared(rising("m", 64), rising("n", 64, seed=1))["verdict"] == "tied"


def test_other_items_have_dates_and_no_order():
    found = compared(rising("m", 64), rising("n", 1000), same=())
    assert found["verdict"] is None
    assert found["octaves"] > 3


def test_a_model_without_an_onset_has_no_order():
    found = compared(rising("m", 64), rising("n", 10**9))
    assert found["status_second"] != "onset"
    assert found["verdict"] is None


def twice_rising(model):
    """Rows and items of an accuracy that rises, falls again and rises: it has no one date."""
    shape = np.array([0] * 7 + [0.9, 0.9, 0.1, 0.1, 0.9, 1, 1])
    rows, items = rising(model, 10**9)
    step = items["step"].map(dict(zip(STEPS, shape, strict=True)))
    return rows.assign(value=rows["value"] + shape), items.assign(value=items["value"] + step)


def test_what_crosses_several_times_has_no_date_but_its_sentence():
    found = compared(rising("m", 64), twice_rising("n"))
    assert (found["status_second"], found["flags_second"]) == ("several", "several_crossings")
    assert found[["step_second", "low_second", "high_second", "octaves"]].isna().all()
    assert found["verdict"] is None
    assert "more than once, at steps 32..64 and 512..1000: not one date" in found["words_second"]
    assert found["words_first"].startswith("step ")


def test_what_is_unsure_has_its_interval_alone():
    rows, items = rising("n", 64)
    late = {"rows": rows[rows["step"] > 16], "items": items[items["step"] > 16]}
    found = compared(rising("m", 64), (late["rows"], late["items"]))
    assert (found["status_second"], found["flags_second"]) == ("unsure", "base_not_init")
    assert found[["step_second", "octaves"]].isna().all()
    assert found["high_second"] == 64
    assert "its start was not measured" in found["words_second"]


def test_flags_of_a_date_are_there():
    found = compared(rising("m", 64), rising("n", 4000))
    assert (found["status_second"], found["flags_second"]) == ("onset", "still_rising")


def test_what_has_no_order_is_null_beside_what_has_one():
    rows, items = rising("m", 64)
    more, of_more = rising("m", 10**9, part="p")
    other, of_other = rising("n", 1000)
    another, of_another = rising("n", 64, part="p")
    table = onsets_of_two(
        (both(rows, more), both(other, another)),
        (both(items, of_more), both(of_other, of_another)),
        ["a"],
    )
    assert table["verdict"].tolist() == ["m before n", None]


def test_only_metrics_of_both_are_there():
    rows, items = rising("m", 64)
    more, of_more = rising("m", 64, part="p")
    other, of_other = rising("n", 64)
    table = onsets_of_two((both(rows, more), other), (both(items, of_more), of_other), ["a"])
    assert len(table) == 1
