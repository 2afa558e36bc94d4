"""Items of tasks are distinct, and what they share, their cluster, is in one half."""

from collections import defaultdict

import numpy as np
import pytest

from pythia_traj.data.prompts import HalvedTaskPrompts, TaskPrompts, tasks
from pythia_traj.data.tasks import agreement, greater_than, pronoun
from pythia_traj.data.tasks.drawing import draw
from pythia_traj.data.tasks.prompt import EVALUATION, SELECTION, Prompt
from pythia_traj.engines.streams import stream
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary
from tests.data.test_prompts import needs_pythias, pythia  # noqa: F401
from tests.support import byte_tokenizer


def items_of(data):
    """(clean prompt, corrupted prompt, cluster, half, template) of every item, in order."""
    found = [
        (number, tuple(clean), tuple(corrupted), cluster, half, template)
        for batch in data.batches
        for number, clean, corrupted, cluster, half, template in zip(
            batch.item,
            batch.clean.tolist(),
            batch.corrupted.tolist(),
            batch.cluster.tolist(),
            batch.half.tolist(),
            batch.templates,
            strict=True,
        )
    ]
    return [rest for _, *rest in sorted(found)]


@needs_pythias
@pytest.mark.parametrize("task", sorted(tasks()))
def test_a_cluster_or_prompt_is_in_one_half_and_items_are_distinct(pythia, task):  # noqa: F811
    for seed in range(50):
        n = (None, 7, 32)[seed % 3]
        items = items_of(TaskPrompts(task=task, n=n).bind(pythia, seed=seed))
        halves = defaultdict(set)
        for clean, corrupted, cluster, half, _ in items:
            for shared in (("cluster", cluster), ("prompt", clean), ("prompt", corrupted)):
                halves[shared].add(half)
        assert all(len(found) == 1 for found in halves.values())
        assert len({clean for clean, *_ in items}) == len(items)
        in_half = [half for _, _, _, half, _ in items]
        assert abs(in_half.count(SELECTION) - in_half.count(EVALUATION)) <= 1
        for template in {template for *_, template in items}:
            of_it = [half for *_, half, found in items if found == template]
            assert abs(of_it.count(SELECTION) - of_it.count(EVALUATION)) <= 2


@needs_pythias
@pytest.mark.parametrize(
    ("task", "n", "clusters"),
    [
        ("ioi", 100, 100),
        ("ioi_abc", 100, 100),
        ("greater_than", 100, 30),
        ("agreement", 60, 30),
        ("agreement_attractor", 100, 30),
        ("pronoun", 48, 48),
        ("repeats", 100, 100),
    ],
)
def test_without_a_number_all_distinct_items_are_taken_up_to_100(pythia, task, n, clusters):  # noqa: F811
    for seed in (0, 1):
        items = items_of(TaskPrompts(task=task).bind(pythia, seed=seed))
        assert len(items) == n
        assert len({cluster for _, _, cluster, *_ in items}) == clusters


@needs_pythias
@pytest.mark.parametrize(("task", "n"), [("pronoun", 48), ("agreement", 60)])
@pytest.mark.parametrize("kind", [TaskPrompts, HalvedTaskPrompts])
def test_more_than_there_are_is_refused_with_their_number(pythia, task, n, kind):  # noqa: F811
    assert kind(task=task, n=n).bind(pythia, seed=0).n == n
    with pytest.raises(
        DataError,
        match=f"task {task} has {n} distinct prompts for this model's tokenizer, {n + 1} were asked"
        f" for: set n to at most {n}, or leave it out",
    ):
        kind(task=task, n=n + 1).bind(pythia, seed=0)


@pytest.mark.parametrize(
    ("prompts", "n", "clusters"),
    [
        (pronoun.prompts, 48, 48),
        (greater_than.prompts, 30 * 97, 30),
        (lambda rng: agreement.prompts(rng, attractor=False), 60, 30),
        (lambda rng: agreement.prompts(rng, attractor=True), 30 * 29 * 4 * 2, 30),
    ],
)
def test_a_task_yields_each_of_its_items_once_and_every_cluster_first(prompts, n, clusters):
    one, other = (list(prompts(stream(seed, "test"))) for seed in (0, 1))
    assert len({prompt.clean for prompt in one}) == len(one) == n
    assert {prompt.clean for prompt in other} == {prompt.clean for prompt in one}
    assert [prompt.clean for prompt in other] != [prompt.clean for prompt in one]
    first = {prompt.cluster for prompt in one[: 2 * clusters]}
    assert first == {prompt.cluster for prompt in one}
    assert len(first) == clusters


@pytest.fixture
def tiny():
    return Vocabulary(300, 128, byte_tokenizer())


def prompt(i, cluster=""):
    return Prompt((i, 1), (i, 2), ((3,),), ((4,),), cluster=cluster)


def test_where_one_half_has_too_few_the_other_has_more(tiny):
    prompts = [prompt(i, "large" if i >= 3 else str(i)) for i in range(20)]
    items, halves, _ = draw(prompts, tiny, 12, bos=False)
    assert len(items) == 12
    assert (halves == EVALUATION).sum() == 12 - (halves == SELECTION).sum()
    in_large = {int(half) for item, half in zip(items, halves, strict=True) if item.clean[0] >= 3}
    assert len(in_large) == 1
    assert len(draw(prompts, tiny, 21, bos=False)[0]) == 20


def test_a_half_does_not_depend_on_how_many_are_drawn(tiny):
    prompts = [prompt(i, str(i // 3)) for i in range(60)]
    of_cluster = {}
    for n in (5, 12, 40, 60):
        items, halves, _ = draw(prompts, tiny, n, bos=False)
        for item, half in zip(items, halves, strict=True):
            assert of_cluster.setdefault(item.prompt.cluster, half) == half


def test_a_file_says_what_its_rows_share(tiny, tmp_path):
    file = tmp_path / "own.jsonl"
    rows = [f'{{"clean": [{i}], "corrupted": [9], "answer": 8, "wrong": 9}}' for i in range(6)]
    named = [row.replace("}", f', "cluster": "{"ab"[i % 2]}"}}') for i, row in enumerate(rows)]
    for lines, clusters in ((rows, 6), (named, 2), (rows + rows[:2], 6)):
        file.write_text("\n".join(lines))
        items = items_of(TaskPrompts(task=str(file)).bind(tiny, seed=0))
        assert len(items) == 6
        assert len({cluster for _, _, cluster, *_ in items}) == clusters
    assert np.unique([half for *_, half, _ in items]).tolist() == [SELECTION, EVALUATION]
