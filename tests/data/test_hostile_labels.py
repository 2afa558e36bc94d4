"""Files of labels that are odd or damaged: the right label, none, or one line that says which row
and why.
"""

import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pythia_traj.data.labelled import LabelledTokens
from pythia_traj.data.labels import own
from pythia_traj.data.labels.alignment import labels_of, tokenise
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary
from tests.support import byte_tokenizer

PLAIN = Vocabulary(300, 128, byte_tokenizer())


def words_of(text):
    """A labelled text as (what is labelled, label)."""
    return [(text.text[start:end], label) for start, end, label in text.spans]


HEAD = "# newdoc id = d1\n# text = whatever\n"


def conllu(*words):
    return "\n".join("\t".join((str(i), *word, *"_" * 10)[:10]) for i, word in words) + "\n\n"


A, B = (1, ("a", "a", "NOUN", "N", "_", "0", "root")), (2, ("b", "b", "_", "V", "_", "1", "obj"))
CONLLU = {
    "an underscore means no label": (HEAD + conllu(A, B), [("a", "NOUN")]),
    "a byte order mark": ("\ufeff" + conllu(A), [("a", "NOUN")]),
    "a byte order mark before a document": ("\ufeff" + HEAD + conllu(A), [("a", "NOUN")]),
    "Windows line breaks": ((HEAD + conllu(A, B)).replace("\n", "\r\n"), [("a", "NOUN")]),
    "no empty line at the end": (conllu(A).rstrip("\n"), [("a", "NOUN")]),
    "several empty lines": ("\n\n" + conllu(A) + "\n \n", [("a", "NOUN")]),
    "no text in a comment": (conllu(A), [("a", "NOUN")]),
    "a sentence of comments": ("# x\n\n" + conllu(A), [("a", "NOUN")]),
    "a word of several": (
        conllu(("1-2", ("du", "_", "X")), A, B, (3, ("c", "c", "ADJ"))),
        [("c", "ADJ")],
    ),
    "an empty node": (
        conllu(("0.1", ("e", "e", "VERB")), A, ("1.1", ("e", "e", "VERB")), B),
        [("a", "NOUN")],
    ),
    "an underscore as a word": (conllu((1, ("_", "_", "SYM"))), [("_", "SYM")]),
    "a word with a space": (conllu((1, ("10 000", "_", "NUM"))), [("10 000", "NUM")]),
    "no label at all": (
        conllu((1, B[1])),
        "no word of .* has a label in its column upos: set labels to xpos, deprel",
    ),
    "nothing": ("", "no word of .* has a label in its column upos"),
    "a column missing": (
        HEAD + "1\ta\ta\tNOUN\n\n",
        "line 3 has 4 columns separated by tabs: CoNLL-U has 10",
    ),
    "a column too many": (conllu(A).replace("\n", "\t_\n", 1), "line 1 has 11 columns"),
    "spaces for tabs": (conllu(A).replace("\t", "  "), "line 1 has 1 columns"),
    "no number": (conllu(("x", A[1])), "line 1: 'x' is not the id of a word"),
    "a number of many digits": (
        conllu(("9" * 5000, A[1])),
        "line 1: '9+... is not the id of a word",
    ),
    "no empty line between": (
        conllu(A).rstrip("\n") + "\n" + conllu(A),
        "line 2: id 1 after 1: words are counted",
    ),
    "a word left out": (conllu(A, (3, B[1])), "line 2: id 3 after 1"),
    "several words backwards": (conllu(("2-1", A[1])), "line 1: id 2-1 after 0"),
    "no word": (conllu((1, ("", "a", "NOUN"))), "line 1 has no word in its column form"),
    "a control character in a label": (
        conllu((1, ("a", "a", "NO\x07UN"))),
        "sentence from line 1 on: labels.0 is .*control",
    ),
    "a space after a label": (
        conllu((1, ("a", "a", "NOUN "))),
        "labels.0 is 'NOUN ': a label has no .* white space",
    ),
    "half of a pair": (HEAD.encode() + b"1\t\xed\xa0\x80\ta\n", "line 3 is not UTF-8 text"),
    "Latin 1": (conllu(A).replace("a", "é").encode("latin-1"), "line 1 is not UTF-8 text"),
    "a line without end": (b"1\t" + b"a" * (1 << 21), "line 1 has more than 1048576 bytes"),
}


