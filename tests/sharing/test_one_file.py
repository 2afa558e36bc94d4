"""`export`: the rows of `load` as one file, whole or not at all."""

import inspect
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

import pythia_traj as pt
from pythia_traj.errors import ConfigError, StoreError
from pythia_traj.sharing import one_file
from pythia_traj.sharing.series import logged
from pythia_traj.store import compacted, parts
from pythia_traj.store.compacting import list_labels
from pythia_traj.store.layout import Run
from pythia_traj.store.parts import Parts
from pythia_traj.store.taking_out import take_out
from tests.store.damage import flipped
from tests.store.killed import killed_at

OWN = "a table of an experiment's own"
CHOICES = {
    "all": {},
    "controls": {"controls": True},
    "items": {"table": "items", "controls": True},
    OWN: {"table": "samples"},
    "models": {"table": "models"},
    "filtered": {"model": "other", "step": [1, 4], "metric": "nll", "variant": "two_halves"},
    "nothing": {"step": 3},
}


def like(frame, columns):
    """A frame that was read from a file, with the types of another."""
    return frame.astype({name: columns[name].dtype for name in frame.columns})


@pytest.fixture
def few(monkeypatch):
    """Files are read three at a time, so that there are many parts."""
    monkeypatch.setattr(parts, "_FILES", 3)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.filterwarnings("ignore:no row has all of this")
def test_a_file_has_the_rows_that_load_gives(shared, tmp_path, few, choice):
    expected = pt.load(shared.path, **CHOICES[choice])
    notes = pt.export(shared.path, tmp_path / "rows.parquet", **CHOICES[choice])
    assert bool(notes) == (choice == "nothing")
    found = pd.read_parquet(tmp_path / "rows.parquet")
    assert list(found.columns) == list(expected.columns)
    if choice != OWN:
        pd.testing.assert_frame_equal(like(found, expected), expected, check_categorical=False)


@pytest.mark.parametrize("choice", [one for one in CHOICES if one not in ("nothing", OWN)])
def test_a_csv_has_the_same_values_to_the_bit(shared, tmp_path, few, choice):
    for name in ("rows.csv", "rows.parquet"):
        pt.export(shared.path, tmp_path / name, **CHOICES[choice])
    expected = pq.read_table(tmp_path / "rows.parquet")
    # As written: an empty cell is null, an empty text has quotes.
    options = csv.ConvertOptions(
        column_types=expected.schema, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    found = csv.read_csv(tmp_path / "rows.csv", convert_options=options)
    assert found.schema.names == expected.schema.names
    assert found.to_pylist() == expected.to_pylist()


def test_lists_are_numbers_with_spaces_in_a_csv(shared, tmp_path):
    pt.export(shared.path, tmp_path / "samples.csv", table="samples")
    ids = pd.read_csv(tmp_path / "samples.csv")["token_ids"]
    expected = pt.load(shared.path, table="samples")["token_ids"]
    assert [[*map(int, text.split())] for text in ids] == [list(some) for some in expected]


def test_no_more_files_are_in_memory_than_a_part_has(shared, tmp_path, monkeypatch, few):
    sizes = []
    read = parts.Parts._read
    monkeypatch.setattr(
        parts.Parts, "_read", lambda self, some: (sizes.append(len(some)), read(self, some))[1]
    )
    pt.export(shared.path, tmp_path / "rows.parquet")
    assert sizes == [3, 3, 3, 3, 3, 1]
    assert pq.ParquetFile(tmp_path / "rows.parquet").num_row_groups == 6


def test_an_existing_file_is_replaced_only_by_a_whole_one(shared, tmp_path, monkeypatch, few):
    file = tmp_path / "rows.csv"
    pt.export(shared.path, file, metric="nll")
    before = file.read_bytes()
    read, calls = parts.Parts._read, []

    def fails_late(self, some):
        calls.append(some)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return read(self, some)

    monkeypatch.setattr(parts.Parts, "_read", fails_late)
    with pytest.raises(StoreError, match="the disk of .*rows.csv is full: free some space"):
        pt.export(shared.path, file)
    assert file.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["rows.csv"]


def test_a_killed_export_leaves_the_former_file_and_the_next_one_removes_its_rest(shared, tmp_path):
    (tmp_path / "rows.csv").write_text("former")
    code = (
        "import sys, time, pythia_traj as pt\n"
        "from pythia_traj.store import parts\n"
        "parts._FILES = 1\n"
        "read = parts.Parts._read\n"
        "parts.Parts._read = lambda self, some: (time.sleep(0.5), read(self, some))[1]\n"
        "pt.export(sys.argv[1], sys.argv[2])\n"
    )
    command = [sys.executable, "-c", code, str(shared.path), str(tmp_path / "rows.csv")]
    with subprocess.Popen(command) as process:
        until = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / "rows.csv").read_text() == "former"
    assert len(list(tmp_path.iterdir())) == 2
    pt.export(shared.path, tmp_path / "rows.csv")
    assert [one.name for one in tmp_path.iterdir()] == ["rows.csv"]


