"""How many tests a page says that were made, in sentences."""

import numpy as np
import pandas as pd
import pytest
from pythia_traj.experiments import head_roles

from pythia_traj.analysis.findings.dated import dated
from pythia_traj.reports.counts import ROLE_RATE, counted_tests
from tests.analysis.findings.phase_change import Planted, learnt, with_heads


def said_of(*some):
    rows, items = (
        pd.concat([getattr(one, name) for one in some], ignore_index=True)
        for name in ("rows", "items")
    )
    return counted_tests(rows, dated(rows, items))


def with_one_head(planted, metric="prefix_matching"):
    key = {"component": "head", "layer": 0, "head": 0, "variant": "two_halves"}
    return planted.put("induction", metric, 0.8 * learnt(planted.steps, 1500), **key)


def test_one_of_each_is_said_in_the_singular():
    first, second = said_of(with_one_head(Planted()))
    assert first == (
        "1 trajectory was dated (1 head, 0 of the whole model), 1 of them with a test of whether"
        " there is any rise (p <= 0.05): 1 onset."
    )
    assert second == (
        "By prefix_matching (two_halves), 1 head of 1 model entered q values by Benjamini and"
        " Hochberg; 1 has q <= 0.05."
    )


def test_models_and_labels_are_counted_apart():
    short = with_heads(with_heads(Planted(), label="short"), {}, label="long")
    assert said_of(short)[1].startswith(
        "By prefix_matching (two_halves), 16 heads of 1 model under 2 labels entered"
    )
    both = said_of(with_heads(Planted("a")), with_heads(Planted("b")))
    assert both[1].startswith("By prefix_matching (two_halves), 16 heads of 2 models entered")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_missing_or_infinite_are_not_counted(bad):
    planted = Planted()
    for head in range(4):
        key = {"component": "head", "layer": 0, "head": head}
        planted.put("ablation", "effect", 0.5, variant="mean", target="nll", **key)
        planted.put("head_roles", "p_value", 0.5, target="induction", part="fold_1", **key)
    rows = planted.rows
    rows.loc[rows["step"] <= 1, "value"] = bad
    roles, removals = counted_tests(rows, dated(rows)[:0])
    assert roles.startswith("Roles: 4 heads x 1 role x 17 steps, 68 p-values")
    assert removals.startswith("Removals: 68 effects of heads and sets by 1 kind of removal;")


def test_tests_are_counted_from_the_rows_and_onsets():
    planted = with_heads(Planted())
    planted.put("loss", "nll", 3 - learnt(planted.steps, 1500))
    for role in ("induction", "previous_token"):
        for head in range(4):
            for fold in ("fold_1", "fold_2"):
                key = {"component": "head", "layer": 0, "head": head, "part": fold}
                planted.put("head_roles", "p_value", 0.5, target=role, keeps_items=False, **key)
                planted.put("head_roles", "p_value", 0.5, target=role, control="shuffled", **key)
    for head in range(4):
        key = {"component": "head", "layer": 0, "head": head, "variant": "mean", "target": "nll"}
        planted.put("ablation", "effect", 0.5, keeps_items=False, **key)
    said = counted_tests(planted.rows, dated(planted.rows, planted.items))
    assert said[0] == (
        "9 trajectories were dated (8 heads, 1 of the whole model), 9 of them with a test of"
        " whether there is any rise (p <= 0.05): 3 onsets."
    )
    assert said[1] == (
        "By prefix_matching (two_halves), 8 heads of 1 model entered q values by Benjamini and"
        " Hochberg; 2 have q <= 0.05."
    )
    assert said[2].startswith(
        "Roles: 4 heads x 2 roles x 19 steps, 304 p-values on folds of items, at a false"
    )
    assert said[3].startswith("Removals: 76 effects of heads and sets by 1 kind of removal")
    assert len(said) == 4


def test_the_rate_of_roles_is_that_of_the_experiment():
    assert ROLE_RATE == head_roles.RATE
