"""Runs are shared: by the people of a group, under other paths, by readers while they grow."""

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import pythia_traj as pt

COMMAND = str(Path(sys.executable).with_name("pythia-traj"))

EXPERIMENT = '''
import numpy as np

from pythia_traj.experiment import experiment
from pythia_traj.processing import RAW
from pythia_traj.schema import Column
from pythia_traj.values import Key, Rows

SIZES = (Column("name", "string", False, "of what"), Column("size", "float64", False, "its norm"))

@experiment(version=1, processing=RAW, tables={"sizes": SIZES})
def biases(model, *, scale: float = 1.0, count: int = 4) -> Rows:
    """Items, a table and tensors beside the rows."""
    rows = Rows()
    values = np.resize(model.b_U.detach().numpy(), count) * scale
    rows.add_items(Key("bias"), values[:1000])
    rows.table("sizes", {"name": ["b_U"] * count, "size": values.tolist()})
    rows.tensors("kept", {"b_U": values})
    return rows

@experiment(version=1, processing=RAW, row_references=("init",))
def growth(model, reference_rows) -> Rows:
    """Change of a norm since the first step."""
    rows = Rows()
    rows.add(Key("norm"), float(model.W_E.detach().norm()))
    return rows
'''


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(EXPERIMENT)
    return str(tmp_path / "mine.py")


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_files_and_directories_have_the_mode_that_the_umask_says(suite, tmp_path, mine, umask):
    experiments = {
        "activations": {"n": 2, "length": 20},
        "biases": {"use": f"{mine}:biases"},
        "growth": {"use": f"{mine}:growth"},
    }
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"model": str(suite), "steps": "2", "experiments": experiments}))
    run = tmp_path / "run"
    command = f'umask {umask:03o} && exec "$@"'
    words = [COMMAND, "sweep", str(config), "--out", str(run), "--device", "cpu"]
    subprocess.run(["sh", "-c", command, "sh", *words], check=True, capture_output=True)
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in (run, *run.rglob("*"))}
    expected = {path: (0o777 if path.is_dir() else 0o666) & ~umask for path in modes}
    assert {path: oct(mode) for path, mode in modes.items() if mode != expected[path]} == {}
    files = [str(path.relative_to(run)) for path in modes if path.is_file()]
    kinds = {("/".join(name.split("/")[:2]), Path(name).suffix) for name in files}
    for kind in (
        ("run.json", ".json"),
        ("metrics/model=tiny", ".parquet"),
        ("tables/items", ".parquet"),
        ("tables/sizes", ".parquet"),
        ("tables/models", ".parquet"),
        ("tables/activations", ".safetensors"),
        ("tables/kept", ".safetensors"),
        ("cache/metrics", ".parquet"),
    ):
        assert kind in kinds
    assert {name.split("/")[0] for name in files} >= {"log", "requests"}


def times(run):
    """When each file of a unit was last written."""
    return {str(path.relative_to(run)): path.stat().st_mtime_ns for path in run.rglob("step-*.*")}


def renamed(run, elsewhere):
    return run.rename(run.with_name("another name"))


def moved(run, elsewhere):
    return Path(shutil.move(run, elsewhere / "run"))


def copied(run, elsewhere):
    """As to another disk: a copy whose files keep their times or not, and the old one is gone."""
    shutil.copytree(run, elsewhere / "run", copy_function=shutil.copy)
    shutil.rmtree(run)
    return elsewhere / "run"


@pytest.mark.parametrize("move", [renamed, moved, copied])
def test_a_run_that_was_moved_resumes(suite, tmp_path, mine, move):
    def request(out, steps):
        experiments = {"biases": {"use": f"{mine}:biases"}, "growth": {"use": f"{mine}:growth"}}
        return pt.SweepConfig(
            model=str(suite), steps=steps, experiments=experiments, out=out, device="cpu"
        )

    pt.sweep(request(tmp_path / "run", "1,2"))
    rows = pt.load(tmp_path / "run")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = move(tmp_path / "run", elsewhere)
    assert not (tmp_path / "run").exists()
    before = times(run)
    found = pt.status(run, check=True)
    assert (found.done, found.left, found.damaged) == (4, 0, 0)
    result = pt.sweep(request(run, "1,2"))
    assert (result.done, len(result.skipped)) == ([], 4)
    assert times(run) == before
    # A step that is new is measured, and compared with the rows that came along.
    result = pt.sweep(request(run, "1,2,4"))
    assert sorted(unit.name for unit in result.done) == ["tiny/biases/step4", "tiny/growth/step4"]
    assert {name: time for name, time in times(run).items() if name in before} == before
    assert pt.load(run, step=[1, 2]).equals(rows)


READER = """
import json, os, sys
from pathlib import Path

import pyarrow.parquet as pq
from safetensors.numpy import load_file

from pythia_traj.store.done import survey
from pythia_traj.store.layout import Run

run, enough = Path(sys.argv[1]), Path(sys.argv[2])
read = {".parquet": 0, ".safetensors": 0, ".json": 0}
print("reading", flush=True)
while not enough.exists():
    for folder, _, names in os.walk(run):
        if Path(folder).name == ".tmp":
            continue
        for path in (Path(folder) / name for name in names):
            if path.suffix == ".parquet":
                assert pq.read_table(path, partitioning=None).num_rows > 0, path
            elif path.suffix == ".safetensors":
                assert load_file(path), path
            elif path.name == "run.json" or path.parent.name == "requests":
                json.loads(path.read_bytes())
            else:
                continue
            read[path.suffix] += 1
    if (run / "run.json").exists():
        assert survey(Run.open(run)).damaged == {}
print(json.dumps(read))
"""


def test_while_a_sweep_writes_a_reader_sees_each_file_whole_or_not_at_all(suite, tmp_path, mine):
    run, enough = tmp_path / "run", tmp_path / "enough"
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(run), str(enough)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout.readline() == "reading\n"
    try:
        # The second time, all files are replaced.
        for scale in (1.0, 2.0):
            use = {"use": f"{mine}:biases", "count": 50_000, "scale": scale}
            experiments = {f"label{i}": use for i in range(4)}
            result = pt.sweep(
                pt.SweepConfig(
                    model=str(suite), steps="all", experiments=experiments, out=run, device="cpu"
                )
            )
            assert len(result.done) == 16
    finally:
        enough.touch()
        out, err = reader.communicate(timeout=60)
    assert (reader.returncode, err) == (0, "")
    assert min(json.loads(out).values()) > 10
