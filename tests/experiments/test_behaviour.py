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
    prompts = TaskPrompts(task=OWN).bind(Vocabulary(300, 128), seed=0)
    expected = {}
    for batch in prompts.batches:
        by_control = {
            "": batch.clean,
            "corrupted": batch.corrupted,
            "shuffled": batch.shuffled,
        }
        for control, tokens in by_control.items():
            logits = ckpt.model(torch.from_numpy(tokens))[:, -1].detach()
            for row, item in enumerate(batch.item):
                right, wrong = batch.candidates[row, 0]
                expected[control, int(item)] = (logits[row, right] - logits[row, wrong]).item()
    items = pt.load(run, table="items", metric="logit_diff", controls=True)
    assert items.variant.isna().all()
    found = {
        (control if isinstance(control, str) else "", item): value
        for control, item, value in zip(items.control, items["item"], items.value, strict=True)
    }
    assert found == pytest.approx(expected, abs=1e-4)
    mean = pt.load(run, metric="logit_diff", part=None)
    clean = [value for (control, _), value in expected.items() if not control]
    assert mean.value.item() == pytest.approx(sum(clean) / 12, abs=1e-4)
    assert mean.n.item() == 12


def test_templates_have_rows_of_their_own(run):
    rows = pt.load(run, metric="accuracy", part=["a", "b"], controls=True)
    assert sorted(rows[rows.control.isna()].part) == ["a", "b"]
    assert rows.groupby("control", observed=True).part.apply(sorted).to_dict() == {
        "corrupted": ["a", "b"],
        "shuffled": ["a", "b"],
    }
    assert set(rows.n) == {6}


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
