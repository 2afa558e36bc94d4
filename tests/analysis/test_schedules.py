"""How learning rates went: known by where a model is published, never by its name."""

import json
from pathlib import Path

import pandas as pd
import pytest

from pythia_traj.analysis.schedules import schedules_of
from pythia_traj.suites.catalog import look_up
from pythia_traj.suites.local import LocalModel
from pythia_traj.toy.recipe import Recipe


def models(**origins):
    named = {name.replace("_", "-"): origin for name, origin in origins.items()}
    return pd.DataFrame({"model": pd.Categorical(list(named)), "origin": list(named.values())})


def of_directory(path: Path, **facts):
    (path / "step0").mkdir(parents=True)
    (path / "suite.json").write_text(json.dumps(facts))
    return f"directory:{path}"


def test_a_published_model_is_known_by_its_repository():
    found = schedules_of(
        models(
            mine="hub:EleutherAI/pythia-70m-deduped",
            pythia_70m="hub:somebody/pythia-70m",
            pythia_160m="directory:/nowhere/pythia-160m",
            pythia_410m=None,
            pythia_1b="",
        )
    )
    assert found == {"mine": look_up("pythia-70m-deduped").schedule()}


def test_a_toy_suite_says_what_its_recipe_says(tmp_path):
    recipe = Recipe()
    origin = of_directory(tmp_path / "pythia-70m", suite="toy", recipe=recipe.as_dict())
    (found,) = schedules_of(models(toy=origin)).values()
    assert found.lr == tuple(map(recipe.lr, found.steps))
    assert (found.steps[0], found.steps[-1]) == (0, 1600)
    assert found.warmup_end == 49
    assert recipe.lr(48) < recipe.lr(49) == recipe.peak_lr > recipe.lr(1121)
    assert recipe.lr(1120) == pytest.approx(recipe.peak_lr)
    assert {49, 1120} <= set(found.steps)
    assert found.second_epoch is None


@pytest.mark.parametrize(
    "recipe",
    [
        None,
        "toy",
        [],
        {"steps": 1600, "peak_lr": 1e-3},
        Recipe().as_dict() | {"warmup": "50"},
        Recipe().as_dict() | {"decay_from": 1.0},
        Recipe().as_dict() | {"steps": 10**12},
    ],
    ids=str,
)
def test_a_recipe_of_another_kind_says_nothing(recipe, tmp_path):
    origin = of_directory(tmp_path / "other", suite="toy", recipe=recipe)
    assert schedules_of(models(other=origin)) == {}
    assert LocalModel.open(tmp_path / "other").learning_rate(0) is None


def test_a_directory_whose_facts_are_damaged_says_nothing(tmp_path):
    origin = of_directory(tmp_path / "toy")
    (tmp_path / "toy" / "suite.json").write_text("{")
    assert schedules_of(models(toy=origin)) == {}


def test_the_model_of_a_directory_knows_its_rate(tmp_path):
    of_directory(tmp_path / "toy", recipe=Recipe().as_dict())
    assert LocalModel.open(tmp_path / "toy").learning_rate(700) == Recipe().peak_lr
