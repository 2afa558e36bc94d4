"""A run of schema 1 becomes one of today: all its rows, as a sweep makes them today."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

import pythia_traj as pt
from pythia_traj import schema
from pythia_traj.discovery import find
from pythia_traj.errors import StoreError
from pythia_traj.layers import read_yaml
from pythia_traj.store.layout import CONVERSION, Run
from pythia_traj.store.parquet import FOOTER_KEY, arrow_schema, write_parquet
from pythia_traj.sweeps.requests import plan_sweep
from pythia_traj.sweeps.sources import source_of
from tests.store import damage as d
from tests.support import publish_suite

HERE = Path(__file__).parent / "schema1"
OLD = HERE / "run"

CHANGED_BY_HAND = {"colons", "mine"}
"""Labels whose request cannot be made today: a template with a colon, a file of another API."""

PART = ("mine", "activations")
"""Labels of the part of the fixture that most tests use."""

FILES = {
    "metrics": "metrics/model=toy/experiment=mine/step-000512.parquet",
    "items": "tables/items/model=toy/experiment=mine/step-000512.parquet",
    "own table": "tables/found/model=toy/experiment=mine/step-000512.parquet",
    "tensors": "tables/activations/model=toy/experiment=activations/step-000512.safetensors",
    "model": "tables/models/model=toy/model.parquet",
}


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """The fixture, converted once; not to be changed."""
    out = tmp_path_factory.mktemp("converted") / "run"
    assert pt.convert(OLD, out).damaged == {}
    return out


@pytest.fixture
def old(tmp_path):
    """A part of the fixture that a test may change: two labels."""

    def of_others(folder, names):
        return [n for n in names if n.startswith("experiment=") and n[11:] not in PART]

    return Path(shutil.copytree(OLD, tmp_path / "old", ignore=of_others))


def today(name):
    """Where a file of the old run is in the new one."""
    return name.replace("experiment=", "label=")


def files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def footer_of(path):
    if path.suffix == ".safetensors":
        data = path.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return json.loads(header["__metadata__"][FOOTER_KEY.decode()])
    return json.loads(pq.read_schema(path).metadata[FOOTER_KEY])


def content(run):
    """All that a run says: rows and provenance of Parquet, bytes of others, but for run.json."""
    said = {}
    for name in files(run):
        path = run / name
        if name.endswith(".parquet"):
            table = pq.read_table(path, partitioning=None)
            said[name] = (table.schema.remove_metadata(), table.to_pylist(), footer_of(path))
        elif name != "run.json":
            said[name] = path.read_bytes()
    return said


def column(run, table, label, name):
    folder = run / "metrics" if table == "metrics" else run / "tables" / table
    paths = sorted(folder.glob(f"model=toy/*={label}/*.parquet"))
    return [v for path in paths for v in pq.read_table(path, partitioning=None)[name].to_pylist()]


@pytest.mark.parametrize("table", sorted(path.stem for path in (HERE / "expected").iterdir()))
def test_the_rows_are_those_that_a_sweep_makes_today(new, table):
    expected = pq.read_table(HERE / "expected" / f"{table}.parquet")
    folder = new / "metrics" if table == "metrics" else new / "tables" / table
    labels = sorted({path.parts[-2][6:] for path in folder.rglob("*.parquet")})
    assert labels == expected["label"].unique().to_pylist()
    for label in labels:
        paths = sorted(folder.glob(f"model=toy/label={label}/*.parquet"))
        found = pa.concat_tables([pq.read_table(path, partitioning=None) for path in paths])
        wanted = expected.filter(pa.compute.equal(expected["label"], label)).drop_columns("label")
        if table == "items":
            # The fixture is older than this column, and so are the rows of schema 1.
            wanted = wanted.append_column(
                pa.field("cluster", pa.int32()), pa.nulls(len(wanted), pa.int32())
            )
        assert found.schema.equals(wanted.schema), label
        # repr, so that -0.0 is not 0.0
        assert list(map(repr, found.to_pylist())) == list(map(repr, wanted.to_pylist())), label


def test_no_row_is_lost_and_values_are_to_the_bit(new):
    labels = {path.name[11:] for path in OLD.glob("metrics/model=toy/*")}
    assert len(labels) == 19
    for label in labels - {"linear_probe"}:
        for table, names in (("metrics", ("value", "stderr", "n")), ("items", ("value", "n"))):
            for name in names:
                assert column(new, table, label, name) == column(OLD, table, label, name), label


def test_ends_of_intervals_are_columns_and_none_is_lost(new):
    dims, values = (column(OLD, "metrics", "linear_probe", name) for name in ("dim", "value"))
    of_dim = {
        dim: [value for value, one in zip(values, dims, strict=True) if one == dim]
        for dim in (None, "low", "high")
    }
    for name, dim in (("value", None), ("low", "low"), ("high", "high")):
        found = column(new, "metrics", "linear_probe", name)
        assert [value for value in found if value is not None or dim is None] == of_dim[dim]
    assert len(of_dim["low"]) == len(of_dim["high"]) > 100
    assert pt.convert(OLD, new).intervals == 2 * len(of_dim["low"])


def test_tables_of_a_users_own_have_types_at_every_step_and_no_columns_of_ours(new):
    for step in (0, 512, 1600):
        table = pq.read_table(
            new / f"tables/found/model=toy/label=mine/step-{step:06d}.parquet", partitioning=None
        )
        front = arrow_schema(schema.UNIT_COLUMNS)
        assert pa.schema(list(table.schema)[: len(front)]).equals(front)
        assert dict(zip(table.column_names, map(str, table.schema.types), strict=True)) == {
            **{field.name: str(field.type) for field in front},
            "experiment_": "string",
            "label__": "int64",
            "label_": "double",
            "word": "string",
            "numbers": "list<element: int64>",
            "nothing": "null",
        }
        assert set(table["experiment"].to_pylist()) == {"mine"}
        assert table["experiment_"].to_pylist() == ["first", "second"]
        assert table["label__"].to_pylist() == [1, 2]
        assert table["label_"].to_pylist() == [0.5, 0.25]
        assert table["numbers"].to_pylist() == ([[1, 2], []] if step else [[], []])
        assert table["word"].to_pylist() == (["x", "y"] if step else [None, None])
    empty = new / "tables/empty/model=toy/label=mine/step-000000.parquet"
    assert str(pq.read_schema(empty).field("word").type) == "string"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(pt.load(new, table="found", step=0)["label__"]) == [1, 2]


def test_what_is_called_otherwise_is_said(tmp_path, old):
    assert pt.convert(old, tmp_path / "new").notes == [
        "mine: what was metric=norm, variant=dims, component=site:1, dim=a:b has part=a_b_2:"
        " without colons it is like others",
        "mine: what was metric=norm, variant=dims, component=site:1, dim=a:b_2 has part=a_b_2_2:"
        " without colons it is like others",
        "mine, table found: its column experiment is called experiment_, because every table has"
        " one of that name now",
        "mine, table found: its column label is called label__, because every table has one of"
        " that name now",
    ]


def test_provenance_is_kept_with_the_digest_of_today(new):
    for name in (n for n in files(OLD) if "experiment=" in n):
        before, after = footer_of(OLD / name), footer_of(new / today(name))
        made_of = after["made_of"]
        assert made_of == {**before["made_of"], "schema": 2}
        assert after == {
            **before,
            "schema": 2,
            "made_of": made_of,
            "digest": after["digest"],
            "converted": {"schema": 1, "version": "0.1.0", "digest": before["digest"]},
        }
        assert after["digest"] != before["digest"]


def test_what_is_no_row_is_copied(new):
    old_files = {today(name) for name in files(OLD)}
    assert set(files(new)) == old_files
    for name in (*files(OLD / "log"),):
        assert (new / "log" / name).read_bytes() == (OLD / "log" / name).read_bytes()
    model = FILES["model"]
    assert (new / model).read_bytes() == (OLD / model).read_bytes()
    before, after = (
        load_file(run / name)
        for run, name in ((OLD, FILES["tensors"]), (new, today(FILES["tensors"])))
    )
    assert before.keys() == after.keys() != set()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype
        assert tensor.tobytes() == after[name].tobytes()
    (name,) = files(OLD / "requests")
    before, after = (json.loads((run / "requests" / name).read_text()) for run in (OLD, new))
    for label, request in before["experiments"].items():
        parameters = request["parameters"]
        if label != "mine" and "source" in parameters:
            parameters["corpus"] = parameters.pop("source")
    assert after == before
    assert sum("corpus" in one["parameters"] for one in after["experiments"].values()) == 7
    facts = json.loads((new / "run.json").read_text())
    old_id = json.loads((OLD / "run.json").read_text())["id"]
    assert facts["converted"] == {"id": old_id, "schema": 1}
    assert facts["schema"] == 2


def test_the_new_run_is_whole(new):
    found = pt.status(new, check=True)
    assert (found.done, found.left, found.failed, found.damaged) == (57, 0, 0, 0)
    assert set(pt.load(new, experiment="behaviour")["label"]) == {"behaviour", "colons"}


@pytest.fixture
def request_of_today(tmp_path):
    """The fixture's request as it is made today, of a suite whose steps have its names."""
    suite = publish_suite(tmp_path / "suite", steps=(0, 256, 512, 1550, 1600))
    settings = read_yaml(HERE / "config.yaml") | {"model": f"toy={suite}"}
    experiments = settings["experiments"]
    for label in CHANGED_BY_HAND:
        del experiments[label]
    for parameters in experiments.values():
        if "source" in parameters:
            parameters["corpus"] = str(HERE / parameters.pop("source"))
        if parameters.get("task", "").endswith(".jsonl"):
            parameters["task"] = str(HERE / parameters["task"])
    return lambda out: pt.SweepConfig(**settings, out=out)


