"""What of a run belongs together: measurements without their controls, one version of an
experiment, and whoever wants more says so.
"""

import re
import warnings

import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.errors import StoreError
from pythia_traj.schema import Column
from pythia_traj.store import compacted, parquet
from pythia_traj.store.layout import Run
from pythia_traj.store.read import read_run
from pythia_traj.store.tables import UnitId
from pythia_traj.store.unit import write_unit
from pythia_traj.values import Key, Rows

TABLES = {
    "tokens": (
        Column("control", "dictionary", True, "as in the metrics"),
        Column("token", "int32", False, "its id"),
    ),
    "edges": (Column("score", "float32", False, "of an edge"),),
    "trials": (Column("control", "bool", False, "whether it was one of a control group"),),
}


def load_with_notes(run, **where):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = pt.load(run, **where)
    return frame, [str(one.message) for one in caught]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A measurement, two controls of it, a control of nothing, and tables that have controls, have
    none, and call something else so.
    """
    run = Run.create(tmp_path_factory.mktemp("controls") / "run")
    for step in (0, 512):
        rows = Rows()
        for control in (None, "shuffled", "init"):
            rows.add_items(
                Key("prefix_matching", variant="two_halves", control=control), [0.1, 0.2]
            )
        rows.add(Key("chance_level", control="chance"), 0.5)
        rows.table("tokens", {"control": [None, "shuffled", "shuffled"], "token": [1, 2, 3]})
        rows.table("edges", {"score": [0.5, 1.5]})
        rows.table("trials", {"control": [True, False]})
        unit = UnitId("tiny", "heads", "induction", "toy", f"step{step}", None, step, None)
        write_unit(run, unit, rows, {"digest": "d"}, tables=TABLES)
    return run.path


@pytest.mark.parametrize("null", [None, float("nan"), pd.NA])
def test_null_is_asked_for_as_frames_have_it(run, null):
    assert len(pt.load(run, metric="prefix_matching", part=null, layer=null)) == 2


@pytest.mark.parametrize("flag", ["controls", "mixed"])
def test_a_flag_is_no_word(run, flag):
    with pytest.raises(StoreError, match=f"{flag}='shuffled': it is True or False"):
        pt.load(run, **{flag: "shuffled"})


CHOSEN = [
    ({}, [None]),
    ({"controls": True}, [None, "chance", "init", "shuffled"]),
    ({"control": None}, [None]),
    ({"control": None, "controls": True}, [None]),
    ({"control": "shuffled"}, ["shuffled"]),
    ({"control": "shuffled", "controls": True}, ["shuffled"]),
    ({"control": [None, "init"]}, [None, "init"]),
    ({"metric": "prefix_matching", "controls": True}, [None, "init", "shuffled"]),
    ({"table": "items"}, [None]),
    ({"table": "items", "controls": True}, [None, "init", "shuffled"]),
    ({"table": "items", "control": ["init"], "step": 512}, ["init"]),
    ({"table": "tokens"}, [None]),
    ({"table": "tokens", "token": [1, 2]}, [None]),
    ({"table": "tokens", "controls": True}, [None, "shuffled"]),
    ({"table": "tokens", "control": "shuffled"}, ["shuffled"]),
    ({"table": "trials"}, [False, True]),
    ({"table": "trials", "control": False}, [False]),
]


@pytest.mark.parametrize(("where", "controls"), CHOSEN, ids=[str(where) for where, _ in CHOSEN])
def test_controls_are_there_for_whoever_asks(run, where, controls):
    for read in (pt.load(run, **where), read_run(run, **where).frame):
        found = read.control.astype(object)
        assert sorted(set(found[found.notna()])) == [word for word in controls if word is not None]
        assert found.isna().any() == (None in controls)


def test_a_table_that_knows_of_no_controls_is_whole(run):
    assert len(pt.load(run, table="edges")) == 4
    with pytest.raises(StoreError, match="unknown column 'control'"):
        pt.load(run, table="edges", control=None)


def test_where_controls_alone_were_meant_it_is_said(run):
    frame, notes = load_with_notes(run, metric="chance_level")
    assert frame.empty
    assert notes == [
        "these rows hold no measurement, but 2 of controls: controls=True gives them too"
    ]
    for where in ({"controls": True}, {"control": "chance"}):
        frame, notes = load_with_notes(run, metric="chance_level", **where)
        assert (len(frame), notes) == (2, [])


@pytest.fixture
def versions(tmp_path):
    """Two models, of which a step of one was measured by a later version; another experiment, and
    a unit whose provenance says nothing.
    """
    run = Run.create(tmp_path / "run")

    def write(model, label, experiment, step, made_of):
        rows = Rows()
        rows.add_items(Key("norm"), [1.0, 2.0])
        rows.add(Key("late"), 1.0) if step == 2 else None
        rows.table("edges", {"score": [0.5]})
        unit = UnitId(model, label, experiment, "toy", f"step{step}", None, step, None)
        footer = {"digest": f"{label}{made_of}", "made_of": made_of}
        write_unit(run, unit, rows, footer, tables=TABLES)

    for step in (0, 1, 2):
        for model in ("large", "tiny"):
            version = 10 if (model, step) == ("tiny", 2) else 9
            write(model, "norm", "norms", step, {"experiment": "norms", "version": version})
        write("tiny", "heads", "induction", step, {"experiment": "induction", "version": 10})
    write("tiny", "unknown", "norms", 0, {})
    return run.path


BOTH = (
    "norms was measured by version 9 (5 units, such as large/norm/step0) and by version 10"
    " (1 unit tiny/norm/step2)"
)

MIXED = [
    ({}, 5),
    ({"label": "norm"}, 5),
    ({"experiment": "norms"}, 5),
    ({"model": "tiny", "metric": "norm"}, 2),
    ({"model": ["tiny", "large"], "step": 2}, 1),
    ({"table": "items"}, 5),
    ({"table": "edges"}, 5),
    ({"table": "edges", "score": 0.5}, 5),
]


@pytest.mark.parametrize(("where", "older"), MIXED, ids=[str(where) for where, _ in MIXED])
def test_versions_of_an_experiment_stand_together_for_whoever_asks(versions, where, older):
    with pytest.raises(StoreError) as caught:
        pt.load(versions, **where)
    said = str(caught.value)
    assert re.match(
        rf"norms was measured by version 9 \({older} units?,? [^)]*\) and by version 10 ", said
    )
    assert said.endswith(
        " (1 unit tiny/norm/step2): measure the older units again, choose by label=, model= or"
        " step=, or read them together with mixed=True"
    )
    frame, (note,) = load_with_notes(versions, mixed=True, **where)
    assert len(frame)
    assert note.startswith("norms was measured by version 9 (")
    assert note.endswith("their difference may not come from training; measure the older again")


ALIKE = [
    {"model": "large"},
    {"step": [0, 1]},
    {"label": ["heads", "unknown"]},
    {"experiment": "induction"},
    {"metric": "late", "model": "tiny"},
    {"model": "tiny", "label": "norm", "step": 2, "table": "edges"},
]


@pytest.mark.parametrize("where", ALIKE, ids=str)
def test_rows_of_one_version_are_loaded_without_a_word(versions, where):
    for mixed in (False, True):
        frame, notes = load_with_notes(versions, mixed=mixed, **where)
        assert len(frame)
        assert notes == []


def test_the_message_names_versions_in_their_order_and_an_example_of_each(versions):
    with pytest.raises(StoreError, match=re.escape(BOTH)):
        pt.load(versions)


def test_a_report_of_mixed_versions_is_drawn_and_says_so(versions, tmp_path):
    notes = pt.report(versions, tmp_path / "report.html")
    assert any(note.words.startswith(BOTH) for note in notes)
    assert BOTH in (tmp_path / "report.html").read_text()


def test_a_version_that_is_no_number_is_one_more(versions):
    run, rows = Run.open(versions), Rows()
    rows.add(Key("norm"), 1.0)
    unit = UnitId("tiny", "norm", "norms", "toy", "step1", None, 1, None)
    made_of = {"experiment": "norms", "version": ["?"]}
    write_unit(run, unit, rows, {"digest": "x", "made_of": made_of}, tables=TABLES)
    with pytest.raises(StoreError, match=r"and by version \['\?'\] \(1 unit tiny/norm/step1\)"):
        pt.load(versions)


PRUNED = [
    ({"label": "heads"}, 3, 3),
    ({"model": "tiny", "label": "norm", "step": [0, 1]}, 2, 2),
    ({"experiment": "induction"}, 10, 3),
    ({"experiment": "induction", "table": "items"}, 10, 3),
    ({"experiment": "induction", "table": "edges"}, 10, 3),
    ({"experiment": ["induction", "norms"], "step": 0}, 4, 4),
]


@pytest.mark.parametrize(("where", "opened", "decoded"), PRUNED, ids=[str(p[0]) for p in PRUNED])
def test_what_cannot_be_in_a_file_is_not_looked_for_in_it(
    versions, monkeypatch, where, opened, decoded
):
    counted = {"opened": 0, "decoded": 0}
    read, table = compacted.read_parquet, parquet.Whole.table

    def opening(*arguments, **more):
        counted["opened"] += 1
        return read(*arguments, **more)

    def decoding(whole, *arguments):
        counted["decoded"] += 1
        return table(whole, *arguments)

    monkeypatch.setattr(compacted, "read_parquet", opening)
    monkeypatch.setattr(parquet.Whole, "table", decoding)
    assert len(pt.load(versions, mixed=True, **where))
    assert counted == {"opened": opened, "decoded": decoded}
