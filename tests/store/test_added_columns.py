"""A column that was added to a table: files from before lack it, and are whole."""

import shutil

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import pythia_traj as pt
from pythia_traj import schema
from pythia_traj.store.done import survey
from pythia_traj.store.layout import Run
from pythia_traj.store.parquet import COLUMNS, DamagedError, arrow_schema, read_parquet
from tests.store import damage as d

EXPERIMENT = '''
import numpy as np

from pythia_traj.engines.means import Design
from pythia_traj.experiment import experiment
from pythia_traj.processing import RAW
from pythia_traj.values import Key, Rows

@experiment(version=1, processing=RAW)
def norms(model) -> Rows:
    """Norms of W_in, the items in pairs."""
    rows = Rows()
    norms = model.W_in[0].detach().norm(dim=0).numpy()[:16]
    rows.add_items(Key("norm"), norms, Design.of(np.arange(16) // 2))
    return rows

@experiment(version=1, processing=RAW)
def sums(model) -> Rows:
    """Sums of W_in, each independent."""
    rows = Rows()
    rows.add_items(Key("sum"), model.W_in[0].detach().sum(dim=0).numpy()[:4])
    return rows
'''

STEPS = (0, 1, 2)
LABELS = ("norms", "sums")

PAIRS = [i // 2 for i in range(16)]

OLDER = d.with_table(lambda table: table.drop_columns(["cluster"]))
"""What a version of before wrote: provenance and checksum are right."""


@pytest.fixture(scope="module")
def made(suite, tmp_path_factory):
    """A run, not to be changed, and the request that made it."""
    root = tmp_path_factory.mktemp("added")
    (root / "mine.py").write_text(EXPERIMENT)
    request = {
        "model": str(suite),
        "steps": "0,1,2",
        "device": "cpu",
        "experiments": {name: {"use": f"{root / 'mine.py'}:{name}"} for name in LABELS},
    }
    assert not pt.sweep(pt.SweepConfig(**request, out=root / "run")).failed
    return root / "run", request


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made[0], tmp_path / "run")


def items_of(run, step, label="norms"):
    return Run(run).unit_path("tiny", label, step, table="items")


def clusters(frame, step):
    of_step = frame[(frame.step == step) & (frame.label == "norms")]
    return [None if pd.isna(one) else one for one in of_step.cluster]


def test_added_columns_are_nullable_and_the_last():
    for columns in COLUMNS.values():
        added = [column.added for column in columns]
        assert added == sorted(added)
        assert all(column.nullable for column in columns if column.added)
    assert [column.name for column in schema.ITEMS if column.added] == ["cluster"]
    assert schema.VERSION == 2


@pytest.mark.parametrize("older", [STEPS[:1], STEPS[2:], STEPS], ids=["first", "last", "all"])
def test_files_from_before_are_read_with_nulls(run, older):
    whole = pt.load(run, table="items")
    assert clusters(whole, 0) == PAIRS
    for step in older:
        OLDER(items_of(run, step))
    found = pt.load(run, table="items")
    pd.testing.assert_frame_equal(
        found.drop(columns="cluster"), whole.drop(columns="cluster"), check_exact=True
    )
    assert found.dtypes.equals(whole.dtypes)
    for step in STEPS:
        assert clusters(found, step) == ([None] * 16 if step in older else PAIRS)


def test_rows_are_chosen_by_a_column_that_some_files_lack(run):
    for label in LABELS:
        OLDER(items_of(run, 0, label))
    assert pt.load(run, table="items", cluster=3).step.tolist() == [1, 1, 2, 2]
    nulls = pt.load(run, table="items", cluster=None)
    assert nulls.groupby("label", observed=True).step.unique().apply(list).to_dict() == {
        "norms": [0],
        "sums": [0, 1, 2],
    }
    # The files of another experiment are not decoded.
    assert set(pt.load(run, table="items", cluster=3, experiment="norms").step) == {1, 2}
    with pytest.warns(UserWarning, match="no row has all of this"):
        assert pt.load(run, table="items", cluster=3, step=0).empty


