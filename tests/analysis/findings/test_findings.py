"""Findings: sentences whose numbers, steps and names come from the rows, and from nowhere else."""

import re

import numpy as np
import pandas as pd
import pytest

from pythia_traj.analysis.findings.chosen import all_kinds, findings, nothing_found
from pythia_traj.analysis.findings.dated import dated
from pythia_traj.errors import AnalysisError
from tests.analysis.findings.phase_change import (
    UNIFORM,
    Planted,
    learnt,
    with_copies,
    with_heads,
    with_removal,
)


def found_in(*planted, most=20):
    rows = pd.concat([one.rows for one in planted], ignore_index=True)
    items = pd.concat([one.items for one in planted], ignore_index=True)
    return findings(rows, dated(rows, items), most)


def words_in(*planted, most=20):
    return [one.words for one in found_in(*planted, most=most)]


def nothing_in(planted, items=True):
    return nothing_found(planted.rows, dated(planted.rows, planted.items if items else None))


def about(words, start):
    (found,) = [one for one in words if one.startswith(start)]
    return found


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


def test_a_head_that_falls_back_twice_is_named_without_a_date():
    planted = with_heads(Planted(), {})
    swings = np.where(np.arange(len(planted.steps)) // 3 % 2, 0.8, 0.0)
    planted = Planted(noise=0.002)
    for head in range(4):
        key = {"component": "head", "layer": 0, "head": head, "variant": "two_halves"}
        planted.put("induction", "prefix_matching", UNIFORM + swings * (head == 2), **key)
    (words,) = words_in(planted)
    assert words.startswith(
        "Prefix matching rises surely in head L0H2, but undated: half of its height is crossed"
    )


def test_the_second_copy_is_told_with_its_ends_the_first_copy_and_where_half_is_reached():
    (words,) = words_in(with_copies(Planted()))
    assert re.fullmatch(
        r"The loss on the second copy of random tokens falls from 6\.0\d? to 0\.5\d? \(0\.\d+ to"
        r" 0\.\d+\) nats by step 8,000, half of it by step 1,[45]00, between 1,000 and 2,000; on"
        r" the first copy it is 6\.0\d? \(\d\.\d+ to 6\.\d+\)\.",
        words,
    )


def test_a_second_copy_that_is_as_easy_when_shuffled_makes_no_finding():
    assert words_in(with_copies(Planted(), shuffled=0.3)) == []


def test_the_head_whose_removal_harms_most_is_told_with_its_matched_control():
    (words,) = words_in(with_removal(Planted()))
    assert words.startswith("Removing heads (mean) costs most for head L1H1: the loss on the")
    assert re.search(r"rises by 3\.\d+ \(2\.9\d to 3\.\d+\) nats at step [5-8],000", words)
    assert words.endswith("other heads of its layer cost 0.10 on average.")


@pytest.mark.parametrize("matched", [3.0, 2.95, 5.0])
def test_removal_that_its_matched_control_explains_makes_no_finding(matched):
    assert words_in(with_removal(Planted(), matched=matched)) == []


def test_removal_that_another_set_matches_makes_no_finding():
    planted = with_removal(Planted())
    rows = planted.rows
    rows.loc[rows["metric"] == "effect_rank", "value"] = 2.0
    assert findings(rows, dated(rows, planted.items)) == ()


def test_the_worst_of_many_steps_must_be_sure_among_all_of_them():
    steps = Planted().steps
    key = {"component": "head", "layer": 1, "head": 1, "variant": "mean", "target": "nll"}
    harm = np.where(np.array(steps) == steps[-1], 0.07, 0.0)
    planted = Planted().put("ablation", "effect", harm, noise=0.1, **key)
    at_last = planted.rows.iloc[-1]
    assert at_last["low"] > 0
    assert words_in(planted) == []


def test_removal_that_harms_less_than_its_items_scatter_makes_no_finding():
    assert words_in(with_removal(Planted(), harm=0.05, matched=0.0)) == []


def with_task(planted, shuffled=0.5, label="ioi"):
    rise = learnt(planted.steps, 1500)
    planted.put("behaviour", "logit_diff", 3 * rise, label=label, noise=0.1)
    planted.put("behaviour", "accuracy", 0.5 + 0.45 * rise, label=label)
    planted.put("behaviour", "accuracy", shuffled, label=label, control="shuffled")
    return planted.put("behaviour", "accuracy", 0.02, label=label, control="corrupted")


def test_accuracy_on_a_task_is_told_with_chance_and_the_label():
    (words,) = words_in(with_task(Planted()))
    assert words.startswith("Accuracy on the task rises from 0.50")
    assert "between 1,000 and 2,000; after shuffled prompts it is 0.50" in words
    assert words.endswith("(in ioi).")


def test_accuracy_that_shuffled_prompts_have_too_makes_no_finding():
    assert [one for one in words_in(with_task(Planted(), shuffled=0.97)) if "ccuracy" in one] == []


def with_text(planted, shuffled=9.0):
    fall = learnt(planted.steps, 100)
    planted.put("loss", "nll", 10 - 7 * fall, noise=0.1)
    return planted.put("loss", "nll", shuffled, control="shuffled", noise=0.1)


def test_loss_on_text_is_told_with_where_half_of_it_is_reached():
    (words,) = words_in(with_text(Planted()))
    assert re.search(r"falls from 10\.\d+ to 3\.\d+ \(2\.9\d* to 3\.\d+\) nats by step", words)
    assert "half of it by step 90, between 64 and 128" in words


def test_loss_on_text_that_is_as_low_on_shuffled_tokens_makes_no_finding():
    assert words_in(with_text(Planted(), shuffled=3.0)) == []


def with_circuit(planted, random=90.0, corrupted=6.0, sd=3.0, until=np.inf):
    steps = np.array(planted.steps)
    fall, late = learnt(planted.steps, 1500), (steps >= 512) & (steps <= until)
    key = {"variant": "eap_ig"}
    planted.put("attribution", "nll", 6 - 5 * fall, noise=0.1)
    planted.put("attribution", "nll", corrupted, noise=0.1, control="corrupted")
    planted.put("attribution", "circuit_size", np.where(late, 9.0, np.nan), noise=0.0, **key)
    planted.put("attribution", "circuit_size", random, noise=0.0, control="random", **key)
    planted.put("attribution", "circuit_size_sd", sd, noise=0.0, control="random", **key)
    return planted.put("attribution", "faithfulness_normalised", 0.9, size=10, **key)


def test_a_circuit_is_told_with_its_size_that_of_random_orders_and_since_when():
    (words,) = words_in(with_circuit(Planted()))
    assert words.startswith("A circuit (eap_ig) of 9 edges is faithful at step 8,000 (normalised")
    assert "in random order 90 are needed" in words
    assert words.endswith("surely differ from step 2,000 on.")


@pytest.mark.parametrize(
    "weak", [{"random": 9.0}, {"random": 14.0}, {"corrupted": 1.0}, {"until": 512}]
)
def test_a_circuit_is_not_told_where_random_ones_are_as_small_or_the_prompts_do_not_differ(weak):
    words = words_in(with_circuit(Planted(), **weak))
    assert [one for one in words if one.startswith("A circuit")] == []


def with_roles(planted, shuffled=()):
    for head in range(3):
        for fold in ("fold_1", "fold_2"):
            key = {"component": "head", "layer": 0, "head": head, "part": fold}
            key["target"] = "induction"
            has = np.where(np.array(planted.steps) >= 512, float(head < 2), 0.0)
            planted.put("head_roles", "significant", has, noise=0.0, keeps_items=False, **key)
            own = float(head in shuffled)
            planted.put("head_roles", "significant", own, noise=0.0, control="shuffled", **key)
    return planted


def test_a_role_is_told_from_the_second_step_at_which_it_is_significant():
    (words,) = words_in(with_roles(Planted()))
    assert words == (
        "Roles of heads appear: induction first at step 1,000 (2 heads at step 8,000); on shuffled"
        " tokens none."
    )


def test_a_role_that_as_many_heads_have_on_shuffled_tokens_makes_no_finding():
    assert words_in(with_roles(Planted(), shuffled=(1, 2))) == []


def with_probes(planted, selectivity=0.2, lead=0.0):
    for layer in range(3):
        key = {"component": "resid_post", "layer": layer, "variant": "logistic"}
        height = 0.6 + 0.1 * (layer == 2)
        planted.put("linear_probe", "accuracy", height, **key)
        planted.put("linear_probe", "accuracy", 0.5, control="control_task", **key)
        own = selectivity * (layer == 2)
        planted.put("linear_probe", "selectivity", own, **key)
        planted.put("linear_probe", "selectivity", lead, control="control_task", **key)
    return planted


def test_probes_are_told_of_the_most_selective_layer():
    (words,) = words_in(with_probes(Planted()))
    assert words.startswith(
        "Logistic probes are most selective after layer 2 of 3 layers at step 8,000: accuracy 0.7"
    )
    assert "selectivity 0.2" in words


@pytest.mark.parametrize(
    "weak", [{"selectivity": 0.005}, {"lead": 0.25}, {"selectivity": -0.2, "lead": -0.5}]
)
def test_probes_whose_selectivity_is_not_above_its_control_make_no_finding(weak):
    assert words_in(with_probes(Planted(), **weak)) == []


def test_the_nearest_ngram_is_told_with_the_steps_that_are_as_near():
    planted = Planted()
    x = np.log2(np.array(planted.steps) + 1)
    for size, at in ((1, 5), (2, 9)):
        planted.put("ngram", "kl", 0.3 + 0.1 * np.abs(x - at), size=size)
    (words,) = words_in(planted)
    assert "nearest to the unigram model at step 32, 0.3" in words
    assert "the bigram model at step 512, 0.3" in words


def test_the_least_of_many_divergences_must_be_sure_among_all_of_them():
    planted = Planted()
    dip = np.where(np.arange(len(planted.steps)) == 9, 0.13, 0.0)
    planted.put("ngram", "kl", 1 - dip, size=2, noise=0.1)
    first, least = planted.rows.iloc[0], planted.rows.iloc[9]
    assert least["high"] < first["low"]
    assert words_in(planted) == []


def test_a_divergence_that_never_falls_makes_no_finding():
    planted = Planted()
    planted.put("ngram", "kl", 1 + 0.1 * np.arange(len(planted.steps)), size=2)
    assert words_in(planted) == []


@pytest.mark.parametrize(("by_chance", "is_found"), [(0.05, True), (0.6, False)])
def test_memorized_sequences_are_told_where_others_match_less(by_chance, is_found):
    planted = Planted()
    planted.put("memorization", "match", 0.5 * learnt(planted.steps, 1500))
    planted.put("memorization", "match", by_chance, control="permuted")
    words = words_in(planted)
    assert bool(words) == is_found
    assert all(one.startswith("Training sequences are continued with 0.5") for one in words)


def test_a_metric_of_a_users_own_is_told_by_its_name():
    planted = Planted().put("mine", "glow", 2 * learnt(Planted().steps, 1500), noise=0.1)
    (found,) = found_in(planted)
    assert found.words.startswith("The metric glow goes from ")
    assert "between 1,000 and 2,000" in found.words
    assert (found.experiment, found.metric) == ("mine", "glow")


def test_findings_stand_in_the_documented_order_and_are_at_most_as_many_as_asked_for():
    planted = with_text(with_removal(with_copies(with_heads(with_task(Planted())))))
    words = words_in(planted, most=4)
    starts = ("Prefix matching", "Accuracy", "The loss on the second copy", "Removing heads")
    assert [one.startswith(start) for one, start in zip(words, starts, strict=True)] == [True] * 4
    assert words_in(planted, most=2) == words[:2]
    assert any(one.startswith("The loss on text") for one in words_in(planted, most=20))


def test_kinds_have_an_importance_of_their_own():
    order = [kind.importance for kind in all_kinds()]
    assert order == sorted(set(order))
    assert len(order) == 12


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
    falling = Planted("b", noise=0.002)
    swings = np.where(np.arange(len(falling.steps)) // 3 % 2, 0.8, 0.0)
    for head in range(4):
        key = {"component": "head", "layer": 0, "head": head, "variant": "two_halves"}
        falling.put("induction", "prefix_matching", UNIFORM + swings * (head == 2), **key)
    found = found_in(with_heads(Planted("a")), falling)
    assert [one.models for one in found] == [("a",), ("b",)]
    assert not any("not surely" in one.words for one in found)


def test_of_many_models_three_are_described():
    some = [with_heads(Planted(f"seed{i}")) for i in range(5)]
    (found,) = found_in(*some)
    assert found.models == tuple(f"seed{i}" for i in range(5))
    assert found.words.count("in heads") == 3
    assert found.words.endswith("; surely in 2 others too.")


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


def test_a_hostile_part_is_named_as_it_is():
    planted = Planted()
    key = {"component": "set", "part": HOSTILE, "variant": "mean", "target": "nll"}
    planted.put("ablation", "effect", 3 * learnt(planted.steps, 1500), noise=0.1, **key)
    (words,) = words_in(planted)
    assert f"costs most for the set {HOSTILE}: " in words


def test_one_step_makes_no_finding_and_says_how_many_are_needed():
    planted = with_removal(with_copies(with_heads(Planted(steps=(8000,)))))
    assert [one for one in words_in(planted) if "takes off" in one or "falls" in one] == []
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


def test_most_is_a_number_from_one():
    with pytest.raises(AnalysisError, match="most=0: give a number from 1"):
        findings(Planted().rows, dated(Planted().rows), 0)
