"""The examples of docs/comparing.md, as they stand there, on runs of random models."""

import json
import re
from pathlib import Path

import pytest

import pythia_traj as pt
from tests.support import TINY, publish, random_model

PAGE = Path(__file__).parents[2] / "docs" / "comparing.md"

STEPS = (0, *(2**i for i in range(12)))


@pytest.mark.slow
def test_the_pages_examples_run_one_after_the_other(tmp_path, monkeypatch):
    for seed in range(3):
        suite = tmp_path / f"seed{seed}"
        for step in STEPS:
            publish(suite / f"step{step}", random_model(100 * seed + step))
        facts = {"suite": "random", "tokens_per_step": 2048}
        (suite / "suite.json").write_text(json.dumps(facts))
        experiments = {
            "loss": {"length": 16, "n": 8, "null_n": 2},
            "induction": {"length": 10, "n": 8},
        }
        run = tmp_path / "runs" / f"seed{seed}"
        pt.sweep(pt.SweepConfig(model=str(suite), steps="all", experiments=experiments, out=run))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 5
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert set(names["band"]) >= {"mean", "low", "high"}
    assert len(names["found"].pairs) == 8
    assert len(names["curves"]) == 3
    assert names["n_tokens"] == TINY["vocab_size"]


def test_it_names_every_function():
    text = PAGE.read_text()
    for name in ("align", "compare", "correlate", "head_distances", "largest_difference",
                 "learning_curves", "match_heads", "seed_bands", "smooth", "stability",
                 "summarise_heads"):  # fmt: skip
        assert f"pt.{name}(" in text, name
