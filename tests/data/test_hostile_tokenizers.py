"""A `tokenizer.json` of whoever published it: a text gets all its tokens and no others, in bounded
time, or one line says why not.
"""

import base64
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer, processors

from pythia_traj.data.token_bytes import bytes_of_tokens
from pythia_traj.errors import CheckpointError, DataError
from pythia_traj.models.expressions import why_slow
from pythia_traj.models.tokenizer import read_tokenizer
from pythia_traj.models.tokenizer_file import stated_bos
from pythia_traj.vocabulary import Vocabulary
from tests.support import byte_tokenizer

TEXT = "def measure(model, step): return model(step)\n" * 20
PLAIN = json.loads(byte_tokenizer().to_str())
IDS = byte_tokenizer().encode(TEXT, add_special_tokens=False).ids
BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": False,
}


def with_(**parts):
    """The tests' tokenizer with some of its parts, or of its model's, given."""
    model = {
        name.removeprefix("model_"): value
        for name, value in parts.items()
        if name.startswith("model_")
    }
    rest = {name: value for name, value in parts.items() if not name.startswith("model_")}
    return {**PLAIN, **rest, "model": {**PLAIN["model"], **model}}


def split_at(expression):
    split = {
        "type": "Split",
        "pattern": {"Regex": expression},
        "behavior": "Isolated",
        "invert": False,
    }
    return with_(pre_tokenizer={"type": "Sequence", "pretokenizers": [split, BYTE_LEVEL]})


def replacing(pattern, content, times=1):
    one = {"type": "Replace", "pattern": pattern, "content": content}
    return with_(normalizer={"type": "Sequence", "normalizers": [one] * times})


