"""`behaviour` on a tiny model equals a plain pass, item by item."""

from pathlib import Path

import pytest
import torch

import pythia_traj as pt
from pythia_traj.data.prompts import TaskPrompts
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary
from pythia_traj.store.layout import Run
from pythia_traj.store.unit import read_footer

OWN = str(Path(__file__).with_name("own_task.jsonl"))


@pytest.fixture(scope="module")
def run(suite, tmp_path_factory):
    out = tmp_path_factory.mktemp("behaviour") / "run"
    config = pt.SweepConfig(
        model=str(suite), steps="4", experiments={"behaviour": {"task": OWN}}, out=out, device="cpu"
    )
    assert not pt.sweep(config).failed
    return out


def test_it_equals_a_plain_pass_item_by_item(run, suite):
    (ckpt,) = pt.checkpoints(suite, steps="4", device="cpu")
    prompts = TaskPrompts(Vocabulary(300, 128), seed=0, task=OWN)
    expected = {}
    for batch in prompts.batches:
        by_variant = {
            "": batch.clean,
            "corrupted": batch.corrupted,
            "null:shuffled": batch.shuffled,
        }
        for variant, tokens in by_variant.items():
            logits = ckpt.model(torch.from_numpy(tokens))[:, -1].detach()
            for row, item in enumerate(batch.item):
                right, wrong = batch.candidates[row, 0]
                expected[variant, int(item)] = (logits[row, right] - logits[row, wrong]).item()
    items = pt.load(run, table="items", metric="logit_diff")
    found = {
        (v if isinstance(v, str) else "", i): x
        for v, i, x in zip(items.variant, items["item"], items.value, strict=True)
    }
    assert found == pytest.approx(expected, abs=1e-4)
    rows = pt.load(run, metric="logit_diff")
    mean = rows[rows.variant.isna() & rows.dim.isna()]
    clean = [value for (variant, _), value in expected.items() if not variant]
    assert mean.value.item() == pytest.approx(sum(clean) / 12, abs=1e-4)
    assert mean.n.item() == 12


def test_templates_have_rows_of_their_own(run):
    rows = pt.load(run, metric="accuracy")
    by_template = rows[rows.variant.isna() & rows.dim.notna()]
    assert sorted(zip(by_template.dim, by_template.n, strict=True)) == [("a", 6), ("b", 6)]


def test_what_was_dropped_is_recorded(run):
    footer = read_footer(Run(run).unit_path("tiny", "behaviour", 4))
    assert footer["data"] == {"items": 12, "dropped": {}}


def test_a_task_that_the_model_cannot_do_is_refused_before_any_step(suite, tmp_path):
    config = pt.SweepConfig(
        model=str(suite),
        steps="all",
        experiments={"behaviour": {"task": "ioi"}},
        out=tmp_path / "run",
    )
    with pytest.raises(
        DataError, match="^behaviour: task ioi has no items for this model's tokenizer"
    ):
        pt.sweep(config)
