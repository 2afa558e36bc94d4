"""Slips of whoever measures or reads are said: misspelt words, two values under one key, mixed
parameters, edited experiments.
"""

import json
import re
import warnings

import numpy as np
import pytest
import torch

import pythia_traj as pt
from pythia_traj.discovery import find
from pythia_traj.errors import ConfigError, DataError, StoreError
from pythia_traj.schema import Column
from pythia_traj.store.layout import Run
from pythia_traj.store.tables import UnitId
from pythia_traj.store.unit import write_unit
from pythia_traj.sweeps.requests import plan_sweep
from pythia_traj.values import ItemValues, Key, Rows

SOURCE = '''
from pythia_traj.experiment import experiment
from pythia_traj.processing import RAW
from pythia_traj.values import Key, Rows

@experiment(version={version}, processing=RAW)
def norm(model, *, scale: int = 1, power: float = 1.0) -> Rows:
    """The norm of the output matrix."""
    rows = Rows()
    rows.add(Key("norm"), scale * float(model.W_out.detach().norm()) ** power)
    {more}
    return rows
'''


def write_experiment(path, *, version=1, more=""):
    path.write_text(SOURCE.format(version=version, more=more))
    return str(path)


def request(suite, out, use, *, steps="0,1,2", label="norm", **parameters):
    return pt.SweepConfig(
        model=str(suite),
        steps=steps,
        device="cpu",
        experiments={label: {"use": use, **parameters}},
        out=out,
    )


SIZES = {
    "sizes": (
        Column("name", "dictionary", False, "of a matrix"),
        Column("mass", "float32", False, "its norm"),
    )
}


