"""Sweeps over compacted, merged and shortened runs; none of these happens beside a sweep."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import warnings

import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.analysis.onsets.run import onsets_of_run
from pythia_traj.errors import StoreError
from pythia_traj.reports.reading import read_runs
from pythia_traj.store.compacting import compact_label, list_labels
from pythia_traj.store.done import list_units
from pythia_traj.store.layout import COMPACTED, Run
from pythia_traj.sweeps.claims import Claims
from pythia_traj.sweeps.heartbeat import SILENT_SECONDS
from pythia_traj.sweeps.record import Silent
from pythia_traj.sweeps.worker import sweep
from tests.store import damage as d
from tests.store.killed import killed_at
from tests.store.test_readers import READERS
from tests.sweeps.planted import plant, ramp, write_experiment

EXPERIMENT = '''
from pythia_traj.experiment import experiment
from pythia_traj.processing import RAW
from pythia_traj.schema import Column
from pythia_traj.values import Key, Rows

SIZES = (Column("name", "string", False, "of what"), Column("size", "float64", False, "its norm"))

@experiment(version=1, processing=RAW, tables={"sizes": SIZES})
def norms(model, *, scale: float = 1.0) -> Rows:
    """Norms of W_in, with items, a table and tensors beside them."""
    rows = Rows()
    for layer in range(model.cfg.n_layers):
        norms = model.W_in[layer].detach().norm(dim=0).numpy()[:8]
        rows.add_items(Key("norm", layer=layer), scale * norms)
    rows.table("sizes", {"name": ["W_in", "W_out"], "size": [1.5, 2.5 * scale]})
    rows.tensors("biases", {"b_U": model.b_U.detach().numpy()})
    return rows

@experiment(version=1, processing=RAW, row_references=("init",))
def growth(model, reference_rows) -> Rows:
    """Change of a norm since the first step."""
    rows = Rows()
    norm = float(model.W_E.detach().norm())
    rows.add(Key("norm"), norm)
    if "init" in reference_rows:
        rows.add(Key("change"), norm - float(reference_rows["init"].value.iloc[0]))
    return rows
'''

HERE = socket.gethostname()


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "mine.py"
    path.write_text(EXPERIMENT)
    return path


@pytest.fixture(scope="module")
def made(suite, mine, tmp_path_factory):
    """A run of three steps, not to be changed."""
    out = tmp_path_factory.mktemp("made") / "run"
    pt.sweep(request(suite, mine, out))
    return out


@pytest.fixture
def run(made, tmp_path):
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def request(suite, mine, out, steps="0,1,2", **parameters):
    experiments = {
        "norms": {"use": f"{mine}:norms", "parameters": parameters},
        "growth": {"use": f"{mine}:growth"},
    }
    return pt.SweepConfig(
        model=str(suite), steps=steps, device="cpu", experiments=experiments, out=out
    )


def frames(run, *tables):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [pt.load(run, table=table, mixed=True) for table in (None, *tables)]


def assert_same(run, other, *tables):
    tables = tables or ("items", "sizes")
    for found, expected in zip(frames(run, *tables), frames(other, *tables), strict=True):
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert {read(str(run / "metrics")) for read in READERS.values()} == {len(frames(run)[0])}


def own_files(run):
    """The units of metrics with files of their own."""
    return sorted(found.unit for found in list_units(Run(run)) if not found.is_compacted)


def test_a_sweep_takes_compacted_units_for_done(run, made, suite, mine):
    pt.compact(run)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.parquet")}
    result = pt.sweep(request(suite, mine, run))
    assert (len(result.done), len(result.skipped), result.warnings) == (0, 6, [])
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.parquet")} == before
    assert_same(run, made)
    found = pt.status(run, check=True)
    assert (found.done, found.left, found.damaged) == (6, 0, 0)


def test_further_steps_are_measured_beside_the_compacted_and_compare_with_them(
    run, suite, mine, tmp_path
):
    pt.compact(run)
    pt.sweep(request(suite, mine, run, "0,1,2,4"))
    assert own_files(run) == ["tiny/growth/step4", "tiny/norms/step4"]
    pt.sweep(request(suite, mine, tmp_path / "other", "0,1,2,4"))
    assert_same(run, tmp_path / "other")
    pt.compact(run)
    assert own_files(run) == []
    assert_same(run, tmp_path / "other")


def test_units_with_other_parameters_replace_their_compacted_rows(run, suite, mine, tmp_path):
    shutil.copytree(run, tmp_path / "other")
    pt.compact(run)
    for out in (run, tmp_path / "other"):
        result = pt.sweep(request(suite, mine, out, "1", scale=2.0))
        assert [unit.name for unit in result.done] == ["tiny/norms/step1"]
    assert own_files(run) == ["tiny/norms/step1"]
    assert_same(run, tmp_path / "other")
    notes = [list(pt.describe(out).notes) for out in (run, tmp_path / "other")]
    assert notes[0] == notes[1]
    assert "made with different settings (scale: 1.0, 2.0)" in notes[0][0]
    pt.compact(run)
    assert_same(run, tmp_path / "other")


def test_steps_whose_files_changed_are_measured_again_and_no_others(own_suite, mine, tmp_path):
    run = tmp_path / "run"
    pt.sweep(request(own_suite, mine, run))
    pt.compact(run)
    shutil.copy(own_suite / "step4" / "model.safetensors", own_suite / "step1")
    result = pt.sweep(request(own_suite, mine, run))
    assert sorted(unit.name for unit in result.done) == ["own/growth/step1", "own/norms/step1"]
    pt.sweep(request(own_suite, mine, tmp_path / "other"))
    assert_same(run, tmp_path / "other")


@pytest.mark.parametrize("table", [None, "items"], ids=["metrics", "items"])
def test_units_of_a_damaged_compacted_file_are_measured_again(run, made, suite, mine, table):
    pt.compact(run)
    path = Run(run).label_folder("tiny", "norms", table=table) / COMPACTED
    d.flipped(0.05)(path)
    assert pt.status(run, check=True).left == 3
    result = pt.sweep(request(suite, mine, run))
    assert {unit.label for unit in result.done} == {"norms"}
    assert len(result.done) == 3
    assert f"measured again because their files are damaged: {path}" in result.warnings[0]
    assert_same(run, made)
    assert pt.status(run, check=True).damaged == 0


def test_a_sweep_completes_a_compaction_that_was_killed(run, suite, mine, tmp_path):
    (label,) = (label for label in list_labels(Run(run)) if label.label == "norms")
    with killed_at(None) as happened:
        compact_label(Run(shutil.copytree(run, tmp_path / "copy")), label)
    # Between the two renames of a folder, and before the first.
    renames = [i for i, name in enumerate(happened) if name == "rename"]
    for operation in renames[:2]:
        out = shutil.copytree(run, tmp_path / f"run{operation}")
        (label,) = (label for label in list_labels(Run(out)) if label.label == "norms")
        with killed_at(operation):
            compact_label(Run(out), label)
        pt.sweep(request(suite, mine, out, "0,1,2,4"))
        assert own_files(out) == [
            *(f"tiny/growth/step{step}" for step in (0, 1, 2, 4)),
            "tiny/norms/step4",
        ]
        assert len(READERS) == 4
        assert READERS["duckdb"](str(out / "metrics")) == len(frames(out)[0])


def test_descriptions_reports_and_onsets_are_the_same(run, made):
    pt.compact(run)
    assert pt.describe(run).as_json() == pt.describe(made).as_json()
    (one, other) = (read_runs([path]) for path in (run, made))
    pd.testing.assert_frame_equal(one.rows, other.rows, check_exact=True)
    pd.testing.assert_frame_equal(one.items(["norm"]), other.items(["norm"]))
    assert {unit.unit: footer for unit, footer in one.footers.items()} == {
        unit.unit: footer for unit, footer in other.footers.items()
    }
    assert one.notes == other.notes
    pd.testing.assert_frame_equal(onsets_of_run(run), onsets_of_run(made))


def test_the_page_of_a_report_is_the_same(run, tmp_path):
    pages = []
    for name in ("before", "after"):
        pt.report(run, tmp_path / f"{name}.html")
        text = (tmp_path / f"{name}.html").read_text()
        (data,) = re.findall(r"<script[^>]*application/json[^>]*>(.*?)</script>", text, re.DOTALL)
        pages.append((data, len(text)))
        pt.compact(run)
    assert pages[0] == pages[1]


def test_a_search_for_an_onset_goes_on_over_a_compacted_run(tmp_path):
    suite = plant(tmp_path / "toy", ramp(11.3))
    config = pt.SweepConfig(
        model=str(suite),
        steps="all",
        device="cpu",
        experiments=str(write_experiment(tmp_path)),
        out=tmp_path / "run",
    )
    first = pt.refine(config, "planted.share", budget=12)
    pt.compact(tmp_path / "run")
    again = pt.refine(config, "planted.share", budget=12)
    assert (len(first.result.done), len(again.result.done)) == (12, 0)
    assert again.found == first.found
    more = pt.refine(config, "planted.share", budget=14)
    assert len(more.result.done) > 0
    other = config.model_copy(update={"out": tmp_path / "other"})
    whole = pt.refine(other, "planted.share", budget=14)
    assert more.found[0].onset == whole.found[0].onset
    assert_same(tmp_path / "run", tmp_path / "other", "items")


def worker(run, *, host=HERE, pid=None, silent=0.0, ended=""):
    """The name of a worker with a log, whose last heartbeat was so many seconds ago."""
    name = f"{host}-{pid or os.getpid()}-{0:08x}"
    log = run / "log" / f"{name}.jsonl"
    log.write_text('{"event": "requested", "time": 1}\n' + ended)
    os.utime(log, (time.time() - silent,) * 2)
    return name


def changes(run, tmp_path):
    """The three changes of a run."""
    yield lambda: pt.compact(run)
    yield lambda: pt.remove(run, "norms")
    other = Run.create(tmp_path / "other").path
    yield lambda: pt.merge([run, other], tmp_path / "merged")


def test_no_change_is_made_beside_a_worker_that_lives(run, tmp_path):
    before = sorted(run.rglob("*"))
    for facts in ({}, {"host": "elsewhere", "pid": 1}):
        name = worker(run, **facts)
        for change in changes(run, tmp_path):
            with pytest.raises(StoreError) as caught:
                change()
            assert str(caught.value) == (
                f"{name} is writing to {run}: wait until it has ended (pythia-traj status"
                f" {run}), then repeat the command"
            )
        (run / "log" / f"{name}.jsonl").unlink()
        assert sorted(run.rglob("*")) == before


def test_workers_that_ended_or_died_are_in_nobodys_way(run):
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    worker(run, pid=int(ended.stdout))
    worker(run, host="elsewhere", silent=SILENT_SECONDS + 1)
    worker(run, ended='{"event": "finished", "time": 2}\n')
    assert pt.compact(run).units == 6


def test_two_changes_exclude_each_other_and_that_of_a_dead_process_falls(run, tmp_path):
    name = worker(run, ended='{"event": "finished", "time": 2}\n')
    Run(run).upkeep_path.parent.mkdir(exist_ok=True)
    Run(run).upkeep_path.write_text(name)
    for change in changes(run, tmp_path):
        with pytest.raises(StoreError, match=f"{name} is writing to"):
            change()
    Run(run).upkeep_path.write_text("elsewhere-1-00000000")
    assert pt.compact(run).units == 6
    assert not Run(run).upkeep_path.exists()


class Waiting(Silent):
    """Notes what a sweep is doing."""

    def __init__(self):
        self.said, self.waits = [], threading.Event()

    def working(self, what):
        self.said.append(what)
        if what.startswith("waiting for another process that changes"):
            self.waits.set()


def test_a_sweep_waits_while_finished_units_are_changed(run, suite, mine):
    observer, result = Waiting(), []
    name = worker(run, ended='{"event": "finished", "time": 2}\n')
    sweeping = threading.Thread(
        target=lambda: result.append(sweep(request(suite, mine, run, "0,1,2,4"), observer=observer))
    )
    with Claims(Run(run), name).taking_finished() as is_ours:
        assert is_ours
        sweeping.start()
        assert observer.waits.wait(60)
        assert not (run / "metrics/model=tiny/label=norms/step-000004.parquet").exists()
        # Such as one that removes a label: the request is there again afterwards.
        for path in (run / "requests").iterdir():
            path.unlink()
    sweeping.join(60)
    assert len(result[0].done) == 2
    found = pt.status(run)
    assert (found.done, found.left) == (8, 0)


def test_a_worker_that_is_seen_too_late_stops_the_change(run, monkeypatch):
    real = Claims.taking_finished

    def taken(self):
        worker(run)
        return real(self)

    monkeypatch.setattr(Claims, "taking_finished", taken)
    with pytest.raises(StoreError, match="is writing to"):
        pt.compact(run)
    assert own_files(run) != []
    assert not Run(run).upkeep_path.exists()


def test_what_was_removed_is_measured_again_if_it_is_asked_for(run, made, suite, mine):
    pt.compact(run)
    assert pt.remove(run, "norms").units == 3
    assert pt.status(run).left == 0
    result = pt.sweep(request(suite, mine, run))
    assert [len(result.done), len(result.skipped)] == [3, 3]
    assert_same(run, made)


def test_runs_that_were_measured_apart_are_one_after_a_merge(suite, mine, made, tmp_path):
    for name, steps in (("a", "0,1"), ("b", "0,2")):
        pt.sweep(request(suite, mine, tmp_path / name, steps))
    pt.compact(tmp_path / "a")
    out = tmp_path / "out"
    result = pt.merge([tmp_path / "a", tmp_path / "b"], out)
    assert (result.units, result.notes) == (6, [])
    assert_same(out, made)
    assert pt.status(out, check=True).done == 6
    assert len(pt.sweep(request(suite, mine, out)).skipped) == 6
