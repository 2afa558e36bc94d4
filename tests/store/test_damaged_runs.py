"""A damaged file costs its own rows: named, counted, left out, and made anew by the next sweep."""

import json
import os
import shutil
import time
import warnings

import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.errors import StoreError
from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run
from tests.store import damage as d

EXPERIMENT = '''
from pythia_traj.experiment import experiment
from pythia_traj.processing import RAW
from pythia_traj.schema import Column
from pythia_traj.values import Key, Rows

SIZES = (Column("name", "string", False, "of what"), Column("size", "float64", False, "its norm"))

@experiment(version=1, processing=RAW, tables={"sizes": SIZES})
def norms(model) -> Rows:
    """Norms of W_in, with items, a table and tensors beside them."""
    rows = Rows()
    for layer in range(model.cfg.n_layers):
        rows.add_items(Key("norm", layer=layer), model.W_in[layer].detach().norm(dim=0).numpy()[:4])
    rows.table("sizes", {"name": ["W_in", "W_out"], "size": [1.5, 2.5]})
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

UNIT = "model=tiny/label=norms/step-000001.parquet"
FILES = {
    "metrics": f"metrics/{UNIT}",
    "items": f"tables/items/{UNIT}",
    "own table": f"tables/sizes/{UNIT}",
    "tensors": f"tables/biases/{UNIT.replace('.parquet', '.safetensors')}",
}
TABLES = {"metrics": None, "items": "items", "own table": "sizes"}

JSON_IS_HOSTILE = {
    "null": b"null",
    "list": b"[]",
    "text": b'"run"',
    "not JSON": b"{",
    "empty": b"",
    "not UTF-8": b'{"a": "\xff"}',
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "long number": b'{"digest": ' + b"9" * 5000 + b"}",
    "NaN": b'{"digest": NaN}',
    "a name twice": b'{"digest": "a", "digest": "b"}',
    "a number for text": b'{"digest": 3}',
    "text for an object": b'{"digest": "a", "made_of": "b"}',
    "null for an object": b'{"digest": "a", "source": null}',
}


@pytest.fixture(scope="module")
def made(suite, tmp_path_factory):
    """A run of three steps, not to be changed, and the request that made it."""
    root = tmp_path_factory.mktemp("damage")
    (root / "mine.py").write_text(EXPERIMENT)
    request = {
        "model": str(suite),
        "steps": "0,1,2",
        "device": "cpu",
        "experiments": {"norms": {"use": f"{root / 'mine.py'}:norms"}},
    }
    pt.sweep(pt.SweepConfig(**request, out=root / "run"))
    return root / "run", request


@pytest.fixture
def run(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "run")
    return tmp_path / "run"


def load_with_notes(run, **where):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = pt.load(run, **where)
    return frame, [str(one.message) for one in caught]


def assert_whole(run, made):
    """Every table is that of the undisturbed run, to the bit, and nothing is complained of."""
    for table in (None, "items", "sizes", "models"):
        found, notes = load_with_notes(run, table=table)
        assert notes == []
        pd.testing.assert_frame_equal(found, pt.load(made[0], table=table), check_exact=True)
    found = pt.status(run, check=True)
    assert (found.done, found.left, found.damaged) == (3, 0, 0)


PARQUET = {
    "garbage": d.replaced_by(b"\x00\xff" * 5000),
    "text": d.replaced_by(b"step,value\n1,2\n"),
    "empty": d.replaced_by(b""),
    "one byte": d.replaced_by(b"P"),
    "both ends alone": d.replaced_by(b"PAR1PAR1"),
    "length of the footer too large": d.replaced_by(b"PAR1" + b"\xff" * 4 + b"PAR1"),
    "cut in the middle": d.shortened_to(0.5),
    "cut at the end": d.shortened_to(0.99),
    "pages overwritten": d.overwritten,
    "pages of an older version overwritten": d.overwritten_without_checksum,
    "a bit of the pages flipped": d.flipped(0.05),
    "a bit of its provenance flipped": d.flipped_in(b'"digest": "'),
    "no provenance": d.with_footer(None),
    "a directory": d.a_directory,
    "a dangling link": d.a_dangling_link,
    "a pipe": d.a_pipe,
    "3 GB of nothing": d.sparse(3 * 10**9),
    "another step's": d.a_copy_of("step-000000.parquet"),
    "a column missing": d.with_table(lambda table: table.drop_columns(["revision"])),
    "columns in another order": d.with_table(lambda table: table.select(table.column_names[::-1])),
    "steps as text": d.with_table(d.as_text("step")),
}

METRICS_ALONE = {
    "values as text": d.with_table(d.as_text("value")),
    "a value column missing": d.with_table(lambda table: table.drop_columns(["stderr"])),
    "a column too many": d.with_table(lambda table: table.append_column("mine", table["value"])),
    "two million rows in 8 kB": d.a_claim_of_rows,
    **{f"provenance: {name}": d.with_footer(text) for name, text in JSON_IS_HOSTILE.items()},
}

CASES = [
    *((kind, "metrics", damage) for kind, damage in {**PARQUET, **METRICS_ALONE}.items()),
    *(
        (kind, file, damage)
        for file in ("items", "own table")
        for kind, damage in list(PARQUET.items())[::3]
    ),
    ("columns of other types", "own table", d.with_table(d.as_text("size"))),
    ("garbage", "tensors", d.replaced_by(b"x" * 1000)),
    ("cut in the middle", "tensors", d.shortened_to(0.5)),
    ("empty", "tensors", d.replaced_by(b"")),
    ("a pipe", "tensors", d.a_pipe),
    ("missing", "items", os.unlink),
    ("missing", "own table", os.unlink),
    ("missing", "tensors", os.unlink),
]


@pytest.mark.parametrize(
    ("kind", "file", "damage"), CASES, ids=[f"{file}: {kind}" for kind, file, _ in CASES]
)
def test_a_damaged_file_costs_its_own_rows(made, run, tmp_path, kind, file, damage):
    damage(run / FILES[file])
    start = time.monotonic()
    if file in TABLES:
        found, notes = load_with_notes(run, table=TABLES[file])
        whole = pt.load(made[0], table=TABLES[file])
        rest = whole[whole.step != 1].reset_index(drop=True)
        assert found.astype(str).equals(rest.astype(str))
        assert [FILES[file] in note and "left out 1 damaged file" in note for note in notes] == [
            True
        ] * (kind != "missing")
    status = pt.status(run, check=True)
    if (kind, file) == ("columns of other types", "own table"):
        # Nothing but the other units' tables says what such a column should hold.
        return
    assert (status.done, status.left, status.units["tiny/norms/step1"]) == (2, 1, "left")
    assert list(status.damaged_files) == [FILES[file]]
    if file == "metrics":
        notes = pt.report(run, tmp_path / "report.html")
        (words,) = [note.words for note in notes if note.kind == "damaged"]
        assert FILES[file] in words
        assert FILES[file] in (tmp_path / "report.html").read_text()
    result = pt.sweep(pt.SweepConfig(**made[1], out=run))
    assert [unit.name for unit in result.done] == ["tiny/norms/step1"]
    assert result.failed == []
    assert len(result.warnings) == 1
    assert "are damaged" in result.warnings[0]
    assert FILES[file] in result.warnings[0]
    assert_whole(run, made)
    assert time.monotonic() - start < 20


def test_a_directory_in_the_way_is_kept_under_a_hidden_name(made, run):
    d.a_directory(run / FILES["metrics"])
    pt.sweep(pt.SweepConfig(**made[1], out=run))
    (kept,) = (run / FILES["metrics"]).parent.glob(".step-*")
    assert (kept / "notes.txt").read_text() == "mine"


def test_what_has_no_name_of_ours_is_neither_read_nor_removed(made, run):
    folder = (run / FILES["metrics"]).parent
    names = [
        "step-abc.parquet",
        "step-1.parquet",
        "step-000001.parquet~",
        ".DS_Store",
        ".nfs0001",
        "step-000001 (copy).parquet",
    ]
    for name in names:
        (folder / name).write_bytes(b"mine")
    for other in ("model=", "model=a b", "model=..", "notes", "label=x"):
        (run / "metrics" / other / "label=x").mkdir(parents=True)
        (run / "metrics" / other / "label=x" / "step-000001.parquet").write_bytes(b"mine")
    (run / "requests" / "notes.json").write_text("mine")
    (run / "metrics" / "model=file").write_text("mine")
    (run / "metrics" / "model=loop").symlink_to(run / "metrics")
    assert not pt.sweep(pt.SweepConfig(**made[1], out=run)).done
    assert_whole(run, made)
    assert all((folder / name).read_bytes() == b"mine" for name in names)


@pytest.mark.parametrize(
    "damage", [PARQUET["garbage"], PARQUET["pages overwritten"], PARQUET["a directory"]]
)
def test_a_damaged_row_of_a_model_is_left_out_and_written_by_the_next_sweep(made, run, damage):
    path = run / "tables" / "models" / "model=tiny" / "model.parquet"
    damage(path)
    found, notes = load_with_notes(run, table="models")
    assert found.empty
    assert "tables/models/model=tiny/model.parquet" in notes[0]
    found = pt.status(run, check=True)
    assert list(found.damaged_files) == ["tables/models/model=tiny/model.parquet"]
    assert found.done == 3
    assert not pt.sweep(pt.SweepConfig(**made[1], out=run)).done
    assert_whole(run, made)


@pytest.mark.parametrize(
    "damage", [PARQUET["garbage"], PARQUET["pages overwritten"], METRICS_ALONE["values as text"]]
)
def test_a_damaged_row_that_only_references_need_is_as_if_it_were_not_there(made, tmp_path, damage):
    settings = {
        **made[1],
        "steps": "2",
        "experiments": {"growth": {"use": f"{made[0].parent / 'mine.py'}:growth"}},
    }
    pt.sweep(pt.SweepConfig(**settings, out=tmp_path / "run"))
    calm = pt.load(tmp_path / "run")
    (cached,) = (tmp_path / "run" / "cache").rglob("*.parquet")
    damage(cached)
    assert len(pt.status(tmp_path / "run", check=True).damaged_files) == 1
    shutil.rmtree(tmp_path / "run" / "metrics")
    assert not pt.sweep(pt.SweepConfig(**settings, out=tmp_path / "run")).failed
    pd.testing.assert_frame_equal(pt.load(tmp_path / "run"), calm, check_exact=True)


REQUESTS = {
    **{name: d.replaced_by(text) for name, text in JSON_IS_HOSTILE.items()},
    "steps as text": d.replaced_by(
        b'{"experiments": {"norms": {}}, "explicit_steps": {"tiny": "0"}}'
    ),
    "steps as words": d.replaced_by(
        b'{"experiments": {"norms": {}}, "explicit_steps": {"tiny": ["0"]}}'
    ),
    "a yes for a step": d.replaced_by(
        b'{"experiments": {"norms": {}}, "explicit_steps": {"tiny": [true]}}'
    ),
    "a step of 30 digits": d.replaced_by(
        b'{"experiments": {"a": {}}, "explicit_steps": {"tiny": [' + b"9" * 30 + b"]}}"
    ),
    "labels as a list": d.replaced_by(
        b'{"experiments": ["norms"], "explicit_steps": {"tiny": [0]}}'
    ),
    "more units than atoms": d.replaced_by(
        json.dumps(
            {
                "experiments": {str(i): {} for i in range(20_000)},
                "explicit_steps": {"tiny": list(range(20_000))},
            }
        ).encode()
    ),
    "a pipe": d.a_pipe,
    "a directory": d.a_directory,
    "a dangling link": d.a_dangling_link,
    "3 GB of nothing": d.sparse(3 * 10**9),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_damaged_request_costs_itself(made, run, kind):
    (request,) = (run / "requests").iterdir()
    REQUESTS[kind](request)
    found = pt.status(run)
    assert (found.done, found.left, found.damaged) == (0, 0, 1)
    assert list(found.damaged_files) == [f"requests/{request.name}"]
    assert len(pt.load(run)) == len(pt.load(made[0]))
    pt.sweep(pt.SweepConfig(**made[1], out=run))
    assert_whole(run, made)


RUN_JSON = {
    **{name: d.replaced_by(text) for name, text in JSON_IS_HOSTILE.items()},
    "no version": d.replaced_by(b'{"kind": "pythia-traj run"}'),
    "text for the version": d.replaced_by(b'{"kind": "pythia-traj run", "schema": "1"}'),
    "a yes for the version": d.replaced_by(b'{"kind": "pythia-traj run", "schema": true}'),
    "a pipe": d.a_pipe,
    "a directory": d.a_directory,
    "3 GB of nothing": d.sparse(3 * 10**9),
}


@pytest.mark.parametrize("kind", RUN_JSON)
def test_a_damaged_run_json_is_refused_in_one_line_that_says_what_to_do(made, run, tmp_path, kind):
    RUN_JSON[kind](run / "run.json")
    calls = (
        lambda: pt.load(run),
        lambda: pt.status(run),
        lambda: pt.report(run, tmp_path / "r.html"),
        lambda: pt.sweep(pt.SweepConfig(**made[1], out=run)),
    )
    for call in calls:
        with pytest.raises(
            StoreError, match=r"run\.json (is damaged \(.*\): remove it|was not written by)"
        ) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_run_whose_run_json_was_removed_is_taken_up_again(made, run):
    (run / "run.json").unlink()
    assert not pt.sweep(pt.SweepConfig(**made[1], out=run)).done
    assert_whole(run, made)


LINES = {
    "null": b"null\n",
    "a list": b"[1, 2]\n",
    "half a line": b'{"time": 1, "event": "do',
    "deep": b"[" * 100_000 + b"]" * 100_000 + b"\n",
    "time as text": b'{"time": "now", "event": "done", "unit": "tiny/norms/step1"}\n',
    "no time": b'{"event": "failed", "unit": "tiny/norms/step1"}\n',
    "time without end": b'{"time": Infinity, "event": "done"}\n',
    "unit as a list": b'{"time": 1, "event": "failed", "unit": ["tiny"]}\n',
    "unit as an object": b'{"time": 1, "event": "failed", "unit": {"a": 1}}\n',
    "a process below 1": (
        b'{"time": 1, "event": "started", "unit": "tiny/norms/step1", "pid": -1}\n'
    ),
    "a process of 30 digits": (
        b'{"time": 1, "event": "started", "unit": "tiny/norms/step1", "pid": ' + b"9" * 30 + b"}\n"
    ),
    "a line of 50 MB": b'{"time": 1, "event": "note", "message": "' + b"x" * 50_000_000 + b'"}\n',
    "an event at the end of a long line": b"x" * 1_000_000 + b'{"time": 1, "event": "note"}\n',
    "not UTF-8": b'{"time": 1, "event": "\xff\xfe"}\n',
}


@pytest.mark.parametrize("kind", LINES)
def test_what_is_no_event_is_passed_over(made, run, kind):
    before = list(read_events(Run(run)))
    good = json.dumps({"time": 1.0, "event": "note", "message": "kept"}).encode() + b"\n"
    (run / "log" / "other.jsonl").write_bytes(good + LINES[kind] + b"\n" + good)
    kept = [{"time": 1.0, "event": "note", "message": "kept"}] * 2
    assert list(read_events(Run(run))) == [*kept, *before]
    assert not pt.sweep(pt.SweepConfig(**made[1], out=run)).done
    assert_whole(run, made)


@pytest.mark.parametrize(
    "damage", [d.a_pipe, d.a_directory, d.a_dangling_link, d.sparse(2 * 10**8)]
)
def test_a_log_that_is_none_is_passed_over(made, run, damage):
    before = list(read_events(Run(run)))
    (run / "log" / "other.jsonl").touch()
    damage(run / "log" / "other.jsonl")
    assert list(read_events(Run(run))) == before
    assert_whole(run, made)


def test_a_folder_that_may_not_be_read_is_named(run, monkeypatch):
    folder, listed = (run / FILES["metrics"]).parent, os.listdir

    def refuse(path):
        if path == folder:
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr("pythia_traj.store.done.os.listdir", refuse)
    found, notes = load_with_notes(run)
    assert found.empty
    assert "label=norms (it may not be read (Permission denied))" in notes[0]
    status = pt.status(run)
    assert (status.done, status.damaged) == (0, 1)
