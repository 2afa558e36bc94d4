"""Labels of tokens: alignment with characters, syntax, users' files, splits by document."""

import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from pythia_traj.data.labelled import SPLITS, LabelledTokens
from pythia_traj.data.labels import TASKS
from pythia_traj.data.labels.alignment import labels_of, tokenise
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary
from tests.support import byte_tokenizer, n_documents

PYTHIA = Path(__file__).parents[3] / "shared" / "reference" / "pythia_tokenizer.json"
VOCABULARY = Vocabulary(300, 128, byte_tokenizer())

SOURCE = '''import os.path as p, re
class Ünit(p.Base):
    """é€😀 text"""

    def measure(self, model, *rest, n: int = 2):
        self.état = model[(n + 1)]  # a comment
        with open("x") as self.file:
            return [f(step=s) for s in rest if s is not None]
'''
LABELS = {
    "python_class": {
        "import": "keyword", "os": "name", "Ünit": "name", "é": "string", "😀": "string",
        "text": "string", "(n": "operator", "2": "number", "# a": "comment", "is not": "keyword",
        "None": "keyword", '"x"': "string", "    def": "indentation",
    },
    "python_depth": {
        "import": "0", "Base": "1", "(p": "0", "n +": "2", "[(": "0", "(n": "1", ")]": "1",
        "step": "2", "return": "0",
    },
    "python_in_string": {"😀": "inside", '"x"': "inside", "class": "outside", "comment": "outside"},
    "python_definition": {
        "os": "use", "p,": "definition", "re\n": "definition", "Ünit": "definition", "Base": "use",
        "measure": "definition", "self,": "definition", "rest,": "definition", "n:": "definition",
        "int": "use", "self.é": "use", "état": "definition", "open": "use", "self.f": "use",
        "file": "definition", "f(": "use", "step": "use", "s)": "use", "s in": "definition",
    },
}  # fmt: skip


def vocabularies():
    found = {"byte": VOCABULARY}
    if PYTHIA.is_file():
        found["pythia"] = Vocabulary(50304, 2048, Tokenizer.from_file(str(PYTHIA)))
    return found


@pytest.mark.parametrize("name", vocabularies())
@pytest.mark.parametrize("task", LABELS)
def test_tokens_have_the_labels_of_their_characters(name, task):
    pieces = tokenise(vocabularies()[name], SOURCE, 1000)
    labels = TASKS[task](pieces)
    anchors = pieces.anchors()
    for what, expected in LABELS[task].items():
        at = SOURCE.index(what)
        here = [label for label, anchor in zip(labels, anchors, strict=True) if anchor == at]
        # A word may be in the middle of a token: then no token is anchored at it.
        assert set(here) <= {expected}, what
    assert sum(label is not None for label in labels) > 10


@pytest.mark.parametrize("name", vocabularies())
def test_a_token_stands_for_the_characters_since_the_one_before_it(name):
    text = "a  b é€😀\n\n    c\t d "
    pieces = tokenise(vocabularies()[name], text, 4)
    assert pieces.places.tolist() == [i % 4 for i in range(len(pieces.ids))]
    covered = "".join(
        string
        for i, string in enumerate(pieces.strings())
        if i == 0 or pieces.begins[i] == pieces.ends[i - 1]
    )
    assert covered.rstrip() == text.rstrip()
    spans = [
        (text.index(character), text.index(character) + 1, character) for character in "abcdé€😀"
    ]
    labels = labels_of(pieces, spans)
    for string, label in zip(pieces.strings(), labels, strict=True):
        assert label == (string.strip() or None)


def test_properties_of_tokens():
    pieces = tokenise(VOCABULARY, "A b, 12\n", 6)
    by_task = {
        task: TASKS[task](pieces)
        for task in ("starts_with_space", "capitalised", "previous_class", "position")
    }
    strings = pieces.strings()
    assert by_task["starts_with_space"] == [
        "space" if string[0] == " " else "none" for string in strings
    ]
    assert by_task["capitalised"][0] == "capital"
    assert by_task["capitalised"][strings.index(",")] is None
    assert by_task["previous_class"][:2] == [None, "letters"]
    assert by_task["previous_class"][6] is None
    assert by_task["position"][:6] == ["0", "1", "2-3", "2-3", "4-7", "4-7"]
    assert by_task["position"][6] == "0"


@pytest.fixture(scope="module")
def python_tokens():
    return LabelledTokens(n=3000, length=64).bind(VOCABULARY, seed=0)


