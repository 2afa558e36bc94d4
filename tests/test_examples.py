"""The documentation's own experiments, run as they stand there and compared with numbers computed
by hand.
"""

import math
import re
from pathlib import Path

import pytest
import torch

import pythia_traj as pt
from tests.support import publish, random_model

ROOT = Path(__file__).parents[1]
LENGTH, ITEMS = 25, 6
MOVED = 0.125


@pytest.fixture(scope="module")
def even(tmp_path_factory):
    """Two checkpoints whose heads attend evenly; in the second all embeddings are moved, half of
    the features up and half down.
    """
    root = tmp_path_factory.mktemp("even")
    for step in (0, 1):
        model = random_model(0)
        with torch.no_grad():
            for layer in model.gpt_neox.layers:
                layer.attention.query_key_value.weight.zero_()
                layer.attention.query_key_value.bias.zero_()
                layer.mlp.dense_4h_to_h.weight.zero_()
            signs = torch.tensor([1.0, -1.0]).repeat(model.config.hidden_size // 2)
            # Exact in the half precision of the files.
            model.gpt_neox.embed_in.weight.copy_(
                torch.ones_like(model.gpt_neox.embed_in.weight) + step * MOVED * signs
            )
        publish(root / f"step{step}", model)
    return root


def example(page, name, path):
    """The code block of a page that defines an experiment, as a file."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    path.write_text(next(block for block in blocks if f"def {name}(" in block))
    return path


def rows_of(suite, tmp_path, page, name, steps="0", controls=False):
    file = example(page, name, tmp_path / f"{name}.py")
    config = pt.SweepConfig(
        model=str(suite),
        steps=steps,
        experiments={name: {"use": str(file), "n": ITEMS}},
        out=tmp_path / "run",
    )
    result = pt.sweep(config)
    assert not result.failed
    return pt.load(tmp_path / "run", controls=controls)


def test_the_readmes_entropy_of_even_attention_is_that_of_its_two_halves(even, tmp_path):
    rows = rows_of(even, tmp_path, "README.md", "entropy")
    assert len(rows) == 2 * 4  # layers, heads
    assert set(rows.n) == {ITEMS}
    # The query at position k attends evenly to k tokens, from 1 to 50.
    by_hand = sum(math.log(k) for k in range(1, 2 * LENGTH + 1)) / (2 * LENGTH)
    assert by_hand == pytest.approx(math.lgamma(2 * LENGTH + 1) / (2 * LENGTH))
    assert list(rows.value) == pytest.approx([by_hand] * 8, abs=1e-5)


def test_the_readme_says_that_number():
    assert f"ln(50!) / 50 = {math.lgamma(51) / 50:.2f} here" in (ROOT / "README.md").read_text()


def test_groups_have_a_variant_and_a_control_where_they_are_asked_for(even, tmp_path):
    rows = rows_of(even, tmp_path, "docs/experiments.md", "first_token", controls=True)
    halves = sum(1 / k for k in range(1, 51)) / 50
    olsson = sum(1 / k for k in range(1, 102)) / 101
    for variant, by_hand in {"two_halves": halves, "olsson": olsson}.items():
        for is_control in (rows.control.isna(), rows.control == "shuffled"):
            found = rows.value[(rows.variant == variant) & is_control]
            assert list(found) == pytest.approx([by_hand] * 8, abs=1e-5)
    assert len(rows) == 4 * 8


def test_drift_is_how_far_the_embeddings_were_moved(even, tmp_path):
    rows = rows_of(even, tmp_path, "docs/experiments.md", "drift", steps="all")
    assert list(rows.value) == pytest.approx([0.0, MOVED], abs=1e-5)
    assert set(rows.n) == {ITEMS}


def test_induction_on_even_attention_is_what_arithmetic_says(even, tmp_path):
    config = pt.SweepConfig(
        model=str(even),
        steps="0",
        experiments={"induction": {"length": LENGTH, "n": ITEMS}},
        out=tmp_path / "run",
    )
    assert not pt.sweep(config).failed
    rows = pt.load(tmp_path / "run", metric="prefix_matching")
    # Each query of the second copy gives one of its k tokens 1/k.
    by_hand = sum(1 / k for k in range(LENGTH + 1, 2 * LENGTH + 1)) / LENGTH
    assert list(rows.value[rows.variant == "two_halves"]) == pytest.approx([by_hand] * 8, abs=1e-5)
