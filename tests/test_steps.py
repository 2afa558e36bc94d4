"""The step grammar: its promises as properties, its errors as sentences."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pythia_traj.errors import StepsError
from pythia_traj.steps import select

PYTHIA = (0, *(2**i for i in range(10)), *range(1000, 143001, 1000))
TOKENS = 2_097_152

published = st.lists(st.integers(0, 200_000), min_size=1, max_size=60, unique=True)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0,1,512", (0, 1, 512)),
        ("512, 0,0", (0, 512)),
        ("500:3000", (512, 1000, 2000, 3000)),
        ("0:5000:2500", (0, 5000)),
        ("early", PYTHIA[:11]),
        ("last", (143000,)),
        ("all", PYTHIA),
        ("log:2", (0, 143000)),
        ("linear:3", (0, 71000, 143000)),
        ("tokens:2e9:8e9", (1000, 2000, 3000)),
        ("tokens:2097152000:4194304000", (1000, 2000)),
        ("last,early", (*PYTHIA[:11], 143000)),
    ],
)
def test_each_term_selects_what_the_grammar_says(expression, expected):
    assert select(expression, PYTHIA, tokens_per_step=TOKENS) == expected


def test_log_spreads_evenly_from_the_first_step_to_the_last():
    chosen = select("log:12", PYTHIA)
    assert chosen[0] == 0
    assert chosen[-1] == 143000
    assert len(chosen) == 12
    gaps = [math.log2(b + 1) - math.log2(a + 1) for a, b in itertools.pairwise(chosen)]
    assert max(gaps) < 2 * math.log2(143001) / 11


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("700", "step 700 is not published: the nearest are 512 and 1000"),
        ("143001", "step 143001 is not published: the nearest are 143000"),
        ("600:700", "'600:700' selects no published step: they run from 0 to 143000"),
        ("5000:1000", "selects no published step"),
        ("", "empty step expression"),
        (",", "empty step expression"),
        ("0,,1", "cannot read ''"),
        ("-1", "cannot read '-1' as steps"),
        ("1e3", "cannot read '1e3' as steps"),
        ("log", "cannot read 'log' as steps"),
        ("log:1", "needs at least 2 points"),
        ("log:0", "needs at least 2 points"),
        ("0:10:0", "it must be at least 1"),
        ("tokens:a:b", "write numbers of tokens"),
        ("tokens:1:2", "selects no published step"),
    ],
)
def test_a_wrong_expression_says_what_is_allowed(expression, message):
    with pytest.raises(StepsError) as error:
        select(expression, PYTHIA, tokens_per_step=TOKENS)
    assert message in str(error.value)


def test_tokens_need_to_know_the_tokens_per_step():
    with pytest.raises(StepsError, match="needs the number of tokens per step"):
        select("tokens:0:1e9", PYTHIA)


@given(published, st.integers(2, 200), st.sampled_from(["log", "linear"]))
def test_a_spread_is_sorted_unique_published_and_holds_both_ends(steps, n, scale):
    chosen = select(f"{scale}:{n}", steps)
    assert list(chosen) == sorted(set(chosen))
    assert set(chosen) <= set(steps)
    assert len(chosen) <= n
    assert chosen[0] == min(steps)
    assert chosen[-1] == max(steps)


@given(published, st.integers(0, 200_000), st.integers(0, 200_000))
def test_a_range_is_every_published_step_between_its_ends(steps, a, b):
    expected = tuple(sorted(step for step in steps if a <= step <= b))
    if expected:
        assert select(f"{a}:{b}", steps) == expected
    else:
        with pytest.raises(StepsError):
            select(f"{a}:{b}", steps)


@given(published, st.data())
def test_a_union_of_terms_is_the_union_of_their_selections(steps, data):
    chosen = data.draw(st.lists(st.sampled_from(steps), min_size=1))
    expression = ",".join(map(str, chosen)) + ",last"
    assert set(select(expression, steps)) == set(chosen) | {max(steps)}


@given(st.text(max_size=30))
def test_any_text_is_a_selection_or_an_error_that_says_why(text):
    try:
        chosen = select(text, PYTHIA, tokens_per_step=TOKENS)
    except StepsError as error:
        assert str(error)
    else:
        assert set(chosen) <= set(PYTHIA)
