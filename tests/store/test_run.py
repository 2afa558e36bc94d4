"""A run's directory: whose it is, and that nothing in it is ever half a file."""

import json
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import pytest

import pythia_traj as pt
from pythia_traj import schema
from pythia_traj.errors import StoreError
from pythia_traj.store.layout import Run, step_file, step_of


def test_a_new_directory_becomes_a_run_once(tmp_path):
    first = Run.create(tmp_path / "deep" / "run")
    facts = (first.path / "run.json").read_text()
    assert Run.create(first.path) == first
    assert (first.path / "run.json").read_text() == facts
    assert not list((first.path / ".tmp").iterdir())


def test_a_run_says_which_version_wrote_it(tmp_path):
    run = Run.create(tmp_path / "run")
    facts = json.loads((run.path / "run.json").read_text())
    assert facts.keys() == {"kind", "id", "schema", "version", "created"}
    assert (facts["schema"], facts["version"]) == (schema.VERSION, version("pythia-traj"))


@pytest.mark.parametrize(
    ("written_by", "message"),
    [
        (
            {"version": "9.1.0"},
            "{path} was written by pythia-traj 9.1.0 (schema 99), this is pythia-traj {own}"
            " (schema {number}): install that version to read it",
        ),
        (
            {},
            "{path} was written by a newer pythia-traj (schema 99): update pythia-traj to read it",
        ),
        (
            {"version": "of\nanother; rm"},
            "{path} was written by a newer pythia-traj (schema 99): update pythia-traj to read it",
        ),
    ],
)
def test_a_run_of_a_newer_version_is_refused_with_that_version(tmp_path, written_by, message):
    facts = {"kind": "pythia-traj run", "schema": 99, **written_by}
    (tmp_path / "run.json").write_text(json.dumps(facts))
    expected = message.format(path=tmp_path, own=version("pythia-traj"), number=schema.VERSION)
    for call in (Run.open, Run.create, Run.find, pt.load, pt.status):
        with pytest.raises(StoreError) as caught:
            call(tmp_path)
        assert str(caught.value) == expected


def test_many_workers_create_one_run(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        runs = set(pool.map(lambda _: Run.create(tmp_path / "run"), range(32)))
    assert runs == {Run(tmp_path / "run")}
    ids = {json.loads((run.path / "run.json").read_text())["id"] for run in runs}
    assert len(ids) == 1
    assert not list((tmp_path / "run" / ".tmp").iterdir())


def test_somebody_elses_directory_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(
        StoreError, match=r"holds thesis.tex and is not a run: give an empty or a new directory"
    ):
        Run.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(StoreError, match="is a file"):
        Run.create(tmp_path / "thesis.tex")


def test_another_programs_run_json_is_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"name": "mlflow"}')
    with pytest.raises(StoreError, match="was not written by pythia-traj"):
        Run.create(tmp_path)
    (tmp_path / "run.json").write_text('{"kind": "pythia-traj run", "schema": 99}')
    with pytest.raises(StoreError, match=r"newer pythia-traj \(schema 99\): update"):
        Run.open(tmp_path)
    (tmp_path / "run.json").write_text('{"kind": "pythia-traj run", "schema": 0}')
    with pytest.raises(StoreError, match=r"is damaged \(schema is 0\): remove it"):
        Run.open(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(
        StoreError,
        match=r"is damaged \(is not JSON\): remove it and repeat the sweep, which writes it again",
    ):
        Run.open(tmp_path)


def test_step_files_sort_as_steps_do():
    assert step_file(512) == "step-000512.parquet"
    steps = [0, 9, 10, 512, 143000]
    assert sorted(map(step_file, steps)) == [step_file(step) for step in steps]
    assert [step_of(step_file(step)) for step in steps] == steps
    foreign = (
        "step-abc.parquet",
        "step-512.parquet",
        "step-0000512.parquet",
        "step-000512.parquet~",
        ".DS_Store",
    )
    assert [step_of(name) for name in foreign] == [None] * len(foreign)
