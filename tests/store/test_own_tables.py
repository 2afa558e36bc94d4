"""Tables of an experiment's own: declared once, the same types in every unit, and what does not fit
is refused by name.
"""

import re
import warnings

import pandas as pd
import pyarrow.parquet as pq
import pytest

import pythia_traj as pt
from pythia_traj.experiment import experiment
from pythia_traj.schema import PARTITIONS, UNIT_COLUMNS, Column, check_columns
from pythia_traj.store.layout import Run
from pythia_traj.store.parquet import arrow_schema
from pythia_traj.store.tables import UnitId, own_table
from pythia_traj.store.unit import write_unit
from pythia_traj.values import Rows

EDGES = (
    Column("sender", "dictionary", False, "where it begins"),
    Column("rank", "int16", False, "its rank"),
    Column("score", "float32", True, "its score"),
)


def unit(step=1):
    return UnitId("m", "mine", "eap", "toy", f"step{step}", None, step, None)


TEXTS = (Column("texts", "list<string>", True, "some texts"),)


def unit_with_texts(values):
    return own_table(unit(), "mine", {"texts": values}, {"mine": TEXTS})


DECLARED = {
    "a unit's own": (
        [Column("tokens", "int32", False, "their ids")],
        "has columns that every table of a unit has, tokens: give them other names",
    ),
    "all of a unit's own": (
        [*EDGES, *UNIT_COLUMNS],
        "every table of a unit has, suite, revision, commit, experiment, step, tokens: give",
    ),
    "the partitions": (
        [Column(name, "string", False, "mine") for name in PARTITIONS],
        "has columns that every table of a unit has, model, label: give",
    ),
    "one twice": (
        [EDGES[0], EDGES[2], EDGES[0]],
        "has a column twice: sender, score, sender",
    ),
    "a type of another library": (
        [Column("score", "double", True, "its score")],
        ", column 'score': unknown type 'double': give one of dictionary, string, bool, ",
    ),
}


@pytest.mark.parametrize(("columns", "message"), DECLARED.values(), ids=DECLARED)
def test_columns_that_cannot_be_are_refused_where_they_are_declared(columns, message):
    def mine(model):
        """Mine."""

    said = rf"table 'edges'.*{re.escape(message)}"
    with pytest.raises(ValueError, match=f"^{said}"):
        check_columns("edges", columns)
    with pytest.raises(TypeError, match=f"^experiment mine: {said}"):
        experiment(version=1, tables={"edges": tuple(columns)})(mine)


GOOD = {"sender": ["a", "b"], "rank": [1, 2], "score": [0.5, None]}

WRITTEN = {
    "a table that was not declared": (
        "edge",
        GOOD,
        "table 'edge' is not declared: give @experiment its columns, with tables={'edge': (Column(",
    ),
    "a column that was not declared": (
        "edges",
        {**GOOD, "scores": [1.0, 2.0]},
        "table 'edges' has no column 'scores': did you mean score?",
    ),
    "a unit's own column": ("edges", {**GOOD, "tokens": [1, 2]}, "has no column 'tokens'"),
    "a column too few": (
        "edges",
        {"sender": ["a"]},
        "table 'edges' lacks the columns rank, score",
    ),
    "columns of unequal length": (
        "edges",
        {**GOOD, "rank": [1]},
        "table 'edges' has columns of unequal length: {'sender': 2, 'rank': 1, 'score': 2}",
    ),
    "words for numbers": ("edges", {**GOOD, "rank": ["x", "y"]}, "table 'edges', column 'rank': "),
    "numbers for words": ("edges", {**GOOD, "sender": [1, 2]}, "table 'edges', column 'sender': "),
    "halves for whole numbers": (
        "edges",
        {**GOOD, "rank": [1.5, 2]},
        "column 'rank': Float value 1.500000 was truncated",
    ),
    "more than the type holds": (
        "edges",
        {**GOOD, "rank": [1, 40_000]},
        "table 'edges', column 'rank': ",
    ),
    "null where none may be": (
        "edges",
        {**GOOD, "sender": ["a", None]},
        "table 'edges', column 'sender': it may not be null, and is in some rows",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "columns", "message"), WRITTEN.values(), ids=WRITTEN)
def test_what_does_not_fit_the_declaration_is_refused_and_nothing_written(
    tmp_path, name, columns, message
):
    run, rows = Run.create(tmp_path / "run"), Rows()
    rows.table(name, columns)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        write_unit(run, unit(), rows, {}, tables={"edges": EDGES})
    assert "\n" not in str(caught.value)
    assert not list(run.path.rglob("*.parquet"))


def test_a_declaration_that_nobody_checked_is_checked_when_it_is_used():
    with pytest.raises(ValueError, match="every table of a unit has, step"):
        own_table(unit(), "mine", {}, {"mine": (Column("step", "int32", False, "mine"),)})


@pytest.mark.parametrize("columns", [GOOD, {name: [] for name in GOOD}], ids=["rows", "none"])
def test_a_table_has_the_units_columns_in_front_and_the_declared_types(columns):
    table = own_table(unit(512), "edges", columns, {"edges": EDGES})
    assert table.schema == arrow_schema((*UNIT_COLUMNS, *EDGES))
    assert table.select(GOOD).to_pydict() == columns
    assert set(table["revision"].to_pylist()) <= {"step512"}


def test_lists_of_texts_are_kept_as_they_are():
    lists = [["a", " b"], [], None, ["\x00", "é", "\\xe2"], ("tuple",)]
    kept = unit_with_texts(lists)["texts"].to_pylist()
    assert kept == [None if one is None else list(one) for one in lists]


