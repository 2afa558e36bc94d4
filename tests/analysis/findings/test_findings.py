"""Findings: sentences whose numbers, steps and names come from the rows, and from nowhere else."""

import re

import numpy as np
import pandas as pd
import pytest

from pythia_traj.analysis.findings import kinds
from pythia_traj.analysis.findings.chosen import all_kinds, findings, nothing_found
from pythia_traj.analysis.findings.dated import dated, marked
from pythia_traj.errors import AnalysisError
from tests.adding import added_files
from tests.analysis.findings.phase_change import (
    UNIFORM,
    Planted,
    found_in,
    learnt,
    with_circuit,
    with_copies,
    with_heads,
    with_probes,
    with_removal,
    with_roles,
    with_task,
    with_text,
    words_in,
)


def nothing_in(planted, items=True):
    return nothing_found(planted.rows, dated(planted.rows, planted.items if items else None))


def test_heads_that_take_off_are_named_with_their_step_and_its_interval():
    (found,) = found_in(with_heads(Planted()))
    assert found.words.startswith(
        "Prefix matching takes off at step 1,400, between 1,000 and 2,000, in heads L1H1 and L1H2;"
        " 2 of 8 heads rise surely (q <= 0.05), L1H1 highest, to 0.83"
    )
    assert (found.experiment, found.models, found.metric) == (
        "induction",
        ("m",),
        "prefix_matching",
    )


def test_heads_that_are_renumbered_in_the_rows_and_items_are_named_by_their_new_numbers():
    planted = with_heads(Planted())
    number = {0: 3, 1: 0, 2: 2, 3: 1}
    rows, items = (
        some.assign(head=some["head"].map(number).astype("Int64"))
        for some in (planted.rows, planted.items)
    )
    (found,) = findings(rows, dated(rows, items))
    assert "in heads L1H0 and L1H2; 2 of 8" in found.words
    assert "L1H0 highest" in found.words
    assert not re.search("L1H[13]", found.words)


def test_layers_that_are_renumbered_are_named_by_their_new_numbers():
    planted = with_heads(Planted())
    rows, items = (some.assign(layer=1 - some["layer"]) for some in (planted.rows, planted.items))
    (found,) = findings(rows, dated(rows, items))
    assert "in heads L0H1 and L0H2" in found.words


def test_heads_that_rise_together_are_one_group_and_the_earliest_group_is_said_first():
    heads = {(1, 3): (3500, 0.9), (0, 2): (100, 0.8), (1, 0): (100, 0.6)}
    (words,) = words_in(with_heads(Planted(), heads))
    assert "at step 90, between 64 and 128, in heads L0H2 and L1H0 and at step 3,5" in words
    assert words.index("L0H2") < words.index("L1H3")


def test_at_most_three_heads_are_named():
    heads = {(layer, head): (1500, 0.8 - 0.05 * head) for layer in (0, 1) for head in range(3)}
    (words,) = words_in(with_heads(Planted(), heads))
    assert re.search(r"in heads L\dH\d, L\dH\d, L\dH\d and 3 others; 6 of 8 heads rise", words)


def test_a_head_that_rises_little_beside_a_high_one_is_counted_and_not_named():
    (words,) = words_in(with_heads(Planted(), {(0, 0): (8, 0.05), (1, 1): (1500, 0.8)}))
    assert "in head L1H1; 2 of 8 heads rise surely" in words


def test_a_run_without_an_onset_has_no_finding_and_says_what_was_looked_at():
    planted = with_heads(Planted(), {})
    assert found_in(planted) == ()
    said = nothing_in(planted)
    assert said == (
        "No onset was found: among 8 heads none rises surely by prefix matching (q <= 0.05)."
        " Looked at: induction, at 19 steps from 0 to 8,000. That nothing happened is not shown."
    )


def test_a_control_as_high_as_the_heads_makes_no_finding():
    assert words_in(with_heads(Planted(), control=0.9)) == []
    said = nothing_in(with_heads(Planted(), control=0.9))
    assert said.startswith("No finding: among 8 heads there are 2 rises by prefix matching")


def test_one_rise_without_a_finding_is_said_in_the_singular():
    said = nothing_in(with_heads(Planted(), {(1, 1): (1500, 0.8)}, control=0.9))
    assert "among 8 heads there is 1 rise by prefix matching" in said