def charsmap(table):
    return with_(
        normalizer={"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}
    )


def nested(depth):
    part = BYTE_LEVEL
    for _ in range(depth):
        part = {"type": "Sequence", "pretokenizers": [part]}
    return with_(pre_tokenizer=part)


def read(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_tokenizer(path)


def cut_to(length, stride=0):
    return {
        "direction": "Right",
        "max_length": length,
        "strategy": "LongestFirst",
        "stride": stride,
    }


def padded_to(strategy, multiple=None):
    return {
        "strategy": strategy, "direction": "Left", "pad_to_multiple_of": multiple,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>",
    }  # fmt: skip


def template(single):
    known = {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}}
    pair = [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": known}


SPECIAL = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
SEQUENCE = {"Sequence": {"id": "A", "type_id": 0}}

WHOLE = {
    "plain": PLAIN,
    "truncation": with_(truncation=cut_to(2)),
    "truncation with a stride": with_(truncation=cut_to(8, 4)),
    "truncation to nothing": with_(truncation=cut_to(0)),
    "truncation that is none": with_(truncation="short"),
    "padding": with_(padding=padded_to({"Fixed": 4096})),
    "padding to 10**10": with_(padding=padded_to({"Fixed": 10**10})),
    "padding to a multiple": with_(padding=padded_to("BatchLongest", 10**10)),
    "padding that is none": with_(padding=[1]),
    "both": with_(truncation=cut_to(3), padding=padded_to({"Fixed": 5})),
    "dropout of merges": with_(model_dropout=0.5),
    "dropout that is none": with_(model_dropout=7),
    "special tokens around": with_(post_processor=template([SPECIAL, SEQUENCE, SPECIAL])),
    "the text twice": with_(post_processor=template([SEQUENCE, SEQUENCE])),
    "the text not at all": with_(post_processor=template([SPECIAL])),
    "10**5 special tokens around": with_(post_processor=template([SPECIAL] * 10**5 + [SEQUENCE])),
    "BERT's": with_(
        post_processor={
            "type": "BertProcessing",
            "sep": ["<|endoftext|>", 0],
            "cls": ["<|endoftext|>", 0],
        }
    ),
    "RoBERTa's": with_(
        post_processor={
            "type": "RobertaProcessing",
            "sep": ["<|endoftext|>", 0],
            "cls": ["<|endoftext|>", 0],
            "trim_offsets": True,
            "add_prefix_space": False,
        }
    ),
    "a sequence of them": with_(
        post_processor={
            "type": "Sequence",
            "processors": [PLAIN["post_processor"] or BYTE_LEVEL, template([SPECIAL, SEQUENCE])],
        }
    ),
    "a processor that is none": with_(post_processor=None),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(PLAIN).encode(),
    "an unused token of a huge id": with_(
        model_vocab={**PLAIN["model"]["vocab"], "unused": 2**31 - 1}
    ),
}


@pytest.mark.parametrize("case", WHOLE, ids=str)
def test_a_text_gets_all_its_tokens_and_no_others(case, tmp_path):
    found = read(tmp_path, WHOLE[case]).tokenizer
    vocabulary = Vocabulary(300, 128, found)
    for _ in range(2):
        assert vocabulary.encode(TEXT).tolist() == IDS
    assert found.encode(TEXT).ids == IDS
    assert next(vocabulary.encode_many([TEXT, "def"], most=10**6)).tolist() == IDS
    assert found.encode("").ids == []


REFUSED = {
    "empty": (b"", "is not JSON"),
    "null": (b"null", "tokenizer.json is an object"),
    "a list": (b"[]", "tokenizer.json is an object"),
    "HTML": (b"<html>404</html>", "is a web page"),
    "not UTF-8": (b'{"model": "\xff"}', "is not UTF-8"),
    "nested 10**5 deep": (b'{"model":' * 10**5, "nested too deep"),
    "a name twice": (b'{"model": {}, "model": {}}', "twice"),
    "half of a surrogate pair": (b'{"version": "\\ud800"}', "surrogate"),
    "no model": ({"version": "1.0"}, "model is missing"),
    "a model of an unknown kind": (with_(model_type="Quantum"), "model.type"),
    "an empty vocabulary": (with_(model_vocab={}, model_merges=[]), "model.vocab"),
    "a vocabulary that is none": (with_(model_vocab=7), "model.vocab"),
    "a negative id": (with_(model_vocab={"a": -1}, model_merges=[]), "greater than or equal to 0"),
    "an id that is true": (with_(model_vocab={"a": True}, model_merges=[]), "valid integer"),
    "an id of 30 digits": (
        with_(model_vocab={"a": 10**30}, model_merges=[]),
        "less than or equal to",
    ),
    "a merge of unknown tokens": (with_(model_merges=[["zq", "qz"]]), "out of vocabulary"),
    "merges that are none": (with_(model_merges=["a"]), "[Mm]erges"),
    "a prefix that no merge has": (
        with_(model_continuing_subword_prefix="##"),
        "continuing_subword_prefix",
    ),
    "an unknown token that is unknown": (
        with_(model_unk_token="zz", model_vocab={"a": 0}, model_merges=[]),
        "zz",
    ),
    "added tokens of a wrong type": (with_(added_tokens={"id": 0}), "added_tokens"),
    "an added token without an id": (
        with_(added_tokens=[{"content": "a"}]),
        "added_tokens.0.id is missing",
    ),
    "an added token of id true": (
        with_(added_tokens=[{"id": True, "content": "a"}]),
        "added_tokens.0.id",
    ),
    "an added token of a number": (
        with_(added_tokens=[{"id": 1, "content": 5}]),
        "added_tokens.0.content",
    ),
    "20,001 added tokens": (
        with_(added_tokens=[{"id": i, "content": f"{i}"} for i in range(20_001)]),
        "added_tokens",
    ),
    "an unknown normalizer": (
        with_(normalizer={"type": "Zzz"}),
        "is not a usable tokenizer.json",
    ),
    "a normalizer without a type": (with_(normalizer={}), "normalizer.type is missing"),
    "a letter that becomes a million": (
        replacing({"String": "a"}, "b" * 10**6),
        "more than 16 times longer",
    ),
    "a letter doubled forty times": (
        replacing({"String": "a"}, "aa", 40),
        "more than 16 times longer",
    ),
    "nothing that becomes something": (replacing({"String": ""}, "b"), "pattern"),
    "anything that becomes a lot": (
        replacing({"Regex": "."}, "b" * 1000),
        "more than 16 times longer",
    ),
    "a long beginning": (
        with_(normalizer={"type": "Prepend", "prepend": "b" * 10**6}),
        "more than 16 times longer",
    ),
    "a pattern that is none": (replacing({}, "b"), "neither a String nor a Regex"),
    "a charsmap that is no base64": (
        with_(normalizer={"type": "Precompiled", "precompiled_charsmap": "###"}),
        "is not base64",
    ),
    "a charsmap that is cut": (charsmap(b"\0\0"), "is damaged"),
    "a charsmap whose trie is too long": (charsmap(b"\xff\xff\xff\x0f" + b"\0" * 16), "is damaged"),
    "a charsmap that multiplies": (
        charsmap(b"\4\0\0\0" + b"\0" * 4 + b"x" * 10**6 + b"\0"),
        "bytes of one character",
    ),
    "pieces of length 0": (
        with_(pre_tokenizer={"type": "FixedLength", "length": 0}),
        "length is 0",
    ),
    "components nested too deep": (nested(70), "nested deeper"),
    "words of any length": (
        with_(model_type="WordPiece", model_max_input_chars_per_word=10**9),
        "max_input_chars_per_word",
    ),
    "a repetition of a repetition": (split_at("(a+)+$"), "repeats what can match in several ways"),
    "two ways, repeated": (split_at("(?:a|a)*b"), "repeats what can match in several ways"),
    "many repetitions": (split_at(r"\s*\s*\s*\s*\s*x"), "too many ways"),
    "a slow search": (
        split_at(r"[\s\S]*[\s\S]*[QZ](?!)"),
        "expressions do when they backtrack|retry-limit",
    ),
    "a search to the end": (split_at(r"[\s\S]*[QZ](?!)"), "expressions do when they backtrack"),
    "an expression that is none": (split_at("(a"), "is not a usable tokenizer.json"),
    "a long expression": (split_at("a" * 10**6), "more than 10000 characters"),
    "a huge expression": (split_at("((a{1000}){1000}){1000}"), "more than 10000 characters"),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_cannot_be_used_is_refused_in_one_line(case, tmp_path, capfd):
    content, message = REFUSED[case]
    with pytest.raises(CheckpointError, match=message) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value)) < 700
    if "retry" not in str(caught.value):
        assert "panicked" not in capfd.readouterr().err


def test_a_file_that_is_none_is_refused_at_once(tmp_path):
    path = tmp_path / "tokenizer.json"
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_tokenizer(path)
    path.unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        read_tokenizer(path)
    with path.open("wb") as file:
        file.truncate(3_000_000_000)
    with pytest.raises(CheckpointError, match="has 3000000000 bytes, at most"):
        read_tokenizer(path)


KNOWN_EXPRESSIONS = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{M}]*[\p{Ll}\p{Lm}\p{M}]+(?i:'s|'t|'ll)?|\p{N}{1,3}|"
        r"\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    r"\d{1,3}(?=(?:\d{3})*\b)",
    r" ?[^(\s|[.,!?…。，、।۔،])]+",
    r"[一-龥ぁ-ゔァ-ヴー]+",
    r"(?<=\p{L})\p{N}",
    r"[]a]+|x{2}y{",
    r"\s",
]


