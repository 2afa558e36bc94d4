"""`pythia_traj.findings` on runs that were measured: what it reads, and how it names models."""

import pytest

import pythia_traj as pt
from pythia_traj.errors import AnalysisError, StoreError
from pythia_traj.reports.examined import Examined
from pythia_traj.reports.reading import read_runs
from tests.sweeps.planted import plant, ramp, write_experiment


def measured(suite, out, experiments, steps="log:14"):
    config = pt.SweepConfig(
        model=str(suite), steps=steps, experiments=experiments, out=out, device="cpu"
    )
    assert not pt.sweep(config).failed
    return out


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Runs of two suites whose height rises at steps 2500 and 40000, under one model name."""
    root = tmp_path_factory.mktemp("planted")
    use = {"mine": {"use": str(write_experiment(root))}}
    runs = []
    for name, middle in (("early", 11.3), ("late", 15.3)):
        (root / name).mkdir()
        suite = plant(root / name / "toy", ramp(middle))
        runs.append(measured(suite, root / f"{name}-run", use))
    return runs


@pytest.fixture(scope="module")
def random(suite, tmp_path_factory):
    """A run of four random checkpoints."""
    experiments = {"induction": {"length": 20, "n": 8}, "loss": {"length": 32, "n": 8}}
    return measured(suite, tmp_path_factory.mktemp("random") / "run", experiments, "all")


def test_an_onset_that_was_planted_is_found_in_a_run(planted):
    found = pt.findings(planted[0])
    height = next(one for one in found if one.metric == "height")
    assert height.words.startswith("The metric height goes from ")
    step = pt.onset(
        pt.load(planted[0], metric="height"), pt.load(planted[0], table="items", metric="height")
    ).iloc[0]
    assert f"between {step['low']:,} and {step['high']:,}" in height.words
    assert (height.experiment, height.models) == ("planted", ("toy",))
    assert not [one for one in found if one.metric in ("flat", "mean_only")]


def test_two_runs_of_one_model_name_are_told_apart_by_the_runs_names(planted):
    height = next(one for one in pt.findings(planted) if one.metric == "height")
    assert height.models == ("early-run/toy", "late-run/toy")
    assert "in early-run/toy it goes to " in height.words
    assert height.words.index("early-run") < height.words.index("late-run")


def test_random_checkpoints_have_no_finding_and_the_sentence_says_so(random):
    assert pt.findings(random) == ()
    said = Examined(read_runs([random])).nothing
    assert said.startswith("No finding. Nothing is dated, as 4 steps were measured, and 8 are")
    assert "Looked at: induction and loss, at 4 steps" in said


def test_a_run_that_is_given_twice_is_refused(random):
    with pytest.raises(AnalysisError, match="is given twice"):
        pt.findings([random, random])
    with pytest.raises(AnalysisError, match="no run is given"):
        pt.findings([])


def test_a_directory_that_holds_no_run_is_refused(tmp_path):
    with pytest.raises(StoreError):
        pt.findings(tmp_path)
