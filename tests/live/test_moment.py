"""What models write at a step."""

import shutil

import pytest

import pythia_traj as pt
from pythia_traj.live import moment
from pythia_traj.live.choice import Choice
from pythia_traj.live.watched import Watched
from pythia_traj.schema import Column
from pythia_traj.store.layout import Run
from pythia_traj.store.tables import UnitId
from pythia_traj.store.taking_out import take_out
from pythia_traj.store.unit import write_unit
from pythia_traj.values import Key, Rows
from tests.store import damage as d

COLUMNS = (
    Column("prompt_number", "int32", False, "which prompt"),
    Column("prompt", "string", False, "its text"),
    Column("sample", "int32", False, "which continuation"),
    Column("continuation", "string", False, "the text"),
    Column("log_prob", "float32", False, "its mean"),
)
HOSTILE = "<script>alert(1)</script>\x1b[2J\N{RIGHT-TO-LEFT OVERRIDE}"


def write(run, step, text, model="a", label="samples"):
    rows = Rows()
    rows.add(Key("log_prob"), -1.0)
    one = {"prompt_number": [0], "prompt": ["def"], "sample": [0], "continuation": [text]}
    rows.table("samples", one | {"log_prob": [-1.0]})
    unit = UnitId(model, label, "samples", "mine", f"step{step}", None, step, None)
    write_unit(run, unit, rows, {"made_of": {"experiment": "samples"}}, tables={"samples": COLUMNS})


@pytest.fixture
def run(tmp_path):
    run = Run.create(tmp_path / "run")
    write(run, 0, "nothing")
    write(run, 512, HOSTILE)
    return run


@pytest.fixture
def watched(run):
    watched = Watched([run.path])
    watched.look()
    return watched


def texts(watched, step, **choice):
    return moment.written_at(watched, watched.state, Choice(**choice), step)


def test_the_texts_are_those_of_the_step_or_of_the_last_one_before_it(watched):
    assert texts(watched, 0) == [moment.Written("a · samples", 0, (("def", "nothing"),))]
    for step in (512, 513, 10**12):
        (found,) = texts(watched, step)
        assert (found.step, found.texts) == (512, (("def", HOSTILE),))
    assert texts(watched, -1) == []


def test_texts_that_were_written_again_are_read_again_by_whoever_looks(run, watched):
    texts(watched, 512)
    write(run, 512, "other")
    watched.look()
    assert texts(watched, 512)[0].texts == (("def", "other"),)
    write(run, 512, "third")
    again = Watched([run.path])
    again.look()
    assert texts(again, 512)[0].texts == (("def", "third"),)


def test_texts_of_compacted_units_are_read_again_when_they_were_measured_again(run, watched):
    expected = texts(watched, 512)
    pt.compact(run.path)
    watched.look()
    assert texts(watched, 512) == expected
    take_out(run, "a", "samples", [512])
    write(run, 512, "other")
    pt.compact(run.path)
    watched.look()
    assert texts(watched, 512)[0].texts == (("def", "other"),)


def test_texts_of_a_table_that_is_damaged_or_gone_are_left_out(run, watched):
    path = run.unit_path("a", "samples", 512, table="samples")
    d.flipped(0.3)(path)
    assert texts(watched, 512) == []
    shutil.rmtree(run.folder("samples"))
    assert texts(watched, 0) == []
    shutil.rmtree(run.path)
    assert texts(watched, 512) == []


def test_only_so_many_models_are_read_and_only_chosen_ones(run, monkeypatch):
    for i in range(moment.MOST_MODELS + 3):
        write(run, 0, str(i), model=f"m{i}")
    watched = Watched([run.path])
    watched.look()
    read = []
    original = moment.read_run
    monkeypatch.setattr(moment, "read_run", lambda *a, **k: read.append(k) or original(*a, **k))
    moment._read.cache_clear()
    assert len(texts(watched, 0)) == len(read) == moment.MOST_MODELS
    assert [one.of for one in texts(watched, 0, models=("m5", "nobody"))] == ["m5 · samples"]