@pytest.mark.parametrize("case", CONLLU)
def test_conllu_that_is_odd_or_damaged(tmp_path, case):
    content, expected = CONLLU[case]
    path = tmp_path / "words.conllu"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            list(own.read(str(path)))
    else:
        assert [pair for text in own.read(str(path)) for pair in words_of(text)] == expected


@pytest.mark.parametrize(
    ("column", "expected"),
    [("xpos", [("a", "N"), ("b", "V")]), ("deprel", [("a", "root"), ("b", "obj")])],
)
def test_other_columns_of_conllu(tmp_path, column, expected):
    path = tmp_path / "WORDS.CONLLU"
    path.write_text(conllu(A, B))
    assert [pair for text in own.read(str(path), column) for pair in words_of(text)] == expected


NO_SPAN, NO_LABEL = (
    "expected a span such as",
    "labels are text or whole numbers, null for none",
)
SPANS = {
    "a label of text": ([0, 2, "PER"], [("ab", "PER")]),
    "a label that is a number": ([0, 2, 7], [("ab", "7")]),
    "minus one as text": ([0, 2, "-1"], [("ab", "-1")]),
    "minus one": ([0, 2, -1], [("ab", None)]),
    "minus a hundred": ([0, 2, -100], [("ab", None)]),
    "null": ([0, 2, None], [("ab", None)]),
    "an object without label": ({"start": 0, "end": 2}, [("ab", None)]),
    "to the end of the text": ([0, 5, "X"], [("ab cd", "X")]),
    "beyond the text": ([0, 6, "X"], "the span from 0 to 6 goes beyond its text of 5 characters"),
    "far beyond the text": ([0, 10**30, "X"], "goes beyond its text of 5 characters"),
    "backwards": ([2, 0, "X"], NO_SPAN),
    "of no characters": ([2, 2, "X"], NO_SPAN),
    "before the text": ([-2, 2, "X"], NO_SPAN),
    "true for one": ([True, 2, "X"], NO_SPAN),
    "a broken number": ([0.0, 2, "X"], NO_SPAN),
    "numbers as text": (["0", "2", "X"], NO_SPAN),
    "two entries": ([0, 2], NO_SPAN),
    "a text": ("0-2", NO_SPAN),
    "a label that is true": ([0, 2, True], NO_LABEL),
    "a label that is a broken number": ([0, 2, 1.0], NO_LABEL),
    "a label that is a list": ([0, 2, ["X"]], NO_LABEL),
    "an empty label": (
        [0, 2, ""],
        "a label has no control characters and no white space around it",
    ),
    "a label with a line break": ([0, 2, "X\n"], "a label has no control characters"),
    "a label that turns the terminal": ([0, 2, "X\x1b[31m"], "a label has no control characters"),
}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("case", SPANS)
def test_spans_that_are_odd_or_wrong(tmp_path, case):
    span, expected = SPANS[case]
    good = {"text": "ab cd", "spans": [[0, 2, "X"]]}
    path = write(tmp_path / "own.jsonl", [good, {"text": "ab cd", "spans": [span]}])
    if isinstance(expected, str):
        with pytest.raises(DataError, match=f"own.jsonl line 2: .*{expected}"):
            list(own.read(path))
    else:
        assert words_of(list(own.read(path))[1]) == expected


def test_a_later_span_without_label_takes_an_earlier_ones():
    assert labels_of(tokenise(PLAIN, "abc", 9), [(0, 3, "X"), (1, 2, None)]) == ["X", None, "X"]


