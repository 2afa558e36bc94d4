"""Runs at addresses that fsspec reads: the same rows as from a disk, and only the files needed."""

from pathlib import Path

import fsspec
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import pythia_traj as pt
from pythia_traj.errors import StoreError
from pythia_traj.store.layout import Run
from tests.store.test_readers import run, write  # noqa: F401

ADDRESS = "memory://bucket/run"


@pytest.fixture
def there(run):  # noqa: F811
    """The run of two models, two labels and two steps in fsspec's memory."""
    memory = fsspec.filesystem("memory")
    memory.put(str(run.path), "/bucket/", recursive=True)
    memory.pipe("/bucket/run/log/host.jsonl", b"not to be read")
    yield memory
    memory.rm("/bucket", recursive=True)


@pytest.fixture
def fetched(monkeypatch):
    """The names of the files that were fetched."""
    names, get_file = [], MemoryFileSystem.get_file

    def noting(self, rpath, lpath, **options):
        names.append(str(rpath).removeprefix("/bucket/run/"))
        get_file(self, rpath, lpath, **options)

    monkeypatch.setattr(MemoryFileSystem, "get_file", noting)
    return names


@pytest.mark.parametrize("before", ["", "simplecache::"], ids=["plain", "cached"])
def test_an_address_gives_the_rows_of_the_directory(run, there, before):  # noqa: F811
    address = before + ADDRESS
    for chosen in ({}, {"table": "items"}, {"label": "loss", "step": 512}):
        pd.testing.assert_frame_equal(pt.load(address, **chosen), pt.load(run.path, **chosen))
    found, expected = pt.describe(address), pt.describe(run.path)
    assert found.as_json() == expected.as_json()


def test_only_files_that_the_filters_may_choose_are_fetched(there, fetched):
    pt.load(ADDRESS, model="a-1b", label="loss", step=512)
    assert fetched == ["metrics/model=a-1b/label=loss/step-000512.parquet"]
    fetched.clear()
    pt.load(ADDRESS, table="items", label="induction", step=[0])
    assert sorted(fetched) == [
        f"tables/items/model={model}/label=induction/step-000000.parquet"
        for model in ("a-1b", "b-70m")
    ]


def test_what_is_written_there_later_is_read_the_next_time(run, there):  # noqa: F811
    before = len(pt.load(ADDRESS))
    write(run, "a-1b", "loss", 1000)
    name = "metrics/model=a-1b/label=loss/step-001000.parquet"
    there.put_file(str(run.path / name), f"/bucket/run/{name}")
    assert len(pt.load(ADDRESS)) == before + 5


def test_a_damaged_file_there_is_left_out_with_a_warning(there):
    there.pipe("/bucket/run/metrics/model=a-1b/label=loss/step-000512.parquet", b"PAR1")
    with pytest.warns(UserWarning, match="left out 1 damaged file: metrics/model=a-1b/label=loss"):
        rows = pt.load(ADDRESS, label="loss")
    assert set(rows[rows.model == "a-1b"].step) == {0}


def test_a_file_that_is_gone_since_it_was_listed_is_left_out(there, monkeypatch):
    gone = "/bucket/run/metrics/model=a-1b/label=loss/step-000512.parquet"
    get_file = MemoryFileSystem.get_file

    def late(self, rpath, lpath, **options):
        if rpath == gone:
            raise FileNotFoundError(rpath)
        get_file(self, rpath, lpath, **options)

    monkeypatch.setattr(MemoryFileSystem, "get_file", late)
    assert set(pt.load(ADDRESS, model="a-1b", label="loss").step) == {0}


def test_a_transfer_that_fails_ends_the_reading(there, monkeypatch):
    def refuse(self, rpath, lpath, **options):
        raise OSError("the connection broke")

    monkeypatch.setattr(MemoryFileSystem, "get_file", refuse)
    with pytest.raises(StoreError, match=r"^memory://bucket/run/metrics/.*: the connection broke$"):
        pt.load(ADDRESS)


