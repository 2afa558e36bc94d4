"""Why units of a model of the Hub are redone: their branch has moved, their files turn out to be
another step's, or are not recorded.
"""

import json
import shutil

import pytest

from pythia_traj.store.layout import Run
from pythia_traj.store.parquet import read_parquet, write_parquet
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import publish_steps
from tests.hub.repository import Repository
from tests.support import publish, random_model, write_distinct

NORMS = '''
from pythia_traj.experiment import experiment
from pythia_traj.values import Key, Rows

@experiment(version=1, references=("step:1",))
def norms(model, reference_models) -> Rows:
    """The norm of the embedding."""
    rows = Rows()
    rows.add(Key("norm"), float(model.W_E.detach().norm()))
    return rows
'''

NOT_RECORDED = "which ones were used is not recorded"


@pytest.fixture
def repository(suite):
    found = Repository("me/tiny")
    publish_steps(found, suite)
    return found


@pytest.fixture
def swept(cli, tmp_path):
    """Sweeps the repository with an experiment that compares with step 1."""
    file = tmp_path / "norms.py"
    file.write_text(NORMS)

    def sweep(steps, *more, status=0):
        arguments = ["--model", "me/tiny", "--steps", steps, "--device", "cpu"]
        arguments += ["--experiment", file, "--out", tmp_path / "run"]
        code, out, err = cli("sweep", *arguments, *more)
        assert code == status, err
        return out

    return sweep


def why(swept, steps, *more):
    """The reasons by step, in both forms of a dry run."""
    found = json.loads(swept(steps, *more, "--dry-run", "--json"))["why"]
    lines = swept(steps, *more, "--dry-run").splitlines()
    said = {line.partition(": ")[2].partition(": ")[2] for line in lines if "redone" in line}
    assert said == set(found.values())
    return {int(unit.partition("step")[2]): reason for unit, reason in found.items()}


def with_source(run, step, change):
    """As another version has written it, and this one converted it."""
    path = Run(run).unit_path("tiny", "norms", step)
    whole = read_parquet(path, None)
    footer = whole.footer.model_dump(exclude_unset=True)
    footer["converted"] = {"schema": 1, "digest": "older"}
    change(footer["source"])
    write_parquet(path, whole.table(), footer)


def test_a_branch_that_has_moved_is_the_reason_once_it_was_asked(
    serve, repository, swept, tmp_path
):
    hub = serve(repository)
    swept("all")
    publish(tmp_path / "new", random_model(99))
    for branch in ("step1", "step4"):
        repository.publish(branch, tmp_path / "new")
    hub.reset_log()
    assert why(swept, "all") == {}
    assert hub.requests == []
    assert why(swept, "all", "--refresh") == {
        0: "files of reference step:1: the branch has moved",
        1: "files: the branch has moved",
        2: "files of reference step:1: the branch has moved",
        4: "files: the branch has moved",
    }


def test_files_that_turn_out_to_be_another_steps_are_the_reason(serve, swept, tmp_path):
    folder = tmp_path / "steps"
    folder.mkdir()
    write_distinct(folder, (0, 1, 8, 16, 32))
    shutil.copy(folder / "step8" / "model.safetensors", folder / "step16")
    repository = Repository("me/tiny")
    publish_steps(repository, folder)
    serve(repository)
    swept("0,8")
    assert why(swept, "0,8") == {}
    swept("16", status=3)
    assert why(swept, "0,8") == {8: "files: known to be another step's"}


def test_converted_rows_are_done_where_their_source_names_the_files(
    serve, repository, swept, tmp_path
):
    hub = serve(repository)
    swept("all")
    for step in (0, 1, 2, 4):
        with_source(tmp_path / "run", step, lambda source: None)
    hub.reset_log()
    assert why(swept, "all") == {}
    assert hub.requests == []
    with_source(tmp_path / "run", 0, lambda source: source.pop("files"))
    with_source(tmp_path / "run", 2, lambda source: source["references"]["step:1"].pop("files"))
    small = ("config.json", "tokenizer.json")
    with_source(
        tmp_path / "run",
        4,
        lambda source: source.update(files=[file for file in source["files"] if file[0] in small]),
    )
    assert why(swept, "all") == {
        0: f"files: {NOT_RECORDED}",
        2: f"files of reference step:1: {NOT_RECORDED}",
        4: f"files: {NOT_RECORDED}",
    }
    swept("all")
    hub.reset_log()
    assert why(swept, "all") == {}
    assert hub.requests == []
