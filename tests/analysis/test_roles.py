"""Timelines of roles: two measured steps in a row, and heads that are chosen once and followed."""

import pandas as pd

import pythia_traj as pt
from pythia_traj.analysis.roles import FOLDS, heads_with_role, role_timeline, tracked_heads
from tests.analysis.frames import frame

STEPS = (0, 1, 4, 8)


def rows_of(scores, threshold=0.5, role="induction", model="m", folds=None):
    """Rows as `load` gives them with controls: a score per (layer, head) and step; None where not
    measured. It is significant above the threshold, on a fold where it is not listed otherwise.
    """
    table = []
    for (layer, head), values in scores.items():
        for step, value in zip(STEPS, values, strict=True):
            at = {"step": step, "layer": layer, "head": head, "component": "head"}
            for control in (None, "shuffled"):
                own = {**at, "model": model, "label": "roles", "control": control}
                table.append({**own, "metric": role, "value": value if control is None else 9.0})
                for part in FOLDS:
                    known = (folds or {}).get((layer, head, part))
                    found = value is not None and value > threshold
                    found = step in known if known is not None else found
                    seen = None if value is None else float(found and control is None)
                    significant = {"metric": "significant", "target": role, "value": seen}
                    table += [
                        {**own, "metric": role, "value": -1.0, "part": part},
                        {**own, "metric": "p_value", "value": 0.0, "part": part, "target": role},
                        {**own, **significant, "part": part},
                    ]
    return frame(*table)


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
    for fold in FOLDS:
        assert timeline[fold].tolist() == [True, False, True, True, True, True, False, True]


def test_the_two_steps_share_no_items():
    """Significant at both steps, but on one fold: that would be the same items twice."""
    folds = {
        (0, 0, "fold_1"): {0, 1},
        (0, 0, "fold_2"): set(),
        (0, 1, "fold_1"): set(),
        (0, 1, "fold_2"): {0, 1},
        # The first fold counts at the step before, the second at the step.
        (0, 2, "fold_1"): {1},
        (0, 2, "fold_2"): {0, 4},
        (0, 3, "fold_1"): {4},
        (0, 3, "fold_2"): {1},
    }
    timeline = role_timeline(rows_of({(0, i): (1, 1, 1, 1) for i in range(4)}, folds=folds))
    has = timeline[timeline.has_role]
    assert has[["head", "step"]].to_numpy().tolist() == [[2, 4]]


def test_heads_with_a_role_are_counted_by_role_and_step_beside_their_control():
    rows = pd.concat(
        [
            rows_of({(0, 0): (0.9, 0.9, 0.1, 0.9), (0, 1): (0.1, 0.9, 0.9, None)}),
            rows_of({(0, 0): (0.9, 0.9, 0.1, 0.9)}, role="previous_token"),
        ]
    )
    counted = heads_with_role(rows).set_index(["what", "control", "step"]).value.sort_index()
    assert counted["induction", ""].to_dict() == {0: 0, 1: 1, 4: 1, 8: 0}
    assert counted["previous token", ""].to_dict() == {0: 0, 1: 1, 4: 0, 8: 0}
    assert counted["induction", "shuffled"].to_dict() == {0: 0, 1: 0, 4: 0, 8: 0}


def test_a_role_without_items_says_why():
    reason = "no names"
    row = {"metric": "significant", "target": "name_mover", "part": "fold_1", "component": "head"}
    counted = heads_with_role(frame({**row, "reason": reason, "value": None}))
    assert counted[["what", "reason"]].to_numpy().tolist() == [["name mover", reason]]
    assert counted.value.isna().all()


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
    movers = timeline[timeline.role == "name_mover"]
    assert movers.has_role.tolist() == [False, True, True, True]


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
    assert list(timeline.columns)[-5:] == ["score", "stderr", *FOLDS, "has_role"]


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
    counts = rows[(rows.metric == "heads_significant") & rows.value.notna()]
    counts = counts.set_index(["target", "step", "part"]).value
    for fold in FOLDS:
        for (role, step), found in timeline.groupby(["role", "step"])[fold].sum().items():
            assert counts[role, step, fold] == found
    drawn = heads_with_role(pt.load(tmp_path / "run", controls=True))
    assert drawn[drawn.value.notna()].groupby("what").size().unique().tolist() == [4]
    assert set(drawn[drawn.value.isna()].what) == {"name mover", "s inhibition"}
