"""What a submission will take, said before it: units, bytes, hours, and where they are from."""

import json

import pytest

import pythia_traj as pt
from pythia_traj.cluster.estimate import OWN, estimate
from pythia_traj.store.done import read_unit
from pythia_traj.store.layout import Run
from pythia_traj.suites.catalog import SIZES
from pythia_traj.sweeps.requests import plan_sweep

INDUCTION = {"length": 20, "n": 2}


@pytest.fixture
def config(suite, tmp_path):
    def make(steps="all", **experiments):
        return pt.SweepConfig(
            model=str(suite),
            steps=steps,
            experiments=experiments or {"induction": INDUCTION},
            out=tmp_path / "run",
        )

    return make


@pytest.fixture
def results(tmp_path):
    """What a benchmark measured on a card."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    seconds = {"induction": {"compute": {"median": 3.0, "min": 2.0}}}
    text = json.dumps({"step_cost": {"seconds": seconds}})
    (folder / "results-nvidia-h200.json").write_text(text)
    return folder


def found(config, jobs=1, **more):
    plan, models = plan_sweep(config)
    return estimate(config, plan, models, jobs, **{"card": lambda: None, **more})


def weights(suite, step):
    return (suite / f"step{step}" / "model.safetensors").stat().st_size


def test_bytes_are_those_of_the_steps_to_do(config, suite):
    assert found(config()).weight_bytes == sum(weights(suite, step) for step in (0, 1, 2, 4))
    pt.sweep(config(steps="0,1"))
    assert found(config()).weight_bytes == weights(suite, 2) + weights(suite, 4)
    pt.sweep(config())
    assert found(config()).weight_bytes == 0


def test_each_worker_reads_the_weights_that_its_steps_are_compared_with(config, suite):
    """representation compares with the last step's and, for its rows, with the step before."""
    asked = config(representation={"length": 20, "n": 4, "references": ["final"]})
    one = weights(suite, 0)
    assert {weights(suite, step) for step in (1, 2, 4)} == {one}
    assert found(asked).weight_bytes == 4 * one
    # Steps 0 and 1, and the last for them; steps 2 and 4.
    assert found(asked, jobs=2).weight_bytes == 5 * one
    assert found(asked, jobs=4).weight_bytes == 7 * one


def test_hours_are_from_the_runs_own_units(config, tmp_path):
    both = {"induction": INDUCTION, "other": {**INDUCTION, "use": "induction"}}
    pt.sweep(config(steps="0,1", **both))
    told = found(config(**both), jobs=2)
    expected = 0.0
    for label in both:
        taken = []
        for step in (0, 1):
            facts = read_unit(Run(tmp_path / "run"), "tiny", label, step).model_extra
            assert len(facts["shared_with"]) == 1
            phases = facts["seconds"].items()
            taken.append(sum(value for name, value in phases if name != "fetch") / 2)
        expected += 2 * sum(taken) / 2
    assert told.worker_hours == pytest.approx(expected / 3600)
    assert told.hours == pytest.approx(expected / 3600 / 2)
    assert told.told_by == [OWN]
    assert [(line.label, line.todo, line.done) for line in told.lines] == [
        ("induction", 2, 2),
        ("other", 2, 2),
    ]


def test_hours_are_not_known_where_one_label_was_never_measured(config):
    pt.sweep(config(steps="0,1"))
    told = found(config(induction=INDUCTION, weights={}))
    assert (told.worker_hours, told.hours) == (None, None)
    assert [line.seconds is None for line in told.lines] == [False, True]


def test_the_cards_benchmark_is_asked_where_the_run_says_nothing(config, suite, results):
    asked = config()
    for card in (None, "NVIDIA A100"):
        assert found(asked, benchmarks=results, card=lambda card=card: card).hours is None
    told = found(asked, benchmarks=results, card=lambda: "NVIDIA H200")
    share = weights(suite, 0) / (2 * SIZES["160m"].n_parameters)
    assert told.worker_hours == pytest.approx(4 * 3.0 * share / 3600, rel=0.05)
    assert told.told_by == [str(results / "results-nvidia-h200.json")]
    other = found(config(loss={"length": 20}), benchmarks=results, card=lambda: "NVIDIA H200")
    assert other.hours is None
    pt.sweep(config(steps="0"))
    assert found(asked, benchmarks=results, card=lambda: "NVIDIA H200").told_by == [OWN]


@pytest.mark.parametrize("text", ["[]", "{}", '{"step_cost": {"seconds": {"induction": 3}}}', "{"])
def test_a_damaged_benchmark_says_nothing(config, results, text):
    (results / "results-nvidia-h200.json").write_text(text)
    assert found(config(), benchmarks=results, card=lambda: "NVIDIA H200").hours is None


def test_a_cpu_has_no_card_and_without_a_benchmark_nobody_asks_for_one(config, results, tmp_path):
    def refuse():
        raise AssertionError("asked for the card")

    assert found(config(), benchmarks=tmp_path, card=refuse).hours is None
    on_cpu = config().model_copy(update={"device": "cpu"})
    assert found(on_cpu, benchmarks=results, card=refuse).hours is None
