"""Training sequences from every kind of file, prompts and passages."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pythia_traj.data.continuations import PromptTexts
from pythia_traj.data.passages import Passages
from pythia_traj.data.sequences import TrainingSequences
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary
from tests.support import byte_tokenizer

VOCABULARY = Vocabulary(d_vocab=300, n_ctx=128, tokenizer=byte_tokenizer())
ROWS = np.random.default_rng(0).integers(0, 300, (20, 40)).astype(np.uint16)


@pytest.fixture
def files(tmp_path):
    """The same rows in every form that holds ids."""
    np.save(tmp_path / "rows.npy", ROWS)
    ROWS.astype("<u2").tofile(tmp_path / "rows.bin")
    lists = [row.tolist() for row in ROWS]
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"tokens": row}) + "\n" for row in lists)
    )
    pq.write_table(pa.table({"tokens": lists}), tmp_path / "rows.parquet")
    return tmp_path


@pytest.mark.parametrize("name", ["rows.npy", "rows.bin", "rows.jsonl", "rows.parquet"])
def test_every_kind_of_file_yields_the_beginnings_of_the_same_rows(files, name):
    data = TrainingSequences(
        n=20, prompt=16, continuation=8, corpus=str(files / name), row_length=40
    ).bind(VOCABULARY, seed=0)
    tokens = data.groups["sequences"]
    assert tokens.dtype == np.int64
    assert (tokens == ROWS[:, :24]).all()
    assert data.facts == {"sequences_to_draw_from": 20}
    some = TrainingSequences(
        n=5, prompt=16, continuation=8, corpus=str(files / name), row_length=40
    ).bind(VOCABULARY, seed=1)
    assert {tuple(row) for row in some.groups["sequences"]} < {tuple(row) for row in tokens}


def test_a_file_is_identified_by_its_content(files, tmp_path):
    (tmp_path / "other.bin").write_bytes((files / "rows.bin").read_bytes())
    specs = [
        TrainingSequences(corpus=str(files / name)).spec(seed=0)
        for name in ("rows.bin", "other.bin", "rows.npy")
    ]
    assert specs[0] == specs[1] != specs[2]
    assert TrainingSequences(corpus=str(files / "rows.bin")).spec(seed=1) != specs[0]


def test_a_file_of_ids_that_is_not_there_is_named_before_any_model_is():
    with pytest.raises(DataError, match=r"gone.npy is not a file: give stdlib, .npy"):
        TrainingSequences(corpus="gone.npy").spec(seed=0)


def test_text_is_cut_into_sequences_of_one_document_each(tmp_path):
    (tmp_path / "notes.txt").write_text("def one(): pass\n" * 40)
    data = TrainingSequences(
        n=3, prompt=8, continuation=8, corpus=str(tmp_path / "notes.txt")
    ).bind(VOCABULARY, seed=0)
    text = "def one(): pass\n" * 40
    for row in data.groups["sequences"]:
        assert VOCABULARY.tokenizer.decode(row.tolist()) in text
    (tmp_path / "rows.jsonl").write_text(json.dumps({"body": text}) + "\n")
    lines = TrainingSequences(
        n=3, prompt=8, continuation=8, corpus=str(tmp_path / "rows.jsonl"), column="body"
    ).bind(VOCABULARY, seed=0)
    assert (lines.groups["sequences"] == data.groups["sequences"]).all()


def test_the_default_is_the_librarys_training_documents_and_needs_no_file():
    data = TrainingSequences(n=4, prompt=8, continuation=8).bind(VOCABULARY, seed=0)
    assert data.groups["sequences"].shape == (4, 16)
    assert TrainingSequences().spec(seed=0)["source"] == "stdlib:train"


def test_what_cannot_be_read_says_what_is_wrong(files, tmp_path):
    def fails(message, **settings):
        with pytest.raises(DataError, match=message):
            TrainingSequences(**{"n": 2, "prompt": 8, "continuation": 8, **settings}).bind(
                VOCABULARY, seed=0
            )

    fails("not a multiple of 2049 uint16 ids: set row_length", corpus=str(files / "rows.bin"))
    fails("rows of 40 tokens, 48 are needed", corpus=str(files / "rows.npy"), prompt=40)
    fails(
        "holds 20 sequences of 16 tokens, 30 were asked for", corpus=str(files / "rows.npy"), n=30
    )
    fails(
        r"a sequence of 128 \+ 8 tokens needs a context of 136 tokens, the model has 128: set"
        r" prompt \+ continuation to at most 128$",
        prompt=128,
    )
    fails("nowhere.npy is not a file: give stdlib", corpus=str(tmp_path / "nowhere.npy"))
    np.save(tmp_path / "flat.npy", np.zeros(5))
    fails("holds float64 of shape", corpus=str(tmp_path / "flat.npy"))
    np.save(tmp_path / "large.npy", ROWS + 300)
    fails("the model has 300 embeddings", corpus=str(tmp_path / "large.npy"))
    (tmp_path / "bad.npy").write_bytes(b"no numpy")
    fails("is not a NumPy file", corpus=str(tmp_path / "bad.npy"))
    (tmp_path / "bad.jsonl").write_text('{"tokens": [1, 2.5]}\n')
    fails(
        "line 1 has 2.5 among its tokens: they are integers from 0",
        corpus=str(tmp_path / "bad.jsonl"),
    )
    (tmp_path / "other.jsonl").write_text('{"body": "a"}\n')
    fails(
        "neither a list in tokens nor text in text: it has body",
        corpus=str(tmp_path / "other.jsonl"),
    )


def test_ids_need_no_tokenizer_and_text_does(files):
    bare = Vocabulary(d_vocab=300, n_ctx=128)
    assert (
        TrainingSequences(n=2, prompt=8, continuation=8, corpus=str(files / "rows.npy"))
        .bind(bare, seed=0)
        .groups
    )
    for build in (
        lambda: TrainingSequences(n=2, prompt=8, continuation=8).bind(bare, seed=0),
        lambda: PromptTexts().bind(bare, seed=0),
        lambda: Passages().bind(bare, seed=0),
    ):
        with pytest.raises(DataError, match="has no tokenizer.json"):
            build()


def test_prompts_stand_at_the_beginning_of_their_rows():
    data = PromptTexts(prompts=("abc", "wxyz", "xyz"), tokens=4, bos=True).bind(VOCABULARY, seed=0)
    assert data.lengths == [4, 5, 4]
    for group in data.groups.values():
        assert group.shape == (3, 5)
        assert (group[:, 0] == 0).all()
    for row, shuffled, length, text in zip(
        *data.groups.values(), data.lengths, data.prompts, strict=True
    ):
        assert sorted(shuffled[:length]) == sorted(row[:length])
        assert data.text([*row[1:length], 0, 7]) == text
    assert data.entries == 280
    with pytest.raises(DataError, match="prompt 1 is empty"):
        PromptTexts(prompts=("a", "")).bind(VOCABULARY, seed=0)
    with pytest.raises(
        DataError,
        match="prompt 0 with 126 tokens after it needs a context of 129 tokens, the model has 128:"
        " set tokens to at most 125$",
    ):
        PromptTexts(prompts=("abc",), tokens=126).bind(VOCABULARY, seed=0)
    PromptTexts(prompts=("abc",), tokens=125).bind(VOCABULARY, seed=0)


def test_passages_are_of_different_documents(tmp_path):
    texts = [chr(ord("a") + i) * 50 for i in range(6)]
    (tmp_path / "notes.txt").write_text("<|endoftext|>\n".join(text + "\n" for text in texts))
    data = Passages(n=5, length=10, corpus=str(tmp_path / "notes.txt")).bind(VOCABULARY, seed=0)
    letters = [
        set(VOCABULARY.tokenizer.decode(row.tolist()).strip()) for row in data.groups["text"]
    ]
    assert all(len(found) == 1 for found in letters)
    assert len(set.union(*letters)) == 5
    assert (np.sort(data.groups["shuffled"]) == np.sort(data.groups["text"])).all()
    with pytest.raises(
        DataError, match="holds 6 documents of at least 10 tokens, 7 were asked for"
    ):
        Passages(n=7, length=10, corpus=str(tmp_path / "notes.txt")).bind(VOCABULARY, seed=0)
