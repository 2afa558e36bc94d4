"""Every experiment there is: documented, finite, deterministic, in the schema's terms."""

import math
from pathlib import Path

import pytest

import pythia_traj as pt
from pythia_traj.discovery import describe, discover

OWN = str(Path(__file__).with_name("own_task.jsonl"))
SMALL = {
    "ablation": {"task": OWN, "sets": "L0H1+L1H2"},
    "activations": {"n": 4, "length": 20, "null_n": 2},
    "attribution": {
        "task": OWN,
        "sizes": "5,20,60",
        "circuit": 20,
        "points": 2,
        "references": "init,previous",
    },
    "behaviour": {"task": OWN},
    "head_roles": {"length": 20, "n": 8},
    "induction": {"length": 20, "n": 6},
    "linear_probe": {"n": 600, "length": 64, "k": 4, "resamples": 50},
    "logit_attribution": {"task": OWN},
    "logit_lens": {"length": 32, "n": 6, "updates": 3, "batch": 4},
    "loss": {"length": 64, "n": 6, "null_n": 4},
    "memorization": {"n": 6, "prompt": 8, "continuation": 5},
    "ngram": {"length": 32, "n": 6, "positions": 12, "sampled": 20, "train_tokens": 100_000},
    "patching": {"task": OWN},
    "representation": {"n": 5, "length": 20, "references": "init,previous"},
    "samples": {"prompts": "def one|class", "tokens": 5, "temperature": 1.0, "samples": 2},
    "transplant": {"task": OWN, "references": "init,step:1"},
    "weights": {"references": "init,previous", "sketch": 64},
}
"""Parameters that fit the tiny model; experiments not named here run with their defaults."""


@pytest.fixture(scope="module")
def runs(suite, tmp_path_factory):
    """Two runs of all experiments over two steps."""
    paths = []
    for name in ("one", "two"):
        out = tmp_path_factory.mktemp("all") / name
        experiments = {experiment: SMALL.get(experiment, {}) for experiment in discover()}
        result = pt.sweep(
            pt.SweepConfig(
                model=str(suite), steps="0,4", experiments=experiments, out=out, device="cpu"
            )
        )
        assert not result.failed
        paths.append(out)
    return paths


@pytest.mark.parametrize("name", discover())
def test_it_is_documented(name):
    listed = describe(discover()[name])
    assert listed["description"].endswith(".")
    assert listed["cites"]
    for parameter in listed["parameters"]:
        assert f"{parameter['name']}:" in listed["documentation"], (
            f"{parameter['name']} is not explained"
        )


@pytest.mark.parametrize("name", discover())
def test_it_yields_finite_numbers_or_says_why_not(runs, name):
    rows = pt.load(runs[0], experiment=name)
    assert len(rows)
    for row in rows.itertuples():
        assert math.isfinite(row.value) or isinstance(row.reason, str)
        assert math.isnan(row.value) == isinstance(row.reason, str)
    keys = ["step", "metric", "variant", "component", "layer", "head", "position", "dim"]
    assert not rows.duplicated(keys).any()


@pytest.mark.parametrize("name", discover())
def test_every_metric_has_a_null_beside_it(runs, name):
    rows = pt.load(runs[0], experiment=name)
    variant = rows.variant.astype(object).where(rows.variant.notna(), "")
    nulls = {
        metric
        for metric, kind in zip(rows.metric, variant, strict=True)
        if kind.startswith("null:")
    }
    assert set(rows.metric) == nulls


@pytest.mark.parametrize("name", discover())
def test_it_is_deterministic(runs, name):
    one, two = (pt.load(run, experiment=name) for run in runs)
    assert one.equals(two)