def test_a_disk_that_is_full_is_said(shared, mount):
    small = mount("size=8k")
    with pytest.raises(StoreError, match="is full: free some space"):
        pt.export(shared.path, small / "rows.csv")
    assert list(small.iterdir()) == []


def test_a_directory_that_may_not_be_written_is_said(shared, mount):
    with pytest.raises(StoreError, match=r"rows\.csv is read-only"):
        pt.export(shared.path, mount("size=1m,ro") / "rows.csv")


def test_damaged_files_are_left_out_and_said(shared, tmp_path):
    copy = tmp_path / "run"
    subprocess.run(["cp", "-r", str(shared.path), str(copy)], check=True)
    flipped(0.1)(copy / "metrics" / "model=other" / "label=induction" / "step-000001.parquet")
    (note,) = pt.export(copy, tmp_path / "rows.parquet")
    assert note.startswith("left out 1 damaged file: metrics/model=other/label=induction/step")
    found = pd.read_parquet(tmp_path / "rows.parquet")
    assert set(found[(found.model == "other") & (found.label == "induction")].step) == {0, 2, 4}


REFUSED = {
    "no suffix": ("rows", {}, r"rows: its name does not say the format: end it in csv or parquet"),
    "suffix": ("rows.xlsx", {}, r"rows\.xlsx: its name does not say the format"),
    "format": ("rows.csv", {"format": "xlsx"}, "unknown format 'xlsx': give one of csv, parquet"),
    "a table": (
        "logs",
        {"format": "tensorboard", "table": "items"},
        "table='items': tensorboard takes metrics by training step: export tables as csv",
    ),
    "a word": ("rows.csv", {"metric": "nlll"}, "these rows have no metric 'nlll': did you mean"),
    "a column": ("rows.csv", {"metrik": "nll"}, "unknown column 'metrik': did you mean metric"),
    "no table": ("rows.csv", {"table": "itmes"}, "has no table 'itmes': did you mean items"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_refused_and_nothing_is_written(shared, tmp_path, case):
    name, options, said = REFUSED[case]
    with pytest.raises((StoreError, ConfigError), match=said):
        pt.export(shared.path, tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_the_files_place_is_refused(shared, tmp_path):
    (tmp_path / "rows.csv").mkdir()
    with pytest.raises(StoreError, match=r"rows\.csv is a directory: give the file to write"):
        pt.export(shared.path, tmp_path / "rows.csv")


def test_rows_of_two_versions_are_refused_unless_asked_for(tmp_path):
    from tests.store.test_readers import rows, unit, write_unit

    run = Run.create(tmp_path / "run")
    for step, version in ((0, 1), (512, 2)):
        made_of = {"experiment": "loss_of_heads", "version": version}
        write_unit(run, unit("a", "loss", step), rows(step), {"digest": "d", "made_of": made_of})
    with pytest.raises(StoreError, match="read them together with mixed=True"):
        pt.export(run.path, tmp_path / "rows.csv")
    assert not (tmp_path / "rows.csv").exists()
    assert pt.export(run.path, tmp_path / "rows.csv", mixed=True)


def test_an_address_is_exported_too(shared, tmp_path):
    pt.export(f"file://{shared.path}", tmp_path / "rows.parquet")
    assert len(pq.read_table(tmp_path / "rows.parquet")) == len(pt.load(shared.path))


def test_the_parquet_has_the_types_of_the_runs_files(shared, tmp_path):
    pt.export(shared.path, tmp_path / "rows.parquet")
    types = pq.read_schema(tmp_path / "rows.parquet")
    assert types.field("model").type == pa.dictionary(pa.int32(), pa.string())
    assert types.field("step").type == pa.int64()
    assert types.field("value").type == pa.float64()


def test_the_command_writes_a_file_and_says_which(shared, tmp_path, cli):
    file = tmp_path / "rows.csv"
    status, out, err = cli(
        *("export", shared.path, "-o", file, "--metric", "nll", "--step", 1, "--step", 4),
        *("--model", "other", "--label", "induction", "--controls"),
    )
    assert (status, out, err) == (0, f"file: {file}\n", "")
    found = pd.read_csv(file)
    assert set(found.step) == {1, 4}
    assert set(found.model) == {"other"}
    assert found.control.notna().any()
    status, out, _ = cli("export", shared.path, "-o", tmp_path / "rows", "--format", "parquet")
    assert status == 0
    assert len(pd.read_parquet(tmp_path / "rows"))


@pytest.mark.parametrize("options", [[], ["--format", "csv"]], ids=["nothing", "a format alone"])
def test_the_command_without_a_file_says_what_to_give(shared, cli, options):
    status, _, err = cli("export", shared.path, *options)
    assert status == 1
    assert err.startswith("error: no file is named: give --output FILE.csv")


def test_exporting_loads_no_torch(shared, tmp_path):
    code = (
        "import sys, pythia_traj as pt\n"
        f"pt.export({str(shared.path)!r}, {str(tmp_path / 'a.csv')!r})\n"
        f"pt.export({str(shared.path)!r}, {str(tmp_path / 'logs')!r}, format='tensorboard')\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_every_format_has_what_writes_it():
    assert set(one_file.FILES) == set(one_file._WRITERS)
    assert "format" in inspect.signature(pt.export).parameters


@pytest.mark.parametrize("choice", [one for one in CHOICES if one != "nothing"])
def test_a_compacted_run_is_exported_as_before(shared, tmp_path, few, choice):
    own = shutil.copytree(shared.path, tmp_path / "run")
    for name in ("rows.parquet", "rows.csv"):
        pt.export(own, tmp_path / f"before-{name}", **CHOICES[choice])
    pt.compact(own)
    for name in ("rows.parquet", "rows.csv"):
        pt.export(own, tmp_path / name, **CHOICES[choice])
        assert (tmp_path / name).read_bytes() == (tmp_path / f"before-{name}").read_bytes()


def test_of_a_compacted_run_each_file_is_opened_once_and_parts_stay_small(
    shared, tmp_path, few, monkeypatch
):
    own = Run(shutil.copytree(shared.path, tmp_path / "run"))
    expected = list(logged(Parts(own)))
    pt.compact(own.path)
    opened, real = [], compacted.read_parquet
    monkeypatch.setattr(
        compacted, "read_parquet", lambda path, *a, **o: opened.append(path) or real(path, *a, **o)
    )
    parts = Parts(own)
    assert [len(set(part["step"].to_pylist())) <= 3 for part in parts.in_order()] == [True] * 6
    assert len(opened) == len(set(opened)) == 4
    opened.clear()
    assert list(logged(Parts(own))) == expected
    assert len(opened) == len(set(opened)) == 4


def test_rows_that_are_compacted_or_taken_out_meanwhile_are_exported(shared, tmp_path, few):
    own = Run(shutil.copytree(shared.path, tmp_path / "run"))
    whole = pa.concat_tables(Parts(own).in_order()).to_pylist()
    listed = Parts(own)
    rows = listed.in_order()
    found = next(rows).to_pylist()
    pt.compact(own.path)
    assert found + [row for part in rows for row in part.to_pylist()] == whole
    rows = Parts(own).in_order()
    found = next(rows).to_pylist()
    for label in list_labels(own):
        take_out(own, label.model, label.label, [1, 2])
    assert found + [row for part in rows for row in part.to_pylist()] == whole


def test_a_run_whose_compaction_was_killed_is_exported_whole(shared, tmp_path):
    pt.export(shared.path, tmp_path / "before.csv", controls=True)
    expected = (tmp_path / "before.csv").read_bytes()
    for operation in (3, 9, 10, 11, 12, 13, 14, 16, 20, 40):
        own = shutil.copytree(shared.path, tmp_path / "run")
        with killed_at(operation):
            pt.compact(own)
        pt.export(own, tmp_path / "rows.csv", controls=True)
        assert (tmp_path / "rows.csv").read_bytes() == expected, operation
        shutil.rmtree(own)