def test_heads_that_stand_high_from_the_start_make_no_finding():
    planted = Planted()
    for head in range(4):
        key = {"component": "head", "layer": 0, "head": head, "variant": "two_halves"}
        planted.put("induction", "prefix_matching", 0.5, **key)
        planted.put("induction", "prefix_matching", UNIFORM, control="shuffled", **key)
    assert words_in(planted) == []


def test_attention_to_the_previous_token_is_not_compared_with_shuffled_tokens():
    planted = with_heads(Planted(), control=0.9, metric="previous_token")
    (words,) = words_in(planted)
    assert words.startswith("Attention to the previous token takes off at step 1,400")


def with_curve(planted, curve, metric="prefix_matching"):
    """Adds four heads of one layer, of which L0H2 takes a curve [step] and the others stay."""
    for head in range(4):
        key = {"component": "head", "layer": 0, "head": head, "variant": "two_halves"}
        planted.put("induction", metric, UNIFORM + curve * (head == 2), **key)
    return planted


def swings(planted):
    """Low at the start, high, low, and high at the end."""
    since = np.arange(len(planted.steps))[::-1]
    return np.where(since // 6 % 2, 0.0, 0.8)


def hump(planted, end=-0.5):
    """A rise by 0.5 at step 100, and at step 1500 a fall to the start and further."""
    return 0.5 * learnt(planted.steps, 100) + (end - 0.5) * learnt(planted.steps, 1500)


@pytest.mark.parametrize("end", [-0.02, 0.0, 0.1])
def test_a_head_that_rises_and_falls_back_makes_no_finding_and_has_no_mark(end):
    planted = with_curve(Planted(noise=0.002), hump(Planted(), end), "previous_token")
    onsets = dated(planted.rows, planted.items)
    head = onsets.set_index("head").loc[2]
    assert head["q"] <= 0.05
    assert "falls_back" in head["flags"]
    assert words_in(planted) == []
    assert marked(onsets).empty


def test_heads_that_fall_back_are_counted_apart_from_those_that_rise():
    planted = with_curve(with_heads(Planted()), hump(Planted(), -0.02))
    rows = planted.rows.drop_duplicates(["layer", "head", "step", "metric", "control"], keep="last")
    items = planted.items.drop_duplicates(["layer", "head", "step", "metric", "item"], keep="last")
    onsets = dated(rows, items)
    (found,) = findings(rows, onsets)
    assert "in heads L1H1 and L1H2; 2 of 8 heads rise surely" in found.words
    assert found.words.endswith("; 1 other rises and falls back.")
    assert [tuple(one) for one in marked(onsets)[["layer", "head"]].to_numpy()] == [(1, 1), (1, 2)]


def test_a_head_that_is_not_surely_above_its_start_at_the_last_step_does_not_rise():
    planted = with_curve(Planted(), 0.8 * learnt(Planted().steps, 1500))
    rows, items = planted.rows, planted.items
    onsets = dated(rows, items)
    assert len(findings(rows, onsets)) == 1
    start = rows.loc[rows["step"] == 0, ["head", "value"]].set_index("head")["value"]
    at_last = rows["step"] == rows["step"].max()
    rows.loc[at_last, "value"] = rows.loc[at_last, "head"].map(start).astype(float)
    rows.loc[at_last, "low"], rows.loc[at_last, "high"] = rows["value"] - 0.01, rows["value"] + 0.01
    assert findings(rows, onsets) == ()


def test_a_metric_of_the_whole_model_that_falls_back_keeps_its_mark():
    planted = Planted().put("loss", "accuracy", 0.2 + hump(Planted(), -0.02))
    onsets = dated(planted.rows, planted.items)
    assert "falls_back" in onsets["flags"].iloc[0]
    assert len(marked(onsets)) == 1
    assert marked(dated(planted.rows[:0])).empty


def test_heads_that_fall_are_not_counted_as_rises_where_there_is_no_finding():
    planted = with_curve(Planted(), -0.5 * learnt(Planted().steps, 1500))
    assert words_in(planted) == []
    assert "among 4 heads none rises surely by prefix matching" in nothing_in(planted)


def test_a_head_that_crosses_half_of_its_height_twice_is_named_without_a_date():
    planted = Planted(noise=0.002)
    with_curve(planted, swings(planted))
    (words,) = words_in(planted)
    assert words.startswith(
        "Prefix matching rises surely in head L0H2, but undated: half of its height is crossed"
    )


def test_findings_stand_in_the_documented_order_and_are_at_most_as_many_as_asked_for():
    planted = with_text(with_removal(with_copies(with_heads(with_task(Planted())))))
    words = words_in(planted, most=4)
    starts = ("Prefix matching", "Accuracy", "The loss on the second copy", "Removing heads")
    assert [one.startswith(start) for one, start in zip(words, starts, strict=True)] == [True] * 4
    assert words_in(planted, most=2) == words[:2]
    own = Planted()
    for metric in ("gleam", "glow"):
        own.put("mine", metric, 2 * learnt(own.steps, 1500), noise=0.1)
    assert len(words_in(own)) == 2
    assert len(words_in(own, most=1)) == 1
    assert any(one.startswith("The loss on text") for one in words_in(planted, most=20))


def test_kinds_have_an_importance_of_their_own():
    order = [kind.importance for kind in all_kinds()]
    assert order == sorted(set(order))
    assert len(order) == 12


KIND = '''
"""Where a metric is above one."""

from pythia_traj.analysis.findings.finding import Kind, Statement
from pythia_traj.analysis.selection import choose

def find(chosen, onsets):
    """Says so."""
    above = chosen[chosen["value"] > 1]
    says = f"is above 1 at {len(above)} steps"
    return (Statement("The glow", says, says, "mine", "glow"),) if len(above) else ()

KIND = Kind(5, lambda rows: choose(rows, ["glow"]), find)
'''


def test_another_file_adds_a_kind(tmp_path, monkeypatch):
    planted = with_heads(Planted()).put("mine", "glow", 2 * learnt(Planted().steps, 1500))
    with added_files(kinds, tmp_path / "more", all_kinds, monkeypatch) as write:
        write("glow", KIND)
        words = words_in(planted)
    assert words[0] == "The glow is above 1 at 7 steps."
    assert words[1].startswith("Prefix matching takes off")
    assert words_in(planted)[0] == words[1]


def test_two_models_are_in_one_sentence_that_names_both():
    one = with_heads(Planted("a"))
    other = with_heads(Planted("b"), {(0, 3): (3500, 0.8)})
    (found,) = found_in(one, other)
    assert found.models == ("a", "b")
    assert found.words == (
        "Prefix matching takes off: in a at step 1,400, between 1,000 and 2,000, in heads L1H1 and"
        " L1H2; in b at step 3,500, between 3,000 and 4,000, in head L0H3."
    )


def test_a_model_in_which_nothing_is_sure_is_named_as_such():
    (found,) = found_in(with_heads(Planted("a")), with_heads(Planted("b"), {}))
    assert found.models == ("a",)
    assert found.words.endswith("in heads L1H1 and L1H2; not surely in b.")


def test_a_model_of_which_something_else_is_said_is_not_named_as_unsure():
    swinging = Planted("b", noise=0.002)
    with_curve(swinging, swings(swinging))
    found = found_in(with_heads(Planted("a")), swinging)
    assert [one.models for one in found] == [("a",), ("b",)]
    assert not any("not surely" in one.words for one in found)


def test_of_many_models_three_are_described():
    some = [with_heads(Planted(f"seed{i}")) for i in range(5)]
    (found,) = found_in(*some)
    assert found.models == tuple(f"seed{i}" for i in range(5))
    assert found.words.count("in heads") == 3
    assert found.words.endswith("; surely in seed3 and seed4 too.")


def test_labels_of_one_model_leave_the_others_their_places():
    toy = Planted("toy")
    for label in ("long", "short", "step"):
        with_heads(toy, label=label)
    other = with_heads(Planted("other"), label="long")
    (found,) = found_in(toy, other)
    described = re.findall(r"in (\S+ · \S+) at step", found.words)
    assert described == ["toy · long", "other · long", "toy · short"]
    assert found.words.endswith("; surely in toy · step too.")
    assert found.models == ("toy", "other")


def test_models_that_are_left_out_or_unsure_are_named_before_more_labels_of_others():
    toy = Planted("toy")
    for label in ("long", "short", "step"):
        with_heads(toy, label=label)
    some = [with_heads(Planted(f"seed{i}"), label="long") for i in range(3)]
    unsure = with_heads(with_heads(Planted("flat"), {}, label="long"), {}, label="short")
    last = with_heads(Planted("last"), {}, label="long")
    (found,) = found_in(toy, *some, unsure, last)
    assert found.words.endswith(
        "; surely in seed2 · long, toy · short and toy · step too;"
        " not surely in flat · long, last · long and flat · short."
    )


def test_two_labels_are_told_apart():
    planted = with_heads(with_heads(Planted(), label="short"), {}, label="long")
    (words,) = words_in(planted)
    assert "takes off: in short at step 1,400" in words
    assert words.endswith("not surely in long.")


HOSTILE = "<script>alert('&')</script> {0} %s ${x}"


def test_names_come_out_as_they_are():
    planted = with_task(Planted(HOSTILE), label=HOSTILE)
    other = with_task(Planted("b"), label=HOSTILE)
    found = found_in(planted, other)
    assert found
    assert all(f"in {HOSTILE} " in one.words for one in found)
    assert HOSTILE in found[0].models
    user = Planted().put(HOSTILE, HOSTILE, 2 * learnt(Planted().steps, 1500), noise=0.1)
    assert any(f"The metric {HOSTILE} goes from" in one for one in words_in(user))
    assert HOSTILE in nothing_in(Planted().put(HOSTILE, "flat", 1.0))


def test_one_step_makes_no_finding_and_says_how_many_are_needed():
    planted = with_removal(with_copies(with_heads(Planted(steps=(8000,)))))
    assert [one for one in words_in(planted) if "takes off" in one or "falls" in one] == []
    assert "as 1 step was measured, and 8 are needed" in nothing_in(
        Planted(steps=(8000,)).put("loss", "nll", 3.0)
    )
    few = with_heads(Planted(steps=(0, 8000)))
    assert found_in(few) == ()
    assert nothing_in(few) == (
        "No finding. Nothing is dated, as 2 steps were measured, and 8 are needed. Looked at:"
        " induction, at 2 steps from 0 to 8,000."
    )


def test_without_items_nothing_is_dated_and_the_sentence_says_so():
    planted = with_heads(Planted())
    onsets = dated(planted.rows, None)
    assert findings(planted.rows, onsets) == ()
    assert onsets["bracket_low"].notna().any()
    assert "no items of these metrics are kept" in nothing_in(planted, items=False)


def test_no_rows_make_no_finding():
    empty = Planted().rows
    for rows in (empty, pd.DataFrame()):
        onsets = dated(rows, None)
        assert findings(rows, onsets) == ()
        assert nothing_found(rows, onsets) == "No finding: no value was measured."


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_missing_or_infinite_are_left_out(bad):
    planted = with_roles(
        with_probes(with_circuit(with_removal(with_copies(with_heads(Planted())))))
    )
    rows, items = planted.rows, planted.items
    hit = rows["step"] == 512
    rows.loc[hit, ["value", "stderr", "low", "high"]] = bad
    items.loc[items["step"] == 512, "value"] = bad
    found = findings(rows, dated(rows, items), 20)
    assert any(one.words.startswith("Prefix matching takes off at step 1,400") for one in found)
    assert not any(re.search("nan|inf|None|NA", one.words) for one in found)
    rows["value"] = bad
    assert findings(rows, dated(rows, items)) == ()
    assert nothing_found(rows, dated(rows, items)) == "No finding: no value was measured."


def test_values_without_intervals_make_no_finding():
    planted = with_text(with_removal(with_copies(Planted())))
    rows = planted.rows
    rows[["stderr", "low", "high"]] = np.nan
    assert findings(rows, dated(rows, planted.items), 20) == ()


def test_heads_whose_heights_have_no_interval_make_no_finding():
    planted = with_heads(Planted(), metric="previous_token")
    rows = planted.rows
    onsets = dated(rows, planted.items)
    assert len(findings(rows, onsets)) == 1
    rows[["stderr", "low", "high"]] = np.nan
    assert findings(rows, onsets) == ()


def test_most_is_a_number_from_one():
    with pytest.raises(AnalysisError, match="most=0: give a number from 1"):
        findings(Planted().rows, dated(Planted().rows), 0)
