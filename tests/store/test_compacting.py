"""Many unit files become one: no reader sees other rows, and no crash costs a unit."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import warnings

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pythia_traj as pt
from pythia_traj.errors import StoreError
from pythia_traj.schema import Column
from pythia_traj.store import compacted, done
from pythia_traj.store.compacted import open_unit
from pythia_traj.store.compacting import compact_label, finish, list_labels
from pythia_traj.store.done import list_units, read_unit, unit_names
from pythia_traj.store.files import Files
from pythia_traj.store.layout import COMPACTED, Run
from pythia_traj.store.taking_out import take_out
from pythia_traj.store.unit import write_unit
from pythia_traj.values import Key, Rows
from tests.store import damage as d
from tests.store.disk import fill
from tests.store.killed import killed_at
from tests.store.test_readers import READERS
from tests.store.test_readers import unit as named

SIZES = {
    "sizes": (Column("name", "dictionary", False, "of what"), Column("size", "float64", True, ""))
}

MODEL = {
    "suite": "toy",
    **dict.fromkeys(("n_layers", "n_heads", "d_model", "d_vocab", "n_parameters", "n_steps"), 1),
}
"""A row of the table of models."""

STEPS = (0, 1, 512, 143000)
SMALL = (0, 512, 143000)


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
        named("m", label, step),
        rows(step, more=more),
        footer(label, step, **facts),
        tables=SIZES,
    )


def make(path, labels=("loss", "induction"), steps=STEPS):
    run = Run.create(path)
    for label in labels:
        for step in steps:
            write(run, label, step)
    experiments = {label: {} for label in labels}
    run.record_request({"explicit_steps": {"m": [*steps]}, "experiments": experiments})
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


def held(run):
    """The rows and the provenance of every unit in every table, as readers of ours find them."""
    found = {}
    for table in (None, "items", "sizes"):
        files = Files(run, table)
        read = files.read(files.there, lambda _, whole: (whole.table().to_pylist(), whole.footer))
        found |= {(table, one.unit): value for one, value in read}
        assert files.say_left_out() == []
    return found


def of_others(run):
    """How many rows of each table other readers find, of each label."""
    found = {}
    for table in ("metrics", "tables/items", "tables/sizes"):
        for path in (run.path / table).glob("model=*/label=*/*.parquet"):
            label = table, path.parent.name.removeprefix("label=")
            found[label] = found.get(label, 0) + pq.read_metadata(path).num_rows
    return found


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run of one label, not to be changed."""
    return make(tmp_path_factory.mktemp("small") / "run", labels=("loss",), steps=SMALL)


def states(happened):
    """After how many operations the files differ from what they were before the last."""
    return [0, *(i + 1 for i, name in enumerate(happened) if name not in ("mkdir", "rmdir"))]


def test_killed_at_any_step_no_reader_misses_a_unit_and_repeating_completes(small, tmp_path):
    expected, whole = held(small), of_others(small)
    with killed_at(None) as happened:
        compact(Run(shutil.copytree(small.path, tmp_path / "whole")))
    assert happened.count("rename") == 6
    for operation in states(happened):
        run = Run(shutil.copytree(small.path, tmp_path / "run"))
        with killed_at(operation):
            compact(run)
        assert held(run) == expected, operation
        assert unit_names(run, unreadable={}) == unit_names(small, unreadable={})
        found = of_others(run)
        assert all(found.get(label) in (None, count) for label, count in whole.items()), operation
        assert sum(label not in found for label in whole) <= 1
        if operation % 2:
            # A sweep does this before it writes.
            finish(run)
            assert of_others(run) == whole
        compact(run)
        assert files(run) == files(Run(tmp_path / "whole"))
        left = [path.name for path in (run.path / "compacted").rglob("*") if path.is_file()]
        assert left == ["compacted.json"]
        assert operation % 8 or held(run) == expected
        shutil.rmtree(run.path)


def test_killed_while_units_are_taken_out_nothing_is_missing(small, tmp_path):
    expected, whole = held(small), of_others(small)
    compact(Run(shutil.copytree(small.path, tmp_path / "compacted")))
    for steps in ([512], SMALL):
        compact(Run(shutil.copytree(tmp_path / "compacted", tmp_path / "whole")))
        with killed_at(None) as happened:
            take_out(Run(tmp_path / "whole"), "m", "loss", steps)
        assert held(Run(tmp_path / "whole")) == expected
        assert of_others(Run(tmp_path / "whole")) == whole
        for operation in states(happened):
            run = Run(shutil.copytree(tmp_path / "compacted", tmp_path / "run"))
            with killed_at(operation):
                take_out(run, "m", "loss", steps)
            assert held(run) == expected, operation
            finish(run)
            assert of_others(run) == whole, operation
            assert operation % 8 or held(run) == expected, operation
            shutil.rmtree(run.path)
        shutil.rmtree(tmp_path / "whole")


KILLING = """
import os, signal, sys
from pathlib import Path
from pythia_traj.sweeps.upkeep import compact
left, real = int(sys.argv[2]), os.rename
def rename(*names):
    global left
    left -= 1
    real(*names)
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
os.rename = rename
compact(sys.argv[1])
"""


