"""Which onset came first."""

import numpy as np
import pytest

import pythia_traj as pt
from pythia_traj.errors import AnalysisError
from tests.analysis.onsets.curves_of_tests import STEPS, both, rising, tables

SHARES = ["before", "tied", "after", "undetermined"]


def pair(first, second, same=True, **options):
    labels = ("a", "a") if same else ("a", "b")
    frames = both(
        tables(first, metric="one", label=labels[0]), tables(second, metric="two", label=labels[1])
    )
    (row,) = pt.order(*frames, **options).to_dict("records")
    assert sum(row[share] for share in SHARES) == pytest.approx(1)
    return row


def test_one_that_rises_two_octaves_earlier_comes_before():
    assert pair(rising(5), rising(7, seed=1))["verdict"] == "a before b"
    assert pair(rising(7), rising(5, seed=1))["verdict"] == "b before a"


def test_two_in_one_bracket_are_tied():
    found = pair(rising(6.5, noise=0.01), rising(6.5, noise=0.01, seed=1))
    assert found["verdict"] == "tied"
    assert found["tied"] == 1


def test_equal_onsets_are_hardly_ever_told_apart():
    said = [
        pair(rising(6.5, seed=2 * i, noise=0.8), rising(6.5, seed=2 * i + 1, noise=0.8), draws=200)
        for i in range(60)
    ]
    assert "no onset" not in {row["verdict"] for row in said}
    assert sum("before" in row["verdict"] for row in said) <= 3


def test_the_same_items_are_drawn_for_both():
    """A curve against itself is tied in every draw, though its onset is uncertain."""
    values = rising(6.5, noise=1.5)
    assert pair(values, values)["tied"] == 1
    assert pair(values, values, same=False)["tied"] < 1


def test_neither_rising_is_undetermined():
    flat = np.random.default_rng(0).normal(size=(40, len(STEPS)))
    found = pair(flat, flat[::-1], threshold=9.0)
    assert found["undetermined"] == 1
    assert found["verdict"] == "no onset"
    assert pair(rising(6), flat)["verdict"] == "no onset"


def test_different_steps_are_compared_where_both_were_measured():
    first, second = rising(5), rising(8, seed=1)
    some = [0, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    frames = both(
        tables(first, metric="one"),
        tables(second[:, some], steps=[STEPS[t] for t in some], metric="two"),
    )
    assert pt.order(*frames)["verdict"].tolist() == ["a before b"]


def test_few_common_steps_are_refused_and_not_said_to_have_no_onset():
    some = [0, 3, 5, 6, 7, 9, 13]
    frames = both(
        tables(rising(5), metric="one"),
        tables(rising(8)[:, some], steps=[STEPS[t] for t in some], metric="two"),
    )
    assert pt.order(*frames)["verdict"].tolist() == ["refused"]


def test_draws_and_seeds_are_checked():
    frames = both(tables(rising(5), metric="one"), tables(rising(6), metric="two"))
    for wrong in ({"draws": 1}, {"seed": -1}, {"threshold": float("nan")}):
        with pytest.raises(AnalysisError, match=next(iter(wrong))):
            pt.order(*frames, **wrong)


def test_names_have_what_differs():
    frames = both(*(tables(rising(5 + i), layer=i, head=2) for i in range(3)))
    found = pt.order(*frames)
    assert list(zip(found["a"], found["b"], strict=True)) == [
        ("L0H2", "L1H2"),
        ("L0H2", "L2H2"),
        ("L1H2", "L2H2"),
    ]


def test_one_trajectory_or_too_many_or_no_items_are_refused():
    with pytest.raises(AnalysisError, match="1 trajectories: an order is of 2 to 50"):
        pt.order(*tables(rising(5)))
    rows, items = both(tables(rising(5), metric="one"), tables(rising(6), metric="two"))
    with pytest.raises(AnalysisError, match="two: no items are stored"):
        pt.order(rows, items[items.metric == "one"])
