"""Every experiment there is: documented, finite, deterministic, in the schema's terms."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import pythia_traj as pt
from pythia_traj import schema
from pythia_traj.data.prompts import tasks
from pythia_traj.data.tasks.prompt import Dropped
from pythia_traj.data.tasks.task import Asked
from pythia_traj.discovery import describe, discover
from pythia_traj.engines.means import FEWEST_CLUSTERS
from pythia_traj.store.parquet import arrow_schema
from pythia_traj.vocabulary import Vocabulary

TEXTS = str(Path(__file__).parents[1] / "store" / "schema1" / "corpus.jsonl")
OWN = str(Path(__file__).with_name("own_task.jsonl"))
SMALL = {
    "ablation": {"task": OWN, "sets": "L0H1+L1H2"},
    "activations": {"n": 4, "length": 20, "null_n": 2},
    "attention": {"prompts": "def one|class\nof two", "length": 12},
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
    "memorization": {"n": 6, "prompt": 8, "continuation": 5, "corpus": TEXTS},
    "ngram": {"length": 32, "n": 6, "positions": 12, "sampled": 20, "train_tokens": 100_000},
    "patching": {"task": OWN},
    "representation": {"n": 5, "length": 20, "references": "init,previous"},
    "samples": {"prompts": "def one|class", "tokens": 5, "temperature": 1.0, "samples": 2},
    "transplant": {"task": OWN, "references": "init,step:1"},
    "weights": {"references": "init,previous", "sketch": 64},
}
"""Parameters that fit the tiny model; experiments not named here run with their defaults."""

FURTHER = {
    "ablation_of_all_kinds": {
        "use": "ablation",
        "task": "repeats",
        "n": 4,
        "kinds": "zero,mean,positional_mean,resample,pattern_preserving,direct",
        "top": 1,
        "controls": 1,
    },
    "denoising_attribution": {
        "use": "attribution",
        "task": "repeats",
        "n": 4,
        "method": "eap_denoising",
        "metric": "prob_diff",
        "sizes": "5",
        "circuit": 5,
        "references": "final",
    },
    "attribution_at_once": {
        "use": "attribution",
        "task": OWN,
        "method": "eap",
        "metric": "nll",
        "sizes": "5",
        "circuit": 5,
    },
    "probability": {"use": "patching", "task": "repeats", "n": 2},
    "activations_of_all": {
        "use": "activations",
        "n": 2,
        "length": 10,
        "null_n": 1,
        "sites": "resid_pre,resid_post,attn_out,mlp_out,q,k,v,z,pre,post",
    },
    "every_site": {
        "use": "representation",
        "n": 3,
        "length": 12,
        "sites": "resid_pre,attn_out,mlp_out",
        "references": "final",
    },
}
"""What the kinds that the experiments above leave out are named."""

RANKS_AMONG_CONTROLS = {
    "effect_rank",
    "faithfulness_normalised_rank",
    "transfer_faithfulness_rank",
}
"""The place of a measurement among the draws of its control: it has no control of its own."""


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


@pytest.fixture(scope="module")
def kinds(suite, tmp_path_factory):
    """A run of what else there is of kinds, at one step."""
    out = tmp_path_factory.mktemp("kinds") / "run"
    config = pt.SweepConfig(model=str(suite), steps="4", experiments=FURTHER, out=out, device="cpu")
    assert not pt.sweep(config).failed
    return out


def words(paths, column):
    found = set()
    for path in paths:
        for table in (None, "items"):
            found |= set(pt.load(path, table=table, controls=True)[column].dropna())
    return found


@pytest.mark.parametrize("name", discover())
def test_it_is_documented(name):
    listed = describe(discover()[name])
    assert listed["description"].endswith(".")
    assert listed["cites"]
    for parameter in listed["parameters"]:
        assert parameter["meaning"], f"{parameter['name']} is not explained"


@pytest.mark.parametrize("name", discover())
def test_it_yields_finite_numbers_or_says_why_not(runs, name):
    rows = pt.load(runs[0], label=name, controls=True)
    assert len(rows)
    assert set(rows.experiment) == {name}
    for row in rows.itertuples():
        assert math.isfinite(row.value) or isinstance(row.reason, str)
        is_few = pd.notna(row.clusters) and row.clusters < FEWEST_CLUSTERS
        says_why = math.isnan(row.value) or is_few
        assert says_why == isinstance(row.reason, str)
    keys = ["step", *(column.name for column in schema.KEY_COLUMNS)]
    assert not rows.duplicated(keys).any()


@pytest.mark.parametrize("name", discover())
def test_every_metric_has_a_control_beside_it(runs, name):
    rows = pt.load(runs[0], label=name, controls=True)
    controlled = set(rows.metric[rows.control.notna()])
    assert set(rows.metric) - RANKS_AMONG_CONTROLS == controlled


@pytest.mark.parametrize("name", discover())
def test_a_control_has_the_variant_of_a_measurement(runs, name):
    rows = pt.load(runs[0], label=name, controls=True)
    measured = set(rows.variant[rows.control.isna()].dropna())
    assert set(rows.variant[rows.control.notna()].dropna()) <= measured


def part_is_known(word):
    return word in schema.WORDS["part"] or re.fullmatch(schema.PART_PATTERN, word)


@pytest.mark.parametrize("column", schema.WORDS)
def test_each_word_is_one_of_the_schemas(runs, kinds, column):
    found = words([runs[0], kinds], column)
    assert found
    if column == "part":
        own = {json.loads(line).get("template") for line in Path(OWN).read_text().splitlines()}
        assert all(part_is_known(word) for word in found - own)
    else:
        assert found <= set(schema.WORDS[column])
    assert not any(":" in word or " " in word for word in found)


@pytest.mark.parametrize("column", ["variant", "control", "target"])
def test_no_word_of_the_schema_is_dead(runs, kinds, column):
    found = words([runs[0], kinds], column)
    # Head roles of ordered words, and years, need a tokenizer that has them whole.
    of_words = {"with_embed", "cot", "chance", "successor", "prob_diff"}
    assert set(schema.WORDS[column]) - found <= of_words


@pytest.mark.parametrize("task", tasks())
def test_each_template_of_a_task_is_a_word(task, monkeypatch):
    seen = []

    def draw(prompts, *_, **__):
        seen.extend(prompt.template for prompt in prompts)
        return [], np.empty(0), Dropped()

    monkeypatch.setattr("pythia_traj.data.tasks.task.draw", draw)
    tasks()[task].draw(Vocabulary(300, 128), Asked(task, 0, 3, False))
    assert bool(seen) == (task != "repeats")
    assert set(seen) <= set(schema.WORDS["part"])


@pytest.mark.parametrize("name", discover())
def test_it_is_deterministic(runs, name):
    one, two = (pt.load(run, label=name, controls=True) for run in runs)
    assert one.equals(two)


@pytest.mark.parametrize("name", discover())
def test_its_tables_are_as_they_are_declared(runs, name):
    for table, columns in discover()[name].tables.items():
        files = list((runs[0] / "tables" / table).glob(f"**/label={name}/*.parquet"))
        for file in files:
            expected = arrow_schema((*schema.UNIT_COLUMNS, *columns))
            assert pq.read_schema(file).equals(expected)