ROWS = {
    "no spans": ({"text": "ab", "spans": []}, []),
    "null for spans": ({"text": "ab", "spans": None}, []),
    "a document that is a number": ({"text": "ab", "spans": [], "document": 3}, []),
    "null for a document": ({"text": "ab", "spans": [], "document": None}, []),
    "null for a text": ({"text": None, "spans": []}, "line 1: text is None: expected text"),
    "a list for a text": (
        {"text": ["ab"], "spans": []},
        r"line 1: text is \['ab'\]: expected text",
    ),
    "text for spans": ({"text": "ab", "spans": "X"}, "line 1: spans is 'X': .* list"),
    "a number for spans": ({"text": "ab", "spans": 5}, "line 1: spans is 5: .* list"),
    "an object for spans": ({"text": "ab", "spans": {"start": 0}}, "line 1: spans is .* list"),
    "a list for a document": (
        {"text": "ab", "spans": [], "document": [1]},
        "a document is named by text or a whole",
    ),
    "true for a document": (
        {"text": "ab", "spans": [], "document": True},
        "a document is named by text or a whole",
    ),
    "half of a pair": ({"text": "a\ud800", "spans": []}, "line 1 holds half of a surrogate pair"),
    "another column": (
        {"text": "ab", "ner": []},
        "line 1 has no column 'spans': its columns are text, ner",
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_rows_that_are_odd_or_wrong(tmp_path, case):
    row, expected = ROWS[case]
    path = write(tmp_path / "own.NDJSON", [row])
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            list(own.read(path))
    else:
        assert [words_of(text) for text in own.read(path)] == [expected]


def test_a_column_of_another_name_is_named(tmp_path):
    path = write(tmp_path / "own.jsonl", [{"text": "ab", "ner": [[0, 1, True]]}])
    with pytest.raises(DataError, match=r"line 1, spans in column ner: spans\.0 is \[0, 1, True\]"):
        list(own.read(path, "ner"))


def test_nulls_in_parquet(tmp_path):
    parts = pa.struct([("start", pa.int64()), ("end", pa.int64()), ("label", pa.string())])
    rows = {"text": ["ab cd", "ab"], "spans": [[{"start": 0, "end": 2, "label": None}], None]}
    table = pa.table({"text": rows["text"], "spans": pa.array(rows["spans"], pa.list_(parts))})
    pq.write_table(table, tmp_path / "own.parquet")
    assert [words_of(text) for text in own.read(str(tmp_path / "own.parquet"))] == [
        [("ab", None)],
        [],
    ]


NAMES = datasets.ClassLabel(names=["O", "PER"])
NUMBER, STRING, BROKEN, TRUTH = (
    datasets.Value(name) for name in ("int64", "string", "float64", "bool")
)
DATASETS = {
    "names": (NAMES, ["a", "b"], [0, 1], [("a", "O"), ("b", "PER")]),
    "minus one of names": (NAMES, ["a", "b"], [-1, 1], [("b", "PER")]),
    "null of names": (NAMES, ["a", "b"], [None, 1], [("b", "PER")]),
    "numbers": (NUMBER, ["a", "b"], [0, 5], [("a", "0"), ("b", "5")]),
    "minus one of numbers": (NUMBER, ["a", "b"], [-1, 5], [("b", "5")]),
    "minus a hundred of numbers": (NUMBER, ["a", "b"], [-100, 5], [("b", "5")]),
    "null of numbers": (NUMBER, ["a", "b"], [None, 5], [("b", "5")]),
    "text": (STRING, ["a", "b"], ["X", "-1"], [("a", "X"), ("b", "-1")]),
    "null of text": (STRING, ["a", "b"], [None, "X"], [("b", "X")]),
    "an empty word": (STRING, ["", "b"], ["X", "Y"], [("", "X"), ("b", "Y")]),
    "no words": (STRING, [], [], []),
    "an empty label": (
        STRING,
        ["a"],
        [""],
        "row 1, labels in column tags: labels.0 is '': a label has no",
    ),
    "a label with a control character": (
        STRING,
        ["a"],
        ["X\x00"],
        "row 1, labels in column tags: labels.0",
    ),
    "fewer labels than words": (STRING, ["a", "b"], ["X"], "row 1: 2 tokens, 1 tags"),
    "more labels than words": (STRING, ["a"], ["X", "Y"], "row 1: 1 tokens, 2 tags"),
    "broken numbers": (BROKEN, ["a"], [1.0], "labels.0 is 1.0: labels are text or whole numbers"),
    "not a number": (
        BROKEN,
        ["a"],
        [float("nan")],
        "labels.0 is nan: labels are text or whole numbers",
    ),
    "truths": (TRUTH, ["a"], [True], "labels.0 is True: labels are text or whole numbers"),
    "null for a word": (STRING, ["a", None], ["X", "Y"], "tokens.1 is None: expected text"),
    "null for all words": (STRING, None, ["X"], "tokens is None: .* list"),
    "null for all labels": (STRING, ["a"], None, "labels is None: .* list"),
}


@pytest.mark.parametrize("case", DATASETS)
def test_datasets_that_are_odd_or_wrong(monkeypatch, case):
    feature, tokens, tags, expected = DATASETS[case]
    features = datasets.Features(
        {"tokens": datasets.Sequence(STRING), "tags": datasets.Sequence(feature)}
    )
    found = datasets.Dataset.from_dict({"tokens": [tokens], "tags": [tags]}, features=features)
    monkeypatch.setattr(own, "open_dataset", lambda _: found)
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            list(own.read("hf:x", "tags"))
    else:
        assert [pair for text in own.read("hf:x", "tags") for pair in words_of(text)] == expected


@pytest.mark.parametrize("label", [-100, 2, -2])
def test_a_number_that_the_dataset_has_no_name_for(monkeypatch, label):
    # Arrow may hold what the library itself would not write.
    features = datasets.Features(
        {"tokens": datasets.Sequence(STRING), "tags": datasets.Sequence(NUMBER)}
    )
    found = datasets.Dataset.from_dict(
        {"tokens": [["a", "b"]], "tags": [[label, 1]]}, features=features
    )
    found.info.features = datasets.Features(
        {"tokens": datasets.Sequence(STRING), "tags": datasets.Sequence(NAMES)}
    )
    monkeypatch.setattr(own, "open_dataset", lambda _: found)
    if label == -100:
        assert [pair for text in own.read("hf:x") for pair in words_of(text)] == [("b", "PER")]
    else:
        with pytest.raises(
            DataError,
            match=f"row 1, column tags: label {label} is none of the 2 that the dataset names",
        ):
            list(own.read("hf:x"))


@pytest.mark.parametrize(
    ("feature", "tags", "message"),
    [
        (NAMES, 1, "labels is 1: .* list"),
        (STRING, "XY", "labels is 'XY': .* list"),
        (
            datasets.Sequence(datasets.Sequence(STRING)),
            [["X"], ["Y"]],
            r"labels.0 is \['X'\]: labels are text",
        ),
    ],
)
def test_one_label_for_all_words_is_no_label_of_words(monkeypatch, feature, tags, message):
    features = datasets.Features({"tokens": datasets.Sequence(STRING), "tags": feature})
    found = datasets.Dataset.from_dict({"tokens": [["a", "b"]], "tags": [tags]}, features=features)
    monkeypatch.setattr(own, "open_dataset", lambda _: found)
    with pytest.raises(DataError, match=message):
        list(own.read("hf:x", "tags"))


def test_a_dataset_that_is_set_to_give_tensors(monkeypatch):
    features = datasets.Features(
        {"tokens": datasets.Sequence(STRING), "tags": datasets.Sequence(NAMES)}
    )
    found = datasets.Dataset.from_dict(
        {"tokens": [["a", "b"]], "tags": [[0, 1]]}, features=features
    )
    monkeypatch.setattr(own, "open_dataset", lambda _: found.with_format("numpy"))
    assert [pair for text in own.read("hf:x") for pair in words_of(text)] == [
        ("a", "O"),
        ("b", "PER"),
    ]


def test_a_dataset_whose_file_is_damaged_is_one_line(tmp_path):
    datasets.Dataset.from_dict({"tokens": [["a"]] * 9, "tags": [["X"]] * 9}).save_to_disk(
        str(tmp_path / "saved")
    )
    (file,) = (tmp_path / "saved").glob("*.arrow")
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(DataError, match="cannot read hf:"):
        list(own.read(f"hf:{tmp_path / 'saved'}", "tags"))


def test_a_file_without_any_label_is_refused(tmp_path):
    rows = [{"text": f"ab{i}", "spans": [[0, 1, -100]]} for i in range(9)]
    with pytest.raises(DataError, match="has labels in 0 documents"):
        LabelledTokens(task=write(tmp_path / "own.jsonl", rows), n=50).bind(PLAIN, seed=0)