def test_a_file_from_before_is_done_and_not_damaged(made, run):
    for step in STEPS:
        OLDER(items_of(run, step))
        OLDER(items_of(run, step, "sums"))
    found = pt.status(run, check=True)
    assert (found.done, found.left, found.damaged) == (6, 0, 0)
    assert survey(Run(run)).damaged == {}
    done = pt.sweep(pt.SweepConfig(**made[1], out=run))
    assert (len(done.done), len(done.skipped)) == (0, 6)
    assert pt.load(run, table="items").cluster.isna().all()
    rows = pt.describe(run).tables.query("table == 'items'")
    assert rows.column.tolist() == [column.name for column in schema.ITEMS]


DAMAGE = {
    "another column missing": lambda table: table.drop_columns(["value"]),
    "a column of its unit missing": lambda table: table.drop_columns(["revision"]),
    "two columns missing": lambda table: table.drop_columns(["value", "cluster"]),
    "a column too many": lambda table: table.append_column("mine", table["value"]),
    "another column in its place": lambda table: table.rename_columns(
        [*table.column_names[:-1], "mine"]
    ),
    "the column elsewhere": lambda table: table.select(["cluster", *table.column_names[:-1]]),
    "the column of another type": lambda table: table.set_column(
        len(table.column_names) - 1, "cluster", table["cluster"].cast(pa.int64())
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_file_with_other_columns_is_damaged_as_before(run, kind):
    d.with_table(DAMAGE[kind])(items_of(run, 1))
    with pytest.warns(UserWarning, match="left out 1 damaged file: .*step-000001"):
        assert set(pt.load(run, table="items", label="norms").step) == {0, 2}
    assert pt.status(run, check=True).damaged == 1


def test_a_column_that_was_not_added_later_may_not_lack(run):
    """The rule is the schema's, not one of this column's name."""
    OLDER(items_of(run, 0))
    first = tuple(
        schema.Column(one.name, one.type, one.nullable, one.meaning) for one in schema.ITEMS
    )
    with pytest.raises(DamagedError, match="it has no column cluster"):
        read_parquet(items_of(run, 0), first)
    two = (*schema.ITEMS, schema.Column("more", "dictionary", True, "of later", added=True))
    whole = read_parquet(items_of(run, 0), two)
    assert [column.name for column in whole.lacking] == ["cluster", "more"]
    assert whole.table().schema.equals(arrow_schema(two))
    assert whole.table(["more", "value"]).column_names == ["value", "more"]
    assert read_parquet(items_of(run, 1), two).table().schema.equals(arrow_schema(two))


def test_what_is_written_today_has_the_column(run):
    assert pq.read_schema(items_of(run, 0)).names[-1] == "cluster"
    assert read_parquet(items_of(run, 0), schema.ITEMS).lacking == ()


def with_pyarrow(folder, newest):
    partitions = [pa.field(name, pa.string()) for name in schema.PARTITIONS]
    columns = pa.schema([*pq.read_schema(newest), *partitions])
    found = ds.dataset(folder, partitioning="hive", schema=columns).to_table()
    return found["step"].to_pylist(), found["cluster"].to_pylist()


def with_duckdb(folder, newest):
    found = duckdb.sql(
        f"select step, cluster from read_parquet('{folder}/**/*.parquet', hive_partitioning=true,"
        " union_by_name=true)"
    ).fetchall()
    return [step for step, _ in found], [cluster for _, cluster in found]


def with_polars(folder, newest):
    columns = {**pl.read_parquet_schema(newest), **dict.fromkeys(schema.PARTITIONS, pl.String)}
    found = pl.scan_parquet(
        folder, hive_partitioning=True, schema=columns, missing_columns="insert"
    ).collect()
    return found["step"].to_list(), found["cluster"].to_list()


@pytest.mark.parametrize("older", [0, 2], ids=["first", "last"])
@pytest.mark.parametrize("reader", [with_pyarrow, with_duckdb, with_polars])
def test_other_readers_read_both_kinds_of_files_as_the_docs_say(run, reader, older):
    OLDER(items_of(run, older))
    shutil.rmtree(items_of(run, 0, "sums").parent)
    steps, found = reader(str(Run(run).folder("items")), items_of(run, 1))
    assert sorted(steps) == [step for step in STEPS for _ in range(16)]
    assert [cluster for step, cluster in zip(steps, found, strict=True) if step == 1] == PAIRS
    assert {step for step, cluster in zip(steps, found, strict=True) if cluster is None} == {older}