HOSTILE = (
    "metrics/../../../evil/label=loss/step-000001.parquet",
    "metrics/model=a-1b/label=loss/../../../../../evil.parquet",
    "metrics/.hidden/label=loss/step-000001.parquet",
    "metrics/model=a\x1bb/label=loss/step-000001.parquet",
    "metrics/model=a-1b/label=loss/step-000001.sh",
    "metrics/" + "deep/" * 40 + "step-000001.parquet",
    "metrics//etc/passwd.parquet",
)


def test_no_listed_name_leads_out_of_the_mirror(there, monkeypatch, tmp_path):
    made = []
    touch = Path.touch
    monkeypatch.setattr(Path, "touch", lambda path: (made.append(path), touch(path)))
    find = MemoryFileSystem.find
    names = [f"/bucket/run/{name}" for name in HOSTILE]
    monkeypatch.setattr(
        MemoryFileSystem, "find", lambda self, path, **_: [*find(self, path), *names]
    )
    expected = len(pt.load(ADDRESS))
    assert expected == 8 * 5
    assert len(made) == 8
    assert all(path.parts[-4] == "metrics" for path in made)


def test_a_listing_with_a_file_where_another_needs_a_folder_is_refused(there):
    there.pipe("/bucket/run/metrics/a.parquet", b"")
    there.store["/bucket/run/metrics/a.parquet/step-000001.parquet"] = there.store[
        "/bucket/run/metrics/a.parquet"
    ]
    with pytest.raises(StoreError, match=r"^cannot write memory://bucket/run"):
        pt.load(ADDRESS)


def test_nothing_of_the_mirror_is_left(there, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pt.load(ADDRESS, label="loss")
    with pytest.raises(StoreError):
        pt.load(ADDRESS, label="los")
    assert list(tmp_path.glob("pythia-traj-*")) == []


REFUSED = {
    "unknown protocol": ("nfs4://host/run", r"^nfs4://host/run cannot be read \(Protocol not know"),
    "missing package": ("s3://bucket/run", r"^s3://bucket/run cannot be read here: Install s3fs"),
    "nothing there": ("memory://other/run", r"^memory://other/run is not a run: it has no run"),
    "secret": ("nfs4://me:password@host/run", r"^nfs4://\*\*\*@host/run cannot be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_address_that_cannot_be_read_is_refused_in_one_sentence(case, monkeypatch):
    if case == "missing package":
        monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    address, said = REFUSED[case]
    with pytest.raises(StoreError, match=said) as refused:
        pt.load(address)
    assert "\n" not in str(refused.value)
    assert "password" not in str(refused.value)


def test_a_run_of_another_schema_is_named_by_its_address(there):
    there.pipe("/bucket/run/run.json", b'{"kind": "pythia-traj run", "schema": 1}')
    with pytest.raises(StoreError, match=r"^memory://bucket/run was written by pythia-traj 0\.1"):
        pt.load(ADDRESS)


def test_the_command_describes_a_run_at_an_address(there, cli):
    status, out, err = cli("describe", ADDRESS)
    assert (status, err) == (0, "")
    assert "loss (experiment loss_of_heads)" in out


def test_filters_are_checked_as_for_a_directory(there):
    with pytest.raises(StoreError, match="these rows have no label 'los': did you mean loss"):
        pt.load(ADDRESS, label="los")
    with pytest.raises(StoreError, match="unknown column 'lable'"):
        pt.load(ADDRESS, lable="loss")
    with pytest.raises(StoreError, match="has no table 'itms': did you mean items"):
        pt.load(ADDRESS, table="itms")


def test_a_run_that_is_open_is_read_as_it_is(run):  # noqa: F811
    from pythia_traj.store.remote import reading

    opened = Run.open(run.path)
    with reading(opened, "metrics") as same:
        assert same is opened
