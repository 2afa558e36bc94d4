"""Rows as any reader finds them: pandas, pyarrow, DuckDB and Polars in one plain call each, also
while the run is written.
"""

import json
import threading
import time

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

import pythia_traj as pt
from pythia_traj import schema
from pythia_traj.errors import StoreError
from pythia_traj.store.layout import Run
from pythia_traj.store.unit import UnitId, read_footer, write_unit
from pythia_traj.values import Key, Rows


def rows(step):
    made = Rows()
    made.add(Key("nll"), 2.5 - step / 1000, stderr=0.1, n=10)
    for head in range(3):
        made.add_items(
            Key("prefix_matching", variant="two_halves", component="head", layer=0, head=head),
            [0.1, 0.2, 0.4],
        )
    made.undefined(Key("icl_score"), "context too short")
    return made


def write(run, model, label, step):
    write_unit(
        run,
        UnitId(model, label, "toy", f"step{step}", None, step, step * 2048),
        rows(step),
        {"digest": "d"},
    )


@pytest.fixture
def run(tmp_path):
    run = Run.create(tmp_path / "run")
    for model in ("a-1b", "b-70m"):
        for label in ("loss", "induction"):
            for step in (0, 512):
                write(run, model, label, step)
    return run


READERS = {
    "pandas": lambda path: len(pd.read_parquet(path)),
    "pyarrow": lambda path: ds.dataset(path, partitioning="hive").to_table().num_rows,
    "duckdb": (
        lambda path: duckdb.sql(
            f"select count(*) from read_parquet('{path}/**/*.parquet', hive_partitioning=true)"
        ).fetchall()[0][0]
    ),
    "polars": lambda path: pl.read_parquet(path, hive_partitioning=True).height,
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_reads_the_metrics_in_one_call(run, reader):
    assert READERS[reader](str(run.metrics)) == 8 * 5


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_reads_while_the_run_is_written(run, reader):
    stop = threading.Event()

    def keep_writing():
        step = 1000
        while not stop.is_set():
            write(run, "a-1b", "loss", step)
            step += 1

    writer = threading.Thread(target=keep_writing)
    writer.start()
    counts, deadline = [], time.monotonic() + 30
    try:
        while len(counts) < 15 or (counts[-1] == 8 * 5 and time.monotonic() < deadline):
            counts.append(READERS[reader](str(run.metrics)))
    finally:
        stop.set()
        writer.join()
    assert all(count % 5 == 0 for count in counts)
    assert counts == sorted(counts)
    assert counts[-1] > 8 * 5


def test_the_partitions_are_columns_of_every_reader(run):
    path = str(run.metrics)
    assert {"model", "experiment"} <= set(pd.read_parquet(path).columns)
    assert {"model", "experiment"} <= set(ds.dataset(path, partitioning="hive").schema.names)
    assert {"model", "experiment"} <= set(pl.read_parquet(path, hive_partitioning=True).columns)
    found = duckdb.sql(
        f"select distinct model from read_parquet('{path}/**/*.parquet', hive_partitioning=true)"
        " order by 1"
    ).fetchall()
    assert found == [("a-1b",), ("b-70m",)]


def test_the_columns_are_the_schemas_types_all_null_ones_included(run):
    file = next(run.metrics.rglob("*.parquet"))
    found = pq.read_schema(file)
    assert found.names == [column.name for column in schema.METRICS]
    words = {column.name for column in schema.METRICS if column.type == "dictionary"}
    for name in words:
        assert found.field(name).type == pa.dictionary(pa.int32(), pa.string()), name
    for column in schema.METRICS:
        assert found.field(column.name).nullable == column.nullable
    assert {c.name: c.type for c in schema.METRICS if c.type != "dictionary"} == {
        field.name: str(field.type).replace("double", "float64")
        for field in found
        if field.name not in words
    }


def test_load_returns_tidy_rows_with_nullable_integers(run):
    frame = pt.load(run.path)
    assert list(frame.columns[:2]) == ["model", "experiment"]
    assert frame["layer"].dtype == pd.Int16Dtype()
    assert frame["head"].dtype == pd.Int16Dtype()
    assert frame["position"].dtype == pd.Int32Dtype()
    assert frame["n"].dtype == pd.Int64Dtype()
    assert frame[frame.metric == "icl_score"].value.isna().all()


def test_load_filters_by_value_list_and_null(run):
    assert len(pt.load(run.path, model="a-1b", experiment="loss", metric="nll", step=[0, 512])) == 2
    assert set(pt.load(run.path, variant=None).metric) == {"nll", "icl_score"}
    with pytest.raises(StoreError, match="there is no column 'metrc': did you mean metric"):
        pt.load(run.path, metrc="nll")


def test_items_are_a_table_beside_the_metrics(run):
    items = pt.load(run.path, table="items", model="a-1b", experiment="loss", step=0)
    assert items.groupby("head").size().tolist() == [3, 3, 3]
    assert items[items["head"] == 0].value.tolist() == pytest.approx([0.1, 0.2, 0.4])
    with pytest.raises(StoreError, match="has no table 'edges': did you mean|known: items"):
        pt.load(run.path, table="edges")


def test_a_run_without_rows_is_an_empty_frame(tmp_path):
    frame = pt.load(Run.create(tmp_path / "run").path)
    assert frame.empty
    assert {"model", "metric", "value"} <= set(frame.columns)


def test_means_and_standard_errors_are_over_items():
    made = Rows()
    made.add_items(Key("m"), [1.0, 2.0, 3.0, 6.0])
    made.add_items(Key("one"), [5.0])
    row, one = made.metrics
    assert (row.value, row.n) == (3.0, 4)
    assert row.stderr == pytest.approx(pd.Series([1, 2, 3, 6]).sem())
    assert (one.value, one.stderr, one.n) == (5.0, None, 1)


def test_a_value_that_is_not_finite_is_null_with_a_reason():
    made = Rows()
    made.add(Key("m"), float("nan"))
    assert made.metrics[0].value is None
    assert made.metrics[0].reason == "not finite (nan)"


def test_the_footer_is_json_under_its_key(run):
    path = run.unit_path("a-1b", "loss", 0)
    written = {"digest": "d", "beside": ["items.parquet"]}
    assert read_footer(path) == written
    assert json.loads(pq.read_metadata(path).metadata[b"pythia_traj"]) == written
    path.write_bytes(b"PAR1 and no more")
    assert read_footer(path) is None


def test_an_experiments_own_table_has_the_units_columns_in_front(tmp_path):
    run = Run.create(tmp_path / "run")
    made = Rows()
    made.table("edges", {"sender": ["a", "b"], "score": [0.5, -0.5]})
    write_unit(run, UnitId("m", "eap", "toy", "step1", None, 1, None), made, {})
    edges = pt.load(run.path, table="edges")
    assert edges[["model", "step", "sender", "score"]].values.tolist() == [
        ["m", 1, "a", 0.5],
        ["m", 1, "b", -0.5],
    ]
    assert pt.load(run.path).empty


def test_tensors_are_a_safetensors_file_beside_the_metrics_with_the_footer_in_it(run):
    made = rows(512)
    arrays = {
        "acts": np.arange(12, dtype=np.float32).reshape(3, 4).T,
        "tokens": np.array([[1, 2]], np.int32),
    }
    made.tensors("activations", arrays)
    unit = UnitId("a-1b", "loss", "toy", "step512", None, 512, None)
    write_unit(run, unit, made, {"digest": "d"})
    path = (
        run.path
        / "tables"
        / "activations"
        / "model=a-1b"
        / "experiment=loss"
        / "step-000512.safetensors"
    )
    with safe_open(path, "numpy") as file:
        assert json.loads(file.metadata()["pythia_traj"])["digest"] == "d"
        assert (file.get_tensor("acts") == arrays["acts"]).all()
        assert file.get_tensor("tokens").dtype == np.int32
    assert not list((run.path / ".tmp").iterdir())
    assert len(pt.load(run.path, table="items", model="a-1b", experiment="loss", step=512)) == 9
    for name, reader in READERS.items():
        assert reader(str(run.metrics)) == 8 * 5, name
        assert reader(str(run.path / "tables" / "items")) == 8 * 9, name
    with pytest.raises(
        StoreError, match="activations holds tensors, not rows: read the .safetensors files below"
    ):
        pt.load(run.path, table="activations")
    # Measured again without them: nothing of the earlier unit is left.
    write_unit(run, unit, rows(512), {"digest": "e"})
    assert not path.exists()


def test_a_name_is_a_table_or_tensors_and_not_both():
    made = Rows()
    made.table("edges", {"score": [1.0]})
    with pytest.raises(ValueError, match="'edges' is the name of a table and of tensors"):
        made.tensors("edges", {"a": np.zeros(1)})
    made.tensors("acts", {"a": np.zeros(1)})
    with pytest.raises(ValueError, match="give one of them another"):
        made.table("acts", {"score": [1.0]})
    with pytest.raises(ValueError, match="a lower-case word other than items and models"):
        made.tensors("items", {})
