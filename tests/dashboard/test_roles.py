"""Timelines of roles: two measured steps in a row, and heads that are chosen once and followed."""

import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.dashboard.roles import role_timeline, tracked_heads

STEPS = (0, 1, 4, 8)


def rows_of(scores, threshold=0.5, role="induction", model="m"):
    """Rows as `load` gives them with controls: a score per (layer, head) and step; None where not
    measured.
    """
    table = []
    for (layer, head), values in scores.items():
        for step, value in zip(STEPS, values, strict=True):
            common = {
                "model": model,
                "label": "roles",
                "step": step,
                "layer": layer,
                "head": head,
                "stderr": 0.1,
                "variant": None,
                "part": None,
            }
            for control in (None, "shuffled"):
                seen = value if control is None else 9.0
                above = None if value is None else float(seen > threshold)
                own = {**common, "control": control, "target": None}
                table += [
                    {**own, "metric": role, "value": seen},
                    {**own, "metric": role, "value": -1.0, "part": "selection"},
                    {**own, "metric": "above_null", "target": role, "value": above},
                ]
    frame = pd.DataFrame(table).astype(
        {"layer": "Int64", "head": "Int64", "step": "Int64", "value": "float64"}
    )
    words = ("model", "label", "metric", "variant", "control", "part", "target")
    return frame.astype(dict.fromkeys(words, "category"))


def test_controls_among_the_rows_change_nothing():
    rows = rows_of({(0, 0): (0.9, 0.2, 0.8, 0.7), (1, 2): (0.6, 0.6, None, 0.6)})
    timeline = role_timeline(rows[rows.control.isna()])
    assert len(timeline) == 7
    assert role_timeline(rows).equals(timeline)
    assert list(timeline.columns[:5]) == ["model", "label", "role", "layer", "head"]


def test_a_role_takes_two_measured_steps_in_a_row():
    timeline = role_timeline(rows_of({(0, 0): (0.9, 0.2, 0.8, 0.7), (1, 2): (0.6, 0.6, 0.1, 0.6)}))
    has = timeline.groupby(["layer", "head"]).has_role.apply(list).to_dict()
    assert has == {(0, 0): [False, False, False, True], (1, 2): [False, True, False, False]}
    assert timeline.score.tolist() == [0.9, 0.2, 0.8, 0.7, 0.6, 0.6, 0.1, 0.6]
    assert timeline.above.tolist() == [True, False, True, True, True, True, False, True]


def test_a_step_at_which_the_role_was_not_measured_is_none_of_the_two():
    timeline = role_timeline(rows_of({(0, 0): (0.1, 0.8, None, 0.7)}))
    assert timeline.step.tolist() == [0, 1, 8]
    assert timeline.has_role.tolist() == [False, False, True]


def test_models_and_roles_do_not_run_into_each_other():
    both = pd.concat(
        [
            rows_of({(0, 0): (0, 0, 0, 0.9)}, model="a"),
            rows_of({(0, 0): (0.9, 0, 0, 0)}, model="b"),
            rows_of({(0, 0): (0.9, 0.9, 0.9, 0.9)}, role="name_mover", model="b"),
        ]
    )
    timeline = role_timeline(both)
    assert timeline.groupby(["model", "role"]).has_role.sum().to_dict() == {
        ("a", "induction"): 0,
        ("b", "induction"): 0,
        ("b", "name_mover"): 3,
    }


def test_tracked_heads_are_chosen_at_one_step_and_followed_over_all():
    rows = rows_of(
        {(0, 0): (9, 0, 0, 0), (0, 1): (0, 0, 3, 1), (1, 0): (0, 0, 2, 8), (1, 1): (5, 5, 1, 5)}
    )
    tracked = tracked_heads(rows, "induction", 4, top=2)
    assert tracked[["layer", "head"]].drop_duplicates().to_numpy().tolist() == [[0, 1], [1, 0]]
    assert tracked.step.tolist() == [*STEPS, *STEPS]
    assert tracked.score.tolist() == [0, 0, 3, 1, 0, 0, 2, 8]
    assert tracked_heads(rows, "induction", 5).empty
    assert tracked_heads(rows, "name_mover", 4).empty


def test_rows_without_roles_give_an_empty_timeline(suite, tmp_path):
    config = pt.SweepConfig(
        model=str(suite),
        steps="0",
        experiments={"induction": {"length": 20, "n": 2}},
        out=tmp_path / "run",
    )
    pt.sweep(config)
    timeline = role_timeline(pt.load(tmp_path / "run"))
    assert timeline.empty
    assert list(timeline.columns)[-4:] == ["score", "stderr", "above", "has_role"]


def test_it_reads_what_the_experiment_writes(suite, tmp_path):
    experiments = {"named": {"use": "head_roles", "n": 4, "length": 12}}
    config = pt.SweepConfig(
        model=str(suite), steps="0,4", experiments=experiments, out=tmp_path / "run", device="cpu"
    )
    assert not pt.sweep(config).failed
    rows = pt.load(tmp_path / "run")
    timeline = role_timeline(rows)
    # Two layers of four heads at two steps; a tokenizer without names leaves five roles.
    assert timeline.groupby("role").size().unique().tolist() == [16]
    assert timeline.role.nunique() == 5
    assert timeline.score.notna().all()
    counted = rows[(rows.metric == "heads_above_null") & rows.value.notna()]
    counts = counted.set_index(["target", "step"]).value
    for (role, step), above in timeline.groupby(["role", "step"]).above.sum().items():
        assert counts[role, step] == pytest.approx(above)