def rewrite(file, rows=slice(None), **more):
    """The same file with other provenance, or fewer rows."""
    table = pq.read_table(file, partitioning=None).replace_schema_metadata(None)
    write_parquet(file, table[rows], footer_of(file) | more)


UNCHANGED = {"loss": 4, "ngram": 2, "memorization": 1, "samples": 3}
"""Experiments whose parameters are still those of the old run, with its version of them.

Their numbers have changed since, so today's version would measure them again.
"""


@pytest.fixture
def of_old_versions(monkeypatch):
    """As if the numbers of some experiments had not changed since the old run."""

    def found(name):
        experiment = find(name)
        if name not in UNCHANGED:
            return experiment
        assert experiment.version > UNCHANGED[name]
        return dataclasses.replace(experiment, version=UNCHANGED[name])

    monkeypatch.setattr("pythia_traj.entries.find", found)


def test_units_are_done_where_experiment_parameters_and_files_are_those_of_today(
    tmp_path, request_of_today, of_old_versions
):
    config = request_of_today(tmp_path / "new")
    plan, (published,) = plan_sweep(config)
    assert len(plan.todo) == 3 * 17
    old = Path(shutil.copytree(OLD, tmp_path / "old"))
    # As if it had been measured on this suite.
    rewrite(old / FILES["model"], origin=published.origin)
    for unit in plan.todo:
        of_unit = f"model=toy/experiment={unit.label}/step-{unit.step:06d}.parquet"
        for file in (*old.glob(f"metrics/{of_unit}"), *old.glob(f"tables/*/{of_unit}")):
            rewrite(file, origin=published.origin, source=source_of(published, unit))
    shutil.rmtree(old / "metrics/model=toy/experiment=colons")
    shutil.rmtree(old / "metrics/model=toy/experiment=mine")
    pt.convert(old, config.out)
    again, _ = plan_sweep(config)
    assert {unit.label for unit in again.done} == UNCHANGED.keys()
    assert {unit.label for unit in again.todo}.isdisjoint(UNCHANGED)
    assert len(again.done) == 3 * len(UNCHANGED)
    # And only then.
    (Path(published.origin.removeprefix("directory:")) / "step512" / "config.json").touch()
    again, _ = plan_sweep(config)
    assert {unit.step for unit in again.done} == {0, 1600}


