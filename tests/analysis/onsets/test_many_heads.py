"""Hundreds of heads: false onsets are controlled, and heights are not those of the luckiest."""

import numpy as np
import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.analysis.onsets.heads import q_values
from pythia_traj.errors import AnalysisError
from tests.analysis.onsets.curves_of_tests import both, rising, tables

HEADS, PLANTED, BLOCKS = 60, 6, 16


def heads_of(seed=0, planted=PLANTED, height=0.3, noise=0.05):
    """Frames of heads of which the first few rise."""
    pairs = []
    for head in range(HEADS):
        rises = height if head < planted else 0.0
        values = rising(7, n=BLOCKS, noise=noise, seed=1000 * seed + head, height=rises)
        key = {"component": "head", "layer": head // 8, "head": head % 8}
        pairs.append(tables(values, metric="prefix_matching", **key))
    return both(*pairs)


def test_q_lists_the_heads_that_rise_and_no_other():
    table = pt.onset(*heads_of())
    assert list(table.index[table.q <= 0.05]) == list(range(PLANTED))
    assert (table.p <= 0.05).sum() >= PLANTED


def test_q_is_that_of_the_heads_of_one_metric_and_model():
    p = np.array([0.001, 0.02, 0.04, 0.001, np.nan, 0.03])
    keys = pd.DataFrame(
        {
            "model": ["a", "a", "a", "b", "a", "a"],
            "layer": [0, 0, 1, 0, 0, None],
            "head": [0, 1, 0, 0, 2, None],
        }
    )
    q = q_values(keys, p)
    assert q[:4] == pytest.approx([0.003, 0.03, 0.04, 0.001])
    assert np.isnan(q[4:]).all()


def test_models_without_heads_that_rise_have_none_listed():
    listed = [(pt.onset(*heads_of(seed, planted=0), draws=100).q <= 0.05).sum() for seed in (1, 2)]
    assert sum(listed) == 0


def test_chosen_heads_are_measured_on_the_other_half():
    found = pt.select_heads(*heads_of(), top=4)
    assert len(found) == 4
    assert set(found["n"]) == {BLOCKS // 2}
    assert found["chosen_height"].is_monotonic_decreasing
    assert (found["chosen_q"] <= 0.05).all()
    assert (found["height"] - 0.3).abs().max() < 0.1


@pytest.mark.slow
def test_the_height_of_heads_that_were_chosen_as_largest_is_not_too_high():
    """On the items that chose them the largest of many equal heads are too high."""
    frames = [heads_of(seed, planted=HEADS, height=0.1, noise=0.06) for seed in range(3)]
    found = pd.concat([pt.select_heads(*frame, top=5, draws=100) for frame in frames])
    assert found["chosen_height"].mean() > 0.15
    assert found["height"].mean() == pytest.approx(0.1, abs=0.03)


def test_heads_are_never_measured_on_the_items_that_chose_them():
    rows, items = heads_of()
    with pytest.raises(AnalysisError, match="a half has 0 items"):
        pt.select_heads(rows, items[items["item"] % 2 == 0])
    with pytest.raises(AnalysisError, match="a half has 7 items"):
        pt.select_heads(rows, items[items["item"] < 15])
    with pytest.raises(AnalysisError, match="top=0"):
        pt.select_heads(rows, items, top=0)


def test_rows_without_heads_are_refused():
    with pytest.raises(AnalysisError, match="no heads"):
        pt.select_heads(*tables(rising(5)))
