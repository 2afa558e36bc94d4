"""Files of text and of rows: read as what their name says, or refused in one line that names file
and row.
"""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pythia_traj.data import containers, documents
from pythia_traj.data.containers import rows
from pythia_traj.data.lens import LensText
from pythia_traj.data.ngrams import NGramText
from pythia_traj.data.passages import Passages
from pythia_traj.data.sequences import TrainingSequences
from pythia_traj.data.text import TextTokens
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary
from tests.support import byte_tokenizer

VOCABULARY = Vocabulary(d_vocab=300, n_ctx=128, tokenizer=byte_tokenizer())
TEXTS = ["def one(): pass\n" * 30, "def two(): pass\n\n" * 30, "drei = 'Ä → 日本'\n" * 30]
LINES = "".join(json.dumps({"text": text, "n": 1}) + "\n" for text in TEXTS).encode()
ARRAY = json.dumps([{"text": text} for text in TEXTS], indent=1).encode()
PLAIN = "<|endoftext|>\n".join(TEXTS).encode()


def table(**columns):
    file = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), file)
    return file.getvalue().to_pybytes()


TABLE = table(text=TEXTS, other=TEXTS[::-1])

READ = {
    "notes.txt": PLAIN,
    "NOTES.TXT": PLAIN,
    "notes": PLAIN,
    "notes.md": PLAIN,
    "notes.text": PLAIN,
    "code.py": PLAIN,
    "paper.tex": PLAIN,
    "begins with a mark.txt": b"\xef\xbb\xbf" + PLAIN,
    "lines of Windows.txt": PLAIN.replace(b"\n", b"\r\n"),
    "no newline at the end.txt": PLAIN + b"<|endoftext|>",
    "empty documents.txt": b"<|endoftext|>\n\n<|endoftext|>\n" + PLAIN + b"<|endoftext|>\n \n",
    "rows.jsonl": LINES,
    "rows.JSONL": LINES,
    "rows.ndjson": LINES,
    "rows.jsonlines": LINES,
    "rows.json": LINES,
    "array.json": ARRAY,
    "array of one line.json": json.dumps([{"text": text} for text in TEXTS]).encode(),
    "rows after a mark.jsonl": b"\xef\xbb\xbf" + LINES,
    "blank lines.jsonl": b"\n" + LINES.replace(b"\n", b"\r\n \r\n") + b"\n",
    "table.parquet": TABLE,
    "TABLE.PARQUET": TABLE,
    "table.parq": TABLE,
    "table.pq": TABLE,
    "a dictionary column.parquet": table(text=pa.array(TEXTS).dictionary_encode()),
    "large strings.parquet": table(text=pa.array(TEXTS, pa.large_string())),
    "nulls and empty cells.parquet": table(text=[None, TEXTS[0], "", *TEXTS[1:], None]),
}


