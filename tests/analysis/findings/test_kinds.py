"""The kinds of findings: each is made where its control and its interval allow it, else not."""

import re

import numpy as np
import pandas as pd
import pytest

from pythia_traj.analysis.findings.chosen import findings
from pythia_traj.analysis.findings.dated import dated
from tests.analysis.findings.phase_change import (
    Planted,
    found_in,
    learnt,
    with_circuit,
    with_copies,
    with_probes,
    with_removal,
    with_roles,
    with_task,
    with_text,
    words_in,
)

HOSTILE = "<script>alert('&')</script> {0} %s ${x}"


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


@pytest.mark.parametrize(
    ("n", "said"),
    [(1, "1 other head of its layer costs"), (3, "3 other heads of its layer cost")],
)
def test_matched_heads_are_counted(n, said):
    planted = with_removal(Planted())
    rows = planted.rows
    rows.loc[rows["control"] == "matched", "n"] = n
    (found,) = findings(rows, dated(rows, planted.items))
    assert f", where {said} 0.10 on average." in found.words
    rows.loc[rows["control"] == "matched", "n"] = pd.NA
    (found,) = findings(rows, dated(rows, planted.items))
    assert ", where other heads of its layer cost 0.10 on average." in found.words


@pytest.mark.parametrize(
    ("mean", "sd", "said"),
    [(0.02, 0.004, "0.020"), (0.02, 0.3, "0.02"), (-0.0, 0.0, "0"), (0.6, 0.2, "0.6")],
)
def test_the_mean_of_matched_sets_has_the_digits_of_their_spread_and_at_least_one(mean, sd, said):
    planted = with_removal(Planted(), matched=mean)
    rows = planted.rows
    rows.loc[rows["metric"] == "effect_sd", "value"] = sd
    (found,) = findings(rows, dated(rows, planted.items))
    assert found.words.endswith(f" cost {said} on average.")


@pytest.mark.parametrize("matched", [3.0, 2.95, 5.0])
def test_removal_that_its_matched_control_explains_makes_no_finding(matched):
    assert words_in(with_removal(Planted(), matched=matched)) == []


@pytest.mark.parametrize(("sd", "is_found"), [(0.05, True), (0.3, False)])
def test_removal_must_harm_more_than_matched_sets_by_two_of_their_standard_deviations(sd, is_found):
    planted = with_removal(Planted(), matched=2.5)
    rows = planted.rows
    rows.loc[rows["metric"] == "effect_sd", "value"] = sd
    assert bool(findings(rows, dated(rows, planted.items))) is is_found


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


def test_accuracy_on_a_task_is_told_with_chance_and_the_label():
    (words,) = words_in(with_task(Planted()))
    assert words.startswith("Accuracy on the task rises from 0.50")
    assert "between 1,000 and 2,000; after shuffled prompts it is 0.50" in words
    assert words.endswith("(in ioi).")


def test_accuracy_that_shuffled_prompts_have_too_makes_no_finding():
    assert [one for one in words_in(with_task(Planted(), shuffled=0.97)) if "ccuracy" in one] == []


def test_loss_on_text_is_told_with_where_half_of_it_is_reached():
    (words,) = words_in(with_text(Planted()))
    assert re.search(r"falls from 10\.\d+ to 3\.\d+ \(2\.9\d* to 3\.\d+\) nats by step", words)
    assert "half of it by step 90, between 64 and 128" in words


def test_loss_on_text_that_is_as_low_on_shuffled_tokens_makes_no_finding():
    assert words_in(with_text(Planted(), shuffled=3.0)) == []


def test_a_circuit_is_told_with_its_size_that_of_random_orders_and_since_when():
    (words,) = words_in(with_circuit(Planted()))
    assert words.startswith("A circuit (eap_ig) of 9 edges is faithful at step 8,000 (normalised")
    assert "in random order 90 are needed" in words
    assert words.endswith("prompts differ by over 3 standard errors from step 256 on.")


def test_prompts_differ_from_the_step_on_at_which_faithfulness_has_values_at_every_later_step():
    (words,) = words_in(with_circuit(Planted(), differ=lambda steps: ~np.isin(steps, (0, 1000))))
    assert words.endswith("from step 2,000 on.")


@pytest.mark.parametrize(
    "weak",
    [
        {"random": 9.0},
        {"random": 14.0},
        {"differ": lambda steps: (steps >= 256) & (steps <= 512)},
        {"differ": lambda steps: steps < 8000},
    ],
)
def test_a_circuit_is_not_told_where_random_ones_are_as_small_or_the_prompts_do_not_differ(weak):
    words = words_in(with_circuit(Planted(), **weak))
    assert [one for one in words if one.startswith("A circuit")] == []


def test_a_role_is_told_from_the_second_step_at_which_it_is_significant():
    (words,) = words_in(with_roles(Planted()))
    assert words == (
        "Roles of heads appear: induction first at step 1,000 (2 heads at step 8,000); on shuffled"
        " tokens none."
    )


def test_a_role_that_as_many_heads_have_on_shuffled_tokens_makes_no_finding():
    assert words_in(with_roles(Planted(), shuffled=(1, 2))) == []


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


@pytest.mark.parametrize(("selectivity", "is_found"), [(0.0085, False), (0.011, True)])
def test_the_most_selective_layer_must_be_sure_among_all_of_them(selectivity, is_found):
    planted = with_probes(Planted(), selectivity=selectivity, lead=-0.2)
    rows = planted.rows
    own = rows[(rows["metric"] == "selectivity") & rows["control"].isna() & (rows["layer"] == 2)]
    assert own["low"].iloc[-1] > 0
    assert bool(words_in(planted)) is is_found


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


def test_a_metric_of_a_users_own_without_an_onset_or_above_no_control_makes_no_finding():
    assert words_in(Planted().put("mine", "flat", 1.0, noise=0.1)) == []
    planted = Planted().put("mine", "glow", 2 * learnt(Planted().steps, 1500), noise=0.1)
    planted.put("mine", "glow", 2.0, noise=0.1, control="random")
    assert words_in(planted) == []


def test_a_hostile_part_is_named_as_it_is():
    planted = Planted()
    key = {"component": "set", "part": HOSTILE, "variant": "mean", "target": "nll"}
    planted.put("ablation", "effect", 3 * learnt(planted.steps, 1500), noise=0.1, **key)
    (words,) = words_in(planted)
    assert f"costs most for the set {HOSTILE}: " in words
