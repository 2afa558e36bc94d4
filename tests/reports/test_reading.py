"""What a page reads of runs: in whatever state they are, it says so and has what there is."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

import pythia_traj as pt
from pythia_traj.errors import AnalysisError, StoreError
from pythia_traj.reports.notes import Note
from pythia_traj.reports.reading import read_runs
from pythia_traj.store.events import EventLog
from pythia_traj.store.layout import Run
from pythia_traj.store.parquet import FOOTER_KEY, write_parquet
from tests.store import damage as d

MINE = '''
import os
import time

from pythia_traj.experiment import experiment
from pythia_traj.processing import RAW
from pythia_traj.values import Key, Rows

@experiment(version=1, processing=RAW)
def norms(model, *, scale: int = 1) -> Rows:
    """Norms of W_in, with items."""
    rows = Rows()
    for layer in range(model.cfg.n_layers):
        norm = scale * model.W_in[layer].detach().norm(dim=0).numpy()[:8]
        rows.add_items(Key("norm", layer=layer), norm)
    rows.add(Key("mean", control="chance"), 0.5)
    return rows

@experiment(version=1, processing=RAW)
def fails(model, *, above: int = 1) -> Rows:
    """Fails where a bias is not what it was at step 0."""
    raise ValueError("no such direction")

@experiment(version=1, processing=RAW)
def slow(model) -> Rows:
    """A number, slowly, from the second step on."""
    if os.path.exists(os.environ["STARTED"]):
        time.sleep(60)
    open(os.environ["STARTED"], "w").close()
    rows = Rows()
    rows.add(Key("one"), 1.0)
    return rows
'''

UNIT = "model=tiny/label=norms/step-000001.parquet"


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    file = tmp_path_factory.mktemp("mine") / "mine.py"
    file.write_text(MINE)
    return file


def sweep(suite, out, mine, *names, steps="0,1,2", **more):
    experiments = {name: {"use": f"{mine}:{name}"} for name in names}
    request = {"model": str(suite), "steps": steps, "device": "cpu"} | more
    return pt.sweep(pt.SweepConfig(**request, experiments=experiments, out=out))


@pytest.fixture(scope="module")
def made(suite, mine, tmp_path_factory):
    """A finished run, not to be changed."""
    out = tmp_path_factory.mktemp("reading") / "run"
    assert not sweep(suite, out, mine, "norms").failed
    return out


@pytest.fixture
def run(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "run"))


def said(found, kind):
    return [note.words for note in found.notes if note.kind == kind]


def with_footer(change):
    """The provenance says something else; checksum and rows are right."""

    def damage(path):
        table = pq.read_table(path, partitioning=None)
        footer = json.loads(table.schema.metadata[FOOTER_KEY])
        write_parquet(path, table.replace_schema_metadata({}), footer | change)

    return damage


def test_a_finished_run_has_its_rows_with_controls_and_nothing_to_say(made, suite):
    found = read_runs([made])
    assert found.notes == ()
    rows = pt.load(made, controls=True, mixed=True)
    assert found.rows.equals(rows)
    assert "chance" in set(found.rows.control)
    assert found.names == {made: "run"}
    assert found.status[made].done == 3
    assert {unit.unit for unit in found.footers} == {f"tiny/norms/step{step}" for step in (0, 1, 2)}
    (model,) = found.models.to_dict("records")
    assert (model["model"], model["n_layers"]) == ("tiny", 2)
    assert model["origin"] == f"directory:{suite.resolve()}"


def test_items_are_those_of_the_metrics_that_keep_some(made):
    found = read_runs([made])
    items = found.items(["norm", "mean", "unheard_of"])
    assert items.equals(pt.load(made, table="items", metric="norm"))
    assert found.items(["norm", "mean", "unheard_of"]) is items
    assert found.items(["mean"]) is None
    assert found.notes_on_tables == ()


def test_damaged_items_are_said_when_they_are_read(run):
    d.shortened_to(0.5)(run / "tables/items" / UNIT)
    found = read_runs([run])
    assert found.notes == found.notes_on_tables == ()
    assert sorted(set(found.items(["norm"]).step)) == [0, 2]
    (note,) = found.notes_on_tables
    assert note.kind == "damaged"
    assert f"left out 1 damaged file: tables/items/{UNIT}" in note.words


@pytest.mark.parametrize(
    "damage",
    [d.shortened_to(0.5), d.flipped(0.5), d.replaced_by(b"")],
    ids=["shortened", "flipped", "empty"],
)
def test_a_damaged_file_costs_its_own_rows(run, damage):
    damage(run / "metrics" / UNIT)
    found = read_runs([run])
    assert sorted(set(found.rows.step)) == [0, 2]
    (words,) = said(found, "damaged")
    assert words.startswith(f"left out 1 damaged file: metrics/{UNIT} (")
    assert len(found.notes) == 1


def test_a_run_whose_files_are_all_damaged_says_that_no_row_can_be_shown(run):
    for path in run.glob("metrics/*/*/*"):
        d.replaced_by(b"")(path)
    found = read_runs([run])
    assert found.rows.empty
    assert "step" in found.rows
    assert said(found, "warning") == ["3 units have files, but no row can be shown"]
    assert len(said(found, "damaged")) == 1


def test_a_damaged_row_of_a_model_is_said(run):
    d.replaced_by(b"")(run / "tables/models/model=tiny/model.parquet")
    found = read_runs([run])
    assert len(found.rows)
    assert found.models.empty
    assert "tables/models" in said(found, "damaged")[0]


def test_a_run_without_its_table_of_models_is_read(run):
    shutil.rmtree(run / "tables")
    found = read_runs([run])
    assert (len(found.models), found.notes, found.items(["norm"])) == (0, (), None)
    assert {"model", "origin", "n_layers"} <= set(found.models.columns)


def test_an_empty_run_says_that_it_is_empty(tmp_path):
    Run.create(tmp_path / "run")
    found = read_runs([tmp_path / "run"])
    assert found.rows.empty
    assert [note.kind for note in found.notes] == ["warning"]
    assert "holds no measurement" in found.notes[0].words


def test_one_step_tells_nothing_about_change(suite, mine, tmp_path):
    sweep(suite, tmp_path / "run", mine, "norms", steps="2")
    (note,) = read_runs([tmp_path / "run"]).notes
    assert note == Note(
        "warning",
        "tiny was measured at step 2 alone: nothing can be said about change during training",
    )


def test_failed_units_are_counted_named_and_have_their_reason(suite, mine, tmp_path):
    sweep(suite, tmp_path / "run", mine, "norms", "fails", steps="0,1,2,4")
    found = read_runs([tmp_path / "run"])
    assert sorted(set(found.rows.label)) == ["norms"]
    (words,) = said(found, "warning")
    assert words == (
        "4 units failed (tiny/fails/step0, tiny/fails/step1, tiny/fails/step2 and 1 other):"
        " ValueError: no such direction"
    )


def spoil(suite, step):
    path = suite / f"step{step}" / "model.safetensors"
    tensors = load_file(path)
    name = "gpt_neox.final_layer_norm.bias"
    save_file({**tensors, name: np.full_like(tensors[name], np.nan)}, path, {"format": "pt"})


def test_steps_that_were_skipped_because_of_a_defect_are_named(run):
    (run / "metrics" / UNIT).unlink()
    unit = {"unit": "tiny/norms/step1", "error": "these weights are those of step 4"}
    EventLog(Run(run)).write("defective", **unit)
    found = read_runs([run])
    assert sorted(set(found.rows.step)) == [0, 2]
    assert said(found, "defect") == [
        "1 unit was skipped because of a defect (tiny/norms/step1): these weights are those of"
        " step 4"
    ]


def test_steps_that_were_measured_in_spite_of_a_defect_are_named(own_suite, mine, tmp_path):
    spoil(own_suite, 1)
    spoil(own_suite, 2)
    sweep(own_suite, tmp_path / "run", mine, "norms", on_defect="measure")
    found = read_runs([tmp_path / "run"])
    assert sorted(set(found.rows.step)) == [0, 1, 2]
    words = said(found, "defect")
    assert all("final_layer_norm.bias" in one for one in words)
    assert [one.partition(":")[2].partition(":")[0] for one in words] == [
        " step 1 measured in spite of a defect",
        " step 2 measured in spite of a defect",
    ]


def test_rows_of_other_settings_and_versions_are_told_apart(run, suite, mine):
    d_scale = {"norms": {"use": f"{mine}:norms", "scale": 2}}
    request = {"model": str(suite), "steps": "4", "device": "cpu"}
    pt.sweep(pt.SweepConfig(**request, experiments=d_scale, out=run))
    (words,) = said(read_runs([run]), "warning")
    assert "different settings (scale: 1, 2)" in words
    path = run / "metrics" / UNIT
    footer = json.loads(pq.read_table(path, partitioning=None).schema.metadata[FOOTER_KEY])
    with_footer({"made_of": footer["made_of"] | {"version": 2}})(path)
    found = read_runs([run])
    words = said(found, "warning")
    assert "norms was measured by version 1" in words[0]
    assert len(words) == 2
    found.items(["norm"])
    assert found.notes_on_tables == (), "the items say nothing new"


def test_a_run_that_is_written_says_so_and_one_that_was_killed_too(own_suite, mine, tmp_path):
    out, begun = tmp_path / "run", tmp_path / "begun"
    command = [sys.executable, "-m", "pythia_traj.cli", "sweep", "--model", str(own_suite)]
    command += ["--steps", "0,1,2", "--experiment", f"{mine}:slow", "--out", str(out)]
    command += ["--device", "cpu"]
    worker = subprocess.Popen(
        command, env=os.environ | {"STARTED": str(begun)}, stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while not list(out.glob("metrics/*/*/*.parquet")):
            assert time.monotonic() < end
            assert worker.poll() is None
            time.sleep(0.1)
        found = read_runs([out])
        (words,) = said(found, "running")
        assert words.startswith("the run is being written: 1 worker is at work, ")
        assert "of 3 units in hand" in words
        assert len(found.rows) == 1
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    found = read_runs([out])
    assert said(found, "running") == []
    (words,) = [one for one in said(found, "warning") if "not measured" in one]
    assert words == (
        "2 of 3 units are not measured, and no worker is at work: of the workers 1 ended without"
        " a word; the same command goes on from here"
    )


def newer_run(run, by="9.9.0"):
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(facts | {"schema": 3, "version": by}))


def test_a_run_of_a_newer_schema_shows_the_rows_of_this_one(run):
    newer_run(run)
    with_footer({"schema": 3})(run / "metrics" / UNIT)
    with pytest.raises(StoreError, match="install that version"):
        pt.load(run)
    found = read_runs([run])
    assert sorted(set(found.rows.step)) == [0, 2]
    assert found.models.empty
    (words,) = said(found, "warning")
    assert words == (
        "the run was written by pythia-traj 9.9.0 (schema 3), this is pythia-traj"
        f" {pt.__version__} (schema 2): install that version to read it"
    )
    (words,) = said(found, "damaged")
    assert words == (
        "left out 1 file of a newer pythia-traj (it is of schema 3, this version reads 2), as a"
        " column may have another meaning there: install that version to read them"
    )


def test_a_file_of_a_newer_schema_is_left_out_of_a_run_of_this_one(run):
    with_footer({"schema": 3})(run / "metrics" / UNIT)
    found = read_runs([run])
    assert sorted(set(found.rows.step)) == [0, 2]
    assert "may have another meaning" in said(found, "damaged")[0]
    with pytest.warns(UserWarning, match="left out 1 file of a newer"):
        pt.load(run)


def added_column(by, nullable=True):
    """Another version wrote one column more."""

    def damage(path):
        table = pq.read_table(path, partitioning=None)
        footer = json.loads(table.schema.metadata[FOOTER_KEY])
        field = pa.field("quality", pa.float64(), nullable=nullable)
        table = table.append_column(field, pa.array([1.0] * len(table)))
        footer["versions"] |= {"pythia-traj": by}
        write_parquet(path, table.replace_schema_metadata({}), footer)

    return damage


def test_a_column_that_a_later_version_added_is_left_out_alone(run, made):
    added_column("9.9.0")(run / "metrics" / UNIT)
    found = read_runs([run])
    assert found.rows.equals(read_runs([made]).rows)
    (words,) = said(found, "damaged")
    assert words == (
        "a newer pythia-traj wrote 1 file with columns that this version does not know, which are"
        " left out: quality"
    )


@pytest.mark.parametrize("change", [added_column(pt.__version__), added_column("9.9.0", False)])
def test_a_column_that_no_version_can_have_added_is_damage(run, change):
    change(run / "metrics" / UNIT)
    found = read_runs([run])
    assert sorted(set(found.rows.step)) == [0, 2]
    assert "a column 'quality' that is none of its table's" in said(found, "damaged")[0]


def test_models_of_one_name_are_named_with_their_run(run, suite, mine, tmp_path):
    other = tmp_path / "other"
    sweep(suite, other, mine, "norms", steps="1,2,4", model=[str(suite), f"second={suite}"])
    d.replaced_by(b"")(other / "metrics" / UNIT)
    found = read_runs([run, other])
    names = ["run/tiny", "other/tiny", "second"]
    assert sorted(set(found.rows.model)) == sorted(names)
    assert found.rows.model.dtype == "category"
    assert found.rows.step.dtype == "Int64"
    assert sorted(found.models.model) == sorted(names)
    assert {unit.model for unit in found.footers} == set(names)
    assert sorted(set(found.items(["norm"]).model)) == sorted(names)
    assert len(found.rows) == sum(len(pt.load(path, controls=True)) for path in (run,)) + len(
        pt.load(other, controls=True, step=[2, 4])
    ) + len(pt.load(other, controls=True, step=1, model="second"))
    (words,) = said(found, "damaged")
    assert words.startswith("other: left out 1 damaged file")


def test_a_label_of_two_runs_with_different_settings_is_said(run, suite, mine, tmp_path):
    request = {"model": str(suite), "steps": "1", "device": "cpu"}
    twice = {"norms": {"use": f"{mine}:norms", "scale": 2}}
    pt.sweep(pt.SweepConfig(**request, experiments=twice, out=tmp_path / "other"))
    words = said(read_runs([run, tmp_path / "other"]), "warning")
    assert (
        "norms was measured with different settings in run and other (scale: 1, 2): what differs"
        " there may not come from training"
    ) in words
    same = Path(shutil.copytree(run, tmp_path / "same"))
    assert said(read_runs([run, same]), "warning") == []


def test_runs_of_one_name_are_called_by_their_paths(made, tmp_path):
    twin = Path(shutil.copytree(made, tmp_path / "deep" / "run"))
    found = read_runs([made, twin])
    assert found.names == {made: str(made), twin: str(twin)}
    assert set(found.rows.model) == {f"{made}/tiny", f"{twin}/tiny"}


def test_what_is_not_a_run_is_one_sentence(tmp_path, made):
    with pytest.raises(StoreError, match="is not a run directory: it has no run.json"):
        read_runs([tmp_path])
    with pytest.raises(StoreError, match="is not a run directory"):
        read_runs([made, tmp_path / "nowhere"])
    with pytest.raises(AnalysisError, match="given twice: give each run once"):
        read_runs([made, made / "..", made / "." / ".." / made.name])
    with pytest.raises(AnalysisError, match="no run is given"):
        read_runs([])


def test_a_run_of_an_older_schema_can_be_converted(run):
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(facts | {"schema": 1}))
    with pytest.raises(StoreError, match="pythia-traj convert"):
        read_runs([run])


def test_a_damaged_request_is_said(run):
    (request,) = run.glob("requests/*.json")
    request.write_text("{")
    found = read_runs([run])
    assert len(found.rows)
    (words,) = said(found, "damaged")
    assert words.startswith(f"requests/{request.name} was left out: ")