def test_documents_are_in_one_split_and_splits_have_their_shares(python_tokens):
    data = python_tokens
    assert sum(data.sizes) == len(data.labels) == 3000
    of_split = {name: set(data.documents[data.split(name)].tolist()) for name in SPLITS}
    assert (
        sum(map(len, of_split.values())) == len(set.union(*of_split.values())) == n_documents(data)
    )
    for size, share in zip(data.sizes, SPLITS.values(), strict=True):
        assert size / 3000 == pytest.approx(share, abs=0.1)
    assert data.classes == (
        "comment",
        "indentation",
        "keyword",
        "name",
        "number",
        "operator",
        "string",
    )


def test_places_lead_from_the_sequences_to_the_labelled_tokens(python_tokens):
    data = python_tokens
    numbers = np.concatenate([place.numbers for place in data.places.values()])
    assert sorted(numbers) == list(range(3000))
    for group, place in data.places.items():
        assert (data.groups[group][place.rows, place.positions] == data.types[place.numbers]).all()


def test_a_control_task_labels_types_as_often_as_labels_occur(python_tokens):
    data = python_tokens
    for control in data.controls:
        for token in np.unique(data.types):
            assert len(set(control[data.types == token])) == 1
    assert (data.controls[0] != data.controls[1]).any()
    many = LabelledTokens(n=3000, length=64, controls=400).bind(VOCABULARY, seed=0)
    train = np.bincount(many.labels[many.split("train")], minlength=7) / many.sizes[0]
    drawn = np.bincount(
        many.controls[:, np.unique(many.types, return_index=True)[1]].ravel(), minlength=7
    )
    assert drawn / drawn.sum() == pytest.approx(train, abs=0.02)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_and_the_record_says_so(python_tokens):
    again, other = (
        LabelledTokens(n=3000, length=64).bind(VOCABULARY, seed=seed) for seed in (0, 1)
    )
    assert again.facts == python_tokens.facts
    assert len(again.facts["sha256"]) == 64
    assert other.facts["sha256"] != again.facts["sha256"]
    assert sum(again.facts["classes"].values()) == 3000


def test_bos_stands_in_front_and_has_no_label():
    data = LabelledTokens(n=500, length=33, task="position", bos=True).bind(VOCABULARY, seed=0)
    for group, place in data.places.items():
        assert (data.groups[group][:, 0] == 0).all()
        assert (place.positions > 0).all()


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_what_is_no_python_is_left_out_and_counted(tmp_path):
    texts = [
        SOURCE,
        "x = (",
        "print 'a'\n",
        "if x:\n  y\n z\n",
        "a\rb\n",
        *(f"def f{i}(x): return x + {i}\n" for i in range(6)),
    ]
    corpus = write_lines(tmp_path / "code.jsonl", [{"text": text} for text in texts])
    data = LabelledTokens(task="python_definition", corpus=corpus, n=100).bind(VOCABULARY, seed=0)
    assert data.facts["not_python"] == 4
    assert n_documents(data) == 7
    assert data.classes == ("definition", "use")


ROWS = [
    {"text": f"Anna{i} met Bo", "spans": [{"start": 0, "end": 5, "label": "PER"}, [6, 9, "O"]]}
    for i in range(8)
]


def test_spans_in_jsonl_and_parquet_are_the_same(tmp_path):
    rows = [
        {
            **row,
            "spans": [
                row["spans"][0],
                dict(zip(("start", "end", "label"), row["spans"][1], strict=True)),
            ],
        }
        for row in ROWS
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "own.parquet")
    paths = [write_lines(tmp_path / "own.jsonl", ROWS), str(tmp_path / "own.parquet")]
    one, two = (LabelledTokens(task=path, n=200).bind(VOCABULARY, seed=0) for path in paths)
    assert one.facts == two.facts
    assert one.classes == ("O", "PER")
    # "Anna0" and " met": "Bo" has no label.
    text = "".join(VOCABULARY.tokenizer.decode([token]) for token in one.types[one.documents == 0])
    assert text.startswith("Anna")
    assert text.replace(" ", "").endswith("met")


def test_rows_of_one_document_stay_together(tmp_path):
    path = write_lines(
        tmp_path / "own.jsonl", [{**row, "document": f"d{i // 2}"} for i, row in enumerate(ROWS)]
    )
    data = LabelledTokens(task=path, n=200).bind(VOCABULARY, seed=0)
    assert n_documents(data) == 4
    assert data.facts["documents"] == {"train": 1, "validation": 1, "test": 2}


CONLLU = """# newdoc id = {doc}
# text = Du sang, é !
1-2\tDu\t_\t_\t_\t_\t_\t_\t_\t_
1\tDe\tde\tADP\tp\t_\t3\tcase\t_\t_
2\tle\tle\tDET\td\t_\t3\tdet\t_\t_
3\tsang\tsang\tNOUN\tn\t_\t0\troot\t_\tSpaceAfter=No
3.1\tx\tx\tVERB\tv\t_\t_\t_\t_\t_
4\t,\t,\tPUNCT\t,\t_\t3\tpunct\t_\t_
5\té\té\tX\tx\t_\t3\tdep\t_\t_

"""