@pytest.mark.parametrize("expression", KNOWN_EXPRESSIONS)
def test_expressions_of_published_tokenizers_are_used(expression, tmp_path):
    assert why_slow(expression) is None
    found = read(tmp_path, split_at(expression)).tokenizer
    assert found.decode(found.encode(TEXT).ids) == TEXT


@pytest.mark.parametrize(
    "expression",
    [
        "(a*)*", "(a?){50}", "(?:a{1,2})+", "a{1,2}+", "a**", r"(a)\1+", r"(?<n>a|b\g<n>)",
        "a?" * 12, "(" * 30 + ")" * 30, "(?x) a b", "(?~abc)", "(?(1)a)",
        "[a-z]{0,999}[a-z]{0,999}", r"\X+", "a\\", "(.+|b)+", "(?:(?:ab)*c)*", "((a|b))*",
    ],
)  # fmt: skip
def test_expressions_that_may_backtrack_for_long_are_named(expression):
    assert str(why_slow(expression)).startswith("its expression ")


def test_a_panic_in_the_middle_of_a_text_is_one_line(tmp_path):
    """A pattern that is fine on the trial text, and on another is given up by the library, which
    panics.
    """
    found = read(tmp_path, split_at(r"Ж*Ж*Ж*Ж*(?!)")).tokenizer
    with pytest.raises(
        DataError, match="tokenizer cannot tokenise this text: .*retry-limit"
    ) as caught:
        Vocabulary(300, 128, found).encode("Ж" * 2000)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ids", [[0, 10**12], [-1], [2**31]], ids=str)