def load_with_notes(run, **where):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = pt.load(run, **where)
    return frame, [str(one.message) for one in caught]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two models, two labels of two experiments, of which one alone has a variant."""
    run = Run.create(tmp_path_factory.mktemp("words") / "run")
    for model in ("small", "large"):
        for step in (0, 512):
            loss, induction = Rows(), Rows()
            loss.add(Key("nll"), 2.0)
            induction.add_items(
                Key("prefix_matching", variant="two_halves", component="head", layer=0, head=1),
                [0.1, 0.2],
            )
            loss.table("sizes", {"name": ["W_in", "W_out"], "mass": [1.5, 2.5]})
            for label, use, rows in (("short", "loss", loss), ("heads", "induction", induction)):
                unit = UnitId(model, label, use, "toy", f"step{step}", None, step, step * 2048)
                write_unit(run, unit, rows, {"digest": label}, tables=SIZES)
    return run.path


MISSPELT = [
    (
        {"metric": "prefix_matchin"},
        "these rows have no metric 'prefix_matchin': did you mean prefix_matching?",
    ),
    ({"metric": ["nll", "prefix_matchin"]}, "these rows have no metric 'prefix_matchin'"),
    (
        {"metric": "NLL", "step": 0},
        "these rows have no metric 'NLL': known: nll, prefix_matching",
    ),
    (
        {"experiment": "short"},
        "these rows have no experiment 'short': it is a label, so give label='short'",
    ),
    (
        {"label": ["heads", "loss"]},
        "these rows have no label 'loss': it is an experiment, so give experiment='loss'",
    ),
    ({"label": "pythia"}, "these rows have no label 'pythia': known: heads, short"),
    (
        {"label": "shrt", "name": "W_in", "table": "sizes"},
        "these rows have no label 'shrt': did you mean short?",
    ),
    (
        {"experiment": "inductin"},
        "these rows have no experiment 'inductin': did you mean induction?",
    ),
    ({"experiment": ("loss", "induktion")}, "these rows have no experiment 'induktion'"),
    ({"model": "smal"}, "these rows have no model 'smal': did you mean small?"),
    ({"model": "pythia-1b"}, "these rows have no model 'pythia-1b': known: large, small"),
    (
        {"variant": "two_halfs"},
        "these rows have no variant 'two_halfs': did you mean two_halves?",
    ),
    ({"variant": [None, "two_halfs"]}, "these rows have no variant 'two_halfs'"),
    ({"component": "heads"}, "these rows have no component 'heads': did you mean head?"),
    ({"suite": "tiy"}, "these rows have no suite 'tiy'"),
    (
        {"revision": "step51"},
        "these rows have no revision 'step51': did you mean step512 or step0?",
    ),
    ({"part": "noun"}, "these rows have no part 'noun': none is known"),
    ({"reference": "final"}, "these rows have no reference 'final': none is known"),
    (
        {"dim": "noun"},
        "unknown column 'dim': what it held is in part, target, size, low and high now",
    ),
    ({"metric": "prefix_matchin", "table": "items"}, "these rows have no metric 'prefix_matchin'"),
    (
        {"name": "W_ni", "table": "sizes"},
        "these rows have no name 'W_ni': did you mean W_in",
    ),
    (
        {"experiment": "induction", "metric": "nl"},
        "these rows have no metric 'nl': did you mean nll?",
    ),
    ({"metrc": "nll"}, "unknown column 'metrc': did you mean metric"),
    ({"mas": 1, "table": "sizes"}, "unknown column 'mas': did you mean mass"),
    ({"mas": 1, "step": 511, "table": "sizes"}, "unknown column 'mas': did you mean mass"),
    ({"table": "item"}, "has no table 'item': did you mean items?"),
    ({"table": "../metrics"}, "has no table '../metrics'"),
    ({"table": ""}, "has no table ''"),
    ({"step": "512"}, "step='512': that column holds whole numbers"),
    ({"step": [0, "512"]}, "step='512': that column holds whole numbers"),
    ({"step": True}, "step=True: that column holds whole numbers"),
    ({"step": 10**30}, "step=1000000000000000000000000000000: that column holds whole numbers"),
    ({"layer": "0"}, "layer='0': that column holds whole numbers"),
    ({"value": "high"}, "value='high': that column holds numbers"),
    ({"metric": 3}, "metric=3: that column holds words"),
    ({"model": 3}, "model=3: that column holds words"),
    ({"mass": "big", "table": "sizes"}, "mass='big': that column holds numbers"),
    ({"size": "big"}, "size='big': that column holds whole numbers"),
]


@pytest.mark.parametrize(("where", "message"), MISSPELT, ids=[str(where) for where, _ in MISSPELT])
def test_what_stands_nowhere_is_an_error_that_names_what_is_near(run, where, message):
    with pytest.raises(StoreError, match=re.escape(message)):
        pt.load(run, **where)


FOUND = [
    ({"metric": "prefix_matching"}, 4),
    ({"metric": np.str_("nll"), "step": np.int64(0)}, 2),
    ({"step": np.array([0, 512]), "metric": "nll"}, 4),
    ({"step": range(600), "model": ["small"]}, 4),
    ({"variant": None}, 4),
    ({"variant": [None, "two_halves"]}, 8),
    ({"head": 1.0}, 4),
    ({"name": "W_in", "table": "sizes"}, 4),
    ({"name": "W_in", "table": "sizes", "step": 511}, 0),
    ({"mass": 1.5, "step": 0, "table": "sizes"}, 2),
    ({"experiment": "loss"}, 4),
    ({"experiment": ["loss", "induction"], "label": "heads"}, 4),
    ({"experiment": "loss", "label": "heads"}, 0),
    ({"experiment": "loss", "variant": "two_halves"}, 0),
    ({"label": "short", "metric": "prefix_matching"}, 0),
    ({"size": None, "reference": [None]}, 8),
    ({"step": 511}, 0),
    ({"metric": []}, 0),
]


@pytest.mark.parametrize(("where", "count"), FOUND, ids=[str(where) for where, _ in FOUND])
def test_words_that_stand_somewhere_may_meet_in_no_row_which_is_said(run, where, count):
    frame, notes = load_with_notes(run, **where)
    assert len(frame) == count
    said = [note for note in notes if note.startswith("no row has all of this: ")]
    assert len(said) == len(notes) == (count == 0)


def twice_in_rows(rows):
    rows.add(Key("m", layer=1, head=2), 1.0)
    rows.add(Key("m", layer=1, head=2), 2.0)


def with_and_without_value(rows):
    rows.add(Key("m", layer=1, head=2), 1.0)
    rows.undefined(Key("m", layer=1, head=2), "too short")


def numbers_of_two_kinds(rows):
    rows.add(Key("m", layer=1, head=2), 1.0)
    rows.add(Key("m", layer=np.int64(1), head=2), 1.0)


def appended(rows):
    other = Rows()
    for one in (rows, other):
        one.add(Key("m", layer=1, head=2), 1.0)
    rows.metrics += other.metrics


def items_twice(rows):
    rows.add_items(Key("m", layer=1, head=2), [1.0, 2.0])
    rows.metrics.clear()
    rows.add_items(Key("m", layer=1, head=2), [1.0, 2.0])


@pytest.mark.parametrize(
    "fill", [twice_in_rows, with_and_without_value, numbers_of_two_kinds, appended, items_twice]
)
def test_two_values_under_one_key_are_refused(tmp_path, fill):
    rows, run = Rows(), Run.create(tmp_path / "run")
    fill(rows)
    with pytest.raises(
        ValueError,
        match=r"two values under one key, metric=m, layer=1, head=2(, item=0)?: give each",
    ):
        write_unit(run, UnitId("m", "l", "e", "s", "step0", None, 0, None), rows, {"digest": "d"})
    assert not list(run.path.rglob("*.parquet"))


def test_so_are_those_of_overlapping_positions_and_of_a_ratio(tmp_path):
    overlapping, ratio = ItemValues(), ItemValues()
    overlapping.add(Key("m"), torch.ones(2, 3), axes=("position",), first_position=0)
    overlapping.add(Key("m"), torch.ones(2, 3), axes=("position",), first_position=2)
    ratio.add(Key("m"), torch.ones(2))
    ratio.add_ratio(Key("m"), torch.ones(2), torch.ones(2), "the sum")
    for values in (overlapping, ratio):
        with pytest.raises(ValueError, match="two values under one key, metric=m"):
            values.rows(keep_items=False).check_keys()


def test_the_unit_that_has_two_values_under_one_key_fails_alone(suite, tmp_path):
    use = write_experiment(tmp_path / "mine.py", more='rows.add(Key("norm"), 1.0)')
    result = pt.sweep(request(suite, tmp_path / "run", use, steps="0"))
    ((_, error),) = result.failed
    assert "two values under one key, metric=norm" in error
    assert "\n" not in error


def test_parameters_that_were_mixed_under_one_label_are_said_by_load_and_by_the_sweep(
    suite, tmp_path
):
    use, out = write_experiment(tmp_path / "mine.py"), tmp_path / "run"
    pt.sweep(request(suite, out, use))
    result = pt.sweep(request(suite, out, use, steps="4", scale=3))
    (said,) = result.warnings
    assert said.startswith(
        "tiny/norm: at other steps 3 units were made with other settings (scale: 3, 1), which"
        " stay: "
    )
    rows, (note,) = load_with_notes(out)
    assert len(rows) == 4
    assert note.startswith(
        "tiny/norm: 3 and 1 units were made with different settings (scale: 1, 3)"
    )
    # Where no two of them meet there is nothing to say.
    for where in ({"step": [0, 1, 2]}, {"step": 4}):
        assert load_with_notes(out, **where)[1] == []
    # Nor where all steps are measured with the same.
    again = pt.sweep(request(suite, out, use, steps="all", scale=3))
    assert (len(again.done), again.warnings) == (3, [])
    assert load_with_notes(out)[1] == []


def test_a_label_of_its_own_mixes_nothing(suite, tmp_path):
    use, out = write_experiment(tmp_path / "mine.py"), tmp_path / "run"
    pt.sweep(request(suite, out, use))
    assert pt.sweep(request(suite, out, use, steps="4", label="norm3", scale=3)).warnings == []
    assert load_with_notes(out)[1] == []


def test_references_at_other_steps_are_no_other_settings(suite, tmp_path):
    source = SOURCE.format(version=1, more="").replace(
        "processing=RAW)", 'processing=RAW, references=("previous",))'
    )
    (tmp_path / "mine.py").write_text(source.replace("(model, *", "(model, reference_models, *"))
    out = tmp_path / "run"
    pt.sweep(request(suite, out, str(tmp_path / "mine.py"), steps="0,1"))
    assert pt.sweep(request(suite, out, str(tmp_path / "mine.py"), steps="2,4")).warnings == []
    assert load_with_notes(out)[1] == []


def edited(suite, tmp_path, name, **changes):
    """Another file of the same experiment, as another process would import it after an edit."""
    (tmp_path / name).mkdir()
    return request(
        suite, tmp_path / "run", write_experiment(tmp_path / name / "mine.py", **changes)
    )


def test_an_edited_experiment_keeps_its_rows_and_says_so(suite, tmp_path):
    pt.sweep(edited(suite, tmp_path, "before"))
    assert pt.sweep(edited(suite, tmp_path, "same")).warnings == []
    result = pt.sweep(edited(suite, tmp_path, "after", more="# another thought"))
    assert len(result.skipped) == 3
    (said,) = result.warnings
    assert (
        "mine.py has changed since 3 units were measured, its version has not: raise version= to"
        " measure them" in said
    )
    raised = pt.sweep(edited(suite, tmp_path, "raised", version=2, more="# another thought"))
    assert (len(raised.done), raised.warnings) == (3, [])
    assert (
        pt.sweep(edited(suite, tmp_path, "again", version=2, more="# another thought")).warnings
        == []
    )


def test_a_file_that_was_edited_after_its_import_is_said_to_be_another(suite, tmp_path):
    use = write_experiment(tmp_path / "mine.py")
    find(use)
    write_experiment(tmp_path / "mine.py", version=2)
    (said,) = pt.sweep(request(suite, tmp_path / "run", use)).warnings
    assert (
        "mine.py has changed since it was imported: start Python again to use it as it is now"
        in said
    )


def test_a_packaged_experiment_records_its_file_and_says_nothing(suite, tmp_path):
    settings = pt.SweepConfig(
        model=str(suite),
        steps="0",
        device="cpu",
        experiments={"induction": {"n": 2, "length": 10}},
        out=tmp_path / "run",
    )
    pt.sweep(settings)
    plan, _ = plan_sweep(settings)
    assert plan.warnings == ()
    (unit,) = plan.done
    assert unit.definition.packaged
    assert unit.definition.file == "pythia_traj.experiments.induction"


REFUSED = [({"length": 90}, DataError), ({"length": 10**6}, DataError)]


@pytest.mark.parametrize(("parameters", "error"), REFUSED)
def test_a_refused_request_leaves_no_work(suite, tmp_path, parameters, error):
    def sweep(**given):
        experiments = {"induction": {"n": 2, "length": 10, **given}}
        return pt.sweep(
            pt.SweepConfig(
                model=str(suite),
                steps="0,1",
                device="cpu",
                experiments=experiments,
                out=tmp_path / "run",
            )
        )

    with pytest.raises(error):
        sweep(**parameters)
    found = pt.status(tmp_path / "run")
    assert (found.done, found.left, found.units) == (0, 0, {})
    sweep()
    found = pt.status(tmp_path / "run")
    assert (found.done, found.left) == (2, 0)
    # What one request asks for and another cannot have is still asked for.
    (
        tmp_path / "run" / "metrics" / "model=tiny" / "label=induction" / "step-000001.parquet"
    ).unlink()
    assert pt.status(tmp_path / "run").left == 1


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_parameter_that_no_footer_can_hold_is_refused_before_anything_is_read(
    suite, tmp_path, value
):
    use = write_experiment(tmp_path / "mine.py")
    with pytest.raises(ConfigError, match="norm"):
        pt.sweep(request(suite, tmp_path / "run", use, power=value))
    assert not (tmp_path / "run").exists()


def test_what_json_cannot_hold_does_not_make_a_record_unreadable(tmp_path):
    from pythia_traj.store.records import as_json

    document = {
        "path": "caf\udce9",
        "rate": float("nan"),
        "deep": [{"\ud800": (1, float("inf"))}],
        "text": "é",
    }
    assert json.loads(as_json(document)) == {
        "path": "caf\\udce9",
        "rate": None,
        "deep": [{"\\ud800": [1, None]}],
        "text": "é",
    }