def test_conllu_words_have_their_column(tmp_path):
    path = tmp_path / "words.conllu"
    path.write_text("".join(CONLLU.format(doc=f"d{i}").replace("é", "éàüöç"[i]) for i in range(5)))
    for column, classes in (("", ("NOUN", "PUNCT", "X")), ("deprel", ("dep", "punct", "root"))):
        data = LabelledTokens(task=str(path), labels=column, n=200).bind(VOCABULARY, seed=0)
        assert data.classes == classes
        assert n_documents(data) == 5
        first = data.documents == 0
        # This tokenizer has the spaces as tokens of their own.
        assert VOCABULARY.tokenizer.decode(data.types[first].tolist()) == "sang,é"
    with pytest.raises(DataError, match="did you mean upos"):
        LabelledTokens(task=str(path), labels="upo").bind(VOCABULARY, seed=0)


def people():
    """A dataset of token classification."""
    features = datasets.Features(
        {
            "tokens": datasets.Sequence(datasets.Value("string")),
            "ner_tags": datasets.Sequence(datasets.ClassLabel(names=["O", "B-PER"])),
        }
    )
    content = {"tokens": [[f"Anna{i}", "met", "Bo"] for i in range(6)], "ner_tags": [[1, 0, 1]] * 6}
    return datasets.Dataset.from_dict(content, features=features)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_saved_dataset_of_token_classification(tmp_path):
    people().save_to_disk(str(tmp_path / "saved"))
    data = LabelledTokens(task=f"hf:{tmp_path / 'saved'}", n=200).bind(VOCABULARY, seed=0)
    assert data.classes == ("B-PER", "O")
    with pytest.raises(DataError, match="no column 'tags': its columns are tokens, ner_tags"):
        LabelledTokens(task=f"hf:{tmp_path / 'saved'}", labels="tags").bind(VOCABULARY, seed=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_dataset_of_the_hub_is_streamed_at_its_commit(monkeypatch):
    asked = {}

    def load_dataset(name, **settings):
        asked.update(settings, name=name)
        return people().to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    task = "hf:org/people:test@" + "b" * 40
    data = LabelledTokens(task=task, n=200).bind(VOCABULARY, seed=0)
    assert data.classes == ("B-PER", "O")
    assert asked == {"name": "org/people", "split": "test", "revision": "b" * 40, "streaming": True}
    assert LabelledTokens(task=task).spec(seed=0) == {
        "source": "hf:org/people:test",
        "commit": "b" * 40,
        "seed": 0,
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "python_clas"}, "unknown task 'python_clas': did you mean python_class"),
        ({"task": "none.jsonl"}, "none.jsonl is not a file"),
        ({"task": "hf:nowhere"}, "cannot read 'hf:nowhere' as a dataset: write hf:org/name@COMMIT"),
        (
            {"length": 200},
            "a sequence needs a context of 200 tokens, the model has 128: set length to at most"
            " 128$",
        ),
        ({"length": 1, "bos": True}, "BOS alone"),
    ],
)
def test_what_cannot_be_labelled_is_refused(settings, message):
    with pytest.raises(DataError, match=message):
        LabelledTokens(**settings).bind(VOCABULARY, seed=0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"text": "ab", "spans": [[0, 3, "x"]]}],
            "line 1: the span from 0 to 3 goes beyond its text of 2 characters",
        ),
        ([{"text": 3, "spans": []}], "line 1: text is 3: expected text"),
        ([{"text": "ab"}], "has no column 'spans'"),
        (
            [{"text": f"ab{i}", "spans": [[0, 1, "x"]]} for i in range(3)],
            "labels in 3 documents; training, validation and test need 4",
        ),
        (
            [{"text": f"ab{i}", "spans": [[0, 1, "x"]]} for i in range(5)],
            "one class in its training documents: x",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        LabelledTokens(task=write_lines(tmp_path / "own.jsonl", rows)).bind(VOCABULARY, seed=0)


def test_a_model_without_tokenizer_and_a_tokenizer_of_another_model():
    with pytest.raises(DataError, match=r"has no tokenizer\.json"):
        LabelledTokens().bind(Vocabulary(300, 128), seed=0)
    with pytest.raises(DataError, match="do not belong together"):
        LabelledTokens(n=100).bind(Vocabulary(20, 128, VOCABULARY.tokenizer), seed=0)


def test_the_spec_speaks_of_content_and_of_the_python_that_reads_it(tmp_path):
    path = write_lines(tmp_path / "own.jsonl", ROWS)
    assert "sha256" in LabelledTokens(task=path).spec(seed=0)
    assert LabelledTokens().spec(seed=0)["python"].startswith("3.")
    assert "python" not in LabelledTokens(task="position").spec(seed=0)
