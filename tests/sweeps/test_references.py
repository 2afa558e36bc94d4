"""A checkpoint is read once for all that is made of it: both processings of a step, and the
references that experiments share.
"""

from collections import Counter

import pytest

import pythia_traj as pt
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import publish_steps
from tests.hub.repository import Repository

RAW_AND_FOLDED = {
    "weights": {"use": "weights", "references": ["init", "final"], "heads": False, "sketch": 0},
    "transplant": {"use": "transplant", "task": "repeats", "n": 4, "references": ["final"]},
    "induction": {"length": 20, "n": 4},
}


@pytest.fixture
def reads(serve, suite):
    """Sweeps the tiny suite from a hub; counts, by step, how often its weight file was fetched."""
    repository = Repository("me/tiny")
    publish_steps(repository, suite)
    hub = serve(repository)
    steps = {
        repository.commits[commit]["model.safetensors"].sha256: branch
        for branch, commit in repository.branches.items()
        if branch != "main"
    }

    def sweep(out, experiments, **settings):
        config = {
            "model": "me/tiny",
            "steps": "all",
            "device": "cpu",
            "out": out,
            "experiments": experiments,
            **settings,
        }
        result = pt.sweep(pt.SweepConfig(**config))
        assert not result.failed
        fetched = [record for record in hub.requests if record.kind == "content"]
        return Counter(
            branch for record in fetched for sha, branch in steps.items() if sha in record.path
        )

    return sweep


def test_raw_and_folded_are_made_from_one_read_of_the_file(reads, tmp_path):
    without = {**RAW_AND_FOLDED["weights"], "references": []}
    experiments = {"weights": without, "induction": RAW_AND_FOLDED["induction"]}
    assert reads(tmp_path / "run", experiments) == {f"step{step}": 1 for step in (0, 1, 2, 4)}


def test_references_that_experiments_share_are_read_once(reads, tmp_path):
    # Each step once in its turn, and the first and the last once more as references of all steps.
    assert reads(tmp_path / "run", RAW_AND_FOLDED) == {
        "step0": 2,
        "step1": 1,
        "step2": 1,
        "step4": 2,
    }


def test_where_memory_is_short_references_are_read_again_and_the_rows_are_the_same(
    reads, tmp_path, monkeypatch
):
    reads(tmp_path / "wide", RAW_AND_FOLDED)
    monkeypatch.setattr("pythia_traj.stream.weights.Weights._have_room", lambda self: False)
    assert reads(tmp_path / "narrow", RAW_AND_FOLDED)["step0"] > 2
    wide, narrow = (pt.load(tmp_path / run, controls=True) for run in ("wide", "narrow"))
    assert wide.equals(narrow)