def test_converting_twice_changes_nothing(tmp_path, old):
    out = tmp_path / "new"
    first = pt.convert(old, out)
    before = {
        path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in out.rglob("*")
    }
    second = pt.convert(old, out)
    assert before == {
        path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in out.rglob("*")
    }
    assert (second.written, second.there) == (0, first.written)
    assert (second.units, second.rows) == (first.units, first.rows)


def test_rows_that_were_measured_since_stay(tmp_path, old):
    out = tmp_path / "new"
    pt.convert(old, out)
    mine, gone = out / today(FILES["metrics"]), out / today(FILES["items"])
    mine.write_bytes(b"measured anew")
    gone.unlink()
    result = pt.convert(old, out)
    assert mine.read_bytes() == b"measured anew"
    assert not gone.exists()
    assert result.notes[-1] == (
        f"1 files of {old} are not in {out}, which was complete before:"
        " convert into a new directory to have them"
    )


def test_the_old_run_is_only_read(tmp_path, old):
    before = {
        path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in old.rglob("*")
    }
    pt.convert(old, tmp_path / "new")
    assert before == {
        path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in old.rglob("*")
    }


def test_killed_twice_and_repeated_it_is_the_same_run(tmp_path, new):
    out = tmp_path / "new"
    code = f"import pythia_traj as pt; pt.convert({str(OLD)!r}, {str(out)!r})"
    for at_least in (10, 70):
        process = subprocess.Popen([sys.executable, "-c", code])
        while len(files(out)) < at_least:
            assert process.poll() is None, "it was not killed in the middle"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        for call in (
            pt.status,
            pt.load,
            lambda path: Run.create(path),
            lambda path: Run.find(path),
        ):
            with pytest.raises(
                StoreError,
                match=r"is a conversion that was interrupted: repeat pythia-traj convert OLD",
            ):
                call(out)
    result = pt.convert(OLD, out)
    assert result.there >= 60
    assert result.written >= 1
    assert content(out) == content(new)
    assert not list((out / ".tmp").iterdir())


