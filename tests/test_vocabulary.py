"""A model's tokens: the one way from text to them, what stands in front, and how many fit."""

import numpy as np
import pytest

from pythia_traj import vocabulary as vocabulary_room
from pythia_traj.errors import DataError
from pythia_traj.vocabulary import Vocabulary
from tests.support import Noting, byte_tokenizer

TOKENIZER = byte_tokenizer()
VOCABULARY = Vocabulary(300, 128, TOKENIZER, bos_token_id=7)
TEXT = ("def measure(model, step): return model(step)\n" * 600)[:25_000]
WHOLE = TOKENIZER.encode(TEXT, add_special_tokens=False).ids

ENCODE = {
    "one text": Vocabulary.encode,
    "with characters": Vocabulary.encode_with_characters,
    "many texts": lambda vocabulary, text: list(vocabulary.encode_many([text, text], most=10)),
}


@pytest.fixture
def short_pieces(monkeypatch):
    monkeypatch.setattr(vocabulary_room, "PIECE", 10_000)
    monkeypatch.setattr(vocabulary_room, "_NEAR", 100)


@pytest.mark.parametrize("way", ENCODE)
def test_no_tokenizer_and_one_of_another_model_are_one_sentence_each(way):
    with pytest.raises(DataError, match=r"the checkpoint has no tokenizer\.json"):
        ENCODE[way](Vocabulary(300, 128), "def")
    with pytest.raises(
        DataError,
        match="the model has 20 embeddings: tokenizer and model do not belong together",
    ):
        ENCODE[way](Vocabulary(20, 128, TOKENIZER), "def")
    with pytest.raises(DataError, match="the checkpoint's tokenizer cannot tokenise this text"):
        ENCODE[way](VOCABULARY, "a\ud800")


def test_all_ways_give_the_same_tokens():
    expected = TOKENIZER.encode("def f", add_special_tokens=False).ids
    found = VOCABULARY.encode("def f")
    assert (found.dtype, found.tolist()) == (np.int64, expected)
    placed = VOCABULARY.encode_with_characters("def f")
    assert (placed.text, placed.ids.tolist()) == ("def f", expected)
    assert "".join("def f"[start:end] for start, end in placed.characters.tolist()) == "def f"
    many = VOCABULARY.encode_many(["def f", "def f"], most=100)
    assert [ids.tolist() for ids in many] == [expected] * 2
    assert VOCABULARY.encode("").tolist() == []
    assert VOCABULARY.encode_with_characters("").characters.shape == (0, 2)


@pytest.mark.parametrize("length", [1_048_576, 1_048_577, 2_300_000])
def test_more_than_a_million_characters_are_tokenised_in_pieces(length):
    noting = Noting(TOKENIZER)
    text = (TEXT * 100)[:length]
    found = Vocabulary(300, 128, noting).encode(text)
    assert "".join(noting.texts) == text
    assert len(noting.texts) == -(-length // (1 << 20))
    assert max(map(len, noting.texts)) <= 1 << 20
    assert all(piece[0].isspace() for piece in noting.texts[1:])
    assert found.tolist() == TOKENIZER.encode(text, add_special_tokens=False).ids


def test_a_long_text_is_tokenised_as_far_as_is_wanted(short_pieces):
    noting = Noting(TOKENIZER)
    vocabulary = Vocabulary(300, 128, noting)
    short = vocabulary.encode(TEXT, enough=10)
    assert 10 <= len(short) < len(WHOLE) / 2
    assert short.tolist() == WHOLE[: len(short)]
    (read,) = noting.texts
    placed = vocabulary.encode_with_characters(TEXT, enough=10)
    assert placed.text == read
    assert (placed.ids == short).all()
    # As many as the first piece has are enough; one more is not.
    for enough, pieces in ((len(short), 1), (len(short) + 1, 2)):
        noting.texts.clear()
        vocabulary.encode(TEXT, enough=enough)
        assert len(noting.texts) == pieces


def test_characters_are_those_of_the_whole_text(short_pieces):
    placed = VOCABULARY.encode_with_characters(TEXT)
    assert placed.text == TEXT
    assert placed.ids.tolist() == WHOLE
    offsets = TOKENIZER.encode(TEXT, add_special_tokens=False).offsets
    assert placed.characters.tolist() == [list(offset) for offset in offsets]


def test_where_there_is_no_white_space_a_piece_ends_anywhere(short_pieces):
    noting = Noting(TOKENIZER)
    Vocabulary(300, 128, noting).encode("a" * 10_001)
    assert [len(piece) for piece in noting.texts] == [10_000, 1]


@pytest.mark.parametrize("most", [0, 1, len(WHOLE) - 1, len(WHOLE), len(WHOLE) + 1, 10**6])
def test_many_texts_have_at_most_so_many_tokens_in_all(short_pieces, most):
    arrays = list(VOCABULARY.encode_many(iter(["def", TEXT]), most=most))
    head = TOKENIZER.encode("def", add_special_tokens=False).ids
    assert np.concatenate(arrays).tolist() == [*head, *WHOLE][:most]
    assert all(ids.dtype == np.int64 for ids in arrays)


def test_no_more_of_many_texts_is_read_than_one_batch():
    noting = Noting(TOKENIZER)
    endless = iter(lambda: "def f", None)
    list(Vocabulary(300, 128, noting).encode_many(endless, most=10))
    assert len(noting.texts) == 64


def test_bos_stands_in_front_of_every_sequence_whatever_it_begins_with():
    found = VOCABULARY.with_bos(np.array([[5, 6], [7, 6]]))
    assert (found.dtype, found.tolist()) == (np.int64, [[7, 5, 6], [7, 7, 6]])
    assert VOCABULARY.with_bos(np.empty((0, 4), dtype=np.int64)).shape == (0, 5)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([5, 6], [7, 5, 6]),
        ([7, 5], [7, 5]),
        ([7], [7]),
        ([7, 7], [7, 7]),
        ([5, 7], [7, 5, 7]),
        ([0, 5], [7, 0, 5]),
        ([], []),
    ],
)
def test_a_text_that_begins_with_bos_keeps_its_own(ids, expected):
    found = VOCABULARY.text_with_bos(np.array(ids, dtype=np.int64))
    assert (found.dtype, found.tolist()) == (np.int64, expected)


def test_what_is_longer_than_the_context_is_refused_with_what_fits():
    VOCABULARY.check_length("a sequence", 128, "length", 128)
    with pytest.raises(DataError) as numbered:
        VOCABULARY.check_length("a sequence", 129, "length", 127)
    assert str(numbered.value) == (
        "a sequence needs a context of 129 tokens, the model has 128: set length to at most 127"
    )
    VOCABULARY.check_length("line 2", 128, "prompt")
    with pytest.raises(DataError) as unnumbered:
        VOCABULARY.check_length("line 2", 129, "prompt")
    assert str(unnumbered.value) == (
        "line 2 needs a context of 129 tokens, the model has 128: give a shorter prompt"
    )
