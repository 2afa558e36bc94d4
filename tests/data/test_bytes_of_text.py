"""Bits per byte are over the bytes of the text as it was given, however the tokenizer rewrites it
first.
"""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from pythia_traj.data.cutting import spaced
from pythia_traj.data.text import TextTokens
from pythia_traj.data.token_bytes import bytes_of_tokens, given_bytes
from pythia_traj.experiment import Vocabulary
from tests.support import byte_tokenizer

WORDS = "Das Café in Việt Nam, 한글 und 日本 kosten naïve Ångström; œuvre 😀 ﬁn.\n"


def composing():
    """The tests' tokenizer after NFC, as Pythia's."""
    made = byte_tokenizer()
    made.normalizer = normalizers.NFC()
    return made


def own_bytes(vocabulary):
    """How many bytes each token stands for by itself."""
    return np.array([len(one) for one in bytes_of_tokens(vocabulary.tokenizer, 300)])


def lowering():
    made = byte_tokenizer()
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    return made


def marking_spaces():
    """Marks the space in front of a word, also where there is none."""
    made = Tokenizer(models.BPE(vocab={"\u2581": 0, "a": 1, "b": 2}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return made


def of_words():
    """Leaves white space out."""
    made = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


CASES = {
    "composed": (composing(), unicodedata.normalize("NFC", WORDS)),
    "decomposed": (composing(), unicodedata.normalize("NFD", WORDS)),
    "decomposed, a tokenizer that leaves it so": (
        byte_tokenizer(),
        unicodedata.normalize("NFD", WORDS),
    ),
    "ends in an accent": (composing(), "cafe\u0301"),
    "two accents": (composing(), "e\u0323\u0302 e\u0302\u0323"),
    "capitals and ligatures": (lowering(), "ÄÖÜ ﬁ ẞ K"),
    "a mark that is not in the text": (marking_spaces(), "ab a b"),
    "no space in front": (marking_spaces(), "a"),
    "words alone": (of_words(), "a  b\na zz b"),
    "nothing": (composing(), ""),
}


@pytest.mark.parametrize("case", CASES)
def test_the_bytes_of_all_tokens_are_those_of_the_text(case):
    tokenizer, text = CASES[case]
    vocabulary = Vocabulary(300, 128, tokenizer)
    ids = vocabulary.encode(text)
    found = given_bytes(vocabulary, text, ids, bytes_of_tokens(tokenizer, 300))
    assert found.shape == ids.shape
    assert (found >= 0).all()
    assert found.sum() == len(text.encode())
    some = given_bytes(vocabulary, text, ids[: len(ids) // 2], bytes_of_tokens(tokenizer, 300))
    assert (some == found[: len(ids) // 2]).all()


def test_a_token_has_the_bytes_of_the_characters_it_was_made_of():
    vocabulary = Vocabulary(300, 128, composing())
    for text, expected in (
        ("aé b", 1 + 2 + 1 + 1),
        (unicodedata.normalize("NFD", "aé b"), 1 + 3 + 1 + 1),
    ):
        ids = vocabulary.encode(text)
        found = given_bytes(vocabulary, text, ids, bytes_of_tokens(vocabulary.tokenizer, 300))
        assert found.sum() == expected
        assert found[0] == 1
        assert found[1:-2].sum() == expected - 3


@pytest.mark.parametrize("bos", [False, True])
def test_sequences_of_a_decomposed_text_have_its_bytes_in_both_groups(bos, tmp_path):
    text = unicodedata.normalize("NFD", WORDS * 40)
    (tmp_path / "notes.txt").write_text(text)
    vocabulary = Vocabulary(300, 128, composing())
    data = TextTokens(
        n=8, length=100 + bos, null_n=3, corpus=str(tmp_path / "notes.txt"), bos=bos
    ).bind(vocabulary, seed=0)
    sizes, shuffled = data.text_bytes["text"], data.text_bytes["shuffled"]
    assert {name: group.shape for name, group in data.groups.items()} == {
        name: size.shape for name, size in data.text_bytes.items()
    }
    whole = given_bytes(
        vocabulary, text, vocabulary.encode(text), bytes_of_tokens(vocabulary.tokenizer, 300)
    )
    starts = {
        tuple(vocabulary.encode(text)[i : i + 100]): i for i in range(0, len(whole) - 99, 100)
    }
    for row, size in zip(data.groups["text"], sizes, strict=True):
        start = starts[tuple(row[int(bos) :])]
        assert size[int(bos) :].tolist() == whole[start : start + 100].tolist()
    # Shuffled tokens keep their own bytes: the pairs are the same.
    for i, place in enumerate(spaced(8, 3)):
        pairs = sorted(zip(data.groups["text"][place].tolist(), sizes[place].tolist(), strict=True))
        assert pairs == sorted(
            zip(data.groups["shuffled"][i].tolist(), shuffled[i].tolist(), strict=True)
        )
    if bos:
        assert (sizes[:, 0] == 0).all()
    normalised = own_bytes(vocabulary)[data.groups["text"][:, int(bos) :]].sum()
    assert normalised < sizes.sum()


def test_text_that_its_tokens_spell_has_the_bytes_of_its_tokens():
    vocabulary = Vocabulary(300, 128, composing())
    data = TextTokens(n=8, length=64).bind(vocabulary, seed=0)
    for name, group in data.groups.items():
        assert (data.text_bytes[name] == own_bytes(vocabulary)[group]).all()


def test_bits_per_byte_are_over_the_bytes_as_given(own_suite, tmp_path):
    """The same text in two forms has the same tokens and losses; bits per byte are as its bytes."""
    import pythia_traj as pt

    for folder in own_suite.glob("step*"):
        described = json.loads((folder / "tokenizer.json").read_text())
        (folder / "tokenizer.json").write_text(
            json.dumps({**described, "normalizer": {"type": "NFC"}})
        )
    values, sizes = {}, {}
    for form in ("NFC", "NFD"):
        # One sequence after the other is a whole number of lines, so that none begins inside of a
        # character.
        (tmp_path / f"{form}.txt").write_text(unicodedata.normalize(form, "é a\n" * 400))
        experiments = {
            "loss": {"n": 4, "length": 100, "null_n": 2, "corpus": str(tmp_path / f"{form}.txt")}
        }
        run = tmp_path / f"run {form}"
        result = pt.sweep(
            pt.SweepConfig(
                model=str(own_suite), steps="0", experiments=experiments, out=run, device="cpu"
            )
        )
        assert not result.failed
        rows = pt.load(run)
        rows = rows[rows.variant.isna() & rows.position.isna()].set_index("metric").value
        values[form], sizes[form] = rows["bits_per_byte"], rows["bytes_per_token"]
        assert rows["nll"] == pytest.approx(values[form] * sizes[form] * np.log(2), rel=1e-5)
    assert sizes["NFD"] > 1.1 * sizes["NFC"]


def test_pythias_own_tokenizer_counts_the_bytes_of_decomposed_text():
    path = Path(__file__).parents[3] / "shared" / "reference" / "pythia_tokenizer.json"
    if not path.is_file():
        pytest.skip("Pythia's tokenizer is not beside this checkout")
    vocabulary = Vocabulary(50304, 2048, Tokenizer.from_file(str(path)))
    of_token = bytes_of_tokens(vocabulary.tokenizer, 50304)
    for form in ("NFC", "NFD"):
        text = unicodedata.normalize(form, WORDS * 5)
        assert given_bytes(vocabulary, text, vocabulary.encode(text), of_token).sum() == len(
            text.encode()
        )
