"""Every file of configs/ is a working example: swept at toy size, it has rows for every label.

What a file names is published on a loopback hub, under that name, with tiny weights.
"""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

import pythia_traj as pt
from pythia_traj.config import read_config
from pythia_traj.data.roles import ORDERED
from pythia_traj.steps import select
from pythia_traj.suites.catalog import catalog
from pythia_traj.toy.recipe import Recipe
from tests.data.test_roles import word_tokenizer
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import publish_steps
from tests.hub.repository import Repository
from tests.support import write_distinct

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"

LOCAL = {
    "demo": ["--set", "loss.n=8", "--set", "loss.null_n=4", "--set", "ablation.n=8"],
    "induction": ["--set", "induction.n=4", "--set", "loss.n=4"],
    "learning": [
        *("--set", "ngram.n=4", "--set", "ngram.train_tokens=20000"),
        *("--set", "linear_probe.n=400", "--set", "linear_probe.resamples=20"),
    ],
}
"""Files that name no model, and what makes them small."""

PUBLISHED = {
    "pythia-70m-induction": ["--set", "induction.n=4"],
    "polypythias-seeds": [
        *(
            "--steps",
            "0,last",
            "--set",
            "loss.n=4",
            "--set",
            "induction.n=4",
            "--set",
            "copying.n=8",
        ),
    ],
    "probing": [
        *("--steps", "0,last", "--set", "entities.resamples=20", "--set", "capitalised.n=400"),
        *("--set", "capitalised.resamples=20"),
    ],
    "suite-circuits": [
        *("--steps", "0,last", "--set", "behaviour.n=8", "--set", "heads.n=8"),
        *("--set", "heads_of_repeats.n=8", "--set", "circuit.n=8", "--set", "circuit.sizes=5"),
        *("--set", "circuit.circuit=5"),
    ],
}
"""Files that name models: these are swept as the hub publishes them."""

WHOLE_SUITES = ("polypythias", "pythia-suite")
"""Files that name all models of a suite: two of them are swept."""

TRAINED = "demo-cluster"
"""The file that trains its suite first."""

EVERY_STEP = "pythia-1b-deduped"
"""The file that takes all 154 steps."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Tiny checkpoints of all steps that the files select, with a tokenizer that has names."""
    folder = tmp_path_factory.mktemp("published")
    published = catalog()["pythia-70m"].steps
    write_distinct(folder, select("0,log:12,last", published))
    for step in folder.glob("step*"):
        word_tokenizer(ORDERED["days"][0]).save(str(step / "tokenizer.json"))
    return folder


def swept(cli, file, *options):
    """The rows with a value, of a sweep in which nothing failed, and the labels of the file."""
    status, printed, error = cli("sweep", file, "--json", "--device", "cpu", *options)
    assert status == 0, error
    outcome = json.loads(printed)
    assert not outcome["failed"]
    return pt.load(outcome["run"]).dropna(subset="value"), set(read_config(file)["experiments"])


def models_of(file):
    models = read_config(file)["model"]
    return [models] if isinstance(models, str) else models


def published_as(file, folder):
    """A repository for each model that a file names, all with the same checkpoints."""
    for model in models_of(file):
        repository = Repository(catalog()[model].repo)
        publish_steps(repository, folder)
        yield repository


def test_every_example_is_swept():
    assert {*LOCAL, *PUBLISHED, *WHOLE_SUITES, TRAINED, EVERY_STEP} == {
        file.stem for file in CONFIGS.glob("*.yaml")
    }


def examples(names):
    """Names of files, those marked that take longer than ten seconds."""
    slow = {"demo", "polypythias-seeds", "suite-circuits"}
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in names]


@pytest.mark.parametrize("name", examples(LOCAL))
def test_an_example_without_a_model_is_swept_on_a_directory(name, suite, tmp_path, cli):
    rows, labels = swept(
        cli, CONFIGS / f"{name}.yaml", "--model", suite, "--out", tmp_path / "run", *LOCAL[name]
    )
    assert set(rows.label.unique()) == labels
    assert rows.groupby("label", observed=True).step.nunique().eq(4).all()


@pytest.mark.slow
def test_the_demo_of_a_cluster_trains_its_suite_where_it_is_missing(tmp_path, cli, monkeypatch):
    small = partial(Recipe, steps=4, d_model=32, d_mlp=64)
    monkeypatch.setattr("pythia_traj.toy.missing.Recipe", small)
    monkeypatch.chdir(tmp_path)
    file = CONFIGS / f"{TRAINED}.yaml"
    rows, labels = swept(cli, file, *LOCAL["demo"])
    assert labels == set(read_config(CONFIGS / "demo.yaml")["experiments"])
    assert set(rows.label.unique()) == labels
    assert sorted(rows.step.unique()) == [0, 1, 2, 4]
    assert set(rows.model.unique()) == {"toy"}
    assert {path.name for path in Path("runs").iterdir()} == {"toy", "demo-cluster"}
    trained = Path("runs/toy/suite.json").stat().st_mtime_ns
    status, printed, _ = cli("sweep", file, "--json", *LOCAL["demo"])
    assert (status, json.loads(printed)["done"]) == (0, [])
    assert Path("runs/toy/suite.json").stat().st_mtime_ns == trained


@pytest.mark.parametrize("name", examples(PUBLISHED))
def test_an_example_is_swept_as_the_hub_publishes_its_models(
    name, weights, serve, tmp_path, cli, monkeypatch
):
    monkeypatch.chdir(ROOT)
    file = CONFIGS / f"{name}.yaml"
    serve(*published_as(file, weights))
    rows, labels = swept(cli, file, "--out", tmp_path / "run", *PUBLISHED[name])
    assert set(rows.label.unique()) == labels
    assert set(rows.model.unique()) == set(models_of(file))
    steps = 12 if "--steps" not in PUBLISHED[name] else 2
    counts = rows.groupby(["model", "label"], observed=True).step.nunique()
    assert len(counts) == rows.model.nunique() * len(labels)
    assert counts.eq(steps).all()


@pytest.mark.parametrize("name", WHOLE_SUITES)
def test_two_models_of_a_whole_suite_are_swept(name, weights, serve, tmp_path, cli):
    file = CONFIGS / f"{name}.yaml"
    two = models_of(file)[::15][:2]
    serve(*published_as(file, weights))
    asked = ("--model", ",".join(two), "--steps", "0,last", "--out", tmp_path / "run")
    rows, labels = swept(cli, file, *asked, *LOCAL["induction"])
    assert labels == {"induction", "loss"}
    counts = rows.groupby(["model", "label"], observed=True).step.nunique()
    assert {*counts.index} == {(model, label) for model in two for label in labels}
    assert counts.eq(2).all()


@pytest.mark.slow
def test_pythia_1b_deduped_is_swept_at_all_its_steps(serve, tmp_path, cli):
    file = CONFIGS / f"{EVERY_STEP}.yaml"
    folder = tmp_path / "published"
    folder.mkdir()
    write_distinct(folder, catalog()[EVERY_STEP].steps)
    shutil.rmtree(folder / ".first")
    serve(*published_as(file, folder))
    small = ["--set", "loss.n=4", "--set", "induction.n=4", "--set", "weights.sketch=16"]
    rows, labels = swept(cli, file, "--out", tmp_path / "run", *small)
    assert set(rows.label.unique()) == labels
    assert rows.groupby("label", observed=True).step.nunique().eq(154).all()
