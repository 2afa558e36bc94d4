"""What of a run there is to ask for: every word, where it stands and at which steps, so that nobody
guesses.
"""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj import schema
from pythia_traj.errors import StoreError
from pythia_traj.schema import Column
from pythia_traj.store import parquet
from pythia_traj.store.layout import Run
from pythia_traj.store.tables import UnitId
from pythia_traj.store.unit import write_model, write_unit
from pythia_traj.values import Key, Rows

EDGES = {
    "edges": (
        Column("sender", "dictionary", False, "where it begins"),
        Column("texts", "list<string>", False, "its texts"),
        Column("scores", "list<float32>", True, "their scores"),
    )
}


def induction(step):
    rows = Rows()
    for layer in range(3):
        for head in range(4):
            for control in (None, "shuffled"):
                key = Key("prefix_matching", "two_halves", "head", layer, head, control=control)
                rows.add_items(key, [0.1, 0.2])
    if step > 0:
        rows.add(Key("change", reference="init"), 1.0)
    rows.undefined(Key("icl_score"), "too short")
    return rows


def ablation(step):
    rows = Rows()
    for size in (10, 2):
        rows.add(Key("effect", "mean", "set", part=f"top{size}", target="nll", size=size), 1.0)
    rows.add(Key("effect", "zero", "head", 0, 1, target="logit_diff"), 1.0)
    rows.table("edges", {"sender": ["a"], "texts": [["b", "c"]], "scores": [None]})
    rows.tensors("acts", {"x": np.zeros(2, np.float32)})
    return rows


UNITS = {
    "heads": ("induction", induction),
    "induction": ("induction", induction),
    "ablation": ("ablation", ablation),
}
STEPS = (0, 512, 143000)


