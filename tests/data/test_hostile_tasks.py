"""Files of tasks and lists of prompts that are odd or wrong: measured as they are, left out with a
reason, or refused by file and row.
"""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter
from tokenizers import normalizers

from pythia_traj.data.continuations import PromptTexts, separated
from pythia_traj.data.prompts import TaskPrompts
from pythia_traj.data.roles import RolePrompts
from pythia_traj.discovery import find
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary
from tests.support import Noting, byte_tokenizer

VOCABULARY = Vocabulary(300, 128, byte_tokenizer())
TEXT = {"clean": "def f", "corrupted": "def g", "answer": "(", "wrong": "["}
IDS = {"clean": [5, 6, 7], "corrupted": [5, 9, 7], "answer": 8, "wrong": 9}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


NEITHER = "neither text nor token ids, which are whole numbers from 0"
REFUSED = {
    "an id below 0": ({**IDS, "clean": [5, -100, 7]}, rf"clean is \[5, -100, 7\]: {NEITHER}"),
    "an answer of -1": ({**IDS, "answer": -1}, f"answer is -1: {NEITHER}"),
    "a wrong answer of -100": ({**IDS, "wrong": [-100]}, f"wrong is .*: {NEITHER}"),
    "an id beyond the vocabulary": (
        {**IDS, "clean": [5, 300, 7]},
        "clean has token 300, the model has 300, from 0",
    ),
    "an answer beyond the vocabulary": (
        {**IDS, "answer": 300},
        "answer has token 300, the model has 300",
    ),
    "a wrong answer beyond it": (
        {**IDS, "wrong": 10**30},
        "wrong has token 10+, the model has 300",
    ),
    "true for an id": ({**IDS, "clean": [5, True, 7]}, f"clean is .*: {NEITHER}"),
    "true for an answer": ({**IDS, "answer": True}, f"answer is True: {NEITHER}"),
    "a broken number": ({**IDS, "clean": [5, 6.0, 7]}, f"clean is .*: {NEITHER}"),
    "a broken answer": ({**IDS, "answer": 8.0}, f"answer is 8.0: {NEITHER}"),
    "ids as text": ({**IDS, "clean": ["5", "6", "7"]}, f"clean is .*: {NEITHER}"),
    "ids in ids": ({**IDS, "clean": [[5, 6, 7]]}, f"clean is .*: {NEITHER}"),
    "no ids": ({**IDS, "clean": []}, rf"clean is \[\]: {NEITHER}"),
    "null for a prompt": ({**TEXT, "clean": None}, f"clean is None: {NEITHER}"),
    "null for an answer": ({**TEXT, "wrong": None}, f"wrong is None: {NEITHER}"),
    "an object": ({**TEXT, "clean": {"text": "a"}}, f"clean is .*: {NEITHER}"),
    "half of a pair": ({**TEXT, "clean": "a\ud800"}, "holds half of a surrogate pair"),
    "a template that is true": (
        {**TEXT, "template": True},
        "template is True: its name is text or",
    ),
    "a template that is a broken number": (
        {**TEXT, "template": 0.5},
        "template is 0.5: its name is text or",
    ),
    "a template that is a list": (
        {**TEXT, "template": ["a"]},
        "template is .*: its name is text or",
    ),
    "a template of two names": (
        {**TEXT, "template": "went:baba"},
        "template is 'went:baba': a template has one name, of at most 100 characters and without"
        " a colon$",
    ),
    "a template that is a colon": ({**TEXT, "template": ":"}, "template is ':': .* one name"),
    "a template that is a prompt": (
        {**TEXT, "template": "When Kevin and Martin " * 5},
        r"template is 'When Kevin and Martin .*\.\.\.: .* at most 100 characters",
    ),
    "a template of a long number": ({**TEXT, "template": 10**100}, "of at most 100 characters"),
    "longer than the context": (
        {**IDS, "clean": [5] * 129, "corrupted": [6] * 129},
        "needs a context of 129 tokens, the model has 128: give a shorter prompt$",
    ),
    "text longer than the context": (
        {**TEXT, "clean": "é" * 65, "corrupted": "è" * 65},
        "needs a context of 130 tokens, the model has 128: give a shorter prompt$",
    ),
    "no row": ([5, 6, 7], "expected an object with clean, corrupted, answer, wrong"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_row_that_is_wrong_is_refused_by_its_file_and_line(tmp_path, case):
    row, message = REFUSED[case]
    path = write(tmp_path / "own.jsonl", [TEXT, row])
    with pytest.raises(DataError, match=f"own.jsonl line 2.*{message}") as caught:
        TaskPrompts(task=path).bind(VOCABULARY, seed=0)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_prompt_of_many_characters_is_not_tokenised_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("pythia_traj.vocabulary.PIECE", 100)
    noting = Noting(byte_tokenizer())
    rows = [{**TEXT, "clean": "é" * 100_000, "corrupted": "è" * 100_000}]
    with pytest.raises(DataError, match="line 1 needs a context of 200 tokens, the model has 128"):
        TaskPrompts(task=write(tmp_path / "own.jsonl", rows)).bind(
            Vocabulary(300, 128, noting), seed=0
        )
    assert 0 < len(noting.texts) < 10


LEFT_OUT = {
    "an empty prompt": ({**TEXT, "clean": "", "corrupted": ""}, "the prompt is empty"),
    "a prompt of white space": (
        {**TEXT, "clean": " \n", "corrupted": " \t"},
        "the prompt is empty",
    ),
    "twins of unequal length": (
        {**IDS, "corrupted": [5, 9]},
        "clean and corrupted prompt differ in length",
    ),
    "twins of unequal text": (
        {**TEXT, "corrupted": "def gg"},
        "clean and corrupted prompt differ in length",
    ),
    "an answer that is right and wrong": ({**IDS, "wrong": 8}, "an answer is right and wrong"),
    "an answer of two tokens": ({**IDS, "answer": [8, 9]}, "an answer is more than one token"),
    "an answer of many characters": ({**TEXT, "answer": "xyz"}, "an answer is more than one token"),
    "an empty answer": ({**TEXT, "answer": ""}, "an answer is empty"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_a_row_that_cannot_be_used_is_left_out_and_named(tmp_path, caplog, case):
    row, reason = LEFT_OUT[case]
    data = TaskPrompts(task=write(tmp_path / "own.jsonl", [TEXT, row, IDS, row])).bind(
        VOCABULARY, seed=0
    )
    assert data.n == 2
    assert data.facts == {"items": 2, "dropped": {reason: 2}}
    assert f"2 prompts are not used: {reason} (2, {tmp_path}/own.jsonl line 2 first)" in caplog.text
    with pytest.raises(
        DataError, match=rf"all were dropped, {reason} \(1, .*own.jsonl line 1 first\)"
    ):
        TaskPrompts(task=write(tmp_path / "own.jsonl", [row])).bind(VOCABULARY, seed=0)


MEASURED = {
    "a template of 0": ({**TEXT, "template": 0}, "0"),
    "a template of 10": ({**TEXT, "template": 10}, "10"),
    "a template of text": ({**TEXT, "template": "0"}, "0"),
    "a template as long as may be": ({**TEXT, "template": "{a} b." * 16}, "{a} b." * 16),
    "an empty template": ({**TEXT, "template": ""}, ""),
    "null for a template": ({**TEXT, "template": None}, ""),
    "the first token": ({**IDS, "clean": [0, 0, 7], "answer": 0}, ""),
    "the last token": ({**IDS, "clean": [299, 6, 7], "answer": 299}, ""),
    "as long as the context": ({**IDS, "clean": [5] * 128, "corrupted": [6] * 128}, ""),
    "a zero byte": ({**TEXT, "clean": "a\0", "corrupted": "b\0"}, ""),
    "an answer of white space": ({**TEXT, "answer": "\n"}, ""),
    "another column": ({**TEXT, "note": [1, {"a": None}]}, ""),
}


@pytest.mark.parametrize("case", MEASURED)
def test_a_row_that_is_odd_is_measured(tmp_path, case):
    row, template = MEASURED[case]
    data = TaskPrompts(task=write(tmp_path / "own.JSONL", [row])).bind(VOCABULARY, seed=0)
    assert not data.dropped
    assert data.batches[0].templates == (template,)
    if isinstance(row["clean"], list):
        assert data.batches[0].clean.tolist() == [row["clean"]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({**TEXT, "wrong": None}, "own.parquet row 1: wrong is None"),
        (
            {**IDS, "clean": [5, None, 7]},
            "own.parquet row 1: clean is .*neither text nor token ids",
        ),
        ({**IDS, "answer": -1}, "own.parquet row 1: answer is -1"),
    ],
)
def test_cells_of_parquet(tmp_path, columns, message):
    pq.write_table(pa.Table.from_pylist([columns]), tmp_path / "own.parquet")
    with pytest.raises(DataError, match=message):
        TaskPrompts(task=str(tmp_path / "own.parquet")).bind(VOCABULARY, seed=0)


def test_a_column_twice(tmp_path):
    table = pa.Table.from_pylist([TEXT])
    pq.write_table(table.append_column("clean", table["clean"]), tmp_path / "own.parquet")
    (tmp_path / "own.jsonl").write_text(json.dumps(TEXT)[:-1] + ', "clean": "a"}')
    for name in ("own.parquet", "own.jsonl"):
        with pytest.raises(DataError, match=f"{name}.* twice"):
            TaskPrompts(task=str(tmp_path / name)).bind(VOCABULARY, seed=0)


BOS = 7
WITH_BOS = Vocabulary(300, 128, VOCABULARY.tokenizer, bos_token_id=BOS, eos_token_ids=(0,))


@pytest.mark.parametrize(
    ("clean", "corrupted", "expected"),
    [
        ([5, 6], [5, 9], [[BOS, 5, 6], [BOS, 5, 9]]),
        ([BOS, 5, 6], [BOS, 5, 9], [[BOS, 5, 6], [BOS, 5, 9]]),
        ([BOS, 5, 6], [5, 9], [[BOS, 5, 6], [BOS, 5, 9]]),
        ([BOS, BOS, 6], [BOS, 5, 6], [[BOS, BOS, 6], [BOS, 5, 6]]),
        ([0, 6], [0, 9], [[BOS, 0, 6], [BOS, 0, 9]]),
        ([5, BOS], [9, BOS], [[BOS, 5, BOS], [BOS, 9, BOS]]),
    ],
)
def test_a_prompt_that_begins_with_bos_has_one(tmp_path, clean, corrupted, expected):
    row = {"clean": clean, "corrupted": corrupted, "answer": 8, "wrong": 9}
    data = TaskPrompts(task=write(tmp_path / "own.jsonl", [row]), bos=True).bind(WITH_BOS, seed=0)
    (batch,) = data.batches
    assert [batch.clean[0].tolist(), batch.corrupted[0].tolist()] == expected
    assert batch.shuffled[0, 0] == BOS


def test_a_prompt_that_is_written_with_bos_has_one(tmp_path):
    row = {**TEXT, "clean": "<|endoftext|>def f", "corrupted": "<|endoftext|>def g"}
    with_it, without = (
        TaskPrompts(task=write(tmp_path / "own.jsonl", [one]), bos=True)
        .bind(VOCABULARY, seed=0)
        .batches[0]
        .clean.tolist()
        for one in (row, TEXT)
    )
    assert with_it == without
    prompts = PromptTexts(
        prompts=("<|endoftext|>def f", "def f", "<|endoftext|>"), tokens=4, bos=True
    ).bind(VOCABULARY, seed=0)
    assert prompts.lengths == [len(without[0])] * 2 + [1]
    assert (
        prompts.groups["prompts"][0].tolist() == prompts.groups["prompts"][1].tolist() == without[0]
    )


SEPARATED = {
    "One|Two": ("One", "Two"),
    "<|endoftext|>": ("<|endoftext|>",),
    "<|endoftext|>One|Two<|endoftext|>|<|im_start|>": (
        "<|endoftext|>One",
        "Two<|endoftext|>",
        "<|im_start|>",
    ),
    r"a \| b|c": ("a | b", "c"),
    r"\|": ("|",),
    r"a\n|b": (r"a\n", "b"),
    "a <| b|> c": ("a <", " b", "> c"),
    "<|": ("<", ""),
    "a|": ("a", ""),
    "": ("",),
    "a, b|c": ("a, b", "c"),
}


@pytest.mark.parametrize("text", SEPARATED)
def test_prompts_on_the_command_line(text):
    assert separated(text) == SEPARATED[text]


def test_a_list_of_prompts_is_taken_as_it_is():
    prompts = TypeAdapter(find("samples").parameters["prompts"].annotation)
    assert prompts.validate_python(["a|b", r"\|", "<|endoftext|>"]) == (
        "a|b",
        r"\|",
        "<|endoftext|>",
    )
    assert prompts.validate_python("a|<|endoftext|>") == ("a", "<|endoftext|>")


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (("a", ""), "prompt 1 is empty"),
        (
            ("é" * 64,),
            "prompt 0 with a token after it needs a context of 129 tokens, the model has 128: give"
            " a shorter prompt$",
        ),
        (
            ("é" * 63,),
            "prompt 0 with 4 tokens after it needs a context of 130 tokens, the model has 128: set"
            " tokens to at most 2$",
        ),
        (("a\udcff",), "cannot tokenise this text"),
    ],
)
def test_prompts_that_cannot_be_continued_are_refused(prompts, message):
    with pytest.raises(DataError, match=message):
        PromptTexts(prompts=prompts, tokens=4).bind(VOCABULARY, seed=0)


def test_text_ends_at_an_end_of_text_and_not_at_bos():
    found = PromptTexts(prompts=("a",), tokens=4).bind(WITH_BOS, seed=0)
    letters = VOCABULARY.encode("ab").tolist()
    assert found.text([letters[0], BOS, letters[1], 0, 5]) == VOCABULARY.decode(
        [letters[0], BOS, letters[1]]
    )


def test_roles_without_a_tokenizer_of_this_model_say_so_for_their_part_alone():
    other = Vocabulary(40, 128, VOCABULARY.tokenizer)
    data = RolePrompts(n=4).bind(other, seed=0)
    assert data.groups["two_halves"].max() < 40
    assert "do not belong together" in data.no_names
    assert "do not belong together" in data.no_ordered


def test_a_tokenizer_that_fails_is_one_line(tmp_path):
    tokenizer = byte_tokenizer()
    tokenizer.normalizer = normalizers.Replace("def", "\u20ac")
    rows = [{**TEXT, "clean": "def f", "corrupted": "def g"}]
    data = TaskPrompts(task=write(tmp_path / "own.jsonl", rows)).bind(
        Vocabulary(300, 128, tokenizer), seed=0
    )
    assert len(data.batches) == 1
    with pytest.raises(DataError, match="own.jsonl line 1: .* do not belong together"):
        TaskPrompts(task=write(tmp_path / "own.jsonl", rows)).bind(
            Vocabulary(20, 128, tokenizer), seed=0
        )


def test_items_are_told_apart_in_their_order(tmp_path):
    rows = [
        {**IDS, "clean": [i + 1] * (1 + i % 2), "corrupted": [9] * (1 + i % 2), "template": i % 3}
        for i in range(6)
    ]
    data = TaskPrompts(task=write(tmp_path / "own.jsonl", rows)).bind(VOCABULARY, seed=0)
    found = {
        int(n): t
        for batch in data.batches
        for n, t in zip(batch.item, batch.templates, strict=True)
    }
    assert found == {i: str(i % 3) for i in range(6)}
    assert np.concatenate([batch.clean[:, 0] for batch in data.batches]).tolist() == [
        1,
        3,
        5,
        2,
        4,
        6,
    ]
