"""Text: corpora, and the sequences cut from them."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, models

from pythia_traj.data import documents, stdlib
from pythia_traj.data.cutting import spaced
from pythia_traj.data.text import (
    FREQUENCY_BANDS,
    TOKEN_CLASSES,
    TextTokens,
    bands,
    class_of,
)
from pythia_traj.data.token_bytes import bytes_of_tokens
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary
from tests.support import byte_tokenizer

VOCABULARY = Vocabulary(d_vocab=300, n_ctx=128, tokenizer=byte_tokenizer())
TEXTS = ["def one(): pass\n" * 30, "def two(): pass\n" * 30]


@pytest.fixture
def corpora(tmp_path):
    """The same two documents in every form."""
    (tmp_path / "plain.txt").write_text("<|endoftext|>\n".join(TEXTS))
    (tmp_path / "lines.jsonl").write_text(
        "".join(json.dumps({"text": text, "n": 1}) + "\n" for text in TEXTS)
    )
    pq.write_table(pa.table({"text": TEXTS, "other": TEXTS[::-1]}), tmp_path / "table.parquet")
    import datasets

    datasets.Dataset.from_dict({"text": TEXTS}).save_to_disk(str(tmp_path / "saved"))
    return {
        "text": str(tmp_path / "plain.txt"),
        "jsonl": str(tmp_path / "lines.jsonl"),
        "parquet": str(tmp_path / "table.parquet"),
        "dataset": f"hf:{tmp_path / 'saved'}",
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_every_kind_of_corpus_yields_the_same_documents(corpora):
    for name, corpus in corpora.items():
        assert list(documents.read(corpus)) == TEXTS, name
        assert len(documents.identify(corpus)["sha256"]) == 64


def test_a_column_can_be_chosen(corpora):
    assert list(documents.read(corpora["parquet"], "other")) == TEXTS[::-1]
    with pytest.raises(DataError, match="no column 'body': its columns are text, other"):
        list(documents.read(corpora["parquet"], "body"))
    with pytest.raises(DataError, match="line 1 has no column 'body': its columns are text, n"):
        list(documents.read(corpora["jsonl"], "body"))


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ("nowhere.txt", "unknown corpus 'nowhere.txt': give stdlib"),
        ("hf:org/name", "with the full commit"),
        ("hf:org/name@main", "a branch can move"),
    ],
)
def test_a_wrong_corpus_says_what_is_allowed(corpus, message):
    with pytest.raises(DataError, match=message):
        documents.identify(corpus)


def test_damaged_corpora_are_named(tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{')
    with pytest.raises(DataError, match="line 2 is not JSON"):
        list(documents.read(str(tmp_path / "bad.jsonl")))
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        list(documents.read(str(tmp_path / "bad.txt")))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="is not a Parquet file"):
        list(documents.read(str(tmp_path / "bad.parquet")))


def test_a_dataset_of_the_hub_is_identified_by_its_commit_without_a_connection():
    assert documents.identify("hf:org/name:test@" + "a" * 40) == {
        "source": "hf:org/name:test",
        "commit": "a" * 40,
    }


def test_sequences_are_pieces_of_documents_and_the_null_is_them_shuffled(corpora):
    data = TextTokens(n=4, length=32, null_n=2, corpus=corpora["text"]).bind(VOCABULARY, seed=0)
    text, shuffled = data.groups["text"], data.groups["shuffled"]
    assert text.shape == (4, 32)
    assert shuffled.shape == (2, 32)
    joined = "".join(TEXTS)
    for row in text:
        assert VOCABULARY.tokenizer.decode(row.tolist()) in joined
    assert (np.sort(shuffled) == np.sort(text[spaced(4, 2)])).all()
    assert (shuffled != text[spaced(4, 2)]).any()


def test_bos_stands_in_front_of_text_and_null(corpora):
    data = TextTokens(n=4, length=33, null_n=2, corpus=corpora["text"], bos=True).bind(
        VOCABULARY, seed=0
    )
    for group in data.groups.values():
        assert group.shape[1] == 33
        assert (group[:, 0] == 0).all()
        assert (group[:, 1:] != 0).all()


def test_the_standard_library_is_the_default_and_its_split_is_kept_apart():
    data = TextTokens(n=8, length=64).bind(VOCABULARY, seed=0)
    assert data.groups["text"].shape == (8, 64)
    train, heldout = (dict(stdlib.documents(split)) for split in ("train", "heldout"))
    assert not train.keys() & heldout.keys()
    assert {**train, **heldout} == dict(stdlib.documents("all"))
    assert 0.05 < len(heldout) / len(train) < 0.2
    assert all("test" not in name.split("/") for name in train)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"length": 200},
            "a sequence needs a context of 200 tokens, the model has 128: set length to at most"
            " 128$",
        ),
        ({"length": 1}, "predict nothing"),
        ({"n": 10**6, "length": 64}, r"holds \d+ sequences of 64 tokens, 1000000 were asked for"),
    ],
)
def test_what_cannot_be_cut_is_refused(corpora, arguments, message):
    with pytest.raises(DataError, match=message):
        TextTokens(corpus=corpora["text"], **arguments).bind(VOCABULARY, seed=0)


def test_a_tokenizer_of_another_model_is_refused(corpora):
    with pytest.raises(DataError, match="tokenizer and model do not belong together"):
        TextTokens(n=2, length=16, corpus=corpora["text"]).bind(
            Vocabulary(20, 128, VOCABULARY.tokenizer), seed=0
        )
    with pytest.raises(DataError, match=r"has no tokenizer\.json"):
        TextTokens(n=2, length=16).bind(Vocabulary(300, 128), seed=0)


def test_pythias_own_tokenizer_cuts_text():
    path = Path(__file__).parents[3] / "shared" / "reference" / "pythia_tokenizer.json"
    if not path.is_file():
        pytest.skip("Pythia's tokenizer is not beside this checkout")
    vocabulary = Vocabulary(50304, 2048, Tokenizer.from_file(str(path)))
    data = TextTokens(n=8, length=550).bind(vocabulary, seed=0)
    assert data.groups["text"].max() < 50277


def test_the_bytes_of_tokens_add_up_to_those_of_the_text():
    text = "def naïve(x):\n    return '→ 日本' + x  # 😀 12 %\n"
    for tokenizer in (VOCABULARY.tokenizer, *pythias()):
        found = bytes_of_tokens(tokenizer, 60_000)
        assert (
            b"".join(found[i] for i in tokenizer.encode(text, add_special_tokens=False).ids)
            == text.encode()
        )
        assert found[tokenizer.get_vocab_size()] == b""


def pythias():
    path = Path(__file__).parents[3] / "shared" / "reference" / "pythia_tokenizer.json"
    return [Tokenizer.from_file(str(path))] if path.is_file() else []


def test_a_tokenizer_that_marks_spaces_and_spells_bytes_is_understood():
    tokenizer = Tokenizer(models.BPE(vocab={"\u2581a": 0, "<0x0A>": 1, "b": 2}, merges=[]))
    assert bytes_of_tokens(tokenizer, 4) == [b" a", b"\n", b"b", b""]


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (b" model", "word_after_space"), ("Straße".encode(), "word"), (b"12", "number"),
        (b" 7", "number"), (b"):", "punctuation"), (b" =", "punctuation"),
        (b"\n    ", "whitespace"), (b" ", "whitespace"), (b"x1", "other"), (b"\xe6\x97", "other"),
        (b"<|endoftext|>", "other"), (b"", "other"), (b"_a", "other"), (b"  a", "other"),
    ],
)  # fmt: skip
def test_every_token_has_a_class(token, expected):
    assert class_of(token) == expected
    assert expected in TOKEN_CLASSES


def test_bands_are_ranks_of_counts():
    counts = np.arange(200, 0, -1)
    counts[150:] = 0
    named = [FREQUENCY_BANDS[band] for band in bands(counts)]
    assert named[:11] == ["rank_1_10"] * 10 + ["rank_11_100"]
    assert named[99:101] == ["rank_11_100", "rank_101_1000"]
    assert named[149:] == ["rank_101_1000"] + ["unseen"] * 50
    assert bands(np.arange(20_000, 0, -1))[[999, 1000, 9999, 10_000]].tolist() == [2, 3, 3, 4]


def test_frequencies_are_counted_in_training_documents_or_in_the_corpus_itself(corpora):
    own = TextTokens(n=4, length=32, corpus=corpora["text"]).bind(VOCABULARY, seed=0)
    ids = VOCABULARY.tokenizer.encode("".join(TEXTS)).ids
    assert own.token_bands[np.bincount(ids, minlength=300).argmax()] == 0
    assert {FREQUENCY_BANDS[own.token_bands[i]] for i in set(range(300)) - set(ids)} == {"unseen"}
    library = TextTokens(n=4, length=32).bind(VOCABULARY, seed=0)
    assert (library.token_bands != own.token_bands).any()
    assert (
        library.token_bands.tolist()
        == TextTokens(n=4, length=32).bind(VOCABULARY, seed=1).token_bands.tolist()
    )


def test_python_of_this_machine_is_what_the_digest_speaks_of():
    assert len(stdlib.documents("all")) > 300, sys.version
    assert documents.identify("stdlib") == documents.identify("stdlib")


def lettered(tmp_path, lengths):
    """A corpus of documents of so many characters; each has a letter of its own."""
    file = tmp_path / "letters.jsonl"
    texts = [chr(ord("a") + i % 26) * length for i, length in enumerate(lengths)]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(file)


@pytest.mark.parametrize(
    ("lengths", "n", "counts"),
    [
        ([400] * 8, 8, [1] * 8),
        ([400] * 8, 20, [2] * 4 + [3] * 4),
        ([4000] + [20] * 5, 9, [1] * 5 + [4]),
        ([20] * 5 + [4000], 9, [1] * 5 + [4]),
        ([4000], 12, [12]),
        ([400] * 200, 6, [1] * 6),
    ],
)
def test_sequences_are_of_as_many_documents_as_there_are(tmp_path, lengths, n, counts):
    data = TextTokens(corpus=lettered(tmp_path, lengths), n=n, length=20, null_n=6)
    bound = data.bind(VOCABULARY, seed=0)
    cluster = bound.designs["text"].cluster
    assert sorted(np.unique(cluster, return_counts=True)[1].tolist()) == counts
    for name, group in bound.groups.items():
        letters = {
            number: set(group[bound.designs[name].cluster == number].ravel())
            for number in bound.designs[name].cluster
        }
        assert all(len(found) == 1 for found in letters.values())
    assert bound.designs["shuffled"].n_clusters >= min(6, len(counts)) - 2
    other = data.bind(VOCABULARY, seed=1)
    if len(lengths) > n:
        assert not np.array_equal(other.groups["text"], bound.groups["text"])


def test_one_long_document_among_short_ones_is_enough(tmp_path):
    for lengths in ([10] * 30 + [4000], [4000] + [10] * 30):
        data = TextTokens(corpus=lettered(tmp_path, lengths), n=15, length=20)
        assert data.bind(VOCABULARY, seed=0).designs["text"].n_clusters == 1
