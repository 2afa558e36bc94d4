"""Compacted runs at addresses: the rows of the directory, each compacted file once, if at all."""

import shutil
from collections import Counter
from pathlib import Path

import fsspec
import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.store.compacted import INDEX
from pythia_traj.store.files import Files
from pythia_traj.store.layout import COMPACTED, Run
from pythia_traj.store.opening import Opener
from pythia_traj.store.remote import _path_of, reading
from pythia_traj.store.taking_out import take_out
from tests.store.killed import killed_at
from tests.store.test_compacting import SMALL, compact, made, run, small, states, write  # noqa: F401
from tests.store.test_remote import ADDRESS, fetched  # noqa: F401


@pytest.fixture
def memory():
    memory = fsspec.filesystem("memory")
    yield memory
    memory.rm("/bucket", recursive=True)


def send(memory, run):  # noqa: F811
    """Puts a run at the address, in place of what is there."""
    if memory.exists("/bucket/run"):
        memory.rm("/bucket/run", recursive=True)
    memory.put(str(run.path) + "/", "/bucket/run/", recursive=True)


@pytest.fixture
def there(run, memory):  # noqa: F811
    """The run at the address, both of whose labels are compacted but for one later unit."""
    compact(run)
    write(run, "loss", 1000)
    send(memory, run)
    return memory


def of_label(label, kind="metrics", name=COMPACTED):
    return f"{kind}/model=m/label={label}/{name}"


INDICES = [of_label(label, "compacted", INDEX) for label in ("induction", "loss")]

CHOICES = {
    "all": {},
    "items": {"table": "items"},
    "a table of its own": {"table": "sizes"},
    "one step": {"step": 512},
    "one label": {"label": "loss", "step": [1, 1000]},
}


@pytest.mark.parametrize("choice", CHOICES)
def test_the_rows_are_those_of_the_directory(run, there, choice, tmp_path):  # noqa: F811
    where = CHOICES[choice]
    pd.testing.assert_frame_equal(pt.load(ADDRESS, **where), pt.load(run.path, **where))
    for place, name in ((ADDRESS, "one"), (run.path, "other")):
        pt.export(place, tmp_path / f"{name}.parquet", **where)
    one, other = ((tmp_path / f"{name}.parquet").read_bytes() for name in ("one", "other"))
    assert one == other


def test_the_description_is_the_same_and_every_file_arrives_once(run, there, fetched):  # noqa: F811
    assert pt.describe(ADDRESS).as_json() == pt.describe(run.path).as_json()
    assert set(Counter(fetched).values()) == {1}
    assert set(INDICES) < set(fetched)


def test_only_what_the_filters_may_choose_arrives_beside_the_indices(there, fetched):  # noqa: F811
    pt.load(ADDRESS, label="loss", step=[0, 512])
    assert sorted(fetched) == [*INDICES, of_label("loss")]
    fetched.clear()
    pt.load(ADDRESS, label="loss", step=1000)
    assert sorted(fetched) == [*INDICES, of_label("loss", name="step-001000.parquet")]
    fetched.clear()
    pt.load(ADDRESS, table="sizes", label="induction", step=512)
    assert sorted(fetched) == [*INDICES, of_label("induction", "tables/sizes")]


@pytest.mark.parametrize("index", [None, b"{"], ids=["lost", "damaged"])
def test_without_its_index_a_compacted_file_says_itself_what_it_holds(
    run,  # noqa: F811
    there,
    index,
):
    if index is None:
        there.rm(f"/bucket/run/{INDICES[1]}")
    else:
        there.pipe(f"/bucket/run/{INDICES[1]}", index)
    pd.testing.assert_frame_equal(pt.load(ADDRESS), pt.load(run.path))


def test_a_damaged_compacted_file_is_left_out_with_one_warning(there):
    there.pipe(f"/bucket/run/{of_label('loss')}", b"PAR1")
    with pytest.warns(UserWarning, match=r"left out 1 damaged file: metrics/model=m/label=loss/c"):
        rows = pt.load(ADDRESS)
    assert set(rows[rows.label == "loss"].step) == {1000}


def steps_read(files):
    return {found.step for found, _ in files.read(files.there, lambda _, whole: whole.table())}


def test_what_is_compacted_or_taken_out_after_it_was_listed_is_read_or_said(
    small,  # noqa: F811
    tmp_path,
    memory,
):
    own = Run(shutil.copytree(small.path, tmp_path / "run"))
    send(memory, own)
    with reading(ADDRESS, "metrics") as opened:
        files = Files(opened, None)
        compact(own)
        send(memory, own)
        assert steps_read(files) == set(SMALL)
        assert files.say_left_out() == []
    with reading(ADDRESS, "metrics") as opened:
        files = Files(opened, None)
        take_out(own, "m", "loss", [512])
        send(memory, own)
        assert steps_read(files) == {0, 143000}
        (said,) = files.say_left_out()
        assert "units that were compacted into it are missing" in said


def test_a_run_that_was_copied_while_it_was_compacted_has_all_its_rows(
    small,  # noqa: F811
    tmp_path,
    memory,
):
    expected = pt.load(small.path)
    with killed_at(None) as happened:
        compact(Run(shutil.copytree(small.path, tmp_path / "whole")))
    for operation in states(happened):
        own = Run(shutil.copytree(small.path, tmp_path / "run"))
        with killed_at(operation):
            compact(own)
        send(memory, own)
        pd.testing.assert_frame_equal(pt.load(ADDRESS), expected)
        shutil.rmtree(own.path)


NOT_READ = (
    "compacted/model=m/label=l/old/metrics/0f/step-000001.parquet",
    "compacted/model=m/label=l/damaged/metrics/0f-compacted.parquet",
    "compacted/model=m/label=l/next/../../../../evil/compacted.parquet",
    "compacted/model=m/../../compacted.json",
    "compacted/model=m/label=l/compacted.sh",
    "metrics/model=m/label=l/compacted.json",
)


@pytest.mark.parametrize("name", NOT_READ)
def test_no_other_name_becomes_a_file_of_the_mirror(name, tmp_path):
    assert _path_of(name, tmp_path) is None
    assert _path_of(INDICES[0], tmp_path) == tmp_path / INDICES[0]


def test_few_compacted_files_stay_open(run, monkeypatch):  # noqa: F811
    compact(run)
    monkeypatch.setattr("pythia_traj.store.opening._KEPT", 1)
    opener, files = Opener(run), Files(run, None)
    first, *_, last = files.there
    for found in (first, last, first):
        assert opener.open(found, None).table().num_rows
    assert opener._remembered.cache_info().currsize == 1
    assert Path(last.path).name == COMPACTED
