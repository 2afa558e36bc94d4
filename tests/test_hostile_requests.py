"""Requests that are damaged, hostile or slips: each is one sentence that names what is wrong, at
once and in little memory.
"""

import os
import resource
import time

import pytest

from pythia_traj.config import SweepConfig, override
from pythia_traj.discovery import find
from pythia_traj.errors import ConfigError
from pythia_traj.layers import read_yaml

SECONDS, KILOBYTES = 20, 200_000
"""What a refusal may take on a busy machine; without the limits it takes minutes, or gigabytes."""

GOOD = "model: m\nsteps: all\nout: run\nexperiments: {loss: }\n"


def refused(call):
    """The sentence that a call is refused with."""
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError) as error:
        call()
    assert time.process_time() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < KILOBYTES
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 1000
    return text


def laughs(levels=12, width=10):
    """A list of lists of lists ..., each written once: 10^12 words in 500 characters."""
    lines = [f"a0: &a0 [{', '.join(['lol'] * width)}]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


def merged_laughs(levels=12, width=10):
    """The same of mappings, by merge keys."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [
        f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * width)}], x{i}: 1}}"
        for i in range(1, levels)
    ]
    return "\n".join(lines) + "\n"


DOCUMENTS = {
    "aliases that explode": (laughs(), "aliases (*) stand for more than"),
    "merged aliases that explode": (merged_laughs(), "aliases (*) stand for more than"),
    "an alias that holds itself": ("model: &a [*a]\n", "or for themselves"),
    "an alias of nothing": ("model: *a\n", "line 1 is not YAML: found undefined alias"),
    "a setting twice": (
        "steps: all\nmodel: a\nsteps: last\n",
        "line 3: 'steps' is already in line 1",
    ),
    "a label twice": (
        "experiments:\n  a: {use: loss}\n  a: {use: induction}\n",
        "line 3: 'a' is already in line 2",
    ),
    "a parameter twice": (
        "experiments: {loss: {n: 1, 'n': 2}}\n",
        "line 1: 'n' is already in line 1",
    ),
    "a tag of a truth value": ("keep: !!bool x\n", "line 1: the tag '!!bool' is not read"),
    "a tag of Python": (
        "model: !!python/name:os.system\n",
        "the tag '!!python/name:os.system' is not read",
    ),
    "a tag that calls": (
        "!!python/object/apply:os.getcwd []\n",
        "the tag '!!python/object/apply:os.getcwd'",
    ),
    "a tag of bytes": ("model: !!binary aGFsbG8=\n", "the tag '!!binary' is not read"),
    "a tag of a time": ("model: !!timestamp 2024-01-01\n", "the tag '!!timestamp' is not read"),
    "a tag of a set": ("model: !!set {a, b}\n", "the tag '!!set' is not read"),
    "a tag of a number": ("seed: !!int '5'\n", "the tag '!!int' is not read"),
    "a tag of one's own": ("model: !mine x\n", "the tag '!mine' is not read"),
    "a tag without a name": ("model: ! x\n", "the tag '!' is not read"),
    "deep lists": ("model: " + "[" * 100_000, "line 1: it is nested deeper than 32"),
    "deep mappings": ("model: " + "{a: " * 50_000, "line 1: it is nested deeper than 32"),
    "many values": ("steps: [" + "1," * 100_000 + "1]\n", "more than 10000 values"),
    "a large file": ("model: " + "x" * 1_000_000, "bytes, at most 256000 are read"),
    "a number of many digits": ("seed: " + "9" * 5000, "line 1: it holds a number of 5000 digits"),
    "several documents": (GOOD + "---\n" + GOOD, "is not YAML: but found another document"),
    "a name that is a number": ("1: 2\n", "'1' is not a name"),
    "a name that is a truth value": (
        "experiments:\n  on: {use: loss}\n",
        "line 2: expected settings as name: value, but 'on'",
    ),
    "a name that is a list": ("? [a, b]\n: c\n", "but a list or mapping is not a name"),
    "nothing but a word": ("model\n", "expected settings as name: value"),
    "a list of settings": ("- model: m\n", "expected settings as name: value"),
    "an escaped NUL": ('out: "a\\0b"\n', "line 1: it holds a character not allowed in text"),
    "an escaped half of a pair": (
        'model: "a\\ud800"\n',
        "line 1: it holds a character not allowed in text",
    ),
    "a NUL": ("model: a\0b\n", "is not YAML: special characters are not allowed"),
    "a control character": (
        "model: a\x1b[31m\n",
        "is not YAML: special characters are not allowed",
    ),
    "no UTF-8": (b"model: caf\xe9\n", "it is not UTF-8 text: byte 10"),
    "UTF-16": (GOOD.encode("utf-16"), "it is not UTF-8 text: byte 0"),
    "an equals sign": ("model: =\n", "is not YAML: could not determine a constructor"),
    "a merge of a word": ("<<: word\n", "is not YAML: expected a mapping"),
    "an open bracket": ("model: [", "is not YAML"),
    "a tab": ("experiments:\n\tloss:\n", "line 2 is not YAML: found character '\\t'"),
    "a base that is a list": ("base: [a, b]\n", "base: ['a', 'b'] is not the name of a file"),
    "a base that is not there": ("base: ../nosuch.yaml\n", "unknown config"),
    "a base that is a directory": ("base: ..\n", ".. is not a regular file"),
    "a base of itself": ("base: a.yaml\n", "its base: leads back to itself"),
}


@pytest.mark.parametrize(("document", "message"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_is_refused_in_a_sentence(tmp_path, document, message):
    file = tmp_path / "a.yaml"
    file.write_bytes(document if isinstance(document, bytes) else document.encode())
    text = refused(lambda: SweepConfig.from_yaml(file))
    assert message in text
    assert "a.yaml" in text or "base" in document


def pipe(path):
    os.mkfifo(path)


def sparse(path):
    with path.open("wb") as file:
        file.truncate(10**9)


FILES = {
    "a pipe": (pipe, "is not a regular file"),
    "a directory": (lambda path: path.mkdir(), "is not a regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
    "a gigabyte": (sparse, "has 1000000000 bytes, at most 256000 are read"),
    "a link to itself": (lambda path: path.symlink_to(path), "unknown config"),
    "a link to nothing": (lambda path: path.symlink_to("nosuch"), "unknown config"),
}


@pytest.mark.parametrize(("make", "message"), FILES.values(), ids=FILES)
def test_a_config_that_is_no_file_is_refused(tmp_path, make, message):
    make(tmp_path / "a.yaml")
    assert message in refused(lambda: read_yaml(tmp_path / "a.yaml"))


@pytest.mark.parametrize(
    "name", ["", "a" * 5000, "a\0b", "\udcff", "../" * 500], ids=lambda name: ascii(name[:10])
)
def test_a_name_that_is_no_configs_is_refused(name):
    assert refused(lambda: read_yaml(name))


def test_files_are_laid_over_each_other_so_many_times_and_no_more(tmp_path):
    for i in range(40):
        (tmp_path / f"{i}.yaml").write_text(f"base: {i + 1}.yaml\nseed: {i}\n")
    assert "more than 16 files" in refused(lambda: read_yaml(tmp_path / "0.yaml"))
    (tmp_path / "10.yaml").write_text("seed: 10\nprefetch: 1\n")
    assert read_yaml(tmp_path / "0.yaml") == {"seed": 0, "prefetch": 1}


def made(**settings):
    return SweepConfig(
        **{"model": "m", "steps": "all", "experiments": ["loss"], "out": "run", **settings}
    )


def loss(**parameters):
    return {"experiments": {"loss": parameters}}


BYTES = "give a number of bytes from 0 to 2**63 - 1, such as 500MB, 20GB, 20GiB or 20000000000"

SETTINGS = {
    "a negative budget": ({"disk_budget": -1}, f"disk_budget: -1: {BYTES}"),
    "a negative budget in words": ({"disk_budget": "-1"}, f"disk_budget: '-1': {BYTES}"),
    "a budget of another unit": ({"disk_budget": "20XB"}, f"disk_budget: '20XB': {BYTES}"),
    "an empty budget": ({"disk_budget": ""}, f"disk_budget: '': {BYTES}"),
    "a budget beyond all disks": ({"disk_budget": "1e999GB"}, f"disk_budget: '1e999GB': {BYTES}"),
    "a budget of many digits": ({"disk_budget": "9" * 400 + "GB"}, BYTES),
    "a budget of too many digits": ({"disk_budget": "9" * 5000}, BYTES),
    "a budget that no disk holds": ({"disk_budget": "99999999999TB"}, BYTES),
    "a budget that no table holds": ({"disk_budget": 2**63}, f"{2**63}: {BYTES}"),
    "a budget that is no number": ({"disk_budget": "nan"}, f"disk_budget: 'nan': {BYTES}"),
    "a budget of two points": ({"disk_budget": "1.5.2GB"}, BYTES),
    "a budget with more behind it": ({"disk_budget": "20GB a day"}, BYTES),
    "a budget of yes": ({"disk_budget": True}, f"disk_budget: True: {BYTES}"),
    "a budget of a fraction": ({"disk_budget": 2.5}, f"disk_budget: 2.5: {BYTES}"),
    "a budget in other digits": ({"disk_budget": "٣GB"}, BYTES),
    "a budget without a unit of ours": ({"disk_budget": "3 parsecs"}, BYTES),
    "an infinite budget": ({"disk_budget": float("inf")}, BYTES),
    "a huge budget": ({"disk_budget": 10**5000}, BYTES),
    "a list of budgets": ({"disk_budget": [1]}, BYTES),
    "a negative seed": ({"seed": -1}, "seed: -1: input should be greater than or equal to 0"),
    "a huge seed": (
        {"seed": 2**200},
        "seed: a number of more than 60 digits: input should be less than",
    ),
    "a seed of yes": ({"seed": True}, "seed: True: input should be a valid integer"),
    "a seed in words": ({"seed": "1e3"}, "seed: '1e3': input should be a valid integer"),
    "a seed of a fraction": ({"seed": 0.5}, "seed: 0.5: input should be a valid integer"),
    "a seed of many digits": ({"seed": "9" * 5000}, "seed: '999"),
    "a seed that is a list": ({"seed": [1]}, "seed: [1]: input should be a valid integer"),
    "a huge prefetch": (
        {"prefetch": 10**9},
        "prefetch: 1000000000: input should be less than or equal to 1000",
    ),
    "a prefetch of yes": ({"prefetch": True}, "prefetch: True: input should be a valid integer"),
    "a device with NUL": ({"device": "cpu\0"}, "holds a character that a name cannot have"),
    "an empty device": ({"device": " "}, "device: ' ' is empty: give auto, cpu, cuda or cuda:1"),
    "another dtype": ({"dtype": "float128"}, "input should be 'float32', 'float16' or 'bfloat16'"),
    "a dtype that is a list": ({"dtype": ["float32"]}, "input should be 'float32'"),
    "an answer that is none": (
        {"keep": "perhaps"},
        "keep: 'perhaps': input should be a valid boolean",
    ),
    "another policy": ({"on_defect": "ignore"}, "input should be 'skip', 'measure' or 'fail'"),
    "an empty out": ({"out": ""}, "out: it is empty: give the run's directory"),
    "an out with NUL": (
        {"out": "a\0b"},
        "out: 'a\\x00b' holds a character that a name cannot have",
    ),
    "an out with half a pair": (
        {"out": "\ud800"},
        "out: '\\ud800' holds a character that a name cannot have",
    ),
    "a long out": ({"out": "a" * 10**6}, "is too long: give the run's directory"),
    "an out that is a number": ({"out": 5}, "out: 5: input is not a valid path"),
    "an empty model": ({"model": ""}, "give at least one model"),
    "a model with NUL": (
        {"model": "a\0b"},
        "model: 'a\\x00b' holds a character that a name cannot have",
    ),
    "a model with half a pair": (
        {"model": ["a", "\udbff"]},
        "model: '\\udbff' holds a character that a name cannot have",
    ),
    "a model that is a mapping": (
        {"model": {"a": 1}},
        "model: {'a': 1}: input should be a valid tuple",
    ),
    "a model that is bytes": ({"model": b"abc"}, "model: b'abc': input should be a valid tuple"),
    "an empty source": ({"source": ""}, "source: '' is empty: give hub, or a directory"),
    "steps that are yes": ({"steps": True}, "steps: True: input should be a valid string"),
    "steps that are a fraction": ({"steps": 1.5}, "steps: 1.5: input should be a valid string"),
    "steps that are a mapping": (
        {"steps": {"a": 1}},
        "steps: {'a': 1}: input should be a valid string",
    ),
    "a long setting": ({"x" * 10**6: 1}, "unknown setting 'xxx"),
    "experiments that are bytes": ({"experiments": b"loss"}, "give at least one experiment"),
    "experiments that are yes": ({"experiments": True}, "give at least one experiment"),
    "an empty experiment": ({"experiments": [""]}, "give at least one experiment"),
    "an experiment of numbers": ({"experiments": [5]}, "unknown experiment '5'"),
    "a long experiment": ({"experiments": ["x" * 10**5]}, "unknown experiment"),
    "a long label": (
        {"experiments": {"x" * 5000: {"use": "loss"}}},
        "a label is a letter followed by",
    ),
    "a label with a slash": (
        {"experiments": {"a/../b": {"use": "loss"}}},
        "a label is a letter followed by",
    ),
    "a label with a line": (
        {"experiments": {"a\nb": {"use": "loss"}}},
        "a label is a letter followed by",
    ),
    "a use that is a list": (
        {"experiments": {"a": {"use": ["loss"]}}},
        "a.use: ['loss'] is not an experiment",
    ),
    "a parameter of many items": (
        loss(n=10**20),
        "loss.n: 100000000000000000000: only words, yes or no, finite numbers below 2**63, and"
        " lists of them are stored with results",
    ),
    "a parameter of many digits": (loss(n=10**5000), "loss.n: a number of more than 60 digits: "),
    "a parameter of many digits in words": (loss(n="9" * 5000), "loss.n: '999"),
    "a parameter that is yes": (loss(length=True), "loss.length: True is not a number"),
    "a parameter that is infinite": (
        loss(n=float("inf")),
        "loss.n: inf: input should be a finite number",
    ),
    "a seed of an experiment that is yes": (loss(seed=True), "loss.seed: True is not a number"),
    "a huge seed of an experiment": (
        loss(seed=2**63),
        "loss.seed: 9223372036854775808: input should be less than",
    ),
    "a word with NUL": (
        loss(corpus="a\0b"),
        "loss.corpus: 'a\\x00b': only words, yes or no, finite numbers below 2**63, and lists"
        " of them are stored with results",
    ),
    "a word with half a pair": (
        loss(corpus="\ud800"),
        "loss.corpus: '\\ud800': only words, yes or no, finite numbers below 2**63, and lists"
        " of them are stored with results",
    ),
    "a long parameter": (loss(**{"x" * 10**5: 1}), "loss has no parameter 'xxx"),
    "yes in a list of numbers": (
        {"experiments": {"activations": {"layers": [0, True]}}},
        "activations.layers: [0, True] is not a number",
    ),
    "no number in a list of numbers": (
        {"experiments": {"linear_probe": {"strengths": [0.1, float("nan")]}}},
        "linear_probe.strengths: [0.1, nan]",
    ),
}


@pytest.mark.parametrize(("settings", "message"), SETTINGS.values(), ids=SETTINGS)
def test_a_setting_is_refused_in_a_sentence(settings, message):
    assert message in refused(lambda: made(**settings))


ASSIGNMENTS = {
    "aliases that explode": ("loss.n=" + laughs().replace("\n", " "), "is not YAML"),
    "an alias that holds itself": ("loss.n=&a [*a]", "or for themselves"),
    "a tag": ("loss.n=!!python/name:os.system", "the tag '!!python/name:os.system' is not read"),
    "a number of many digits": ("loss.n=" + "9" * 5000, "it holds a number of 5000 digits"),
    "depth": ("loss.n=" + "[" * 100_000, "it is nested deeper than 32"),
    "a name twice": ("loss.n={a: 1, a: 2}", "'a' is already in line 1"),
    "bytes that are no UTF-8": ("loss.corpus=\udcff", "special characters are not allowed"),
    "no value": ("loss.n", "write LABEL.PARAM=VALUE"),
    "no name": ("=5", "write LABEL.PARAM=VALUE"),
    "a long name": ("x" * 10**5 + "=5", "is neither a label nor a setting"),
    "a long value": ("loss.corpus=" + "x" * 10**6, "characters, at most 256000 are read"),
    "a control character": ("\x1b[31m=5", "is neither a label nor a setting"),
}


@pytest.mark.parametrize(("assignment", "message"), ASSIGNMENTS.values(), ids=ASSIGNMENTS)
def test_an_assignment_is_refused_in_a_sentence(assignment, message):
    assert message in refused(lambda: override({"experiments": {"loss": {}}}, [assignment]))


PLAIN = {
    "a date is a word": ("model: 2024-01-01\n", {"model": "2024-01-01"}),
    "a time is a word": ("model: 2024-99-99T99:99:99Z\n", {"model": "2024-99-99T99:99:99Z"}),
    "a range is a word": ("steps: 1:4\n", {"steps": "1:4"}),
    "a range of tokens is a word": ("steps: 190:20:30.15\n", {"steps": "190:20:30.15"}),
    "octal is a word": ("model: 010\n", {"model": "010"}),
    "a fraction": ("x: 0.5\n", {"x": 0.5}),
    "a power": ("x: 1.0e-3\n", {"x": 1e-3}),
    "few aliases": (
        "a: &a {n: 5}\nb: *a\nc: {<<: *a, m: 6}\n",
        {"a": {"n": 5}, "b": {"n": 5}, "c": {"n": 5, "m": 6}},
    ),
    "a mark of order": ("\ufeffmodel: m\n", {"model": "m"}),
    "nothing": ("", {}),
    "a comment": ("# nothing\n", {}),
}


@pytest.mark.parametrize(("document", "settings"), PLAIN.values(), ids=PLAIN)
def test_what_is_plain_is_read(tmp_path, document, settings):
    (tmp_path / "a.yaml").write_text(document, encoding="utf-8")
    assert read_yaml(tmp_path / "a.yaml") == settings


def exits(path):
    path.write_text("import sys\nsys.exit(0)\n")


EXPERIMENTS = {
    "a syntax error": (lambda path: path.write_text("def (\n"), "cannot be imported: SyntaxError"),
    "it raises": (lambda path: path.write_text("1 / 0\n"), "cannot be imported: ZeroDivisionError"),
    "it exits": (exits, "cannot be imported: SystemExit"),
    "it recurses": (
        lambda path: path.write_text("def f(): f()\nf()\n"),
        "cannot be imported: RecursionError",
    ),
    "it is deep": (lambda path: path.write_text("x = " + "(" * 5000), "cannot be imported: "),
    "it is no text": (lambda path: path.write_bytes(b"\xff\xfe\0"), "cannot be imported: "),
    "it has NUL": (lambda path: path.write_bytes(b"x = 1\0"), "cannot be imported: "),
    "it is empty": (lambda path: path.write_text(""), "defines no experiment"),
    "it is a pipe": (pipe, "is not a regular file"),
    "it is a directory": (lambda path: path.mkdir(), "is not a regular file"),
    "it is a device": (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
    "it is a gigabyte": (sparse, "has 1000000000 bytes"),
    "it is not there": (lambda path: None, "no such experiment file"),
}


@pytest.mark.parametrize(("make", "message"), EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_a_file_of_an_experiment_is_refused_in_a_sentence(tmp_path, make, message):
    make(tmp_path / "mine.py")
    assert message in refused(lambda: find(str(tmp_path / "mine.py")))


ANNOTATED = '''
from typing import Any
from pathlib import Path
import torch
from pythia_traj.experiment import experiment

@experiment(version=1)
def mine(model, *, x: {annotation} = {default}):
    """Has a parameter."""
'''


@pytest.mark.parametrize(
    ("annotation", "default", "message"),
    [
        ("Any", "float('nan')", "mine.x: nan: only words, yes or no, finite numbers"),
        ("Any", "object()", "only words, yes or no, finite numbers"),
        ("Path", "Path('a')", "only words, yes or no, finite numbers"),
        ("set", "{1}", "only words, yes or no, finite numbers"),
        ("torch.Tensor", "None", "annotation <class 'torch.Tensor'> cannot be checked"),
        ("int", "'word'", "mine.x: 'word': input should be a valid integer"),
        ("Any", "10**30", "finite numbers below 2**63"),
    ],
)
def test_a_parameter_that_cannot_be_stored_is_refused(tmp_path, annotation, default, message):
    file = tmp_path / "mine.py"
    file.write_text(ANNOTATED.format(annotation=annotation, default=default))
    assert message in refused(lambda: made(experiments=str(file)))