NOT_TEXTS = {
    "a text alone": ("abc", "a text where a list is expected: give [text]"),
    "numbers": ([1, 2], "got a 'int' object"),
    "a number": (1, "was not a sequence"),
    "lists of lists": ([["a"]], "got a 'list' object"),
    "half of a pair": (["\ud800"], "surrogates not allowed"),
}


@pytest.mark.parametrize(("value", "message"), NOT_TEXTS.values(), ids=NOT_TEXTS)
def test_what_is_not_a_list_of_texts_is_refused(value, message):
    with pytest.raises(ValueError, match=f"^table 'mine', column 'texts': .*{re.escape(message)}"):
        unit_with_texts([["a"], value])


EXPERIMENT = '''
from pythia_traj.experiment import experiment
from pythia_traj.processing import RAW
from pythia_traj.schema import Column
from pythia_traj.values import Rows

EDGES = (
    Column("sender", "dictionary", False, "where it begins"),
    Column("rank", "int16", False, "its rank"),
    Column("score", "float32", True, "its score"),
)

@experiment(version=1, processing=RAW, tables={{"edges": EDGES}})
def mine(model, *, wrong: bool = False) -> Rows:
    """Edges of nothing."""
    rows = Rows()
    rows.table("edges", {{"sender": {senders}, "rank": {ranks}, "score": {scores}}})
    return rows
'''


def sweep(suite, path, **columns):
    (path / "mine.py").write_text(EXPERIMENT.format(**columns))
    return pt.sweep(
        pt.SweepConfig(
            model=str(suite), steps="0", experiments=str(path / "mine.py"), out=path / "run"
        )
    )


def test_a_sweep_writes_what_was_declared_and_fails_by_the_column_where_it_does_not_fit(
    suite, tmp_path
):
    sweep(suite, tmp_path, senders=["a", "b"], ranks=[1, 2], scores=[0.5, None])
    edges = pt.load(tmp_path / "run", table="edges")
    assert edges[["model", "experiment", "step", "sender", "rank"]].values.tolist() == [
        ["tiny", "mine", 0, "a", 1],
        ["tiny", "mine", 0, "b", 2],
    ]
    assert edges["rank"].dtype == pd.Int64Dtype()
    (file,) = (tmp_path / "run" / "tables" / "edges").rglob("*.parquet")
    assert pq.read_schema(file).remove_metadata() == arrow_schema((*UNIT_COLUMNS, *EDGES))
    (other := tmp_path / "other").mkdir()
    ((_, error),) = sweep(suite, other, senders=["a"], ranks=[None], scores=[1.0]).failed
    assert "table 'edges', column 'rank': it may not be null, and is in some rows" in error


def test_units_of_one_declaration_stand_together_whatever_they_hold(tmp_path):
    run = Run.create(tmp_path / "run")
    held = {0: {name: [] for name in GOOD}, 1: {**GOOD, "score": [None, None]}, 2: GOOD}
    for step, columns in held.items():
        rows = Rows()
        rows.table("edges", columns)
        write_unit(run, unit(step), rows, {}, tables={"edges": EDGES})
    edges = pt.load(run.path, table="edges")
    assert edges.step.tolist() == [1, 1, 2, 2]
    assert edges.score.dropna().tolist() == [0.5]
    assert pt.load(run.path, table="edges", sender="a").score.isna().tolist() == [True, False]


def test_tables_of_one_name_and_other_columns_stand_together_where_their_types_fit(tmp_path):
    run = Run.create(tmp_path / "run")
    declared = {
        0: (Column("score", "int32", False, "whole"),),
        1: (Column("score", "float64", False, "broken"), Column("more", "string", False, "words")),
        2: (Column("score", "string", False, "words"),),
    }
    values = {0: {"score": [1]}, 1: {"score": [0.5], "more": ["x"]}, 2: {"score": ["high"]}}
    for step, columns in declared.items():
        rows = Rows()
        rows.table("mine", values[step])
        write_unit(run, unit(step), rows, {}, tables={"mine": columns})
    with pytest.warns(UserWarning, match="step-000002.parquet .its columns are of other") as said:
        found = pt.load(run.path, table="mine")
    assert found.score.tolist() == [1.0, 0.5]
    assert found.more.astype(object).fillna("").tolist() == ["", "x"]
    assert "choose by label= or step=" in str(said[0].message)
    assert "next sweep" not in str(said[0].message)
    with pytest.warns(UserWarning, match="left out 1 damaged file"):
        assert pt.load(run.path, table="mine", more="x").step.tolist() == [1]
    assert pt.load(run.path, table="mine", step=2).score.tolist() == ["high"]


def test_words_and_texts_of_one_column_stand_together(tmp_path):
    run = Run.create(tmp_path / "run")
    for step, kind in enumerate(("string", "dictionary", "string")):
        rows = Rows()
        rows.table("mine", {"word": [f"w{step}", "all"]})
        columns = (Column("word", kind, False, "a word"),)
        write_unit(run, unit(step), rows, {}, tables={"mine": columns})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pt.load(run.path, table="mine")
        assert found.word.tolist() == ["w0", "all", "w1", "all", "w2", "all"]
        assert pt.load(run.path, table="mine", word="all").step.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"items": EDGES}, "table 'items': a lower-case word other than items and models"),
        ({"Edges": EDGES}, "table 'Edges': a lower-case word"),
        ({"edges": (EDGES[0])}, "table 'edges': give a tuple of columns"),
        (
            {"edges": (("rank", "int16", False, "a rank"),)},
            "table 'edges': give a tuple of columns",
        ),
    ],
)
def test_a_slip_in_a_declaration_is_said_where_it_is_made(tables, said):
    with pytest.raises(TypeError, match=f"experiment mine: {said}"):

        @experiment(version=1, tables=tables)
        def mine(model):
            """Declares tables."""