class Killed(BaseException):
    """Nobody catches it: after it nothing is done."""


@pytest.mark.parametrize("at", [1, 2, 7, 20, "run.json", "unlink"])
def test_stopped_at_any_place_it_goes_on(tmp_path, old, monkeypatch, at):
    whole, out = tmp_path / "whole", tmp_path / "new"
    pt.convert(old, whole)
    renamed = 0
    replace, write_facts = Path.replace, Run.write_facts

    def stopping(self, target):
        nonlocal renamed
        renamed += 1
        if renamed == at:
            raise Killed
        return replace(self, target)

    def stopping_at_the_end(self, **more):
        if at == "run.json":
            raise Killed
        done = write_facts(self, **more)
        if at == "unlink":
            raise Killed
        return done

    monkeypatch.setattr(Path, "replace", stopping)
    monkeypatch.setattr(Run, "write_facts", stopping_at_the_end)
    with pytest.raises(Killed):
        pt.convert(old, out)
    monkeypatch.undo()
    assert (out / "run.json").exists() == (at == "unlink")
    pt.convert(old, out)
    assert content(out) == content(whole)


def test_what_was_measured_anew_in_the_old_run_meanwhile_is_converted(tmp_path, old, monkeypatch):
    out = tmp_path / "new"
    monkeypatch.setattr(Run, "write_facts", lambda self, **_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        pt.convert(old, out)
    monkeypatch.undo()
    file = old / FILES["metrics"]
    before = pq.read_metadata(file).num_rows
    rewrite(file, slice(1, None), attempt=2)
    d.flipped(0.5)(out / today(FILES["items"]))
    assert pt.convert(old, out).written == 2
    assert pq.read_table(out / today(FILES["metrics"]), partitioning=None).num_rows == before - 1
    pt.convert(old, tmp_path / "whole")
    assert content(out) == content(tmp_path / "whole")


DAMAGE = {
    "empty": d.replaced_by(b""),
    "half": d.shortened_to(0.5),
    "another program's": d.with_footer(None),
    "a flipped bit": d.flipped(0.02),
    "a pipe": d.a_pipe,
    "a directory": d.a_directory,
    "a link that leads nowhere": d.a_dangling_link,
    "another step's": d.a_copy_of("step-001600.parquet"),
    "other columns": d.with_table(lambda table: table.drop_columns(["suite"])),
}
OF_ANY_FILE = ("empty", "half", "a pipe", "a directory", "a link that leads nowhere")
CASES = [
    *((file, kind) for file in ("metrics", "items", "own table") for kind in DAMAGE),
    *((file, kind) for file in ("tensors", "model") for kind in OF_ANY_FILE),
]


@pytest.mark.parametrize(("file", "kind"), CASES)
def test_a_damaged_file_costs_its_own_rows(tmp_path, old, file, kind):
    pt.convert(old, tmp_path / "whole")
    DAMAGE[kind](old / FILES[file])
    out = tmp_path / "new"
    result = pt.convert(old, out)
    assert list(result.damaged) == [FILES[file]]
    assert "\n" not in result.damaged[FILES[file]]
    expected = content(tmp_path / "whole")
    del expected[today(FILES[file])]
    assert content(out) == expected
    status = pt.status(out, check=True)
    assert status.done == (6 if file == "model" else 5)


def test_damaged_requests_and_logs_are_left_out(tmp_path, old):
    (request,), (log,) = (old / "requests").iterdir(), (old / "log").iterdir()
    d.replaced_by(b"{")(request)
    d.a_pipe(log)
    result = pt.convert(old, tmp_path / "new")
    assert result.damaged == {
        f"log/{log.name}": "it is not a regular file: replace it by one",
        f"requests/{request.name}": "it is not JSON: fetch or write it again",
    }
    assert not (tmp_path / "new/requests").exists()


def test_cache_and_leftovers_are_not_converted(tmp_path, old):
    for folder in ("cache/metrics/model=toy/experiment=mine", ".tmp", "notes"):
        (old / folder).mkdir(parents=True)
        shutil.copy(old / FILES["metrics"], old / folder)
    pt.convert(old, tmp_path / "new")
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {".tmp", "log", "metrics", "requests", "run.json", "tables"}
    assert not list((tmp_path / "new/.tmp").iterdir())


def test_a_full_disk_is_one_line_and_nothing_is_lost(tmp_path, old, mount):
    disk = mount("size=200k")
    with pytest.raises(StoreError, match=r"is full: free some space and repeat the command"):
        pt.convert(old, disk / "new")
    with pytest.raises(StoreError, match="interrupted"):
        pt.status(disk / "new")
    subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
    assert pt.convert(old, disk / "new").there > 0
    pt.convert(old, tmp_path / "whole")
    assert content(disk / "new") == content(tmp_path / "whole")


def other_run(path):
    Run.create(path)


def other_conversion(path):
    path.mkdir()
    (path / CONVERSION).write_text('{"kind": "pythia-traj conversion", "id": "another"}')


def somebodys(path):
    path.mkdir()
    (path / "thesis.tex").touch()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Path.touch, r"new is a file: give a directory for the run"),
        (somebodys, r"new holds thesis\.tex: give an empty or a new directory"),
        (other_run, r"new is another run: give an empty or a new directory"),
        (lambda path: shutil.copytree(OLD, path), r"new is another run"),
        (other_conversion, r"new is an interrupted conversion of another run: give an empty"),
        (lambda path: path.symlink_to(OLD), r"contains the other: give a directory elsewhere"),
        (lambda path: path.symlink_to(OLD / "log"), r"contains the other: give a directory"),
    ],
)
def test_a_directory_of_something_else_is_refused(tmp_path, make, message):
    out = tmp_path / "new"
    make(out)
    before = files(tmp_path)
    with pytest.raises(StoreError, match=message):
        pt.convert(OLD, out)
    assert files(tmp_path) == before


