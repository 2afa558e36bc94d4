"""Runs that are looked at while they are written: what changed is read, and nothing else."""

import json
import shutil
from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.analysis.training import training_of
from pythia_traj.errors import AnalysisError, StoreError
from pythia_traj.live.watched import State, Watched
from pythia_traj.store import compacted, opening
from pythia_traj.store.events import EventLog
from pythia_traj.store.layout import Run
from tests.live.made import VERSIONS, damaged, made_run, without_sources, write_units
from tests.store import damage as d

MODEL = "pythia-70m-deduped"


@pytest.fixture
def read(monkeypatch):
    """The paths of the unit files that are opened, as they are."""
    paths = []
    original = compacted.read_parquet

    def counted(path, *arguments, **options):
        paths.append(path)
        return original(path, *arguments, **options)

    # Of units, and of the table of models.
    for module in (compacted, opening):
        monkeypatch.setattr(module, "read_parquet", counted)
    return paths


def models_in(state):
    return sorted({model for model, _, _ in state.units})


def looked(*runs):
    watched = Watched([run.path for run in runs])
    watched.look()
    return watched


def steps_of(state, experiment="loss"):
    return sorted(set(state.rows(experiment)["step"]))


def said(state, kind):
    return [note.words for note in state.notes if note.kind == kind]


def same(ours, theirs):
    pd.testing.assert_frame_equal(
        ours.reset_index(drop=True), theirs.reset_index(drop=True), check_categorical=False
    )


def test_rows_are_those_that_load_gives(run):
    state = looked(run).state
    loaded = pt.load(run.path, controls=True, mixed=True)
    assert state.experiments == ["loss", "induction"]
    for name in state.experiments:
        same(state.rows(name), without_sources(loaded[loaded["experiment"] == name]))
        assert state.rows(name) is state.rows(name)
    assert models_in(state) == [MODEL]
    assert state.steps == [0, 512, 1000, 143000]
    assert state.labels == {"loss": ["loss-stdlib"], "induction": ["ind25"]}
    assert state.notes == ()


def test_a_name_that_is_no_experiment_has_no_rows_and_their_columns(run, tmp_path):
    state = looked(run).state
    none = state.rows("unheard_of")
    assert none.empty
    types = [frame.dtypes.map(str) for frame in (none, state.rows("loss"))]
    assert types[0].equals(types[1])
    assert [*state._frames] == ["loss"], "names that somebody asks for do not fill the memory"
    assert looked(Run.create(tmp_path / "empty")).state.rows("").empty


def test_where_training_is_equals_that_of_the_loaded_rows(run):
    rows = pt.load(run.path, controls=True, mixed=True)
    training = looked(run).state.training
    assert training == training_of(rows)
    assert training[MODEL]["loss"][-1] < training[MODEL]["loss"][0]


def test_one_new_unit_opens_one_file_and_none_where_nothing_changed(run, rows_of, read):
    watched = looked(run)
    assert len(read) == 8 + 1, "the units and the row of the model"
    read.clear()
    assert watched.look().opened == 0
    assert read == []
    (path, _) = write_units(run, rows_of(steps=(2000,)))
    assert watched.look().opened == 2
    read.clear()
    path.unlink()
    watched.look()
    assert read == []
    (unit,) = write_units(run, rows_of(steps=(4000,)).query("experiment == 'loss'"))
    found = watched.look()
    assert (found.opened, found.waiting) == (1, 0)
    assert read == [unit]
    assert 4000 in steps_of(watched.state)
    assert 4000 not in steps_of(watched.state, "induction")


def test_only_the_experiment_whose_units_changed_is_marked(run, rows_of):
    watched = looked(run)
    before = watched.state
    kept = before.rows("induction"), before.rows("loss")
    write_units(run, rows_of(steps=(4000,)).query("experiment == 'loss'"))
    watched.look()
    assert before.changed_at == {"loss": 1, "induction": 1}
    assert watched.state.changed_at == {"loss": 2, "induction": 1}
    assert watched.state.rows("induction") is kept[0]
    assert watched.state.rows("loss") is not kept[1]