def test_ids_that_are_none_are_not_written_as_text(ids):
    vocabulary = Vocabulary(300, 128, byte_tokenizer())
    try:
        assert isinstance(vocabulary.decode(ids), str)
    except DataError as error:
        assert "\n" not in str(error)


def test_a_text_that_is_none_is_one_line():
    with pytest.raises(DataError, match="cannot tokenise this text"):
        Vocabulary(300, 128, byte_tokenizer()).encode("a\ud800")


def test_an_interrupt_is_no_failure_of_the_tokenizer():
    class Interrupting:
        def encode(self, *_, **__):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Vocabulary(300, 128, Interrupting()).encode("a")


def test_a_token_of_a_byte_level_vocabulary_that_is_no_bytes_stands_for_itself(tmp_path):
    vocabulary = {**PLAIN["model"]["vocab"], "日本": 290, "<0xZZ>": 291}
    found = read(tmp_path, with_(model_vocab=vocabulary)).tokenizer
    of_token = bytes_of_tokens(found, 300)
    assert of_token[290] == "日本".encode()
    assert of_token[291] == b"<0xZZ>"


BOUNDED = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
from pathlib import Path
import numpy
from pythia_traj.data.text import TextTokens
from pythia_traj.data.passages import Passages
from pythia_traj.models.tokenizer import read_tokenizer
from pythia_traj.models.tokenizer_file import stated_bos
from pythia_traj.vocabulary import Vocabulary
vocabulary = Vocabulary(300, 128, read_tokenizer(Path(sys.argv[1])).tokenizer)
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
TextTokens(n=4, length=64, corpus=sys.argv[2]).bind(vocabulary, seed=0)
Passages(n=1, length=64, corpus=sys.argv[2]).bind(vocabulary, seed=0)
megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(megabytes, time.process_time() - start)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["line.txt", "line.jsonl"])
def test_of_forty_megabytes_in_one_line_little_is_tokenised(name, tmp_path):
    read(tmp_path, PLAIN)
    text = "word " * 8_000_000
    (tmp_path / name).write_text(text if name.endswith(".txt") else json.dumps({"text": text}))
    command = [
        sys.executable,
        "-c",
        BOUNDED,
        str(tmp_path / "tokenizer.json"),
        str(tmp_path / name),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    megabytes, seconds = map(float, done.stdout.split())
    assert megabytes < 1200
    assert seconds < 40


def test_reading_a_tokenizer_takes_little(tmp_path):
    """Thousands of added tokens and a long template among it."""
    added = [
        {"id": 300 + i, "content": f"<x{i}>", "special": False, "single_word": False,
         "lstrip": False, "rstrip": False, "normalized": False}
        for i in range(19_000)
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF)
    read(tmp_path, with_(added_tokens=PLAIN["added_tokens"] + added))
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < 20
    assert after.ru_maxrss - before.ru_maxrss < 1 << 20


def test_what_the_file_puts_in_front_of_a_text_is_remembered(tmp_path):
    own = byte_tokenizer()
    own.post_processor = processors.TemplateProcessing(single="<b> $A", special_tokens=[("<b>", 7)])
    assert read(tmp_path, json.loads(own.to_str())).stated_bos == 7
    assert read(tmp_path, WHOLE["RoBERTa's"]).stated_bos == 0
    assert read(tmp_path, WHOLE["a sequence of them"]).stated_bos == 0
    assert read(tmp_path, PLAIN).stated_bos is None
    for broken in ([], [{}], [{"SpecialToken": {"id": "zz"}}], [5]):
        assert stated_bos({"post_processor": template(broken)}) is None


def test_pythias_own_tokenizer_is_read_as_the_library_reads_it():
    path = Path(__file__).parents[3] / "shared" / "reference" / "pythia_tokenizer.json"
    if not path.is_file():
        pytest.skip("Pythia's tokenizer is not beside this checkout")
    assert read_tokenizer(path).tokenizer.to_str() == Tokenizer.from_file(str(path)).to_str()
