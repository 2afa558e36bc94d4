"""Labels of text that is not as simple as it looks: every word has its own, whatever the tokenizer
makes of its characters.
"""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from pythia_traj.data.labelled import LabelledTokens
from pythia_traj.data.labels import TASKS
from pythia_traj.data.labels.alignment import labels_of, tokenise
from pythia_traj.experiment import Vocabulary

PYTHIA = Path(__file__).parents[3] / "shared" / "reference" / "pythia_tokenizer.json"

NORMALIZERS = {
    "none": None,
    "NFC": normalizers.NFC(),
    "NFD": normalizers.NFD(),
    "NFKC": normalizers.NFKC(),
    "lowercase": normalizers.Lowercase(),
    "strip": normalizers.Strip(),
    "prepend": normalizers.Prepend("_"),
    "remove": normalizers.Replace("\u200b", ""),
    "squeeze": normalizers.Replace(Regex(r"[ \t\r\n]+"), " "),
    "without accents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
    "BERT": normalizers.BertNormalizer(),
}

TEXTS = {
    "composed": "café runs à côté",
    "decomposed French": "cafe\u0301 runs a\u0300 co\u0302te\u0301 fast",
    "decomposed Vietnamese": unicodedata.normalize("NFD", "Tiếng Việt là một ngôn ngữ"),
    "decomposed Hangul": unicodedata.normalize("NFD", "한국 말이 좋다"),
    "two accents in another order": "e\u0301\u0323 next o\u0302\u0301 last",
    "emoji joined": "a 👩\u200d👩\u200d👧 ok 👍🏽 end",
    "zero width": "zero\u200bwidth \u200bword end\u200b. last",
    "byte order mark": "\ufeffbom word",
    "line breaks": "one\r\ntwo\r\n\r\nthree",
    "tabs": "one\ttwo\t\tthree  four ",
    "spaces that do not break": "one\u00a0two\u3000three",
    "ligatures and fractions": "\ufb01n ½x K Å \u1e9b\u0323 end",
    "capitals": "İstanbul STRASSE ΑΣ end",
}


def bytes_with(normalizer):
    """A tokenizer whose tokens are single bytes, after a normalizer."""
    tokenizer = Tokenizer(
        models.BPE(
            vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))},
            merges=[],
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    return tokenizer


def vocabularies():
    found = {
        name: Vocabulary(256, 4096, bytes_with(normalizer))
        for name, normalizer in NORMALIZERS.items()
    }
    if PYTHIA.is_file():
        found["Pythia's"] = Vocabulary(50304, 2048, Tokenizer.from_file(str(PYTHIA)))
    return found


VOCABULARIES = vocabularies()
PLAIN = VOCABULARIES["NFC"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_every_word_has_its_own_label_and_no_neighbours(vocabulary, text):
    vocabulary, text = VOCABULARIES[vocabulary], TEXTS[text]
    spans, end = [], 0
    for word in text.split():
        start = text.index(word, end)
        end = start + len(word)
        spans.append((start, end, word))
    pieces = tokenise(vocabulary, text, 100)
    labels = labels_of(pieces, spans)
    normalize = (
        vocabulary.tokenizer.normalizer.normalize_str if vocabulary.tokenizer.normalizer else str
    )
    for _, _, word in spans:
        read = vocabulary.decode(pieces.ids[np.array(labels) == word].tolist())
        # What is put before the whole text belongs to nobody, and to the first word.
        assert read.strip().removeprefix("_") == normalize(word).strip().removeprefix("_")


@pytest.mark.parametrize("between", ["\u200b", " \u200b", "\u200b ", " \u200b\u200b "])
def test_what_the_tokenizer_leaves_out_gives_no_label(between):
    text = f"a{between}b"
    names = {"a": "A", "b": "B", "\u200b": "left out"}
    spans = [(i, i + 1, names[character]) for i, character in enumerate(text) if character in names]
    labels = labels_of(tokenise(VOCABULARIES["remove"], text, 9), spans)
    assert labels == ["A", *[None] * between.count(" "), "B"]


PYTHON = (
    "class Cafe\u0301(a.B):\n"
    "    def me\u0301thode(self, e\u0301 = 'e\u0301'):  # e\u0301 b\n"
    "        self.e\u0301tat = [e\u0301]\n"
)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "vocabulary", [name for name in ("NFC", "NFKC", "Pythia's") if name in VOCABULARIES]
)
def test_text_that_the_tokenizer_reads_alike_has_the_same_labels(vocabulary, task):
    forms = [
        tokenise(VOCABULARIES[vocabulary], unicodedata.normalize(form, PYTHON), 32)
        for form in ("NFC", "NFD")
    ]
    assert forms[0].ids.tolist() == forms[1].ids.tolist()
    assert TASKS[task](forms[0]) == TASKS[task](forms[1])