def test_an_old_state_still_gives_its_rows_after_later_looks(run, rows_of):
    watched = looked(run)
    old = watched.state
    write_units(run, rows_of(steps=(4000,)))
    run.unit_path(MODEL, "loss-stdlib", 512).unlink()
    watched.look()
    assert steps_of(old) == [0, 512, 1000, 143000]
    assert steps_of(watched.state) == [0, 1000, 4000, 143000]
    assert old.training[MODEL]["steps"] == [0, 512, 1000, 143000]
    with pytest.raises(FrozenInstanceError):
        old.number = 5


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(d.shortened_to(0.5), id="shortened"),
        pytest.param(d.flipped(0.3), id="flipped"),
        pytest.param(d.replaced_by(b""), id="empty"),
        pytest.param(d.a_pipe, id="pipe"),
        pytest.param(d.a_dangling_link, id="link"),
        pytest.param(d.a_claim_of_rows, id="bomb"),
        pytest.param(d.a_copy_of("step-001000.parquet"), id="another-step"),
    ],
)
def test_a_file_that_is_damaged_costs_its_own_rows_until_it_is_repaired(run, damage, read):
    watched = looked(run)
    path = run.unit_path(MODEL, "loss-stdlib", 512)
    whole = path.read_bytes()
    damage(path)
    read.clear()
    watched.look()
    assert steps_of(watched.state) == [0, 1000, 143000]
    assert steps_of(watched.state, "induction") == [0, 512, 1000, 143000]
    (words,) = said(watched.state, "damaged")
    assert words.startswith(f"left out 1 damaged file: {path.relative_to(run.path)} (")
    watched.look()
    assert read == [path], "a damaged file is not read at every look"
    path.unlink()
    path.write_bytes(whole)
    watched.look()
    assert steps_of(watched.state) == [0, 512, 1000, 143000]
    assert watched.state.notes == ()


def test_a_file_that_is_removed_goes_and_so_does_what_was_said_of_it(run):
    watched = looked(run)
    path = run.unit_path(MODEL, "loss-stdlib", 512)
    damaged(path, d.flipped(0.3))
    watched.look()
    path.unlink()
    watched.look()
    assert steps_of(watched.state) == [0, 1000, 143000]
    assert said(watched.state, "damaged") == []


def test_a_folder_that_cannot_be_read_is_said_until_it_can(run):
    watched = looked(run)
    folder = run.metrics / f"model={MODEL}" / "label=ind25"
    folder.rename(run.path / "aside")
    folder.symlink_to(folder)
    watched.look()
    assert watched.state.experiments == ["loss"]
    words = said(watched.state, "damaged")
    assert "label=ind25 (it may not be read" in words[0]
    folder.unlink()
    (run.path / "aside").rename(folder)
    watched.look()
    assert watched.state.experiments == ["loss", "induction"]
    assert said(watched.state, "damaged") == []


def test_a_unit_that_is_measured_again_is_read_again(run, small_rows):
    watched = looked(run)
    again = small_rows[(small_rows["step"] == 512) & (small_rows["experiment"] == "loss")]
    write_units(run, again.assign(value=again["value"] + 1))
    assert watched.look().opened == 1
    rows = watched.state.rows("loss")
    was = again["value"].to_numpy() + 1
    np.testing.assert_array_equal(rows[rows["step"] == 512]["value"].to_numpy(), was)


def test_a_look_reads_so_many_units_and_the_others_at_the_next(run, read):
    watched = Watched([run.path])
    found = watched.look(most=3)
    assert (found.opened, found.waiting) == (3, 5)
    assert len([path for path in read if "metrics" in path.parts]) == 3
    assert watched.state.waiting == 5
    assert watched.look(most=3).waiting == 2
    assert watched.look(most=3).waiting == 0
    assert watched.look(most=3).opened == 0
    same(watched.state.rows("induction"), looked(run).state.rows("induction"))


def test_what_a_failed_look_read_is_not_lost(run, rows_of, monkeypatch):
    watched = looked(run)
    write_units(run, rows_of(steps=(4000,)))

    def fails(_):
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr("pythia_traj.live.runs.status", fails)
    assert "Stale file handle" in watched.look().errors[0]
    monkeypatch.undo()
    found = watched.look()
    assert found.errors == ()
    assert 4000 in steps_of(watched.state)


