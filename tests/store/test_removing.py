"""A removed label is gone from rows, tables, cache and requests, and never counts as left."""

import contextlib
import json
import shutil

import pytest

import pythia_traj as pt
from pythia_traj.errors import StoreError
from pythia_traj.store.done import list_tables, read_requests, request_files
from pythia_traj.store.layout import Run
from pythia_traj.store.records import Refinement
from pythia_traj.store.refinements import write_refinement
from pythia_traj.store.removing import remove_label, without
from pythia_traj.store.unit import write_model, write_unit
from tests.store.killed import killed_at
from tests.store.test_compacting import MODEL, SIZES, footer, rows
from tests.store.test_readers import READERS
from tests.store.test_readers import unit as named

STEPS = (0, 512)


def write(run, model, label, step, *, cached=False):
    unit = named(model, label, step)
    write_unit(run, unit, rows(step), footer(label, step), tables=SIZES, cached=cached)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two models with two labels, cached rows and the record of a search; not to be changed."""
    run = Run.create(tmp_path_factory.mktemp("made") / "run")
    for model in ("a", "b"):
        write_model(run, model, MODEL, {"origin": f"hub:org/{model}"}, anew=True)
        for label in ("loss", "induction"):
            for step in STEPS:
                write(run, model, label, step)
            write(run, model, label, 7, cached=True)
            write_refinement(run, Refinement(model=model, label=label, metric="score"))
    run.record_request(
        {
            "model": ["a", "runs/b"],
            "explicit_steps": {"a": [*STEPS, 9], "b": [*STEPS]},
            "weight_bytes": {"a": 1, "b": 2},
            "experiments": {"loss": {}, "induction": {}},
        }
    )
    return run


@pytest.fixture
def run(made, tmp_path):
    return Run(shutil.copytree(made.path, tmp_path / "run"))


def names(run, word):
    """Which files have a word in their paths."""
    paths = (path for path in run.path.rglob("*") if path.is_file())
    return [str(path.relative_to(run.path)) for path in paths if word in str(path)]


@pytest.mark.parametrize("is_compacted", [False, True], ids=["single files", "compacted"])
def test_a_label_is_removed_of_all_models(run, is_compacted):
    if is_compacted:
        pt.compact(run.path)
    before = pt.status(run.path)
    assert (before.done, before.left) == (8, 2)
    gone = pt.remove(run.path, "loss")
    assert (gone.label, gone.models, gone.units, gone.requests) == ("loss", ("a", "b"), 4, 1)
    after = pt.status(run.path, check=True)
    assert (after.done, after.left, after.damaged) == (4, 1, 0)
    assert names(run, "label=loss") == []
    assert set(pt.load(run.path).label) == {"induction"}
    assert set(pt.load(run.path, table="items").label) == {"induction"}
    assert {read(str(run.metrics)) for read in READERS.values()} == {len(pt.load(run.path))}
    assert len(list((run.path / "refinements").iterdir())) == 2
    with pytest.raises(StoreError, match="has no label 'loss': known: induction"):
        pt.remove(run.path, "loss")
    pt.remove(run.path, "induction")
    assert request_files(run) == []
    assert list_tables(run) == []
    assert names(run, "model=") == []
    after = pt.status(run.path)
    assert (after.done, after.left) == (0, 0)


@pytest.mark.parametrize("is_compacted", [False, True], ids=["single files", "compacted"])
def test_a_label_is_removed_of_one_model(run, is_compacted):
    if is_compacted:
        pt.compact(run.path)
    gone = pt.remove(run.path, "loss", "a")
    assert (gone.models, gone.units) == (("a",), 2)
    found = pt.status(run.path)
    assert found.by_label.keys() == {"a", "b"}
    assert found.by_label["a"].keys() == {"induction"}
    assert found.by_label["b"].keys() == {"induction", "loss"}
    assert (found.done, found.left) == (6, 1)
    asked = read_requests(run, {}).values()
    assert {(*sorted(one.explicit_steps), *one.experiments) for one in asked} == {
        ("a", "b", "induction"),
        ("b", "loss"),
    }
    pt.remove(run.path, "induction", "a")
    assert set(pt.load(run.path, table="models").model) == {"b"}
    with pytest.raises(StoreError, match="has no label 'loss' of model 'a': known: b"):
        pt.remove(run.path, "loss", "a")


def test_a_request_keeps_its_name_and_its_time(run):
    (path,) = request_files(run)
    was = path.stat().st_mtime_ns
    pt.remove(run.path, "loss")
    assert [path] == request_files(run)
    assert path.stat().st_mtime_ns == was
    assert list(json.loads(path.read_text())["experiments"]) == ["induction"]


def test_a_request_without_a_label_of_one_model_is_two():
    asked = {
        "model": ["a", "NAME=x/b", "c"],
        "explicit_steps": {"a": [0], "NAME": [1], "c": [2]},
        "weight_bytes": {"a": 1, "NAME": 2},
        "experiments": {"loss": {"n": 1}, "induction": {}},
        "seed": 3,
    }
    first, second = without(asked, "loss", "NAME")
    assert first == {**asked, "experiments": {"induction": {}}}
    assert second == {
        "model": ["a", "c"],
        "explicit_steps": {"a": [0], "c": [2]},
        "weight_bytes": {"a": 1},
        "experiments": {"loss": {"n": 1}},
        "seed": 3,
    }
    assert without(second, "loss", None) == []
    assert without(second, "loss", "NAME") == [second]
    assert without(second, "lost", None) == [second]


@pytest.mark.parametrize("is_compacted", [False, True], ids=["single files", "compacted"])
def test_killed_at_any_step_no_other_unit_is_touched_and_none_counts_as_left(
    made, tmp_path, is_compacted
):
    source = Run(shutil.copytree(made.path, tmp_path / "source"))
    if is_compacted:
        pt.compact(source.path)
    shutil.copytree(source.path, tmp_path / "whole")
    with killed_at(None) as happened:
        remove_label(Run(tmp_path / "whole"), "loss")
    kept = [name for name in names(source, "label=induction") if name.endswith(".parquet")]
    for operation in range(0, len(happened), 2):
        run = Run(shutil.copytree(source.path, tmp_path / "run"))
        with killed_at(operation):
            remove_label(run, "loss")
        found = pt.status(run.path)
        assert found.left == (2 if operation == 0 else 1), operation
        assert [n for n in names(run, "label=induction") if n.endswith(".parquet")] == kept
        with contextlib.suppress(StoreError):
            remove_label(run, "loss")
        assert names(run, "label=loss") == []
        assert pt.status(run.path, check=True).damaged == 0
        shutil.rmtree(run.path)


def test_files_of_others_stay(run):
    note = run.label_folder("a", "loss") / "notes.txt"
    note.write_text("mine")
    (run.path / "requests" / ("0" * 16 + ".json")).write_text("{")
    pt.remove(run.path, "loss")
    assert names(run, "label=loss") == [str(note.relative_to(run.path))]
    assert (run.path / "requests" / ("0" * 16 + ".json")).read_text() == "{"
