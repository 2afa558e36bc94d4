"""`pt.onset`: frames in, one row a trajectory out."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.analysis.onsets import half
from pythia_traj.analysis.onsets.crossing import Level, cross
from pythia_traj.analysis.onsets.curves import Curves
from pythia_traj.analysis.onsets.grid import Grid
from pythia_traj.analysis.onsets.half import estimate, tails
from pythia_traj.analysis.onsets.onset import FLAGS, STATUSES
from pythia_traj.analysis.onsets.words import words
from pythia_traj.errors import AnalysisError
from tests.analysis.onsets.curves_of_tests import STEPS, both, rising, tables

COLUMNS = [
    *("status", "step", "low", "high", "bracket_low", "bracket_high", "level", "base", "top"),
    *("p", "q", "crossings", "flags", "n", "clusters", "steps", "unknown_clusters"),
]


def one(rows, items=None, **options):
    (row,) = pt.onset(rows, items, **options).to_dict("records")
    return {name: None if name != "crossings" and pd.isna(at) else at for name, at in row.items()}


def test_each_trajectory_has_a_row_with_its_keys():
    pairs = [
        tables(rising(5 + layer, seed=layer), component="head", layer=layer, head=1)
        for layer in range(3)
    ]
    table = pt.onset(*both(*pairs))
    assert set(COLUMNS) <= set(table.columns)
    assert list(table["layer"]) == [0, 1, 2]
    assert (table[["model", "metric", "component"]] == ["m", "score", "head"]).all(axis=None)
    assert table["step"].is_monotonic_increasing
    alone = pd.concat([pt.onset(*pair) for pair in pairs], ignore_index=True)
    assert list(alone["low"]) == list(table["low"])


def test_the_order_of_rows_and_of_columns_makes_no_difference():
    rows, items = tables(rising(6))
    shuffled = one(rows.sample(frac=1, random_state=1), items.sample(frac=1, random_state=2))
    assert shuffled == one(rows, items)


def test_it_takes_what_a_run_gives(tmp_path):
    rows, items = tables(rising(6), layer=2, head=3, component="head", variant=None)
    run = rows.astype(
        {"model": "category", "metric": "category", "layer": "Int64", "step": "Int64"}
    )
    run["variant"] = pd.Categorical([None] * len(run))
    of_items = items.astype({"layer": "Int64", "item": "Int64", "value": "float32"})
    of_items["variant"] = pd.Categorical([None] * len(items))
    found = one(run, of_items)
    assert found["status"] == "onset"
    assert found["low"] == one(rows, items)["low"]


def test_steps_without_a_value_are_steps_that_were_not_measured():
    rows, items = tables(rising(6))
    rows.loc[rows.step == 64, "value"] = np.nan
    assert one(rows, items)["steps"] == len(STEPS) - 1


def test_items_missing_at_a_step_are_left_out_and_counted():
    rows, items = tables(rising(6))
    items = items[~((items.item == 3) & (items.step == 64))]
    found = one(rows, items)
    assert (found["n"], found["left_out"]) == (39, 1)
    assert "1 items are missing at some step" in found["words"]
    without = items[items.item != 3]
    assert found["low"] == one(rows, without)["low"]


def test_without_items_there_is_a_bracket_and_no_interval():
    rows, _ = tables(rising(6, noise=0.0))
    found = one(rows)
    assert found["status"] == "unsure"
    assert found["flags"] == "no_items"
    assert (found["bracket_low"], found["bracket_high"]) == (32, 64)
    assert pd.isna(found["low"])
    assert pd.isna(found["high"])
    assert "no item is stored at every one" in found["words"]


def test_an_item_at_no_step_of_another_is_like_no_items():
    rows, items = tables(rising(6))
    items = items[(items.item % 2) == (items.step % 2)]
    assert "no_items" in one(rows, items)["flags"]


@pytest.mark.parametrize(("n", "steps"), [(7, 14), (40, 7)])
def test_too_few_items_or_steps_are_refused(n, steps):
    found = one(*tables(rising(6, n=n)[:, :steps], steps=STEPS[:steps]))
    assert found["status"] == "refused"
    assert found["flags"] == ("few_items" if n < 8 else "few_steps")
    assert "8 are needed" in found["words"]


def test_a_curve_without_its_start_is_said_to_lack_it():
    rows, items = tables(rising(9)[:, 6:], steps=STEPS[6:])
    assert one(rows, items)["status"] == "unsure"
    assert "base_not_init" in one(rows, items)["flags"]
    with_floor = one(rows, items, floor=0.0)
    assert (with_floor["status"], with_floor["base"]) == ("onset", 0.0)


def test_falling_metrics_are_taken_so_by_their_name_or_by_what_they_do():
    values = 5 - rising(6, height=3)
    for metric in ("nll", "something"):
        found = one(*tables(values, metric=metric))
        assert (found["direction"], found["status"]) == ("down", "onset")
        assert found["base"] > found["level"] > found["top"]
    assert one(*tables(values, metric="accuracy"))["status"] == "none"


def test_clusters_are_drawn_whole():
    """Five equal items are one: the interval is that of as many items as there are clusters."""
    values = rising(6, n=20, noise=1.0)
    rows, items = tables(np.repeat(values, 5, axis=0))
    of_five = one(rows, items.assign(name=items.item // 5), cluster="name")
    alone = one(*tables(values))
    assert (of_five["n"], of_five["clusters"]) == (100, 20)
    for name in ("low", "high", "step", "p"):
        assert of_five[name] == pytest.approx(alone[name])
    as_items = one(rows, items)
    assert as_items["p"] < of_five["p"] / 100
    by_map = one(rows, items, cluster={i: i // 5 for i in range(100)})
    assert by_map["low"] == of_five["low"]


def test_blocks_weigh_by_how_many_items_they_are_the_mean_of():
    values = rising(6, n=24)
    rows, items = tables(values)
    blocks = np.array([0] * 8 + list(range(1, 17)))
    blocked = items.assign(item=blocks[items["item"]])
    blocked = blocked.groupby(["model", "label", "metric", "step", "item"], as_index=False).agg(
        n=("n", "sum"), value=("value", "mean")
    )
    found = one(rows, blocked)
    assert (found["n"], found["clusters"]) == (24, 17)
    assert found["step"] == pytest.approx(one(rows, items)["step"])
    assert found["p"] == pytest.approx(one(rows, items, cluster=dict(enumerate(blocks)))["p"])


def test_items_that_differ_all_along_do_not_hide_a_crossing():
    """The level moves with the items, so what they have at all steps cancels."""
    offsets = 5 * np.random.default_rng(1).normal(size=(40, 1))
    plain, shifted = (one(*tables(rising(6) + shift)) for shift in (0, offsets))
    assert shifted["crossings"] == plain["crossings"]
    assert len(plain["crossings"]) == 1
    assert shifted["p"] == pytest.approx(plain["p"])


def test_a_curve_that_rests_at_the_level_crosses_where_the_rest_begins():
    """Rounding does not move it to the end of the rest."""
    means = np.array([0.0] * 6 + [0.5] * 5 + [1.0] * 3)
    means[9] -= 1e-13
    crossing = cross(means, Grid(tuple(STEPS)), Level())
    assert crossing.level == pytest.approx(0.5)
    assert crossing.k == 6


@pytest.mark.parametrize("elsewhere", [2, 9])
def test_the_bracket_is_inside_the_interval_wherever_the_draws_are(elsewhere):
    low, high = half._interval(np.full(100, elsewhere), 6, tuple(STEPS), 40)
    assert low <= STEPS[5]
    assert high >= STEPS[6]


def test_a_level_that_is_hardly_passed_at_first_is_not_said_to_be():
    """`present` needs all draws; here some begin below the level."""
    values = rising(-1, noise=0.1)
    values[:, 0] = np.random.default_rng(0).normal(size=40)
    values[:, 0] += 0.7 - values[:, 0].mean()
    found = one(*tables(values), threshold=0.5, direction="up")
    assert (found["status"], found["bracket_high"], found["low"]) == ("unsure", 0, None)
    assert found["high"] > 0


def test_clusters_of_unequal_size_weigh_by_their_size():
    rng = np.random.default_rng(0)
    counts, draws = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9]), 50
    items = [rng.normal(size=(int(c), 14)) + 5 + rng.normal() for c in counts]
    sums = np.stack([some.sum(0) for some in items])
    curves = Curves(Grid(tuple(STEPS)), sums[None], counts)
    mean = np.concatenate(items).mean(0)
    assert curves.means[0] == pytest.approx(mean)
    deviations = np.stack([(some - mean).sum(0) for some in items])
    expected = np.sqrt(9 / 8 * (deviations**2).sum(0)) / counts.sum()
    assert curves.standard_error(curves.sums)[0] == pytest.approx(expected)
    weights = curves.weights(draws, 0)
    for drawn, times in zip(curves.drawn(weights)[0], weights, strict=True):
        again = [some for some, n in zip(items, times, strict=True) for _ in range(n)]
        assert drawn == pytest.approx(np.concatenate(again).mean(0))


def test_standard_errors_of_single_items_are_the_usual_ones():
    values = np.random.default_rng(0).normal(size=(2, 30, 14))
    curves = Curves.of_items(STEPS, values)
    usual = values.std(axis=1, ddof=1) / np.sqrt(30)
    assert curves.standard_error(curves.sums) == pytest.approx(usual)


def test_tails_are_those_of_students_t():
    assert tails(100) == pytest.approx(0.0231, abs=5e-5)
    assert tails(16) == pytest.approx(0.0139, abs=5e-5)


def test_many_trajectories_at_once_are_as_one_at_a_time():
    values = np.stack([rising(5 + j / 3, seed=j) for j in range(30)])
    together = estimate(Curves.of_items(STEPS, values))
    for found, one_curve in zip(together, values, strict=True):
        (alone,) = estimate(Curves.of_items(STEPS, one_curve))
        for name, value in asdict(alone).items():
            same = value if isinstance(value, tuple) else pytest.approx(value)
            assert getattr(found, name) == same, name


def test_a_threshold_has_the_onset_near_it_beside_it():
    found = one(*tables(rising(7, noise=0.1)), threshold=0.6)
    assert found["step_at_0.75"] < found["step"] < found["step_at_1.25"]
    assert one(*tables(rising(7, noise=0.1)), method="threshold:0.6") == found
    assert pd.isna(one(*tables(rising(7)))["step_at_0.75"])


def test_smoothing_weighs_steps_by_their_distance_in_octaves():
    grid = Grid((0, 1, 1000, 1100, 1200))
    assert grid.kernel[:2] == pytest.approx(np.eye(5)[:2])
    assert grid.kernel.sum(1) == pytest.approx(1)
    near = 1 - np.log2(1101 / 1001) / 0.5
    far = 1 - np.log2(1201 / 1001) / 0.5
    assert grid.kernel[2, 3] / grid.kernel[2, 2] == pytest.approx(near)
    assert grid.kernel[2, 4] / grid.kernel[2, 2] == pytest.approx(far)


def test_an_empty_table_has_the_columns():
    rows, items = tables(rising(6))
    empty = pt.onset(rows[:0], items[:0])
    assert len(empty) == 0
    assert set(COLUMNS) <= set(empty.columns)


WRONG = {
    "no column step": lambda r, i: pt.onset(r.drop(columns="step"), i),
    "add model to by=": lambda r, i: pt.onset(
        pd.concat([r, r.assign(model="other")]), i, by=["metric"]
    ),
    "these are items": lambda r, i: pt.onset(i),
    "unknown method 'hlaf': did you mean half": lambda r, i: pt.onset(r, i, method="hlaf"),
    "write first_above:0.3,2": lambda r, i: pt.onset(r, i, method="first_above:0.3"),
    "write threshold:0.3": lambda r, i: pt.onset(r, i, method="threshold:high"),
    "give one": lambda r, i: pt.onset(r, i, method="threshold:1", threshold=1),
    "only half does": lambda r, i: pt.onset(r, i, method="ramp", floor=0.0),
    "unknown direction": lambda r, i: pt.onset(r, i, direction="left"),
    "at least 100": lambda r, i: pt.onset(r, i, draws=10),
    "seed=-1": lambda r, i: pt.onset(r, i, seed=-1),
    "draws=100.5": lambda r, i: pt.onset(r, i, draws=100.5),
    "threshold=nan": lambda r, i: pt.onset(r, i, threshold=float("nan")),
    "floor=inf": lambda r, i: pt.onset(r, i, floor=float("inf")),
    "item 0 of a trajectory has two values at step 0": lambda r, i: pt.onset(r, pd.concat([i, i])),
    "an item has an infinite value": lambda r, i: pt.onset(
        r, i.replace({"value": {i.value.max(): np.inf}})
    ),
    "a row has no step": lambda r, i: pt.onset(r.assign(step=r.step.where(r.step > 0)), i),
    "no column 'name'": lambda r, i: pt.onset(r, i, cluster="name"),
    "item 1 has no cluster": lambda r, i: pt.onset(r, i, cluster={0: 0}),
    "the items have no column item": lambda r, i: pt.onset(r, i.drop(columns="item")),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_is_said(said):
    with pytest.raises(AnalysisError) as error:
        WRONG[said](*tables(rising(6)))
    assert said in str(error.value)


def test_every_status_and_flag_is_on_the_page():
    page = (Path(__file__).parents[3] / "docs" / "onsets.md").read_text()
    for word in (*STATUSES, *FLAGS):
        assert f"`{word}`" in page, word


def test_every_status_and_flag_is_said_in_words():
    row = dict.fromkeys(COLUMNS, 1) | {"left_out": 0, "crossings": ((1, 2), (4, 8)), "flags": ""}
    for status in STATUSES:
        assert words(row | {"status": status})
    plain = words(row | {"status": "onset"})
    for flag in set(FLAGS) - {"several_crossings"}:
        assert len(words(row | {"status": "onset", "flags": flag})) > len(plain), flag
    assert "half of what it had reached" in words(
        row | {"status": "onset", "flags": "still_rising"}
    )
    assert "its start was not measured" in words(
        row | {"status": "unsure", "flags": "base_not_init"}
    )
    assert "that nothing happened is not shown" in words(row | {"status": "none"})
    assert "no fall was found" in words(row | {"status": "none", "base": 2})
    assert "1..2 and 4..8" in words(row | {"status": "several"})


def test_of_a_threshold_or_a_floor_the_direction_is_decided_against_it():
    falling = 0.8 + 0.2 * (1 - rising(6, noise=0.05))
    assert one(*tables(falling), threshold=0.5)["status"] == "never"
    assert one(*tables(falling), floor=0.0, threshold=None)["status"] != "none"
    x = np.log2(np.array(STEPS) + 1)
    hump = 0.45 + 0.15 * (x > 4) - 0.5 * (x > 9) + 0.02 * rising(20, noise=1.0)
    found = one(*tables(hump), threshold=0.5)
    assert (found["status"], found["direction"]) == ("onset", "up")
    assert (found["bracket_low"], found["bracket_high"]) == (8, 16)
    below = one(*tables(3 - rising(6, noise=0.1, height=2)), threshold=2.0)
    assert (below["status"], below["direction"]) == ("onset", "down")


def test_two_directions_are_two_tries_for_q_as_for_the_status():
    """No head is listed by q whose status is none."""
    for scale in np.linspace(0, 1.2, 40):
        values = rising(6, n=20, noise=1.0, height=scale)
        table = pt.onset(*tables(values, metric="mine", component="head", layer=0, head=0))
        (row,) = table.to_dict("records")
        assert (row["q"] <= 0.05) == (row["status"] != "none")
        assert row["q"] == pytest.approx(min(1, 2 * row["p"]))


def test_a_constant_is_flat_however_large():
    assert one(*tables(np.full((20, 14), 1e8 + 0.1)))["status"] == "none"
    # Where steps are near each other, smoothing rounds.
    many = tables(np.full((20, 60), 1e8 + 0.1), steps=[*range(0, 60_000, 1000)], metric="accuracy")
    assert one(*many)["p"] == 1
    assert one(*tables(np.full((20, 14), 1e8 + 0.1), metric="accuracy"))["p"] == 1


def test_without_items_what_does_not_rise_or_reach_is_still_said():
    rows, _ = tables(np.zeros((9, 14)), metric="accuracy")
    assert one(rows)["status"] == "none"
    assert "no rise is seen" in one(rows)["words"]
    assert one(rows, threshold=1.0)["status"] == "never"
    assert one(rows, threshold=-1.0)["status"] == "present"
