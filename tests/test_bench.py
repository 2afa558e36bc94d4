"""The bench of experiments on tasks: parts, halves, order, and baselines that are plain passes."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import pythia_traj as pt
from pythia_traj.bench import CONTROLS, METRICS, TaskBench, add_effect
from pythia_traj.data.prompts import TaskPrompts
from pythia_traj.data.tasks.prompt import EVALUATION, SELECTION
from pythia_traj.engines.answers import answer_scores
from pythia_traj.engines.means import Design
from pythia_traj.experiment import Vocabulary
from pythia_traj.values import HEAD_BLOCKS, Key, Rows

OWN = str(Path(__file__).parent / "experiments" / "own_task.jsonl")


@pytest.fixture(scope="module")
def model(suite):
    (ckpt,) = pt.checkpoints(suite, steps="4", device="cpu")
    return ckpt.model


@pytest.fixture(scope="module")
def batches():
    """Twelve items of two lengths, which take turns."""
    found = TaskPrompts(task=OWN).bind(Vocabulary(300, 128), seed=0).batches
    assert [batch.clean.shape[1] for batch in found] == [5, 7]
    assert all((np.diff(batch.item) > 1).any() for batch in found)
    return found


def lengths(part):
    return {
        part.items.clean.shape[1]: torch.from_numpy(part.items.item),
        "twice": torch.from_numpy(np.stack([part.items.item, 2 * part.items.item])),
    }


@pytest.mark.parametrize("items_at_once", [1, 4, 100, None])
def test_every_item_is_in_one_part_of_its_batch(model, batches, items_at_once):
    parts = TaskBench(model, batches, items_at_once).parts
    for number, batch in enumerate(batches):
        of_batch = [part for part in parts if part.batch == number]
        sizes = [len(part.items.item) for part in of_batch]
        size = min(items_at_once or len(batch.item), len(batch.item))
        assert set(sizes[:-1]) <= {size}
        assert 0 < sizes[-1] <= size
        for name in ("clean", "corrupted", "shuffled", "candidates", "is_right", "item"):
            joined = np.concatenate([getattr(part.items, name) for part in of_batch])
            np.testing.assert_array_equal(joined, getattr(batch, name))
        for part in of_batch:
            np.testing.assert_array_equal(part.items.reads, batch.reads)
            for kind in CONTROLS:
                np.testing.assert_array_equal(part.tokens(kind), getattr(part.items, kind))
            asked, items = part.question, part.items
            for tensor, array in (
                (asked.reads, items.reads),
                (asked.candidates, items.candidates),
                (asked.is_right, items.is_right),
            ):
                np.testing.assert_array_equal(tensor, array)


@pytest.mark.parametrize("items_at_once", [1, 4, None])
def test_values_are_in_the_order_of_the_items(model, batches, items_at_once):
    bench = TaskBench(model, batches, items_at_once)
    found = bench.over(lengths)
    assert list(found) == [5, "twice", 7]
    np.testing.assert_array_equal(found["twice"], [np.arange(12), 2 * np.arange(12)])
    # A name that not every part has is of the items of those that have it.
    for batch, length in zip(batches, (5, 7), strict=True):
        np.testing.assert_array_equal(found[length], np.sort(batch.item))
    in_parts = np.concatenate([part.items.item for part in bench.parts])
    assert in_parts.tolist() != list(range(12))
    assert in_parts[bench.order].tolist() == list(range(12))
    by_item = {
        item: template
        for batch in batches
        for item, template in zip(batch.item.tolist(), batch.templates, strict=True)
    }
    assert len(set(bench.templates)) > 1
    assert bench.templates == [by_item[item] for item in range(12)]


def test_halves_share_no_item_and_leave_none_out(model, batches):
    whole = TaskBench(model, batches, 2)
    assert sorted(whole.half) == [SELECTION] * 6 + [EVALUATION] * 6
    numbers = {}
    for half in (SELECTION, EVALUATION):
        bench = TaskBench(model, batches, 2, half=half)
        assert set(bench.half) == {half}
        numbers[half] = bench.over(lengths)["twice"][0].tolist()
        assert numbers[half] == np.flatnonzero(whole.half == half).tolist()
        in_parts = np.concatenate([part.items.item for part in bench.parts])
        assert in_parts[bench.order].tolist() == numbers[half]
    assert sorted(numbers[SELECTION] + numbers[EVALUATION]) == list(range(12))


def test_an_empty_half_has_no_parts(model):
    (batch,) = TaskPrompts(task="repeats", n=1).bind(Vocabulary(300, 128), seed=0).batches
    assert len(TaskBench(model, [batch], half=SELECTION).parts) == 1
    empty = TaskBench(model, [batch], half=EVALUATION)
    assert empty.parts == []
    assert len(empty.order) == len(empty.half) == 0


def by_plain_pass(model, batches, kind):
    """The metrics of every item in order, from the logits of a whole pass."""
    found = {}
    for batch in batches:
        with torch.no_grad():
            logits = model(torch.from_numpy(getattr(batch, kind)))[:, batch.reads]
        scores = answer_scores(
            logits, torch.from_numpy(batch.candidates), torch.from_numpy(batch.is_right)
        )
        for i, item in enumerate(batch.item.tolist()):
            found[item] = {
                metric: getattr(scores, "correct" if metric == "accuracy" else metric)[i].item()
                for metric in METRICS
            }
    return [found[item] for item in range(len(found))]


@pytest.mark.parametrize("kind", CONTROLS)
@pytest.mark.parametrize("task", [OWN, "repeats"])
def test_a_baseline_is_a_plain_pass(model, task, kind):
    batches = TaskPrompts(task=task, n=12).bind(Vocabulary(300, 128), seed=0).batches
    bench, rows = TaskBench(model, batches, 5), Rows()
    expected = by_plain_pass(model, batches, kind)
    for metric in METRICS:
        values = bench.add_baseline(rows, kind, metric)
        plain = [item[metric] for item in expected]
        np.testing.assert_allclose(values, plain, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(values, bench.baseline(kind)[metric])
        key = Key(metric, control=None if kind == "clean" else kind)
        assert [item.value for item in rows.items if item.key == key] == values.tolist()
        (row,) = (row for row in rows.metrics if row.key == key)
        assert row.value == pytest.approx(np.mean(plain), abs=1e-4)
        assert row.n == 12


def test_a_baseline_takes_one_pass_of_each_part(model, batches):
    bench, passes = TaskBench(model, batches, 4), []
    handle = model.embed.register_forward_hook(lambda *_: passes.append(1))
    try:
        for metric in METRICS:
            bench.add_baseline(Rows(), "clean", metric)
        assert len(passes) == len(bench.parts)
        bench.baseline("corrupted")
        assert len(passes) == 2 * len(bench.parts)
    finally:
        handle.remove()


def test_a_kept_pass_ends_where_a_plain_one_does(model, batches):
    bench = TaskBench(model, batches, 4)
    for part in bench.parts:
        kept = bench.keep(part, "shuffled")
        torch.testing.assert_close(kept.final, bench.final(part, "shuffled"))
        np.testing.assert_array_equal(kept.tokens, part.items.shuffled)
        assert not kept.pattern
    assert len(bench.keep(part, "clean", patterns=True).pattern) == model.cfg.n_layers


def test_all_that_the_model_reads_is_where_the_model_is(batches):
    """No accelerator is needed: on `meta` tensors have a place and no values."""
    bench = TaskBench(SimpleNamespace(W_E=torch.empty(0, device="meta")), batches, 4)
    for part in bench.parts:
        asked = part.question
        for tensor in (asked.reads, asked.candidates, asked.is_right):
            assert tensor.device.type == "meta"
        for kind in CONTROLS:
            assert part.tokens(kind).device.type == "meta"
        assert part.on_device(part.items.item).device.type == "meta"


def test_items_of_a_head_are_kept_in_blocks():
    values = np.arange(40, dtype=np.float32)
    for key, n in ((Key("effect", layer=0, head=1), HEAD_BLOCKS), (Key("effect", layer=0), 40)):
        rows = Rows()
        add_effect(rows, key, values, Design.independent(40))
        assert len(rows.items) == n
        assert rows.metrics[0].value == values.mean()
        assert sum(item.n for item in rows.items) == 40
