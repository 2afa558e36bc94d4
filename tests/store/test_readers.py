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
from pythia_traj.engines.means import Design
from pythia_traj.errors import StoreError
from pythia_traj.schema import Column
from pythia_traj.store.layout import Run
from pythia_traj.store.parquet import TYPES, arrow_schema
from pythia_traj.store.tables import UnitId
from pythia_traj.store.unit import read_footer, write_unit
from pythia_traj.values import Key, Rows

TOKENS_PER_STEP = 2097152

EDGES = {
    "edges": (
        Column("sender", "dictionary", False, "where it begins"),
        Column("kind", "dictionary", True, "of which kind"),
        Column("layer", "int16", True, "its layer"),
        Column("kept", "bool", True, "whether it is in the circuit"),
        Column("score", "float32", True, "its score"),
        Column("text", "string", True, "free text"),
        Column("ids", "list<int32>", True, "some tokens"),
        Column("scores", "list<float32>", True, "their scores"),
        Column("texts", "list<string>", True, "the same as texts"),
    )
}


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
        unit(model, label, step),
        rows(step),
        {"digest": "d"},
    )


def unit(model, label, step):
    return UnitId(
        model, label, f"{label}_of_heads", "toy", f"step{step}", None, step, step * TOKENS_PER_STEP
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
    assert {"model", "label"} <= set(pd.read_parquet(path).columns)
    assert {"model", "label"} <= set(ds.dataset(path, partitioning="hive").schema.names)
    assert {"model", "label"} <= set(pl.read_parquet(path, hive_partitioning=True).columns)
    found = duckdb.sql(
        "select distinct model, label, experiment"
        f" from read_parquet('{path}/**/*.parquet', hive_partitioning=true) order by all"
    ).fetchall()
    assert found == [
        (model, label, f"{label}_of_heads")
        for model in ("a-1b", "b-70m")
        for label in ("induction", "loss")
    ]


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


def test_load_returns_tidy_rows_whose_integers_are_wide(run):
    frame = pt.load(run.path)
    assert list(frame.columns) == ["model", "label", *(column.name for column in schema.METRICS)]
    whole = [column.name for column in schema.METRICS if column.type.startswith("int")]
    assert {"layer", "head", "position", "size", "step", "n", "clusters"} <= set(whole)
    assert set(frame[whole].dtypes) == {pd.Int64Dtype()}
    words = [column.name for column in schema.METRICS if column.type == "dictionary"]
    assert {str(kind) for kind in frame[["model", "label", *words]].dtypes} == {"category"}
    assert frame[frame.metric == "icl_score"].value.isna().all()


def test_categories_are_the_words_of_the_rows_that_were_chosen(run):
    frame = pt.load(run.path, metric="nll", label="loss", step=0)
    assert {name: list(frame[name].cat.categories) for name in ("metric", "label", "variant")} == {
        "metric": ["nll"],
        "label": ["loss"],
        "variant": [],
    }


def test_load_filters_by_value_list_and_null(run):
    assert len(pt.load(run.path, model="a-1b", label="loss", metric="nll", step=[0, 512])) == 2
    assert len(pt.load(run.path, experiment="loss_of_heads", metric="nll", step=0)) == 2
    said = "no row has all of this: experiment='loss_of_heads', label='induction'"
    with pytest.warns(UserWarning, match=said):
        assert len(pt.load(run.path, experiment="loss_of_heads", label="induction")) == 0
    with pytest.warns(UserWarning, match="no row has all of this: step=513; .*describe"):
        assert len(pt.load(run.path, step=513)) == 0
    with pytest.raises(StoreError, match="step=512.5: that column holds whole numbers"):
        pt.load(run.path, step=512.5)
    assert set(pt.load(run.path, variant=None).metric) == {"nll", "icl_score"}
    with pytest.raises(StoreError, match="unknown column 'metrc': did you mean metric"):
        pt.load(run.path, metrc="nll")


def test_items_are_a_table_beside_the_metrics(run):
    items = pt.load(run.path, table="items", model="a-1b", label="loss", step=0)
    assert items.groupby("head").size().tolist() == [3, 3, 3]
    assert items[items["head"] == 0].value.tolist() == pytest.approx([0.1, 0.2, 0.4])
    with pytest.raises(StoreError, match="has no table 'edges': did you mean|known: items"):
        pt.load(run.path, table="edges")


def test_a_run_without_rows_is_an_empty_frame_of_the_same_types(run, tmp_path):
    empty = Run.create(tmp_path / "empty").path
    for table in (None, "items"):
        frame, full = pt.load(empty, table=table), pt.load(run.path, table=table)
        assert frame.empty
        assert list(frame.columns) == list(full.columns)
        assert frame.dtypes.astype(str).tolist() == full.dtypes.astype(str).tolist()


def test_means_and_standard_errors_are_over_items():
    made = Rows()
    values = [1.0, 2.0, 3.0, 6.0, 4.0, 2.0]
    made.add_items(Key("m"), values)
    made.add_items(Key("one"), [5.0])
    row, one = made.metrics
    assert (row.value, row.n, row.clusters) == (3.0, 6, 6)
    assert row.stderr == pytest.approx(pd.Series(values).sem())
    assert (one.value, one.stderr, one.n, one.clusters) == (5.0, None, 1, 1)
    assert one.reason == "no standard error: 1 independent item, 6 are needed"


def test_blocks_of_items_divide_no_cluster():
    made = Rows()
    cluster = np.array([3, 3, 1, 1, 1, 0, 7, 7, 8, 9])
    made.add_items(Key("m"), np.arange(10.0), Design.of(cluster), blocks=3)
    assert [(item.n, item.value) for item in made.items] == [(5, 2.0), (3, 6.0), (2, 8.5)]
    assert made.metrics[0].clusters == 6


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


def write_edges(run, step, edges):
    made = Rows()
    made.table("edges", edges)
    write_unit(run, unit("m", "eap", step), made, {}, tables=EDGES)


def edges(senders, **columns):
    length = len(senders)
    return {
        "sender": senders,
        **{column.name: [None] * length for column in EDGES["edges"][1:]},
        **columns,
    }


@pytest.fixture
def three_kinds(tmp_path):
    """A run of units without a row, with columns that are all null, and with every column full."""
    run = Run.create(tmp_path / "run")
    bare, full = Rows(), Rows()
    bare.undefined(Key("nll"), "too short")
    full.add(
        Key(
            "effect", "mean", "set", 35, 39, 7,
            control="matched", part="top2", target="nll", size=10, reference="init",
        ),
        1.5, stderr=0.1, low=1.0, high=2.0, n=10, clusters=5,
    )  # fmt: skip
    for step, made in ((0, Rows()), (512, bare), (143000, full)):
        write_unit(run, unit("pythia-12b", "some", step), made, {"digest": "d"})
    every = edges(
        ["a", "b"], kind=["q", None], layer=[35, None], kept=[True, None], score=[0.5, None],
        text=["x", None], ids=[[1, 2], None], scores=[[0.5], None],
        texts=[["x", " y"], None],
    )  # fmt: skip
    for step, made in ((0, edges([])), (512, edges(["a"])), (143000, every)):
        write_edges(run, step, made)
    return run


def as_words(kind):
    return pa.string() if pa.types.is_dictionary(kind) or pa.types.is_large_string(kind) else kind


def is_list(kind):
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def as_arrow(kinds):
    """Types without the ways in which readers hold the same: words in a dictionary, lists of large
    offsets.
    """
    return {
        name: pa.list_(as_words(kind.value_type)) if is_list(kind) else as_words(kind)
        for name, kind in kinds.items()
    }


OF_DUCKDB = {
    "VARCHAR": pa.string(),
    "BOOLEAN": pa.bool_(),
    "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "INTEGER[]": pa.list_(pa.int32()),
    "FLOAT[]": pa.list_(pa.float32()),
    "VARCHAR[]": pa.list_(pa.string()),
}


def types_of_pandas(path):
    frame = pd.read_parquet(path, dtype_backend="pyarrow")
    return {name: kind.pyarrow_dtype for name, kind in frame.dtypes.items()}


def types_of_pyarrow(path):
    table = ds.dataset(path, partitioning="hive").to_table()
    return {field.name: field.type for field in table.schema}


def types_of_polars(path):
    table = pl.read_parquet(path, hive_partitioning=True).to_arrow()
    return {field.name: field.type for field in table.schema}


def types_of_duckdb(path):
    found = duckdb.sql(f"select * from read_parquet('{path}/**/*.parquet', hive_partitioning=true)")
    return {
        name: OF_DUCKDB[str(kind)] for name, kind in zip(found.columns, found.types, strict=True)
    }


TYPES_OF = {
    "pandas": types_of_pandas,
    "pyarrow": types_of_pyarrow,
    "polars": types_of_polars,
    "duckdb": types_of_duckdb,
}


@pytest.mark.parametrize(
    ("table", "columns", "count"),
    [(None, schema.METRICS, 2), ("edges", (*schema.UNIT_COLUMNS, *EDGES["edges"]), 3)],
    ids=["metrics", "edges"],
)
def test_every_reader_finds_the_types_of_the_schema_whatever_the_units_hold(
    three_kinds, table, columns, count
):
    path = str(three_kinds.folder(table))
    expected = {
        **{name: pa.string() for name in schema.PARTITIONS},
        **{column.name: TYPES[column.type] for column in columns},
    }
    for file in three_kinds.folder(table).rglob("*.parquet"):
        assert pq.read_schema(file).remove_metadata() == arrow_schema(columns)
    for reader in READERS:
        assert READERS[reader](path) == count, reader
        assert as_arrow(TYPES_OF[reader](path)) == as_arrow(expected), reader
    assert len(pt.load(three_kinds.path, table=table, controls=True)) == count


def computed_by_pandas(path):
    frame = pd.read_parquet(path).dropna(subset="layer")
    return (frame.step * TOKENS_PER_STEP).item(), (frame.layer * 1000 + frame["head"]).item()


def computed_by_polars(path):
    frame = pl.read_parquet(path, hive_partitioning=True).drop_nulls("layer")
    return frame.select(
        pl.col("step") * TOKENS_PER_STEP,
        head=pl.col("layer").cast(pl.Int64) * 1000 + pl.col("head"),
    ).row(0)


def computed_by_duckdb(path):
    return duckdb.sql(
        f"select step * {TOKENS_PER_STEP}, layer::bigint * 1000 + head from"
        f" read_parquet('{path}/**/*.parquet', hive_partitioning=true) where layer is not null"
    ).fetchall()[0]


def computed_by_pyarrow(path):
    table = ds.dataset(path, partitioning="hive").to_table(
        columns={
            "tokens": ds.field("step") * TOKENS_PER_STEP,
            "place": ds.field("layer").cast(pa.int64()) * 1000 + ds.field("head"),
        },
        filter=ds.field("layer").is_valid(),
    )
    return tuple(column[0].as_py() for column in table.columns)


def computed_by_load(path):
    frame = pt.load(path.removesuffix("/metrics"), control="matched")
    return (frame.step * TOKENS_PER_STEP).item(), (frame.layer * 1000 + frame["head"]).item()


@pytest.mark.parametrize(
    "compute",
    [
        computed_by_pandas,
        computed_by_polars,
        computed_by_duckdb,
        computed_by_pyarrow,
        computed_by_load,
    ],
)
def test_what_everybody_computes_of_steps_and_heads_does_not_overflow(three_kinds, compute):
    assert compute(str(three_kinds.metrics)) == (299_892_736_000, 35_039)


def test_tensors_are_a_safetensors_file_beside_the_metrics_with_the_footer_in_it(run):
    made = rows(512)
    arrays = {
        "acts": np.arange(12, dtype=np.float32).reshape(3, 4).T,
        "tokens": np.array([[1, 2]], np.int32),
    }
    made.tensors("activations", arrays)
    write_unit(run, unit("a-1b", "loss", 512), made, {"digest": "d"})
    path = (
        run.path
        / "tables"
        / "activations"
        / "model=a-1b"
        / "label=loss"
        / "step-000512.safetensors"
    )
    with safe_open(path, "numpy") as file:
        assert json.loads(file.metadata()["pythia_traj"])["digest"] == "d"
        assert (file.get_tensor("acts") == arrays["acts"]).all()
        assert file.get_tensor("tokens").dtype == np.int32
    assert not list((run.path / ".tmp").iterdir())
    assert len(pt.load(run.path, table="items", model="a-1b", label="loss", step=512)) == 9
    for name, reader in READERS.items():
        assert reader(str(run.metrics)) == 8 * 5, name
        assert reader(str(run.path / "tables" / "items")) == 8 * 9, name
    with pytest.raises(
        StoreError, match="activations holds tensors, not rows: read the .safetensors files below"
    ):
        pt.load(run.path, table="activations")
    # Measured again without them: nothing of the earlier unit is left.
    write_unit(run, unit("a-1b", "loss", 512), rows(512), {"digest": "e"})
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
