"""The rule by which `--refine` chooses steps: what it wants next, when it ends, what it reaches on
curves whose onset is known.
"""

import pytest

from pythia_traj.analysis.adaptive.rule import ENDS, REASONS, START, choose, gaps
from pythia_traj.analysis.onsets.onset import Onset
from pythia_traj.steps import select
from pythia_traj.suites.catalog import EARLY, EVERY_THOUSAND
from tests.benchmark import benchmark

PUBLISHED = (*EARLY, *EVERY_THOUSAND)
FIRST = select(START, PUBLISHED)


def onset(low, high, *, interval=None, step=None, status="onset", crossings=()):
    first, last = interval or (low, high)
    step = (low + high) / 2 if step is None and None not in (low, high) else step
    return Onset(
        status,
        step=step,
        low=first,
        high=last,
        bracket_low=low,
        bracket_high=high,
        crossings=crossings,
    )


NONE = Onset("none", base=0.5, top=0.6, p=0.7)


def chosen(measured, found=None, budget=30, published=PUBLISHED):
    choice = choose(published, measured, found, budget)
    assert choice.in_words == (REASONS if choice.steps else ENDS)[choice.why]
    return choice.steps, choice.why


def test_it_begins_with_steps_spread_in_octaves_both_ends_included():
    assert chosen([]) == (FIRST, "start")
    assert (FIRST[0], FIRST[-1]) == (0, 143000)
    assert len(FIRST) == 12


def test_what_is_measured_of_the_first_steps_is_not_asked_for_again():
    assert chosen(FIRST[:5]) == (FIRST[5:], "start")
    assert chosen([*FIRST[:5], 3000]) == (FIRST[5:], "start")


def test_the_middle_of_the_bracket_is_taken_by_index_and_not_by_step():
    low, high = 49000, 143000
    steps, why = chosen(FIRST, onset(low, high))
    first, last = PUBLISHED.index(low), PUBLISHED.index(high)
    assert (steps, why) == ((PUBLISHED[(first + last) // 2],), "bracket")
    low, high = 64, 256
    assert chosen(FIRST, onset(low, high)) == ((128,), "bracket")
    assert chosen([*FIRST, 1000], onset(512, 1000))[1] != "bracket"


def test_with_one_published_interval_the_interval_is_filled_nearest_to_the_crossing_first():
    measured = [*FIRST, 1000]
    found = onset(512, 1000, interval=(64, 6000), step=700.0)
    order = []
    while True:
        steps, why = chosen(measured, found)
        if not steps:
            break
        assert why == "interval"
        order += steps
        measured += steps
    assert order == [3000, 128, 4000, 5000]
    assert why == "found"


def test_it_ends_when_nothing_of_the_interval_is_left():
    assert chosen([*FIRST, 1000], onset(512, 1000)) == ((), "found")


def test_an_open_end_of_the_interval_reaches_to_the_end_of_the_steps():
    measured = [*FIRST, 128, 1000, 3000, 1, 4, 16]
    steps, why = chosen(measured, onset(1000, 2000, interval=(512, None)))
    assert why == "interval"
    assert steps[0] > 2000
    # A curve that is above the level from its first step on has an open bracket.
    found = onset(None, 0, interval=(None, 8), step=None)
    assert chosen(FIRST, found) == ((1,), "interval")


def test_two_sure_crossings_end_the_search():
    found = onset(64, 256, status="several", crossings=((64, 256), (1000, 2000)))
    assert chosen(FIRST, found) == ((), "several")


def test_too_few_items_end_the_search():
    assert chosen(FIRST, Onset("refused")) == ((), "refused")


def test_without_a_rise_the_widest_gap_is_halved():
    widest = gaps(PUBLISHED, FIRST)[0]
    steps, why = chosen(FIRST, NONE)
    assert why == "gap"
    assert widest.low < steps[0] < widest.high


def test_the_budget_counts_all_measured_steps():
    bracket = onset(49000, 143000)
    assert chosen(FIRST, bracket, budget=12) == ((), "budget")
    assert chosen([*FIRST, 60000], onset(60000, 143000), budget=13) == ((), "budget")
    assert chosen(FIRST[:3], budget=5) == (FIRST[3:5], "start")
    assert chosen(PUBLISHED[:40], budget=30) == ((), "budget")
    # A search that is done is not said to have lacked steps.
    assert chosen([*FIRST, 1000], onset(512, 1000), budget=13) == ((), "found")


def test_a_suite_with_few_steps_is_measured_whole():
    few = (0, 1, 2, 4, 8, 16, 32)
    assert chosen([], published=few) == (few, "start")
    assert chosen(few, Onset("refused"), published=few) == ((), "everything")


def test_measured_steps_that_may_not_be_chosen_are_ignored():
    some = select("0:20000", PUBLISHED)
    assert chosen([*select(START, some), 143000], onset(64, 256), published=some) == (
        chosen(select(START, some), onset(64, 256), published=some)
    )


def test_the_same_steps_give_the_same_choice_in_any_order():
    found = onset(49000, 143000)
    assert chosen(FIRST, found) == chosen(FIRST[::-1], found) == chosen(set(FIRST), found)


def test_an_onset_is_needed_once_the_first_steps_are_measured():
    with pytest.raises(ValueError, match="onset decides"):
        choose(PUBLISHED, FIRST, None)


def test_gaps_are_what_was_not_measured_between_neighbours_the_widest_first():
    found = gaps((0, 1, 2, 4, 8, 1000, 2000, 3000), (0, 2, 8, 3000))
    assert [(gap.low, gap.high, gap.unmeasured) for gap in found] == [
        (8, 3000, 2),
        (0, 2, 1),
        (2, 8, 1),
    ]
    assert found[0].in_words == "8 to 3000 (8.4 octaves, 2 published steps)"
    assert gaps((0, 1, 2), (0, 1, 2)) == []
    assert [(gap.low, gap.high) for gap in gaps((0, 1, 2, 4), (1, 2))] == [(0, 1), (2, 4)]


@pytest.fixture(scope="module")
def refine_benchmark():
    with benchmark("refine") as program:
        yield program


CURVES = 12
"""A kind, in a test; benchmarks/refine.py takes 500."""


@pytest.mark.slow
def test_on_known_curves_intervals_hold_the_crossing_with_few_steps(refine_benchmark):
    ordinary = refine_benchmark.ORDINARY
    found = [
        refine_benchmark.search(refine_benchmark.draw(kind, number), draws=300)
        for kind in ordinary
        for number in range(CURVES)
    ]
    figures = refine_benchmark.summary(found)
    assert figures["holds"] >= 0.93
    assert figures["steps"] <= 17
    assert max(one.steps for one in found) <= 30
    assert figures["same_bracket"] >= 0.8


def test_a_flat_curve_is_given_no_onset_and_spends_the_budget(refine_benchmark):
    flat = (refine_benchmark.draw("flat", number) for number in range(6))
    found = [refine_benchmark.search(one, draws=100) for one in flat]
    assert [one.onset.status for one in found].count("none") >= 5
    assert {one.steps for one in found if one.onset.status == "none"} == {30}
