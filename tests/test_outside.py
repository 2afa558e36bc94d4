"""Bytes from elsewhere: what is read, what is refused, and that refusing costs nothing."""

import os

import pydantic
import pytest

from pythia_traj.errors import SuiteError
from pythia_traj.outside import checked, parse_json, read_file, read_json, shown
from pythia_traj.printable import one_line, printable

DOCUMENTS = {
    "not UTF-8": (b"\xff\xfe", "UTF-8"),
    "empty": (b"", "not JSON"),
    "half of a document": (b'{"a": ', "not JSON"),
    "two documents": (b"{} {}", "not JSON"),
    "a web page": (b"<!doctype html><html>", "not JSON"),
    "a name twice": (b'{"a": 1, "b": 2, "a": 3}', "names 'a' twice"),
    "a name twice within": (b'[{"x": {"a": 1, "a": 1}}]', "names 'a' twice"),
    "NaN": (b"[NaN]", "NaN"),
    "infinity": (b"[-Infinity]", "-Infinity"),
    "infinity by size": (b"[1e999]", "1e999"),
    "a number of 5000 digits": (b"1" * 5000, "digits"),
    "lists in lists": (b"[" * 100 + b"]" * 100, "deep"),
    "objects in objects": (b'{"a":' * 100 + b"1" + b"}" * 100, "deep"),
    "lists in lists, without end": (b"[" * 1_000_000, "deep"),
    "half of a surrogate pair": (b'"\\ud800"', "surrogate"),
    "half of a surrogate pair as a name": (b'{"\\udfff": 1}', "surrogate"),
    "half of a surrogate pair within": (b'{"a": ["b", {"c": "x\\ud83d"}]}', "surrogate"),
    "a control character": (b'"\x1b"', "not JSON"),
}


@pytest.mark.parametrize(("data", "expected"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_that_is_no_plain_json_is_refused_in_one_line(data, expected):
    with pytest.raises(SuiteError) as caught:
        parse_json(data, "suite.json", error=SuiteError)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


PLAIN = {
    "with a byte order mark": (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
    "a pair of surrogates": (b'"\\ud83d\\ude00"', "\U0001f600"),
    "as deep as anything is": (b"[" * 60 + b"]" * 60, None),
    "many lists beside each other": (b"[" + b"[]," * 1000 + b"[]]", [[]] * 1001),
    "a number of 300 digits": (b"9" * 300, 10**300 - 1),
}


@pytest.mark.parametrize(("data", "expected"), PLAIN.values(), ids=PLAIN)
def test_plain_json_is_read(data, expected):
    found = parse_json(data, "suite.json", error=SuiteError)
    assert expected is None or found == expected


def _fifo(path):
    os.mkfifo(path)


def _sparse(path):
    with path.open("wb") as file:
        file.truncate(3_000_000_000)


FILES = {
    "a pipe": (_fifo, "not a regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "a directory": (lambda path: path.mkdir(), "not a regular file"),
    "three gigabytes of nothing": (_sparse, "3000000000 bytes"),
    "a link to itself": (lambda path: path.symlink_to(path), "cannot read"),
}


@pytest.mark.parametrize(("make", "expected"), FILES.values(), ids=FILES)
def test_a_file_that_is_no_small_regular_file_is_refused_before_it_is_read(
    tmp_path, make, expected
):
    path = tmp_path / "suite.json"
    make(path)
    with pytest.raises(SuiteError, match=expected):
        read_json(path, error=SuiteError)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "suite.json", error=SuiteError)


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    with pytest.raises(SuiteError, match="cannot be the name of a file"):
        read_file(tmp_path / "a\0b", error=SuiteError)


class _Facts(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    tokens: int


@pytest.mark.parametrize(
    "value", [{"tokens": True}, {"tokens": "3"}, {"tokens": 1.5}, {}, None, [1]], ids=repr
)
def test_what_does_not_fit_its_model_is_named(value):
    with pytest.raises(SuiteError) as caught:
        checked(_Facts, value, "suite.json", error=SuiteError)
    assert str(caught.value).startswith("suite.json")
    assert "\n" not in str(caught.value)


def test_a_message_quotes_a_value_shortly():
    assert len(shown("x" * 10**6)) < 100
    assert shown(10**5000) == "a number of more than 60 digits"
    nested = []
    for _ in range(10**5):
        nested = [nested]
    assert shown(nested) == "a list"


TEXTS = {
    "colour": ("\x1b[31mred", "\\x1b[31mred"),
    "title of the window": ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
    "one-byte escape": ("\x9b31m", "\\x9b31m"),
    "carriage return": ("good\rbad", "good\\x0dbad"),
    "backspace": ("ab\x08", "ab\\x08"),
    "right to left": ("a\u202eb", "a\\u202eb"),
    "line separator": ("a\u2028b", "a\\u2028b"),
    "lone surrogate": ("a\udcffb", "a\\udcffb"),
    "tab and newline": ("a\tb\n", "a\tb\n"),
    "letters of all kinds": ("é 漢 \U0001f600 עברית", "é 漢 \U0001f600 עברית"),
    "password": ("https://me:pass@hub/x", "https://***@hub/x"),
    "password with an at": ("https://me:p@ss@hub/x", "https://***@hub/x"),
    "user alone": ("http://me@hub", "http://***@hub"),
    "token": ("Bearer hf_abcdefghijkl", "Bearer ***"),
    "token of another kind": ("authorization: Bearer xyz", "authorization: Bearer ***"),
    "signed address": (
        "https://s3/x?X-Amz-Signature=abc&b=1",
        "https://s3/x?X-Amz-Signature=***&b=1",
    ),
    "no address": ("me@example.org wrote a://b", "me@example.org wrote a://b"),
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.values(), ids=TEXTS)
def test_text_is_shown_without_control_characters_and_credentials(text, expected):
    assert printable(text) == expected


def test_the_token_in_use_is_never_shown(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "s3cret-of-mine")
    assert printable("header s3cret-of-mine is illegal") == "header *** is illegal"


def test_one_line_is_one_line():
    assert one_line("a\n  b\x85c\u2029d\r\ne") == "a b c d e"
