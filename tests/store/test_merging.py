"""Several runs become one: they are only read, and what does not fit is refused first."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.errors import StoreError
from pythia_traj.store.done import read_requests
from pythia_traj.store.events import EventLog
from pythia_traj.store.layout import MERGE, Run
from pythia_traj.store.unit import write_model, write_unit
from tests.store import damage as d
from tests.store.disk import fill
from tests.store.killed import killed_at
from tests.store.test_compacting import MODEL, SIZES, footer, rows
from tests.store.test_readers import READERS
from tests.store.test_readers import unit as named


def write(run, model, label, step, **facts):
    made, facts = rows(step), {**footer(label, step), "origin": f"hub:org/{model}", **facts}
    if step == 512:
        made.tensors("kept", {"w": np.arange(3, dtype=np.float32)})
    write_unit(run, named(model, label, step), made, facts, tables=SIZES)


def make(path, units, *, origin="hub:org/m"):
    run = Run.create(path)
    write_model(run, "m", MODEL, {"origin": origin}, anew=True)
    for label, steps in units.items():
        for step in steps:
            write(run, "m", label, step, origin=origin)
        run.record_request({"explicit_steps": {"m": [*steps]}, "experiments": {label: {}}})
    log = EventLog(run)
    log.write("requested", request="r")
    log.write("finished")
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two runs that have a unit in common, not to be changed."""
    root = tmp_path_factory.mktemp("made")
    return make(root / "a", {"loss": (0, 512)}), make(
        root / "b", {"loss": (512, 1000), "induction": (0, 512)}
    )


@pytest.fixture
def both(made, tmp_path):
    return [Run(shutil.copytree(run.path, tmp_path / run.path.name)) for run in made]