def test_what_is_no_run_of_schema_1_is_refused(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(StoreError, match=r"nowhere is not a run directory: it has no run\.json"):
        pt.convert(tmp_path / "nowhere", out)
    Run.create(tmp_path / "run")
    with pytest.raises(
        StoreError, match=r"is a run of this version \(schema 2\): there is nothing to convert"
    ):
        pt.convert(tmp_path / "run", out)
    assert not out.exists()


def test_a_run_that_has_lost_its_run_json_is_converted_not_written_into(tmp_path, old):
    (old / "run.json").unlink()
    before = files(old)
    for call in (Run.create, Run.find, Run.open, pt.status):
        with pytest.raises(StoreError, match=r"written by pythia-traj 0\.1\.0 \(schema 1\): make"):
            call(old)
    assert files(old) == before
    out = tmp_path / "new"
    first = pt.convert(old, out)
    assert first.units == 6
    assert pt.convert(old, out).there == first.written


def test_files_of_a_folder_that_may_not_be_read_are_named(tmp_path, old, monkeypatch):
    folder, listed = old / "metrics/model=toy/experiment=mine", os.listdir

    def refusing(path):
        if path == folder:
            raise PermissionError(errno.EACCES, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "listdir", refusing)
    result = pt.convert(old, tmp_path / "new")
    assert result.damaged == {
        "metrics/model=toy/experiment=mine": "it may not be read (Permission denied)"
    }
    assert result.units == 3


def test_a_conversion_needs_no_torch(tmp_path, old):
    code = (
        f"import sys, pythia_traj as pt; pt.convert({str(old)!r}, {str(tmp_path / 'new')!r});"
        " print([m for m in ('torch', 'transformer_lens') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr
