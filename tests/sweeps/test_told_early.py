"""What cannot be measured on a model is said before any weights are read: by a dry run, and by a
sweep of any of its models.
"""

import json
from pathlib import Path

import pytest

import pythia_traj as pt
from pythia_traj.discovery import discover
from pythia_traj.errors import DataError
from pythia_traj.sweeps import cost
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import publish_steps
from tests.hub.repository import Repository
from tests.support import publish_suite

OWN_TASK = Path(__file__).parents[1] / "experiments" / "own_task.jsonl"
TEXTS = str(Path(__file__).parents[1] / "store" / "schema1" / "corpus.jsonl")
PROBE = {
    "use": "linear_probe",
    "task": "starts_with_space",
    "corpus": TEXTS,
    "n": 200,
    "length": 32,
}

OWN = '''
from pythia_traj.data.text import TextTokens
from pythia_traj.errors import DataError
from pythia_traj.experiment import experiment
from pythia_traj.values import ItemValues

def check(shape, data, *, most):
    if shape.n_layers > most:
        raise DataError(f"most={most}: the model has {shape.n_layers} layers")

@experiment(version=1, data=TextTokens(n=2, length=16, null_n=1), reads=("loss",), check=check)
def shallow(acts, *, most: int = 1) -> ItemValues:
    """Is for models of few layers."""
    return ItemValues()

@experiment(version=1, data=TextTokens(n=2, length=16, null_n=1), reads=("resid_mid",))
def middle(acts) -> ItemValues:
    """Reads what parallel models do not have."""
    return ItemValues()
'''

CASES = {
    "a task without items": ({"use": "behaviour", "task": "ioi"}, "task ioi has no items"),
    "an item that cannot be halved": (
        {"use": "attribution", "task": "ONE_ITEM"},
        "1 cannot be halved: set n higher",
    ),
    "text beyond the context": ({"use": "loss", "length": 129}, "set length to at most 128"),
    "copies beyond the context": ({"use": "induction", "length": 90}, "length"),
    "continuations beyond the context": ({"use": "samples", "tokens": 500}, "set tokens"),
    "sequences beyond the context": ({"use": "memorization", "prompt": 100}, "prompt"),
    "passages beyond the context": ({"use": "representation", "length": 129}, "set length"),
    "too much text": ({"use": "loss", "n": 10**9, "corpus": TEXTS}, "set n"),
    "a missing label column": (
        {"use": "linear_probe", "task": "NO_LABELS", "labels": "upos"},
        "upos",
    ),
    "a file that is not there": ({"use": "linear_probe", "task": "absent.jsonl"}, "absent.jsonl"),
    "a site that the model lacks": (
        {**PROBE, "sites": "resid_mid"},
        "sites",
    ),
    "too many dimensions": (
        {**PROBE, "k": 33},
        "k=33: an activation has 32",
    ),
    "a buffer without room": (
        {**PROBE, "buffer": 9},
        "set buffer higher",
    ),
    "positions that are all left out": (
        {"use": "representation", "length": 24, "skip": 24},
        "set skip lower",
    ),
    "a stream that the model lacks": (
        {"use": "representation", "length": 24, "sites": "resid_mid"},
        "leave it out of sites",
    ),
    "heads that the model lacks": (
        {"use": "ablation", "task": "repeats", "n": 4, "sets": "L7H1"},
        "leave it out of sets",
    ),
    "a file without room": (
        {"use": "activations", "corpus": TEXTS, "length": 16, "n": 4, "budget": 9},
        "raise budget",
    ),
    "a layer that the model lacks": (
        {"use": "activations", "corpus": TEXTS, "length": 16, "n": 4, "layers": "5"},
        "give 0 to 1",
    ),
    "an activation that the model lacks": (
        {"use": "activations", "corpus": TEXTS, "length": 16, "n": 4, "sites": "resid_mid"},
        "this model has no resid_mid",
    ),
    "a read that the model lacks": ({"use": "OWN:middle"}, "this model has no resid_mid"),
    "what an experiment of one's own refuses": ({"use": "OWN:shallow"}, "most=1"),
}


@pytest.fixture
def repository(suite):
    found = Repository("me/tiny")
    publish_steps(found, suite)
    return found


@pytest.fixture
def files(tmp_path):
    """Files that requests name, by the word that stands for each."""
    one = tmp_path / "one.jsonl"
    one.write_text(OWN_TASK.read_text().splitlines()[0] + "\n")
    without = tmp_path / "without.jsonl"
    without.write_text(json.dumps({"text": "some words", "spans": [[0, 4, "A"]]}) + "\n")
    own = tmp_path / "own.py"
    own.write_text(OWN)
    return {"ONE_ITEM": str(one), "NO_LABELS": str(without), "OWN": str(own)}


def settings_of(case, files):
    settings, message = CASES[case]
    found = dict(settings)
    for word, path in files.items():
        found = {
            name: value.replace(word, path) if isinstance(value, str) else value
            for name, value in found.items()
        }
    return found, message


@pytest.mark.parametrize("case", CASES)
def test_it_is_told_before_any_weights_are_fetched(
    serve, repository, files, tmp_path, monkeypatch, cli, case
):
    settings, message = settings_of(case, files)
    hub = serve(repository)
    experiments = {"fine": {"use": "loss", "n": 2, "length": 16, "null_n": 1}, "mine": settings}
    request = tmp_path / "request.yaml"
    request.write_text(
        json.dumps(
            {
                "model": "me/tiny",
                "steps": "0,4",
                "experiments": experiments,
                "out": str(tmp_path / "run"),
                "device": "cpu",
            }
        )
    )

    def built(*_, **__):
        raise AssertionError("a model was built")

    monkeypatch.setattr(cost, "SwappableModel", built)
    for more in (["--dry-run"], []):
        code, _, err = cli("sweep", request, *more)
        assert code == 1
        line = err.strip().splitlines()[-1]
        assert "mine: " in line
        assert message in line
        assert "Traceback" not in err
    assert not [record for record in hub.requests if "safetensors" in record.path]
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_later_model_is_looked_at_before_the_first_is_measured(suite, tmp_path):
    short = publish_suite(tmp_path / "short", steps=(0, 4), max_position_embeddings=32)
    config = pt.SweepConfig(
        model=f"{suite},{short}",
        steps="0,4",
        experiments={"loss": {"n": 2, "length": 64, "null_n": 1}},
        out=tmp_path / "run",
        device="cpu",
    )
    with pytest.raises(DataError, match="loss: "):
        pt.sweep(config)
    assert not list((tmp_path / "run").rglob("*.parquet"))


def test_every_check_is_given_what_its_experiment_has():
    checked = {name for name, found in discover().items() if found.check}
    assert checked == {"ablation", "activations", "attribution", "linear_probe", "representation"}