@pytest.mark.parametrize(
    "source",
    [
        "\ufeffimport os\n",
        "import os\r\n",
        "import os\x0c\n",
        "import os  # 👩\u200d👧 \u200b\n",
        "import os\n#\u2028\n",
    ],
)
def test_what_stands_around_python_does_not_move_its_labels(source):
    pieces = tokenise(PLAIN, source, 100)
    begins = source.index("import")
    for task, expected in (
        ("python_class", "keyword keyword name name"),
        ("python_definition", "- - definition definition"),
    ):
        by_character = dict(zip(pieces.anchors().tolist(), TASKS[task](pieces), strict=True))
        assert [by_character[begins + i] or "-" for i in (0, 5, 7, 8)] == expected.split()


def test_a_long_text_is_tokenised_in_pieces_as_far_as_it_is_wanted(monkeypatch):
    text = "".join(f"wo\u0301rd{i} " for i in range(500))
    at_once = tokenise(PLAIN, text, 100)
    monkeypatch.setattr("pythia_traj.vocabulary.PIECE", 500)
    some, whole = (tokenise(PLAIN, text, 100, enough=enough) for enough in (600, 10**9))
    assert whole.text == text
    for name in ("ids", "begins", "ends", "named", "places"):
        assert (getattr(whole, name) == getattr(at_once, name)).all()
    assert 600 <= len(some.ids) < 1200 < len(whole.ids)
    assert text.startswith(some.text)
    assert labels_of(some, [(0, len(text), "x")]) == ["x"] * len(some.ids)


def test_a_text_that_begins_with_bos_has_one():
    tokenizer = bytes_with(None)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|start|>"])
    vocabulary = Vocabulary(258, 64, tokenizer, bos_token_id=257, eos_token_ids=(256,))
    pieces = tokenise(vocabulary, "<|start|>a<|endoftext|>b", 9)
    assert pieces.ids.tolist()[0] == 257
    assert pieces.strings() == ["<|start|>", "a", "<|endoftext|>", "b"]


@pytest.mark.parametrize("begin", ["", "<|start|>", "<|endoftext|>"])
def test_bos_is_prepended_where_a_text_has_none_and_nothing_is_cut_at_an_end(tmp_path, begin):
    tokenizer = bytes_with(None)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|start|>"])
    vocabulary = Vocabulary(258, 64, tokenizer, bos_token_id=257, eos_token_ids=(256,))
    texts = [f"{begin}a{i}<|endoftext|>b" for i in range(6)]
    rows = [
        {
            "text": text,
            "spans": [[len(begin), len(begin) + 1, "A"], [len(text) - 1, len(text), "B"]],
        }
        for text in texts
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = LabelledTokens(task=str(path), n=50, length=60, bos=True).bind(vocabulary, seed=0)
    assert sum(data.sizes) == 12
    for group, place in data.places.items():
        ids = data.groups[group]
        assert (ids[:, 0] == 257).all()
        assert (ids == 257).sum() == len(ids)
        assert ((ids == 256).sum(1) == 1 + (begin == "<|endoftext|>")).all()
        assert (ids[place.rows, place.positions] == data.types[place.numbers]).all()
    letters = {"A": tokenizer.token_to_id("a"), "B": tokenizer.token_to_id("b")}
    assert data.types.tolist() == [letters[data.classes[label]] for label in data.labels]
