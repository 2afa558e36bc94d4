"""Short prompts: what is read of each, and its tokens as text."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from pythia_traj.config import SweepConfig
from pythia_traj.data.short_prompts import SHORT_PROMPTS, ShortPrompts
from pythia_traj.data.token_bytes import own_bytes, texts_of_tokens
from pythia_traj.engines.means import FEWEST_CLUSTERS
from pythia_traj.errors import ConfigError, DataError
from pythia_traj.experiment import Vocabulary
from tests.support import byte_tokenizer

END = "<|endoftext|>"


def bound(*prompts, n_ctx=128, tokenizer=None, d_vocab=300, **fields):
    vocabulary = Vocabulary(d_vocab, n_ctx, tokenizer or byte_tokenizer())
    return ShortPrompts(tuple(prompts), **fields).bind(vocabulary, seed=0)


def test_each_prompt_begins_its_row_after_bos():
    data = bound("def one", "xy")
    assert data.lengths.tolist() == [1 + len(byte_tokenizer().encode("def one").ids), 3]
    rows = data.groups["prompts"]
    assert rows.dtype == np.int64
    assert rows.shape == (2, max(data.lengths))
    for row, prompt, length in zip(rows, data.prompts, data.lengths, strict=True):
        assert row[:length].tolist() == [0, *byte_tokenizer().encode(prompt).ids]


def test_bos_is_left_out_or_not_doubled():
    assert bound("xy", bos=False).token_texts == [("x", "y")]
    assert bound(f"{END}xy").token_texts == [(END, "x", "y")]


def test_tokens_are_shown_with_their_spaces_and_join_to_the_prompt():
    prompt = "def measure(model, step):\n\treturn  x"
    (texts,) = bound(prompt, bos=False).token_texts
    assert "".join(texts) == prompt
    assert len(texts) < len(prompt)
    assert any(text.startswith(" ") and len(text) > 1 for text in texts)


def test_bytes_that_are_not_a_character_stay_visible():
    (texts,) = bound("é<b>", bos=False).token_texts
    assert texts == (r"\xc3", r"\xa9", "<", "b", ">")


def test_a_token_without_text_is_its_number():
    tokenizer = Tokenizer(models.WordLevel({"one": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    assert bound("one two", tokenizer=tokenizer).token_texts == [("[0]", "one", "?")]
    assert texts_of_tokens(np.array([7]), own_bytes(Vocabulary(9, 9))) == ("[7]",)


def test_a_marked_space_is_a_space():
    tokenizer = Tokenizer(models.BPE(vocab={"\u2581": 0, "a": 1, "b": 2}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    assert bound("a b", bos=False, tokenizer=tokenizer).token_texts == [(" ", "a", " ", "b")]


def test_of_a_long_prompt_the_beginning_is_read_and_said_so():
    data = bound("xyxyxyxy", "xy", "xyz", length=4)
    assert data.token_texts == [(END, "x", "y", "x"), (END, "x", "y"), (END, "x", "y", "z")]
    assert data.facts == {"cut": [0]}
    assert data.prompts[0] == "xyxyxyxy"
    assert bound("xy").facts == {"cut": []}


def test_a_very_long_prompt_is_tokenised_only_as_far_as_it_is_read(monkeypatch):
    monkeypatch.setattr("pythia_traj.vocabulary.PIECE", 100)
    read, original = [], Vocabulary._encodings
    monkeypatch.setattr(
        Vocabulary, "_encodings", lambda self, texts: read.extend(texts) or original(self, texts)
    )
    assert bound("x y " * 1000).lengths.tolist() == [48]
    assert sum(map(len, read)) <= 200


@pytest.mark.parametrize("size", ["bytes", "words"])
def test_the_default_prompts_are_read_whole_and_are_enough_for_a_standard_error(size):
    tokenizer = byte_tokenizer()
    if size == "words":
        words = {
            "<unk>": 0,
            **{w: i for i, w in enumerate(sorted(set(" ".join(SHORT_PROMPTS).split())), 1)},
        }
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    data = bound(*SHORT_PROMPTS, tokenizer=tokenizer)
    assert data.facts == {"cut": []}
    assert len(data.prompts) >= FEWEST_CLUSTERS
    assert max(len(prompt.encode()) for prompt in SHORT_PROMPTS) < ShortPrompts().length


REFUSED = {
    "no words": (("xy", ""), {}, "prompt 1 is empty: give it a word, or leave it out"),
    "half of a pair": (("\ud800",), {}, "the checkpoint's tokenizer cannot tokenise this text"),
    "more than the context": (
        ("xyxyxyxyxyxy",),
        {"n_ctx": 8},
        "prompt 0 needs a context of 13 tokens, the model has 8: set length to at most 8",
    ),
    "ids without an embedding": (("xy",), {"d_vocab": 50}, "the model has 50 embeddings"),
}


@pytest.mark.parametrize(("prompts", "given", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused(prompts, given, message):
    with pytest.raises(DataError) as error:
        bound(*prompts, **given)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_without_a_tokenizer_is_refused():
    with pytest.raises(DataError, match=r"^the checkpoint has no tokenizer\.json"):
        ShortPrompts().bind(Vocabulary(300, 128), seed=0)


WRONG = {
    "no prompts": ({"prompts": []}, "at least 1 item"),
    "numbers": ({"prompts": [1]}, "valid string"),
    "a length of one token": ({"length": 1}, "greater than or equal to 2"),
}


@pytest.mark.parametrize(("parameters", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_request_is_refused_when_it_is_read(tmp_path, parameters, message):
    with pytest.raises(ConfigError, match=message):
        SweepConfig(model="any", steps="0", experiments={"attention": parameters}, out=tmp_path)


def test_the_seed_makes_no_difference_but_the_prompts_do():
    assert ShortPrompts().spec(seed=0) == ShortPrompts().spec(seed=1)
