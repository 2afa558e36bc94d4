"""Which rows are chosen, and what their columns are."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pythia_traj.analysis.selection import (
    TASKS,
    choose,
    finite,
    interval,
    measured,
    of_everything,
    on_text,
    reasons,
)
from pythia_traj.discovery import discover
from tests.analysis.frames import frame, head

ROOMS_LIBRARIES = (
    "import importlib, pkgutil, sys, pythia_traj.analysis as room;"
    "[importlib.import_module(f'pythia_traj.analysis.{m.name}')"
    " for m in pkgutil.iter_modules(room.__path__)];"
    "print(*[m for m in ('plotly', 'torch', 'jinja2') if m in sys.modules])"
)


def test_analysis_loads_neither_plotly_nor_torch():
    command = [sys.executable, "-c", ROOMS_LIBRARIES]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == []


def test_chosen_rows_have_empty_strings_and_nan_where_a_run_has_null():
    chosen = choose(frame({"value": 3.0}, {"value": 2.0, "metric": "accuracy"}), ["nll"])
    (row,) = chosen.to_dict("records")
    assert (row["variant"], row["control"], row["reason"], row["note"]) == ("", "", "", "")
    assert np.isnan(row["layer"])
    assert (row["value"], row["n"], row["step"]) == (3.0, 8.0, 0)
    assert {str(chosen[name].dtype) for name in ("layer", "tokens", "n")} == {"float64"}


def test_values_of_heads_and_those_at_positions_are_asked_for():
    rows = frame({"value": 3.0}, {"value": 4.0, "position": 1}, head(0, 1, 0.5, metric="nll"))
    assert choose(rows, ["nll"]).value.tolist() == [3.0]
    assert choose(rows, ["nll"], by_position=True).value.tolist() == [4.0]
    assert choose(rows, ["nll"], component="head").value.tolist() == [0.5]


def test_no_rows_are_chosen_of_none():
    assert choose(pd.DataFrame(), ["nll"]).empty
    assert on_text(pd.DataFrame()).empty
    assert list(choose(pd.DataFrame(), ["nll"])) == list(choose(frame({"value": 1.0}), ["nll"]))


def test_text_is_what_no_experiment_on_tasks_measures():
    rows = frame(
        {"value": 1.0},
        {"value": 2.0, "experiment": "ablation"},
        {"value": 3.0, "experiment": "mine"},
        {"value": 4.0, "experiment": "mine", "metric": "logit_diff"},
        {"value": 5.0, "experiment": "theirs"},
    )
    assert on_text(rows).value.tolist() == [1.0, 5.0]


def test_the_experiments_on_tasks_are_those_whose_data_are_prompts_of_tasks():
    from pythia_traj.data.prompts import TaskPrompts

    on_tasks = [name for name, found in discover().items() if isinstance(found.data, TaskPrompts)]
    assert sorted(TASKS) == on_tasks


@pytest.mark.parametrize(
    "apart",
    [{"variant": "mean"}, {"part": "text"}, {"target": "nll"}, {"reference": "init"}, {"size": 2}],
    ids=lambda apart: next(iter(apart)),
)
def test_the_whole_is_no_variant_part_target_reference_or_size(apart):
    rows = frame({"value": 1.0}, {"value": 2.0, "control": "shuffled"}, {"value": 3.0, **apart})
    assert of_everything(choose(rows, ["nll"])).value.tolist() == [1.0, 2.0]


def test_measured_rows_are_no_controls():
    rows = frame({"value": 1.0}, {"value": 2.0, "control": "shuffled"})
    assert measured(choose(rows, ["nll"])).value.tolist() == [1.0]


def test_finite_rows_are_those_whose_value_is_a_number():
    rows = frame({"value": 1.0}, {}, {"value": np.inf}, {"value": -np.inf}, {"value": 0.0})
    assert finite(rows).value.tolist() == [1.0, 0.0]
    assert finite(choose(rows, ["nll"])).value.tolist() == [1.0, 0.0]
    assert finite(rows[:0]).empty
    nullable = rows.assign(value=rows["value"].astype("Float64"))
    assert finite(nullable).value.tolist() == [1.0, 0.0]


def ends(rows, comparisons=1):
    low, high = interval(choose(rows, ["nll"]), comparisons)
    return low.tolist(), high.tolist()


def test_an_interval_that_is_not_stored_is_by_t_of_clusters_or_else_of_items():
    stated = {"value": 1.0, "stderr": 0.1, "n": 64}
    rows = frame(stated, stated | {"clusters": 6}, stated | {"clusters": 6, "n": None})
    of_items, of_clusters = 0.1 * stats.t.ppf(0.975, [63, 5])
    low, high = ends(rows)
    assert low == pytest.approx([1 - of_items, 1 - of_clusters, 1 - of_clusters])
    assert high == pytest.approx([1 + of_items, 1 + of_clusters, 1 + of_clusters])


def test_an_interval_is_normal_where_no_number_is_known_and_missing_where_it_is_one():
    stated = {"value": 1.0, "stderr": 0.1, "n": None}
    low, high = ends(frame(stated, stated | {"clusters": 1}, stated | {"stderr": None, "n": 8}))
    assert low == pytest.approx([1 - 0.196, np.nan, np.nan], abs=1e-4, nan_ok=True)
    assert high == pytest.approx([1 + 0.196, np.nan, np.nan], abs=1e-4, nan_ok=True)


def test_a_stored_interval_is_taken_unless_several_values_were_looked_at():
    rows = frame({"value": 1.0, "stderr": 0.1, "clusters": 6, "low": 0.5, "high": 3.0})
    assert ends(rows) == ([0.5], [3.0])
    reach = 0.1 * stats.t.ppf(1 - 0.025 / 4, 5)
    low, high = ends(rows, comparisons=4)
    assert (low, high) == (pytest.approx([1 - reach]), pytest.approx([1 + reach]))


def test_reasons_are_counted_the_commonest_first():
    rows = frame(
        {"value": 1.0}, {"reason": "too short"}, {"reason": "no head"}, {"reason": "too short"}, {}
    )
    found = reasons(choose(rows, ["nll"]))
    assert found == {"too short": 2, "no head": 1, "no reason given": 1}
    assert next(iter(found)) == "too short"
    assert reasons(choose(rows[:1], ["nll"])) == {}