@pytest.mark.parametrize("renames", [1, 3])
def test_a_process_that_is_really_killed_costs_nothing(small, tmp_path, renames):
    run = Run(shutil.copytree(small.path, tmp_path / "run"))
    command = [sys.executable, "-c", KILLING, str(run.path), str(renames)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert held(run) == held(small)
    assert len(of_others(run)) == 2
    assert pt.compact(run.path).left == {}
    assert held(run) == held(small)
    assert of_others(run) == of_others(small)
    assert not run.upkeep_path.exists()


def test_names_that_were_listed_before_a_change_are_read_after_it(small, tmp_path):
    run = Run(shutil.copytree(small.path, tmp_path / "run"))
    expected = held(small)

    def read(files):
        found = files.read(files.there, lambda _, whole: whole.table().to_pylist())
        return {one.unit: rows for one, rows in found}

    rows = {unit: rows for (table, unit), (rows, _) in expected.items() if table is None}
    before = Files(run, None)
    compact(run)
    assert read(before) == rows
    before = Files(run, None)
    take_out(run, "m", "loss", [0, 512])
    assert read(before) == rows
    before = Files(run, None)
    take_out(run, "m", "loss", SMALL)
    assert read(before) == rows
    before = Files(run, None)
    compact(run)
    assert read(before) == rows


def test_a_reader_beside_compactions_sees_the_same_rows_at_every_moment(small, tmp_path):
    run = Run(shutil.copytree(small.path, tmp_path / "run"))
    expected, ended = held(small), threading.Event()

    def change():
        for _ in range(4):
            compact(run)
            take_out(run, "m", "loss", [0, 512])
            compact(run)
            take_out(run, "m", "loss", SMALL)
        ended.set()

    changing = threading.Thread(target=change)
    changing.start()
    looks = 0
    try:
        while not ended.is_set():
            assert held(run) == expected
            assert len(unit_names(run, unreadable={})) == len(SMALL)
            looks += 1
    finally:
        changing.join()
    assert looks > 2


def test_what_is_measured_later_has_a_file_of_its_own_until_the_next_compaction(run, expected):
    compact(run)
    write(run, "loss", 1000)
    assert len(list_units(run)) == 9
    assert pt.status(run.path).done == 8
    assert files(run, "step-*") == [
        f"{kind}/model=m/label=loss/step-001000.parquet"
        for kind in ("metrics", "tables/items", "tables/sizes")
    ]
    rows = pt.load(run.path)
    assert len(rows) == len(expected[0][None]) + 3
    assert compact(run) == ["m/loss"]
    assert files(run, "step-*") == []
    pd.testing.assert_frame_equal(pt.load(run.path), rows, check_exact=True)


def test_a_unit_that_is_measured_anew_replaces_its_compacted_rows(run):
    compact(run)
    take_out(run, "m", "loss", [512])
    write(run, "loss", 512, more=1.0)
    counts = {name: READERS[name](str(run.metrics)) for name in READERS}
    assert set(counts.values()) == {len(pt.load(run.path))}
    assert pt.load(run.path, label="loss", step=512).value.max() > 24.6
    items = pt.load(run.path, table="items", label="loss", step=512)
    assert items.value.max() == pytest.approx(512 / 7)
    assert (items.value == 1.1).sum() == 2
    compact(run)
    assert pt.load(run.path, table="items", label="loss", step=512).equals(items)


DAMAGE = {
    "bit": d.flipped(0.1),
    "cut": d.shortened_to(0.7),
    "empty": d.replaced_by(b""),
    "text": d.replaced_by(b"step,value\n"),
    "pages": d.overwritten,
    "provenance": d.with_footer(b"{}"),
    "pipe": d.a_pipe,
    "directory": d.a_directory,
    "nowhere": d.a_dangling_link,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_costs_its_rows_and_says_so(run, kind):
    compact(run)
    path = run.label_folder("m", "loss") / COMPACTED
    DAMAGE[kind](path)
    with pytest.warns(
        UserWarning, match="left out 1 damaged file: metrics/model=m/label=loss/comp"
    ):
        assert set(pt.load(run.path).label) == {"induction"}
    found = pt.status(run.path, check=True)
    assert (found.done, found.left, list(found.damaged_files)) == (
        4,
        4,
        [str(path.relative_to(run.path))],
    )
    before = len(pt.load(run.path, label="induction", table="items"))
    take_out(run, "m", "loss", [512])
    # It is out of every reader's way, with the tables that belong to it.
    assert {READERS[name](str(run.path / "tables/items")) for name in READERS} == {before}
    assert set(pt.load(run.path).label) == {"induction"}
    assert pt.status(run.path, check=True).damaged == 0
    kept = list((run.path / "compacted").rglob(f"*-{COMPACTED}"))
    assert len(kept) == 3


def test_a_damaged_table_costs_only_its_rows(run):
    compact(run)
    d.flipped(0.1)(run.label_folder("m", "loss", table="items") / COMPACTED)
    assert len(pt.load(run.path, label="loss")) > 0
    with pytest.warns(UserWarning, match="left out 1 damaged file"):
        pt.load(run.path, table="items")
    # Its units are measured again.
    found = pt.status(run.path, check=True)
    assert (found.done, found.damaged) == (5, 1), found.damaged_files
    take_out(run, "m", "loss", [512])
    assert len(pt.load(run.path, label="loss")) > 0
    assert set(pt.load(run.path, table="items").label) == {"induction"}


@pytest.mark.parametrize("text", [None, b"", b"[]", b"{", b'{"units": [{"step": "x"}]}'])
def test_a_damaged_index_costs_nothing_and_is_written_again(run, expected, text):
    compact(run)
    path = run.compaction("m", "loss") / "compacted.json"
    path.unlink()
    if text is not None:
        path.write_bytes(text)
    frames, _, footers, counts = seen(run)
    for name, frame in frames.items():
        pd.testing.assert_frame_equal(frame, expected[0][name], check_exact=True)
    assert footers == expected[2]
    assert counts == (8, 0, 0 if text is None else 1)
    finish(run)
    assert compact(run) == ["m/loss"]
    assert_same(seen(run), expected)


def test_a_file_that_is_gone_is_said(run):
    compact(run)
    (run.label_folder("m", "loss") / COMPACTED).unlink()
    with pytest.warns(UserWarning, match="units that were compacted into it are missing"):
        assert set(pt.load(run.path).label) == {"induction"}
    assert pt.status(run.path, check=True).done == 4


def a_note(run):
    (run.label_folder("m", "loss") / "notes.txt").write_text("mine")


def a_damaged_unit(run):
    d.flipped(0.4)(run.unit_path("m", "loss", 512))


def a_missing_table(run):
    run.unit_path("m", "loss", 512, table="items").unlink()


def other_columns(run):
    d.with_table(d.as_text("size"))(run.unit_path("m", "loss", 512, table="sizes"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (a_note, "label=loss holds notes.txt, which is not the rows of a unit: move it elsewhere"),
        (a_damaged_unit, r"step-000512.parquet is damaged \(.*\): repeat the sweep"),
        (a_missing_table, "step 512 lacks its items.parquet: repeat the sweep"),
        (other_columns, "table sizes has other columns at step 143000 than at step 512"),
    ],
    ids=["a note", "a damaged unit", "a missing table", "other columns"],
)
def test_a_label_with_something_odd_is_left_as_it_is(run, change, why):
    change(run)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*loss*/*")}
    done = pt.compact(run.path)
    assert list(done.left) == ["m/loss"]
    assert re.search(why, done.left["m/loss"]), done.left
    assert (done.units, done.before, done.after) == (4, 9, 3)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*loss*/*")} == before
    assert not (run.compaction("m", "loss")).exists()


def test_what_an_unfinished_unit_left_stays_where_it_is(run):
    run.unit_path("m", "loss", 512).unlink()
    assert compact(run) == ["m/induction", "m/loss"]
    assert files(run, "step-*") == [
        f"tables/{kind}/model=m/label=loss/step-000512.parquet" for kind in ("items", "sizes")
    ]
    assert len(list_units(run)) == 7
    write(run, "loss", 512)
    assert compact(run) == ["m/loss"]
    assert files(run, "step-*") == []


def test_a_full_disk_is_a_sentence_and_costs_nothing(made, mount):
    disk = mount("size=4m")
    run = Run(shutil.copytree(made.path, disk / "run"))
    expected = held(made)
    fill(disk / "filler")
    with pytest.raises(StoreError, match=r"the disk of .* is full"):
        compact(run)
    assert held(run) == expected
    (disk / "filler").unlink()
    assert compact(run) == ["m/induction", "m/loss"]
    assert held(run) == expected


def test_an_empty_run_and_single_units_have_nothing_to_put_together(tmp_path):
    run = Run.create(tmp_path / "run")
    assert vars(pt.compact(run.path)) == {"units": 0, "before": 0, "after": 0, "left": {}}
    write(run, "loss", 0)
    assert pt.compact(run.path).units == 0
    assert files(run) == [
        f"{kind}/model=m/label=loss/step-000000.parquet" for kind in ("metrics", "tables/items")
    ]


def test_the_index_and_the_footer_name_digest_and_source_of_each_unit(run):
    compact(run)
    index = json.loads((run.compaction("m", "loss") / "compacted.json").read_text())
    tables = (["items"], [], ["items", "sizes"], ["items", "sizes"])
    assert index == {
        "finished": True,
        "units": [
            {
                "step": step,
                "digest": f"loss-{step}",
                "source": {"commit": f"c{step}"},
                "tables": some,
            }
            for step, some in zip(STEPS, tables, strict=True)
        ],
    }
    held = [read_unit(run, "m", "loss", step) for step in STEPS]
    assert [(one.digest, one.source) for one in held] == [
        (f"loss-{step}", {"commit": f"c{step}"}) for step in STEPS
    ]