def write(run, model, label, step, *, version=1, **settings):
    use, measured = UNITS[label]
    unit = UnitId(model, label, use, "toy", f"step{step}", None, step, None)
    made_of = {"experiment": use, "version": version, **settings}
    footer = {"digest": f"{label}{version}{settings}", "made_of": made_of}
    write_unit(run, unit, measured(step), footer, tables=EDGES)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two models, of which one was measured at one step alone; not to be changed."""
    run = Run.create(tmp_path_factory.mktemp("described") / "run")
    for label in UNITS:
        for step in STEPS:
            write(run, "tiny", label, step)
        write(run, "large", label, 512)
    facts = {"suite": "toy", "n_parameters": 10, "n_steps": 3}
    facts |= dict.fromkeys(("n_layers", "n_heads", "d_model", "d_vocab"), 3)
    write_model(run, "tiny", facts, {}, anew=True)
    return run


@pytest.fixture(scope="module")
def found(run):
    return pt.describe(run.path)


def only(frame, **where):
    for name, value in where.items():
        frame = frame[frame[name].isna() if value is None else frame[name] == value]
    assert len(frame) == 1, frame
    return frame.iloc[0]


def test_each_label_says_what_measured_it_and_at_which_steps(found):
    assert found.labels.to_dict("records") == [
        {
            "experiment": use,
            "label": label,
            "versions": ("1",),
            "models": ("large", "tiny"),
            "units": 4,
            "steps": 3,
            "first_step": 0,
            "last_step": 143000,
        }
        for use, label in (
            ("ablation", "ablation"),
            ("induction", "heads"),
            ("induction", "induction"),
        )
    ]
    assert found.notes == ()


def test_each_metric_says_the_words_of_its_columns(found):
    effect = only(found.metrics, label="ablation", metric="effect")
    expected = {
        "variant": ("mean", "zero"),
        "control": (None,),
        "component": ("head", "set"),
        "part": (None, "top2", "top10"),
        "target": ("logit_diff", "nll"),
        "reference": (None,),
        "sizes": (None, 2, 10),
        "layers": (None, 0, 0),
        "heads": (None, 1, 1),
        "positions": None,
        "models": 2,
        "rows": 12,
        "undefined": 0,
    }
    assert {name: effect[name] for name in expected} == expected
    heads = only(found.metrics, label="heads", metric="prefix_matching")
    assert (heads.control, heads.layers, heads.heads) == ((None, "shuffled"), (0, 2), (0, 3))
    undefined = only(found.metrics, label="heads", metric="icl_score")
    assert (undefined["rows"], undefined.undefined) == (4, 4)


def test_a_metric_of_some_steps_says_at_which(found):
    change = only(found.metrics, label="induction", metric="change")
    assert (change.steps, change.first_step, change.last_step) == (2, 512, 143000)
    assert change.reference == ("init",)


def test_each_combination_that_occurs_is_a_row_and_its_words_are_filters(run, found):
    words = [column.name for column in schema.KEY_COLUMNS if column.type == "dictionary"]
    rows = pt.load(run.path, controls=True)
    assert len(found.combinations) == len(rows[["label", *words]].drop_duplicates())
    assert found.combinations["rows"].sum() == len(rows)
    for one in found.combinations.to_dict("records"):
        where = {name: None if pd.isna(one[name]) else one[name] for name in ("label", *words)}
        chosen = pt.load(run.path, **where)
        assert len(chosen) == one["rows"]
        assert chosen.value.isna().sum() == one["undefined"]
        assert chosen.step.nunique() == one["steps"]
        sizes = tuple(sorted(chosen["size"].dropna().unique()))
        has_null = bool(sizes) and bool(chosen["size"].isna().any())
        assert ((None,) * has_null + sizes) == one["sizes"]


def test_each_table_says_its_columns_and_their_types(run, found):
    by_table = dict(iter(found.tables.groupby("table")))
    assert list(by_table) == ["acts", "edges", "items", "models"]
    for table, columns in {
        "edges": (*schema.UNIT_COLUMNS, *EDGES["edges"]),
        "items": schema.ITEMS,
        "models": schema.MODELS,
    }.items():
        rows = by_table[table]
        assert list(zip(rows.column, rows.type, rows.nullable, strict=True)) == [
            (column.name, column.type, column.nullable) for column in columns
        ]
    assert only(found.tables, table="acts", column=None).type == "safetensors"
    assert set(by_table["items"].labels) == {("heads", "induction")}
    assert {name: set(rows.units) for name, rows in by_table.items()} == {
        "acts": {4}, "edges": {4}, "items": {8}, "models": {1},
    }  # fmt: skip


def test_it_prints_itself_in_short(found):
    ablation, heads, induction, tables = found.pages()
    measured = "model large, tiny; 3 steps from 0 to 143000"
    assert ablation.title == f"ablation (version 1): {measured}"
    assert heads.title == f"heads (experiment induction, version 1): {measured}"
    assert induction.title == f"induction (version 1): {measured}"
    assert ablation.rows == (
        (
            "effect",
            "12",
            "variant: mean, zero; component: head, set; part: None, top2, top10;"
            " target: logit_diff, nll; size: None, 2, 10; layer: None, 0; head: None, 1",
        ),
    )
    assert [(metric, rows, words.split("; ")) for metric, rows, words in heads.rows] == [
        (
            "prefix_matching",
            "96",
            [
                *("variant: two_halves", "control: None, shuffled", "component: head"),
                *("layer: 0 to 2", "head: 0 to 3"),
            ],
        ),
        ("change", "3", ["reference: init", "at 2 steps from 512 to 143000 alone"]),
        ("icl_score", "4", ["4 undefined"]),
    ]
    assert tables.rows[:2] == (
        ("acts", "4", "ablation", "tensors"),
        (
            *("edges", "4", "ablation"),
            "sender (dictionary), texts (list<string>), scores (list<float32>)",
        ),
    )
    text, page = repr(found), found._repr_html_()
    for word in ("prefix_matching", "two_halves", "logit_diff", "sender (dictionary)"):
        assert word in text
        assert word in page
    assert max(map(len, text.splitlines())) < 400


def test_thousands_of_parts_are_counted_not_printed(tmp_path):
    run, rows = Run.create(tmp_path / "run"), Rows()
    for i in range(5000):
        rows.add(Key("nll", part=f"<i>{i}"), 1.0)
    unit = UnitId("tiny", "loss", "loss", "toy", "step0", None, 0, None)
    write_unit(run, unit, rows, {"digest": "d"})
    found = pt.describe(run.path)
    assert len(found.combinations) == 5000
    assert len(only(found.metrics, metric="nll").part) == 5000
    assert "part: <i>0, <i>1, <i>2, " in repr(found)
    assert "and 4,992 more" in repr(found)
    assert len(repr(found)) < 1000
    assert "&lt;i&gt;1" in found._repr_html_()
    assert "<i>" not in found._repr_html_()
    assert len(found._repr_html_()) < 2000


def test_a_long_word_is_broken_off(tmp_path):
    run, rows = Run.create(tmp_path / "run"), Rows()
    rows.add(Key("effect", part="L0H1+" * 100), 1.0)
    unit = UnitId("tiny", "ablation", "ablation", "toy", "step0", None, 0, None)
    write_unit(run, unit, rows, {"digest": "d"})
    assert len(repr(pt.describe(run.path))) < 200


def test_an_empty_run_has_frames_of_the_same_columns(tmp_path, found):
    empty = pt.describe(Run.create(tmp_path / "run").path)
    for name in ("labels", "metrics", "combinations", "tables"):
        assert getattr(empty, name).empty
        assert list(getattr(empty, name).columns) == list(getattr(found, name).columns)
    assert repr(empty) == empty._repr_html_() == "no unit is there yet"
    assert list(empty.pages()) == []
    assert empty.as_json() == {
        "labels": [], "metrics": [], "combinations": [], "tables": [], "notes": [],
    }  # fmt: skip


def test_a_unit_without_rows_is_a_label_still(tmp_path):
    run = Run.create(tmp_path / "run")
    footer = {"digest": "d", "made_of": {"experiment": "samples", "version": 2}}
    unit = UnitId("tiny", "texts", "samples", "toy", "step0", None, 0, None)
    write_unit(run, unit, Rows(), footer)
    (page,) = pt.describe(run.path).pages()
    assert page.title == "texts (experiment samples, version 2): model tiny; step 0"
    assert page.rows == ()
    write_unit(run, unit, Rows(), {"digest": "e"})
    (page,) = pt.describe(run.path).pages()
    assert (page.title, page.rows) == ("texts: model tiny; step 0", ())


def test_damaged_files_and_mixed_versions_and_settings_are_notes(tmp_path):
    run = Run.create(tmp_path / "run")
    for step in STEPS:
        write(run, "tiny", "ablation", step, version=1 + (step == 512))
    write(run, "tiny", "heads", 0)
    write(run, "tiny", "heads", 1, dtype="float32")
    write(run, "tiny", "heads", 512, dtype="float16")
    damaged = [
        run.unit_path("tiny", "heads", 0),
        run.unit_path("tiny", "ablation", 0, table="edges"),
    ]
    for path in damaged:
        path.write_bytes(b"PAR1 and no more")
    found = pt.describe(run.path)
    mixed, different, *left_out = found.notes
    assert different.startswith(
        "tiny/heads: 1 and 1 units were made with different settings (dtype"
    )
    assert mixed.startswith("ablation was measured by version 1 (2 units, such as tiny/ablation/")
    for path, note in zip(damaged, left_out, strict=True):
        assert str(path.relative_to(run.path)) in note
    assert only(found.labels, label="heads").steps == 2
    assert only(found.labels, label="ablation").versions == ("1", "2")
    assert set(found.tables[found.tables.table == "edges"].column) >= {"sender"}
    for note in found.notes:
        assert note in repr(found)
        assert note.split(":")[0] in found._repr_html_()


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(StoreError, match="is not a run directory: it has no run.json"):
        pt.describe(tmp_path)


def test_it_decodes_no_more_than_it_needs(run, monkeypatch):
    decoded, read = set(), parquet.pq.ParquetFile.read

    def noted(file, columns=None, **how):
        decoded.add(tuple(columns))
        return read(file, columns=columns, **how)

    monkeypatch.setattr(parquet.pq.ParquetFile, "read", noted)
    pt.describe(run.path)
    (columns,) = decoded
    assert set(columns) == {"experiment", *(c.name for c in schema.KEY_COLUMNS), "value"}


def test_it_needs_no_torch(run):
    code = (
        f"import sys, pythia_traj as pt; pt.describe({str(run.path)!r});"
        " print([name for name in ('torch', 'transformer_lens') if name in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )
