"""The onsets that a page marks: which trajectories, with q over all heads, and without items."""

import numpy as np
import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.analysis.findings.dated import dated
from tests.analysis.findings.phase_change import Planted, learnt, with_copies, with_heads


def names(planted, items=True):
    return list(dated(planted.rows, planted.items if items else None)["name"])


def test_whole_model_metrics_copies_and_heads_are_dated_and_nothing_else():
    planted = with_copies(with_heads(Planted(), {}))
    rise = learnt(planted.steps, 1500)
    planted.put("loss", "nll", 3 - rise).put("loss", "nll", 3.0, control="shuffled")
    planted.put("loss", "nll", 3 - rise, position=4).put("loss", "share", 0.5, part="number")
    planted.put("loss", "surprisal", 3 - rise, part="number")
    planted.put("ngram", "kl", 1 - rise, size=2).put("attribution", "nll", 3 - rise, size=10)
    planted.put("attribution", "nll", 3 - rise, reference="final")
    planted.put("attribution", "circuit_size", 10 - rise, variant="eap")
    planted.put("behaviour", "logit_diff", rise, label="ioi")
    planted.put("ablation", "effect", rise, component="head", layer=0, head=0, target="nll")
    planted.put("weights", "norm", rise, component="W_Q", layer=0)
    found = dated(planted.rows, planted.items)
    whole = found[found["head"].isna()]
    assert sorted(zip(whole["label"], whole["metric"], whole["part"].fillna(""), strict=True)) == [
        ("induction", "nll", "first_copy"),
        ("induction", "nll", "second_copy"),
        ("ioi", "logit_diff", ""),
        ("loss", "nll", ""),
        ("ngram", "kl", ""),
    ]
    heads = found[found["head"].notna()]
    assert set(heads["metric"]) == {"prefix_matching"}
    assert len(heads) == 8


def test_heads_are_dated_in_two_halves_or_else_in_the_first_convention():
    planted = Planted()
    key = {"component": "head", "layer": 0, "head": 0}
    for variant in ("olsson_query", "two_halves", "detect_head_mul"):
        planted.put("induction", "prefix_matching", 0.1, variant=variant, **key)
    planted.put("induction", "previous_token", 0.1, variant="own", **key)
    planted.put("induction", "previous_token", 0.1, variant="other", **key)
    found = dated(planted.rows, planted.items)
    assert list(zip(found["metric"], found["variant"], strict=True)) == [
        ("prefix_matching", "two_halves"),
        ("previous_token", "own"),
    ]


def test_roles_of_heads_are_not_dated():
    planted = Planted()
    key = {"component": "head", "layer": 0, "head": 0}
    planted.put("head_roles", "previous_token", 0.1, **key)
    planted.put("head_roles", "significant", 0.0, target="previous_token", part="fold_1", **key)
    assert names(planted) == []


def test_dates_and_q_are_those_of_onset_on_all_heads():
    planted = with_heads(Planted())
    rows, items = planted.rows, planted.items
    heads = rows[rows["control"].isna()]
    expected = pt.onset(heads, items)
    found = dated(rows, items)
    for column in ("status", "step", "low", "high", "q", "words"):
        pd.testing.assert_series_equal(found[column], expected[column])


def test_a_metric_of_heads_and_of_the_whole_model_has_items_for_both():
    planted = with_heads(Planted())
    key = {"variant": "two_halves"}
    planted.put("induction", "prefix_matching", learnt(planted.steps, 1500), **key)
    found = dated(planted.rows, planted.items)
    assert len(found) == 9
    assert not found["flags"].str.contains("no_items").any()
    assert found["high"][found["head"].isna()].tolist() == [2000]


def test_two_models_and_labels_are_dated_apart():
    one, other = with_heads(Planted("a")), with_heads(Planted("b"), {(0, 0): (100, 0.8)})
    rows, items = (
        pd.concat([getattr(some, name) for some in (one, other)], ignore_index=True)
        for name in ("rows", "items")
    )
    found = dated(rows, items).set_index(["model", "layer", "head"])
    assert found.loc[("a", 1, 1), "high"] == 2000
    assert found.loc[("b", 0, 0), "high"] == 128
    assert found.loc[("a", 0, 0), "status"] == "none"
    assert set(found["name"].str.split(" · ").str[0]) == {"a", "b"}


def test_what_keeps_no_items_has_a_bracket_and_no_interval():
    planted = Planted()
    planted.put("loss", "nll", 3 - learnt(planted.steps, 1500))
    planted.put("loss", "accuracy", learnt(planted.steps, 1500), keeps_items=False)
    found = dated(planted.rows, planted.items).set_index("metric")
    assert found.loc["nll", "status"] == "onset"
    assert "no_items" in found.loc["accuracy", "flags"]
    assert pd.isna(found.loc["accuracy", "low"])
    assert found.loc["accuracy", "bracket_high"] == 2000
    without = dated(planted.rows, None)
    assert without["flags"].str.contains("no_items").all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_infinite_counts_as_not_measured(bad):
    planted = with_heads(Planted())
    rows, items = planted.rows, planted.items
    rows.loc[rows["step"] == 4, "value"] = bad
    items.loc[items["step"] == 4, "value"] = bad
    assert set(dated(rows, items)["steps"]) == {len(planted.steps) - 1}


def test_progress_is_told_to_the_last_trajectory():
    planted = with_copies(with_heads(Planted()))
    told = []
    dated(planted.rows, planted.items, lambda done, total: told.append((done, total)))
    assert told[-1] == (10, 10)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_no_rows_give_the_columns_of_the_table():
    columns = list(dated(with_heads(Planted()).rows))
    for rows in (Planted().rows, pd.DataFrame()):
        empty = dated(rows)
        assert list(empty) == columns
        assert empty.empty