@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_as_what_its_name_says(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(READ[name])
    assert list(documents.read(str(path))) == TEXTS
    assert len(documents.identify(str(path))["sha256"]) == 64


UNKNOWN = [
    "rows.csv",
    "rows.tsv",
    "rows.jsonl.gz",
    "rows.zst",
    "rows.arrow",
    "rows.xlsx",
    "rows.txt~",
    "notes.v2",
    "sentences.conllu",
]


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_file_of_another_name_is_refused_with_the_names_that_are_known(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(PLAIN)
    builds = [
        lambda: list(documents.read(str(path))),
        lambda: TextTokens(corpus=str(path)).bind(VOCABULARY, seed=0),
        lambda: TrainingSequences(corpus=str(path)).bind(VOCABULARY, seed=0),
    ]
    if not name.endswith(".conllu"):  # which is identified as labels
        builds += [
            lambda kind=kind: kind(corpus=str(path)).spec(seed=0)
            for kind in (TextTokens, Passages, NGramText, LensText)
        ]
    for build in builds:
        with pytest.raises(
            DataError, match=r"cannot tell from its name what .*\.ndjson.*\.parquet.*\.txt"
        ) as caught:
            build()
        assert "\n" not in str(caught.value)


def line(*rows):
    return b"".join(
        row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows
    )


GOOD = {"text": "a"}
BROKEN = {
    "null.jsonl": (
        line(GOOD, {"text": None}),
        "line 2 has no text in column 'text': it holds None",
    ),
    "list.jsonl": (
        line(GOOD, {"text": ["a"]}),
        r"line 2 has no text in column 'text': it holds \['a'\]",
    ),
    "number.jsonl": (line({"text": 5}), "line 1 has no text in column 'text': it holds 5"),
    "true.jsonl": (line({"text": True}), "line 1 has no text in column 'text': it holds True"),
    "another column.jsonl": (
        line({"body": "a"}),
        "line 1 has no column 'text': its columns are body",
    ),
    "many columns.jsonl": (
        line({f"c{i}": 0 for i in range(10**4)}),
        "its columns are c0, .*, ...$",
    ),
    "no object.jsonl": (line(GOOD, [1, 2]), r"line 2 is \[1, 2\]: expected an object with text"),
    "a bare number.jsonl": (line(b"5\n"), "line 1 is 5: expected an object"),
    "a bare null.jsonl": (line(b"null\n"), "line 1 is None: expected an object"),
    "half a row.jsonl": (line(GOOD, b'{"text": "a'), "line 2 is not JSON"),
    "a column twice.jsonl": (line(b'{"text": "a", "text": "b"}\n'), "line 1 names 'text' twice"),
    "half a pair.jsonl": (
        line(GOOD, b'{"text": "\\ud83d"}\n'),
        "line 2 holds half of a surrogate pair",
    ),
    "deep.jsonl": (
        line(b'{"text": "a", "more": ' + b"[" * 10**5 + b"]" * 10**5 + b"}\n"),
        "line 1 is nested too deep",
    ),
    "a long number.jsonl": (
        line(b'{"text": ' + b"9" * 6000 + b"}\n"),
        "line 1 is not JSON: it holds a number of thousands",
    ),
    "not UTF-8.jsonl": (line(GOOD, b'{"text": "\xff"}\n'), "line 2 is not UTF-8"),
    "UTF-16.jsonl": ('{"text": "a"}\n'.encode("utf-16"), "line 1 is not UTF-8"),
    "no object.json": (json.dumps([GOOD, 5]).encode(), "row 2 is 5: expected an object"),
    "a pretty object.json": (b'{\n "text": "a"\n}\n', "line 1 is not JSON"),
    "half an array.json": (b'[{"text": "a"},', "is not JSON"),
    "not UTF-8.txt": (b"good\nb\xffd\n", "line 2 is not UTF-8 text: convert it first"),
    "cut in a character.txt": ("日本".encode()[:-1], "is not UTF-8 text: convert it first"),
    "UTF-16.txt": ("ä".encode("utf-16"), "line 1 is not UTF-8 text"),
    "garbage.parquet": (b"PAR1" + bytes(100) + b"PAR1", "is not a Parquet file"),
    "empty.parquet": (b"", "is not a Parquet file"),
    "cut.parquet": (TABLE[: len(TABLE) // 2], "is not a Parquet file"),
    "damaged.parquet": (
        TABLE[:20] + b"\xff" * 40 + TABLE[60:],
        "is not a Parquet file|is not UTF-8",
    ),
    "text.parquet": (PLAIN, "is not a Parquet file"),
    "another column.parquet": (table(body=["a"]), "has no column 'text': its columns are body"),
    "numbers.parquet": (table(text=[1, 2]), "row 1 has no text in column 'text': it holds 1"),
    "lists.parquet": (table(text=[["a"]]), r"row 1 has no text in column 'text': it holds \['a'\]"),
    "bytes.parquet": (table(text=[b"a"]), "row 1 has no text in column 'text': it holds b'a'"),
    "zero is not an empty cell.parquet": (
        table(text=[0]),
        "row 1 has no text in column 'text': it holds 0",
    ),
    "not UTF-8.parquet": (
        table(
            text=pa.StringArray.from_buffers(
                1, pa.py_buffer(np.array([0, 2], "i4").tobytes()), pa.py_buffer(b"\xff\xfe")
            )
        ),
        "that is not UTF-8",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_row_is_one_line_with_file_and_row(name, tmp_path):
    content, message = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list(documents.read(str(path)))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".json", ".parquet", ".npy", ".bin", ""])
def test_a_pipe_a_device_and_a_directory_are_refused_at_once(suffix, tmp_path):
    (tmp_path / f"folder{suffix}").mkdir()
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
    (tmp_path / f"dangling{suffix}").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "pipe", "device", "dangling", "nowhere", "a" * 300, "a\0b"):
        corpus = str(tmp_path / f"{name}{suffix}")
        for build in (
            lambda corpus=corpus: documents.identify(corpus),
            lambda corpus=corpus: list(documents.read(corpus)),
            lambda corpus=corpus: TrainingSequences(corpus=corpus).spec(seed=0),
            lambda corpus=corpus: TrainingSequences(corpus=corpus).bind(VOCABULARY, seed=0),
        ):
            with pytest.raises(
                DataError, match="unknown corpus|is not a file: give stdlib"
            ) as caught:
                build()
            assert "\n" not in str(caught.value)
    if suffix in (".jsonl", ".parquet"):
        for name in ("folder", "pipe", "device"):
            with pytest.raises(DataError, match="is not a regular file"):
                list(rows(tmp_path / f"{name}{suffix}", ()))


def test_a_file_that_may_not_be_read_is_one_line(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = tmp_path / "secret.txt"
    path.write_text("a")
    path.chmod(0)
    with pytest.raises(DataError, match="cannot read .*Permission denied"):
        documents.identify(str(path))


def test_a_line_longer_than_any_row_is_refused_before_it_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "_LONGEST_ROW", 1000)
    (tmp_path / "rows.jsonl").write_bytes(line(GOOD, {"text": "a" * 1000}))
    with pytest.raises(DataError, match="line 2 has more than 1000 bytes"):
        list(documents.read(str(tmp_path / "rows.jsonl")))


def test_a_very_long_document_of_a_text_is_read_as_several(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "LONGEST_DOCUMENT", 1000)
    monkeypatch.setattr(containers, "_CHUNK", 300)
    text = "日本 word\n" * 400
    (tmp_path / "lines.txt").write_text(text)
    (tmp_path / "line.txt").write_text(text.replace("\n", " "))
    for name, whole in (("lines.txt", text), ("line.txt", text.replace("\n", " "))):
        found = list(documents.read(str(tmp_path / name)))
        assert len(found) > 2
        assert "".join(found) == whole
        assert all(len(document) <= 1300 for document in found)


def test_what_looks_like_a_separator_in_the_middle_of_a_line_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "_CHUNK", 10)
    text = "0123456789<|endoftext|>\n<|endoftext|> x\n"
    (tmp_path / "notes.txt").write_text(text)
    assert list(documents.read(str(tmp_path / "notes.txt"))) == [text]


def test_a_nul_and_other_control_characters_are_text(tmp_path):
    text = "a\0b\x1b[31m\x85\u2028c"
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": text}))
    (tmp_path / "notes.txt").write_text(text)
    for name in ("rows.jsonl", "notes.txt"):
        assert list(documents.read(str(tmp_path / name))) == [text]


IDS = {
    "true.jsonl": ({"tokens": [1, True]}, "line 1 has True among its tokens"),
    "negative.jsonl": ({"tokens": [-1, 2]}, "line 1 has -1 among its tokens"),
    "huge.jsonl": (
        {"tokens": [10**30]},
        "line 1 has 1000000000000000000000000000000 among its tokens",
    ),
    "null.jsonl": ({"tokens": [None]}, "line 1 has None among its tokens"),
    "nested.jsonl": ({"tokens": [[1]]}, r"line 1 has \[1\] among its tokens"),
    "text.jsonl": ({"tokens": "1 2"}, "line 1 has neither a list in tokens nor text in text"),
    "object.jsonl": ([1, 2], r"line 1 is \[1, 2\]: expected an object"),
}


@pytest.mark.parametrize("name", IDS)
def test_ids_that_are_none_are_refused_with_their_row(name, tmp_path):
    content, message = IDS[name]
    (tmp_path / name).write_text(json.dumps(content) + "\n")
    with pytest.raises(DataError, match=message):
        TrainingSequences(n=1, prompt=1, continuation=1, corpus=str(tmp_path / name)).bind(
            VOCABULARY, seed=0
        )


ARRAYS = {
    "objects": (np.array([["a", None]], dtype=object), "is not a NumPy file"),
    "floats": (np.zeros((2, 2)), "holds float64"),
    "text": (np.array([["a", "b"]]), "holds <U1"),
    "beyond int64": (np.full((2, 2), 2**64 - 1, dtype=np.uint64), "has ids of"),
    "negative": (np.full((2, 2), -1), "has ids of -1 to -1"),
    "three axes": (np.zeros((2, 2, 2), dtype=int), r"of shape \[2, 2, 2\]"),
    "none": (np.zeros((0, 2), dtype=int), "holds 0 sequences"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_hold_no_ids_are_refused(case, tmp_path):
    content, message = ARRAYS[case]
    np.save(tmp_path / "rows.npy", content, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        TrainingSequences(n=1, prompt=1, continuation=1, corpus=str(tmp_path / "rows.npy")).bind(
            VOCABULARY, seed=0
        )


def test_an_archive_named_as_an_array_and_a_cut_array_are_refused(tmp_path):
    np.savez(tmp_path / "rows.npz", a=np.zeros((2, 2), dtype=int))
    (tmp_path / "rows.npz").rename(tmp_path / "archive.npy")
    np.save(tmp_path / "whole.npy", np.zeros((20, 20), dtype=int))
    (tmp_path / "cut.NPY").write_bytes((tmp_path / "whole.npy").read_bytes()[:-8])
    for name in ("archive.npy", "cut.NPY"):
        with pytest.raises(DataError, match="is not a NumPy file"):
            TrainingSequences(n=1, prompt=1, continuation=1, corpus=str(tmp_path / name)).bind(
                VOCABULARY, seed=0
            )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_folder_that_is_no_dataset_is_one_line(tmp_path):
    (tmp_path / "dataset_info.json").write_text("{")
    for folder in (tmp_path, tmp_path / "nowhere", tmp_path / ("a" * 300)):
        with pytest.raises(DataError, match="cannot read") as caught:
            list(documents.read(f"hf:{folder}"))
        assert "\n" not in str(caught.value)


def test_every_kind_of_data_refuses_a_model_without_a_tokenizer(tmp_path):
    (tmp_path / "notes.txt").write_bytes(PLAIN)
    notes = str(tmp_path / "notes.txt")
    for kind in (TextTokens, Passages, NGramText, LensText, TrainingSequences):
        with pytest.raises(
            DataError, match=r"has no tokenizer\.json.*put one beside its config\.json"
        ):
            kind(n=2, corpus=notes).bind(Vocabulary(300, 128), seed=0)
        settings = {"prompt": 8, "continuation": 8} if kind is TrainingSequences else {"length": 16}
        with pytest.raises(DataError, match="tokenizer and model do not belong together"):
            kind(n=1, corpus=notes, **settings).bind(Vocabulary(20, 128, byte_tokenizer()), seed=0)
