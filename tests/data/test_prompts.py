"""Tasks: prompts whose answers are one token of the tokenizer in use, in batches of one length."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from pythia_traj.data.prompts import TaskPrompts
from pythia_traj.data.tasks import agreement, greater_than, ioi, pronoun
from pythia_traj.data.tasks.drawing import draw
from pythia_traj.data.tasks.prompt import Prompt
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary
from tests.support import byte_tokenizer

PYTHIAS = Path(__file__).parents[3] / "shared" / "reference" / "pythia_tokenizer.json"

needs_pythias = pytest.mark.skipif(not PYTHIAS.exists(), reason="Pythia's tokenizer is not at hand")


@pytest.fixture(scope="module")
def pythia():
    return Vocabulary(50304, 2048, Tokenizer.from_file(str(PYTHIAS)))


@pytest.fixture(scope="module")
def tiny():
    return Vocabulary(300, 128, byte_tokenizer())


def every_item(data):
    for batch in data.batches:
        yield from zip(
            batch.clean,
            batch.corrupted,
            batch.candidates[:, 0],
            batch.is_right[:, 0],
            batch.templates,
            strict=True,
        )


@needs_pythias
@pytest.mark.parametrize(
    ("task", "n"),
    [
        ("ioi", 300),
        ("ioi_abc", 300),
        ("greater_than", 300),
        ("agreement", 60),
        ("agreement_attractor", 300),
        ("pronoun", 48),
    ],
)
def test_pythias_tokenizer_allows_every_item_of_every_task(pythia, task, n):
    data = TaskPrompts(task=task, n=n).bind(pythia, seed=0)
    assert data.n == n
    assert not data.dropped
    assert data.facts == {"items": n, "dropped": {}}
    assert sorted(np.concatenate([batch.item for batch in data.batches])) == list(range(n))
    for clean, corrupted, candidates, is_right, _ in every_item(data):
        assert clean.shape == corrupted.shape
        assert (clean != corrupted).any()
        assert 0 < is_right.sum() < len(candidates) == len(set(candidates))


@needs_pythias
def test_every_name_and_noun_is_one_token(pythia):
    words = [
        *(f" {name}" for name in (*ioi.NAMES, *pronoun.MEN, *pronoun.WOMEN)),
        *(f" {noun}" for noun in greater_than.NOUNS),
    ]
    words += [f" {noun}" for pair in agreement.NOUNS for noun in pair]
    split = [word for word in words if len(pythia.tokenizer.encode(word).ids) != 1]
    assert split == []


@needs_pythias
@pytest.mark.parametrize(("task", "answers_flip"), [("ioi", True), ("ioi_abc", False)])
def test_ioi_names_the_giver_twice_and_its_twins_do_what_they_say(pythia, task, answers_flip):
    data = TaskPrompts(task=task, n=60).bind(pythia, seed=1)
    templates = [item[4] for item in every_item(data)]
    assert set(templates) == {
        f"{name}_{order}" for name in ioi.TEMPLATES for order in ("baba", "abba")
    }
    assert sum(name.endswith("baba") for name in templates) == 30
    for clean, corrupted, (io, s), is_right, template in every_item(data):
        assert is_right.tolist() == [True, False]
        assert (clean == io).sum() == 1
        assert (clean == s).sum() == 2
        places = [int(np.flatnonzero(clean == io)[0]), *np.flatnonzero(clean == s).tolist()]
        assert (places[1] < places[0] < places[2]) == template.endswith("baba")
        assert ((corrupted == io).sum(), (corrupted == s).sum()) == (
            (2, 1) if answers_flip else (0, 0)
        )


@needs_pythias
def test_greater_than_has_every_year_of_the_century_on_one_side(pythia):
    data = TaskPrompts(task="greater_than", n=200).bind(pythia, seed=0)
    decode = pythia.tokenizer.decode
    for clean, corrupted, candidates, is_right, _ in every_item(data):
        text = decode(clean.tolist())
        year = int(text.split("year 17")[1][:2])
        assert 2 <= year <= 98
        years = [int(decode([token])) for token in candidates.tolist()]
        assert sorted(years) == list(range(100))
        assert [value > year for value in years] == is_right.tolist()
        assert decode(corrupted.tolist()) == text.replace(f"17{year:02d}", "1701", 1)


@needs_pythias
def test_an_attractor_has_the_other_number(pythia):
    data = TaskPrompts(task="agreement_attractor", n=100).bind(pythia, seed=0)
    singular = {pair[0] for pair in agreement.NOUNS}
    for clean, corrupted, candidates, is_right, template in every_item(data):
        words = pythia.tokenizer.decode(clean.tolist()).split()
        subject, attractor = words[1], words[-1]
        assert (subject in singular) == (template == "singular") == (attractor not in singular)
        assert pythia.tokenizer.decode(corrupted.tolist()).split()[2:] == words[2:]
        verbs = {pythia.tokenizer.decode([token]) for token in candidates[is_right]}
        assert verbs == {pair[template == "plural"] for pair in agreement.VERBS}


@needs_pythias
def test_the_draw_depends_on_the_seed_alone(pythia):
    one, same, other = (TaskPrompts(task="ioi", n=20).bind(pythia, seed=seed) for seed in (3, 3, 4))
    assert all(
        np.array_equal(a.clean, b.clean) for a, b in zip(one.batches, same.batches, strict=True)
    )
    assert any(
        not np.array_equal(a.clean, b.clean)
        for a, b in zip(one.batches, other.batches, strict=False)
    )


@needs_pythias
def test_bos_is_prepended_where_it_is_asked_for(pythia):
    for batch in TaskPrompts(task="pronoun", n=8, bos=True).bind(pythia, seed=0).batches:
        assert (batch.clean[:, 0] == 0).all()
        assert (batch.corrupted[:, 0] == 0).all()


def test_a_task_that_the_tokenizer_cannot_do_is_refused_with_the_reason(tiny):
    with pytest.raises(
        DataError, match="task ioi has no items for this model's tokenizer: all were dropped, "
    ):
        TaskPrompts(task="ioi").bind(tiny, seed=0)


def test_items_that_cannot_be_used_are_counted_by_reason(tiny):
    prompts = [
        Prompt("def f", "def g", ("(",), ("[",)),
        Prompt("def f", "def gg", ("(",), ("[",)),
        Prompt("def f", "def g", ("word",), ("[",)),
        Prompt("def f", "def g", ("(",), ("(",)),
        Prompt("d", "x", ("e",), ("[",)),
        Prompt("def 12", "def 13", ("(",), ("[",), splits=(("12", ("12",)),)),
    ]
    items, halves, dropped = draw([*prompts, prompts[0]], tiny, 10, bos=False)
    assert len(items) == len(halves) == 1
    assert dropped == {
        "it repeats an earlier one": 1,
        "clean and corrupted prompt differ in length": 1,
        "an answer is more than one token": 1,
        "an answer is right and wrong": 1,
        "an answer merges with the end of the prompt": 1,
        "a word of it is not split as the task needs": 1,
    }


def test_an_unknown_task_is_answered_with_the_nearest(tiny):
    with pytest.raises(DataError, match="unknown task 'greater_then': did you mean greater_than"):
        TaskPrompts(task="greater_then").spec(seed=0)
    with pytest.raises(DataError, match=r"nowhere\.jsonl is not a file: give one of the tasks"):
        TaskPrompts(task="nowhere.jsonl").bind(tiny, seed=0)


ROWS = [
    {"clean": "def f", "corrupted": "def g", "answer": "(", "wrong": "[", "template": "text"},
    {"clean": [5, 6, 7], "corrupted": [5, 9, 7], "answer": 8, "wrong": 9, "template": "ids"},
]


def test_a_file_of_ones_own_holds_text_or_ids(tiny, tmp_path):
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    data = TaskPrompts(task=str(tmp_path / "own.jsonl")).bind(tiny, seed=0)
    assert data.n == 2
    assert {item[4] for item in every_item(data)} == {"text", "ids"}
    assert TaskPrompts(task=str(tmp_path / "own.jsonl")).spec(seed=0)["sha256"]
    pq.write_table(pa.Table.from_pylist([ROWS[0]]), tmp_path / "own.parquet")
    assert TaskPrompts(task=str(tmp_path / "own.parquet")).bind(tiny, seed=0).n == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"clean": "a", "corrupted": "b", "answer": "("},
            "has no column 'wrong': its columns are clean, corrupted, answer",
        ),
        ({**ROWS[0], "clean": 1.5}, "line 1: clean is 1.5: neither text nor token ids"),
        ({**ROWS[1], "answer": 300}, "line 1: answer has token 300, the model has 300"),
        (
            {**ROWS[1], "clean": [1] * 200, "corrupted": [2] * 200},
            "line 1 needs a context of 200 tokens, the model has 128: give a shorter prompt",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tiny, tmp_path, row, message):
    (tmp_path / "own.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=message):
        TaskPrompts(task=str(tmp_path / "own.jsonl")).bind(tiny, seed=0)


@pytest.mark.parametrize("bos", [False, True])
def test_repeats_are_judged_on_their_second_copy(tiny, bos):
    data = TaskPrompts(task="repeats", n=8, bos=bos).bind(tiny, seed=0)
    (batch,) = data.batches
    start = int(bos)
    first, second = (batch.clean[:, start + i * 25 : start + (i + 1) * 25] for i in (0, 1))
    assert (first == second).all()
    assert (batch.candidates[:, :, 0] == second).all()
    assert batch.reads.tolist() == list(range(start + 24, start + 49))
    assert (batch.corrupted[:, start + 25 :] == second).all()
    other = batch.corrupted[:, start : start + 25]
    assert (np.sort(other) == np.sort(first)).all()
    assert (other != first).mean() > 0.8
    assert (np.sort(batch.shuffled) == np.sort(batch.clean)).all()
    assert batch.is_right.all()
    assert data.metric == "nll"


def test_repeats_need_room_for_two_copies():
    with pytest.raises(
        DataError,
        match="task repeats, two copies of 25 tokens, needs a context of 51 tokens, the model has"
        " 50: give a shorter task$",
    ):
        TaskPrompts(task="repeats", bos=True).bind(Vocabulary(300, 50), seed=0)
