"""Many unit files become one: no reader sees other rows, and no crash costs a unit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import pythia_traj as pt
from pythia_traj.schema import Column
from pythia_traj.store import compacted, compacting, done, taking_out
from pythia_traj.store.compacted import open_unit
from pythia_traj.store.compacting import NotCompactedError, compact_label, finish, list_labels
from pythia_traj.store.done import list_units, read_unit, survey, unit_names
from pythia_traj.store.files import Files
from pythia_traj.store.layout import COMPACTED, Run
from pythia_traj.store.taking_out import take_out
from pythia_traj.store.unit import write_unit
from pythia_traj.values import Key, Rows
from tests.store import damage as d
from tests.store.killed import killed_at
from tests.store.test_readers import READERS, unit

SIZES = {
    "sizes": (Column("name", "dictionary", False, "of what"), Column("size", "float64", True, ""))
}

STEPS = (0, 1, 512, 143000)


def rows(step, *, more=0.0):
    made = Rows()
    if step == 1:
        return made
    # The words come in another order at each step.
    for variant in ("first", "second") if step % 2 == 0 else ("second", "first"):
        made.add_items(Key("score", variant, layer=0), [0.1 + more, 0.2, step / 7])
    made.undefined(Key("icl_score"), "context too short")
    if step != 0:
        made.table("sizes", {"name": ["W_in", "b"], "size": [float(step), None]})
    return made


def footer(label, step, **more):
    made_of = {"experiment": label, "version": 1, "parameters": {"n": 3}}
    return {
        "schema": 2,
        "digest": f"{label}-{step}",
        "made_of": made_of,
        "source": {"commit": f"c{step}"},
        "seconds": {"compute": step / 10},
        **more,
    }


def write(run, label, step, *, more=0.0, **facts):
    write_unit(
        run,
        unit("m", label, step),
        rows(step, more=more),
        footer(label, step, **facts),
        tables=SIZES,
    )


def make(path, labels=("loss", "induction")):
    run = Run.create(path)
    for label in labels:
        for step in STEPS:
            write(run, label, step)
    experiments = {label: {} for label in labels}
    run.record_request({"explicit_steps": {"m": [*STEPS]}, "experiments": experiments})
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, not to be changed."""
    return make(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def run(made, tmp_path):
    return Run(shutil.copytree(made.path, tmp_path / "run"))


def compact(run):
    finish(run)
    return [label.name for label in list_labels(run) if compact_label(run, label)]


def seen(run):
    """All that readers of ours can ask for: rows, provenance, names, states."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames = {table: pt.load(run.path, table=table) for table in (None, "items", "sizes")}
        frames["one step"] = pt.load(run.path, step=143000)
        frames["some columns"] = pt.load(run.path, label="loss", metric="score", variant="second")
        described = pt.describe(run.path).as_json()
    footers = {unit: read_unit(run, *split(unit)) for unit in unit_names(run, unreadable={})}
    counts = pt.status(run.path, check=True)
    return frames, described, footers, (counts.done, counts.left, counts.damaged)


def split(unit):
    model, label, step = unit.split("/")
    return model, label, int(step.removeprefix("step"))


def assert_same(found, expected):
    for name, frame in expected[0].items():
        pd.testing.assert_frame_equal(found[0][name], frame, check_exact=True)
    assert found[1:] == expected[1:]


@pytest.fixture(scope="module")
def expected(made):
    return seen(made)


def files(run, pattern="*.parquet"):
    folders = (run.path / "metrics", run.path / "tables")
    return sorted(str(p.relative_to(run.path)) for f in folders for p in f.rglob(pattern))


def test_one_file_a_model_and_label_has_the_same_rows_to_the_bit(run, expected):
    before = {
        (table, found.unit): (whole.table(), whole.footer)
        for table in (None, "items", "sizes")
        for found, whole in Files(run, table).read(Files(run, table).there, lambda _, whole: whole)
    }
    assert compact(run) == ["m/induction", "m/loss"]
    assert files(run) == [
        f"{kind}/model=m/label={label}/compacted.parquet"
        for kind in ("metrics", "tables/items", "tables/sizes")
        for label in ("induction", "loss")
    ]
    assert_same(seen(run), expected)
    assert compact(run) == []
    for (table, name), (rows, provenance) in before.items():
        whole = open_unit(run, *split(name), table=table)
        assert whole.table().equals(rows), (table, name)
        assert whole.footer == provenance
        for i, field in enumerate(rows.schema):
            if pa.types.is_dictionary(field.type) and len(rows):
                own = whole.table()[i].combine_chunks().dictionary
                assert own == rows[i].combine_chunks().dictionary, (name, field.name)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("folder", ["metrics", "tables/items", "tables/sizes"])
def test_other_readers_find_the_same_rows(made, run, reader, folder):
    compact(run)
    read = READERS[reader]
    assert read(str(run.path / folder)) == read(str(made.path / folder)) > 0


def test_a_file_of_many_units_is_opened_once_for_all_of_them(run, monkeypatch):
    compact(run)
    opened = []
    real = compacted.read_parquet
    monkeypatch.setattr(
        compacted, "read_parquet", lambda *a, **o: opened.append(a) or real(*a, **o)
    )
    found = Files(run, None)
    assert {one.path.name for one in found.there} == {COMPACTED}
    read = dict(
        found.read(found.there, lambda one, whole: (whole.footer.digest, len(whole.table())))
    )
    assert len(opened) == 2
    assert {one.unit: digest for one, (digest, _) in read.items()} == {
        f"m/{label}/step{step}": f"{label}-{step}"
        for label in ("induction", "loss")
        for step in STEPS
    }
    opened.clear()
    for unit in unit_names(run, unreadable={}):
        assert read_unit(run, *split(unit)) is not None
    assert len(opened) <= 6


def test_counting_opens_no_file_of_units(run, monkeypatch):
    compact(run)

    def refused(*_, **__):
        raise AssertionError("opened")

    for module in (compacted, done):
        monkeypatch.setattr(module, "read_parquet", refused)
    assert len(list_units(run)) == 8
    assert [one.step for one in list_units(run, table="sizes") if one.label == "loss"] == [
        512,
        143000,
    ]
    assert pt.status(run.path).done == 8


def test_a_unit_is_in_one_row_group_and_row_groups_stay_of_a_size(run, monkeypatch, expected):
    monkeypatch.setattr(compacted, "_GROUP_ROWS", 4)
    compact(run)
    metadata = pq.read_metadata(run.path / files(run)[0])
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [6, 3]
    assert_same(seen(run), expected)


def count_of(action, path):
    run = make(path)
    with killed_at(None) as happened:
        action(run)
    return len(happened)


@pytest.mark.parametrize("again", ["compact", "finish"])
def test_killed_at_any_step_no_reader_sees_a_difference_and_repeating_completes(
    made, tmp_path, expected, again
):
    with killed_at(None) as happened:
        compact(Run(shutil.copytree(made.path, tmp_path / "whole")))
    assert len(happened) > 50
    whole = files(Run(tmp_path / "whole"))
    for operation in range(len(happened)):
        run = Run(shutil.copytree(made.path, tmp_path / f"run{operation}"))
        with killed_at(operation):
            compact(run)
        assert_same(seen(run), expected)
        compact(run) if again == "compact" else finish(run)
        if operation % 8 == 0:
            assert_same(seen(run), expected)
        if again == "compact":
            assert files(run) == whole
            left = sorted(p.name for p in (run.path / "compacted").rglob("*") if p.is_file())
            assert left == ["compacted.json"] * 2
        else:
            finish(run)
            counted = READERS["duckdb"](str(run.metrics))
            assert counted == len(expected[0][None]), operation
        shutil.rmtree(run.path)