def test_a_row_of_a_model_is_read_where_it_changed_and_damage_of_it_is_said(run, read):
    watched = looked(run)
    path = run.model_path(MODEL)
    repair = damaged(path, d.replaced_by(b""))
    read.clear()
    watched.look()
    assert read == [path]
    assert watched.state.models.empty
    assert "tables/models" in said(watched.state, "damaged")[0]
    repair()
    watched.look()
    assert list(watched.state.models["model"]) == [MODEL]
    assert watched.state.notes == ()


def test_an_empty_run_says_so_and_shows_its_first_unit(tmp_path, rows_of):
    run = Run.create(tmp_path / "run")
    watched = looked(run)
    state = watched.state
    assert (state.experiments, models_in(state), state.steps, state.training) == ([], [], [], {})
    assert "holds no measurement" in said(state, "warning")[0]
    write_units(run, rows_of(steps=(0,)))
    watched.look()
    assert watched.state.experiments == ["loss", "induction"]
    assert watched.state.training["pythia-70m-deduped"]["steps"] == [0]


def test_one_step_tells_nothing_about_change(tmp_path, rows_of):
    state = looked(made_run(tmp_path / "run", rows_of(steps=(512,)))).state
    assert said(state, "warning") == [
        f"{MODEL} was measured at step 512 alone: nothing can be said about change during training"
    ]


def test_failed_units_are_counted_with_their_reason(run, read):
    watched = looked(run)
    run.unit_path(MODEL, "loss-stdlib", 512).unlink()
    unit = {"unit": f"{MODEL}/loss-stdlib/step512", "error": "ValueError: no <b>direction</b>"}
    EventLog(run).write("failed", **unit)
    watched.look()
    (status,) = watched.state.status.values()
    assert (status.done, status.failed) == (7, 1)
    assert said(watched.state, "warning") == [
        f"1 unit failed ({unit['unit']}): ValueError: no <b>direction</b>"
    ]


def test_values_that_are_not_numbers_stay_what_they_are(tmp_path, small_rows):
    rows = small_rows.copy()
    rows.loc[rows["step"] == 512, "value"] = np.inf
    rows.loc[rows["step"] == 1000, "value"] = np.nan
    state = looked(made_run(tmp_path / "run", rows)).state
    found = state.rows("loss").groupby("step")["value"]
    assert np.isinf(found.get_group(512)).all()
    assert found.get_group(1000).isna().all()
    losses = state.training[MODEL]["loss"]
    assert [one is None for one in losses] == [False, True, True, False]


def test_a_unit_without_rows_is_none_of_an_experiment_that_has_some(run, small_rows):
    one = small_rows[(small_rows["step"] == 512) & (small_rows["experiment"] == "loss")]
    (path,) = write_units(run, one)
    d.with_table(lambda table: table.slice(0, 0))(path)
    watched = looked(run)
    assert steps_of(watched.state) == [0, 1000, 143000]
    assert watched.state.units[MODEL, "loss-stdlib", 512].held.experiment == "loss"
    assert watched.state.training[MODEL]["steps"] == [0, 512, 1000, 143000]


def test_models_of_one_name_are_named_with_their_run(run, tmp_path, rows_of):
    names = (MODEL, "pythia-14m")
    other = made_run(tmp_path / "other", rows_of(models=names, steps=(0, 512)))
    watched = looked(run, other)
    state = watched.state
    assert models_in(state) == sorted([f"run/{MODEL}", f"other/{MODEL}", "pythia-14m"])
    assert sorted(state.models["model"]) == models_in(state)
    unit = state.units[f"other/{MODEL}", "loss-stdlib", 512]
    assert (watched.path_of(unit), unit.model) == (other.path, MODEL)
    assert {*state.training} == {*models_in(state)}
    d.replaced_by(b"")(run.unit_path(MODEL, "loss-stdlib", 512))
    watched.look()
    assert said(watched.state, "damaged")[0].startswith("run: left out 1 damaged file")
    assert [*state.status] == ["run", "other"]


def test_a_model_that_only_the_second_run_gets_later_renames_that_of_the_first(
    run, tmp_path, rows_of
):
    other = made_run(tmp_path / "other", rows_of(models=("pythia-14m",), steps=(0, 512)))
    watched = looked(run, other)
    assert models_in(watched.state) == ["pythia-14m", MODEL]
    write_units(other, rows_of(steps=(0,)))
    watched.look()
    assert models_in(watched.state) == sorted(["pythia-14m", f"run/{MODEL}", f"other/{MODEL}"])
    assert set(watched.state.rows("loss")["model"]) == {*models_in(watched.state)}