def state(run):
    """What of a run's files can be seen to change."""
    paths = sorted(path for path in run.path.rglob("*"))
    return [
        (str(path), path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in paths
    ]


def merged(both, out):
    return pt.merge([run.path for run in both], out)


@pytest.mark.parametrize("compacted", [(), (0,), (0, 1)], ids=["none", "one", "both"])
def test_a_merge_has_all_units_once_and_touches_neither_run(both, tmp_path, compacted):
    for i in compacted:
        pt.compact(both[i].path)
    before = [state(run) for run in both]
    result = merged(both, tmp_path / "out")
    assert (result.units, result.written, result.damaged, result.notes) == (5, 5, {}, [])
    assert [state(run) for run in both] == before
    out = tmp_path / "out"
    for table in (None, "items", "sizes"):
        frames = [pt.load(run.path, table=table) for run in both]
        expected = pd.concat([frames[0], frames[1][frames[1].apply(_not_common, axis=1)]])
        order = ["model", "label", "step"]
        frame = pt.load(out, table=table)
        pd.testing.assert_frame_equal(
            frame.astype(dict.fromkeys(("model", "label"), str)),
            expected.sort_values(order, kind="stable", ignore_index=True)
            .astype(frame.dtypes.to_dict())
            .astype(dict.fromkeys(("model", "label"), str)),
            check_categorical=False,
        )
    found = pt.status(out, check=True)
    assert (found.done, found.left, found.damaged, len(found.workers)) == (
        5,
        0,
        0,
        2 + len(compacted),
    )
    assert len(read_requests(Run(out), {})) == 3
    assert {read(str(out / "metrics")) for read in READERS.values()} == {len(pt.load(out))}
    assert len(pt.load(out, table="models")) == 1
    assert len(list((out / "tables" / "kept").rglob("*.safetensors"))) == 2
    assert not (out / MERGE).exists()


def _not_common(row):
    return (row["label"], row["step"]) != ("loss", 512)


def test_units_of_other_settings_are_refused_before_anything_is_written(both, tmp_path):
    made_of = {"experiment": "loss", "version": 1, "parameters": {"n": 4}}
    write(both[1], "m", "loss", 512, digest="other", made_of=made_of)
    out = tmp_path / "out"
    with pytest.raises(StoreError) as caught:
        merged(both, out)
    assert str(caught.value) == (
        f"m/loss/step512 is in {both[0].path} and in {both[1].path} with other settings"
        " (n: 3, 4): measure one of them under another label, or remove it with pythia-traj remove"
    )
    assert not out.exists()
    pt.remove(both[1].path, "loss")
    assert merged(both, out).units == 4


@pytest.mark.parametrize("is_same", [True, False], ids=["the same files", "other files"])
def test_a_model_that_is_published_elsewhere_is_refused_unless_its_files_are_the_same(
    tmp_path, is_same
):
    first = make(tmp_path / "a", {"loss": (0, 512)}, origin="directory:/here/m")
    other = make(tmp_path / "b", {"induction": (512, 1000)}, origin="directory:/there/m")
    if not is_same:
        write(other, "m", "induction", 512, source={"commit": "another"})
        with pytest.raises(StoreError, match=r"a holds rows of m from /here/m, and .*b those of"):
            merged([first, other], tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return
    assert merged([first, other], tmp_path / "out").units == 4


def test_units_that_were_measured_on_other_files_are_said(both, tmp_path):
    write(both[1], "m", "loss", 512, source={"commit": "c512", "files": 2})
    (note,) = merged(both, tmp_path / "out").notes
    assert note.startswith("m: 1 unit is in more than one run, measured on files of other sizes")


def test_a_damaged_unit_is_taken_from_the_run_that_has_it_whole_or_left_out(both, tmp_path):
    d.flipped(0.05)(both[0].unit_path("m", "loss", 512))
    d.flipped(0.05)(both[0].unit_path("m", "loss", 0))
    result = merged(both, tmp_path / "out")
    assert list(result.damaged) == ["m/loss/step0"]
    assert result.units == 4
    assert pt.status(tmp_path / "out", check=True).damaged == 0


def test_killed_at_any_step_it_is_no_run_before_it_is_whole_and_repeating_completes(made, tmp_path):
    with killed_at(None) as happened:
        merged(made, tmp_path / "whole")
    whole = pt.load(tmp_path / "whole")
    for operation in range(0, len(happened), 5):
        out = tmp_path / "out"
        with killed_at(operation):
            merged(made, out)
        if not (out / "run.json").exists() and (out / MERGE).exists():
            with pytest.raises(StoreError, match="is a merge that was interrupted: repeat"):
                pt.load(out)
        result = merged(made, out)
        assert result.units == 5
        pd.testing.assert_frame_equal(pt.load(out), whole, check_exact=True)
        found = pt.status(out, check=True)
        assert (found.done, found.left, found.damaged) == (5, 0, 0)
        assert not (out / MERGE).exists()
        shutil.rmtree(out)


def test_repeated_it_adds_what_came_since_and_keeps_what_is_there(both, tmp_path):
    out = tmp_path / "out"
    merged(both, out)
    assert merged(both, out).written == 0
    write(both[0], "m", "loss", 2000)
    pt.compact(out)
    result = merged(both, out)
    assert (result.units, result.written) == (6, 1)


def test_deleting_a_run_leaves_the_merge_whole(both, tmp_path):
    merged(both, tmp_path / "out")
    for run in both:
        pt.remove(run.path, "loss")
        shutil.rmtree(run.path)
    assert pt.status(tmp_path / "out", check=True).done == 5


def test_places_that_do_not_fit_are_refused(both, tmp_path):
    first, other = (run.path for run in both)
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").touch()
    for runs, out, why in (
        ([first], tmp_path / "out", "needs at least two different runs"),
        ([first, first], tmp_path / "out", "needs at least two different runs"),
        ([first, other], first, "contains the other"),
        ([first, other], first / "out", "contains the other"),
        ([first, other], full, "holds notes.txt: give an empty or a new directory"),
        ([first, full], tmp_path / "out", "is not a run directory"),
        ([first, tmp_path / "missing"], tmp_path / "out", "is not a run directory"),
    ):
        with pytest.raises(StoreError, match=why):
            pt.merge(runs, out)
    assert not (tmp_path / "out").exists()
    third = make(tmp_path / "c", {"loss": (0,)})
    with pytest.raises(StoreError, match="is another run: give an empty or a new directory"):
        pt.merge([first, other], third.path)
    (full / "notes.txt").unlink()
    (full / MERGE).write_text("{}")
    with pytest.raises(StoreError, match="is an interrupted merge of other runs"):
        pt.merge([first, other], full)


def test_across_disks_it_copies(both, mount):
    disk = mount("size=20m")
    assert merged(both, disk / "out").units == 5
    assert pt.status(disk / "out", check=True).done == 5


def test_a_full_disk_is_a_sentence_and_the_rest_is_merged_later(both, mount):
    disk = mount("size=2m")
    fill(disk / "filler", leaving=40_000)
    with pytest.raises(StoreError, match=r"the disk of .* is full"):
        merged(both, disk / "out")
    assert list((disk / "out").rglob("*.parquet"))
    (disk / "filler").unlink()
    assert merged(both, disk / "out").units == 5


def test_logs_keep_their_times_so_that_no_dead_worker_seems_alive(both, tmp_path):
    (log,) = (both[0].path / "log").iterdir()
    os.utime(log, (1, 1))
    merged(both, tmp_path / "out")
    assert (tmp_path / "out" / "log" / log.name).stat().st_mtime == 1