def test_a_run_whose_directory_is_gone_is_said_and_the_others_are_still_read(
    run, tmp_path, rows_of
):
    other = made_run(tmp_path / "other", rows_of(models=("pythia-14m",), steps=(0, 512)))
    watched = looked(run, other)
    run.path.rename(tmp_path / "aside")
    write_units(other, rows_of(models=("pythia-14m",), steps=(1000,)))
    found = watched.look()
    assert found.errors == (f"{run.path} is not a run directory: it has no run.json",)
    assert found.opened == 2
    assert models_in(watched.state) == ["pythia-14m", MODEL], "what was read of it stays"
    (tmp_path / "aside").rename(run.path)
    assert watched.look().errors == ()


def newer(run, version):
    facts = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(facts | {"schema": version, "version": "9.9.0"}))


def of_schema(number):
    footer = {"made_of": {"experiment": "loss"}, "versions": VERSIONS, "schema": number}
    return d.with_footer(json.dumps(footer).encode())


def test_a_run_of_a_newer_schema_shows_the_files_of_this_one(run):
    newer(run, 3)
    of_schema(3)(run.unit_path(MODEL, "loss-stdlib", 512))
    state = looked(run).state
    assert steps_of(state) == [0, 1000, 143000]
    assert state.models.empty
    assert said(state, "warning")[0].startswith("the run was written by pythia-traj 9.9.0")
    (words,) = said(state, "damaged")
    assert words.startswith("left out 1 file of a newer pythia-traj (it is of schema 3")


def test_runs_that_cannot_be_watched_are_refused_in_a_sentence(run, tmp_path):
    with pytest.raises(StoreError, match="is not a run directory: it has no run.json"):
        Watched([tmp_path])
    with pytest.raises(AnalysisError, match="given twice"):
        Watched([run.path, run.path / "." / ".." / "run"])
    with pytest.raises(AnalysisError, match="no run is given"):
        Watched([])
    newer(run, 1)
    with pytest.raises(StoreError, match="pythia-traj convert"):
        Watched([run.path])


HOSTILE = """</script><img src=x onerror=alert(1)> "'%s%% {%config%} \N{RIGHT-TO-LEFT OVERRIDE}"""


def test_hostile_words_of_rows_stay_what_they_are(tmp_path, small_rows):
    loss = small_rows[small_rows["experiment"] == "loss"].astype(
        {"metric": object, "experiment": object}
    )
    rows = loss.assign(metric=loss["metric"] + HOSTILE, experiment=HOSTILE)
    state = looked(made_run(tmp_path / "run", rows)).state
    assert state.experiments == [HOSTILE]
    assert f"nll{HOSTILE}" in set(state.rows(HOSTILE)["metric"])


def test_files_with_names_that_no_sweep_gives_are_ignored(run):
    unit = run.unit_path(MODEL, "loss-stdlib", 512)
    for name in ("model=<script>alert(1)", "model=..", "model=a b"):
        folder = run.metrics / name / "label=loss-stdlib"
        folder.mkdir(parents=True)
        shutil.copy(unit, folder / unit.name)
    shutil.copy(unit, unit.with_name("step-512.parquet"))
    state = looked(run).state
    assert models_in(state) == [MODEL]
    assert steps_of(state) == [0, 512, 1000, 143000]


def test_a_state_before_the_first_look_is_empty():
    assert State().experiments == []
    assert State().training == {}
    assert State().schedules == {}


def test_labels_of_several_runs_with_different_settings_are_said(rows_of, tmp_path):
    rows = rows_of(steps=(0,))
    first = made_run(tmp_path / "first", rows, parameters={"n": 1})
    second = made_run(tmp_path / "second", rows, parameters={"n": 2})
    said = [note.words for note in looked(first, second).state.notes]
    assert any("was measured with different settings in first and second" in one for one in said)
    again = made_run(tmp_path / "again", rows, parameters={"n": 1})
    said = [note.words for note in looked(first, again).state.notes]
    assert not any("different settings" in one for one in said)
