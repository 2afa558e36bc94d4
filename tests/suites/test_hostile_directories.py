"""Directories as people have them: odd names, other tools' folders, what may not be read; and a
suite.json of all kinds.
"""

import json
import logging
import os

import pytest

from pythia_traj.errors import CheckpointError, SuiteError
from pythia_traj.schema import MOST_STEP
from pythia_traj.suites.folders import step_folders
from pythia_traj.suites.local import LocalModel


def folders(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "config.json").write_text("{}")
    return root


OTHER_NAMES = {
    "step_8": "rename step_8 to step8",
    "step-8": "rename step-8 to step8",
    "Step8": "rename Step8 to step8",
    "step8-final": "rename step8-final to step8",
    "global_step8": "rename global_step8 to step8",
    "checkpoint_8": "rename checkpoint_8 to step8",
    "checkpoint-8-merged": "rename checkpoint-8-merged to step8",
    "iter_0000008": "rename iter_0000008 to step8",
    "ckpt-8": "rename ckpt-8 to step8",
    "model.step=8": "rename model.step=8 to step8",
    "step\u0668": "holds no step0/, step512/ or checkpoint-500/ folders",
    "notes": "holds no step0/, step512/ or checkpoint-500/ folders",
    "a" * 200 + "!": "holds no step0/, step512/ or checkpoint-500/ folders",
}


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_folders_under_other_names_are_named_in_the_refusal(tmp_path, name):
    with pytest.raises(SuiteError) as refusal:
        LocalModel.open(folders(tmp_path / "run", name))
    assert OTHER_NAMES[name] in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "name", [name for name, said in OTHER_NAMES.items() if said.startswith("rename")]
)
def test_beside_steps_they_are_left_out_with_a_word(tmp_path, caplog, name):
    with caplog.at_level(logging.WARNING, logger="pythia_traj"):
        found = LocalModel.open(folders(tmp_path / "run", "step0", name))
    assert found.steps == (0,)
    (record,) = caplog.records
    assert OTHER_NAMES[name] in record.getMessage()


@pytest.mark.parametrize("name", ["step_0", "checkpoint-0-merged", "notes", "logs"])
def test_what_there_is_a_step_for_needs_no_word(tmp_path, caplog, name):
    with caplog.at_level(logging.WARNING, logger="pythia_traj"):
        assert LocalModel.open(folders(tmp_path / "run", "step0", name)).steps == (0,)
    assert not caplog.records


def test_many_of_them_are_counted(tmp_path):
    with pytest.raises(
        SuiteError, match=r"but step_1, step_2, step_3 and 2 more: rename step_1 to step1"
    ):
        LocalModel.open(folders(tmp_path / "run", *(f"step_{n}" for n in range(1, 6))))


STEPS = {
    "zeros in front": (["step00008", "step10"], {8: "step00008", 10: "step10"}),
    "the largest": ([f"step{MOST_STEP}"], {MOST_STEP: f"step{MOST_STEP}"}),
    "digits of another script": (["step0", "step\u0668"], {0: "step0"}),
    "superscript digits": (["step0", "step²"], {0: "step0"}),
    "a name that ends in a newline": (["step0", "step8\n"], {0: "step0"}),
    "a number below 0": (["step0", "step-8x"], {0: "step0"}),
}


@pytest.mark.parametrize(("names", "found"), STEPS.values(), ids=STEPS)
def test_a_step_is_a_number_in_plain_digits(tmp_path, names, found):
    assert step_folders(folders(tmp_path / "run", *names)) == found


NO_STEPS = {
    "one more than the largest": (
        [f"step{MOST_STEP + 1}"],
        f"its number must be at most {MOST_STEP}",
    ),
    "2**63": (["step0", f"step{2**63}"], f"its number must be at most {MOST_STEP}"),
    "240 digits": (["step0", "step" + "9" * 240], f"its number must be at most {MOST_STEP}"),
    "one step with zeros and without": (
        ["step8", "step08"],
        "has step 8 twice, as step08 and step8",
    ),
    "one step of two tools": (
        ["step8", "checkpoint-8"],
        "has step 8 twice, as checkpoint-8 and step8",
    ),
}


@pytest.mark.parametrize(("names", "said"), NO_STEPS.values(), ids=NO_STEPS)
def test_a_step_that_cannot_be_one_is_refused(tmp_path, names, said):
    with pytest.raises(SuiteError) as refusal:
        LocalModel.open(folders(tmp_path / "run", *names))
    assert said in str(refusal.value)


def test_a_file_beside_the_folder_of_its_step_gives_way(tmp_path):
    root = folders(tmp_path / "run", "step8")
    (root / "checkpoint-8").write_text("a log")
    assert LocalModel.open(root).revisions == {8: "step8"}


NO_FOLDERS = {
    "a file": (lambda path: path.write_text(""), "Not a directory"),
    "a link that leads nowhere": (lambda path: path.symlink_to("gone"), "leads nowhere"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "cannot read"),
    "a pipe": (lambda path: os.mkfifo(path), "Not a directory"),
}


@pytest.mark.parametrize(("make", "said"), NO_FOLDERS.values(), ids=NO_FOLDERS)
def test_what_is_named_like_a_step_and_is_no_folder_is_a_step_that_fails(tmp_path, make, said):
    root = folders(tmp_path / "run", "step0")
    make(root / "step8")
    found = LocalModel.open(root)
    assert found.steps == (0, 8)
    for ask in (found.checkpoint(8).config, found.checkpoint(8).integrity):
        with pytest.raises(CheckpointError, match=said):
            ask()
    recorded = {"kind": "directory", "files": [["config.json", 2, 0]]}
    assert found.what_changed(8, recorded) == "changed since (config.json)"


def forbid(monkeypatch, folder):
    """Root may read everything, so the system's refusal is played."""
    listdir, isfile, isdir = os.listdir, os.path.isfile, os.path.isdir
    scandir = os.scandir

    def within(path):
        return str(path) == str(folder) or str(path).startswith(f"{folder}/")

    def refuse(original):
        def ask(path="."):
            if within(path):
                raise PermissionError(13, "Permission denied", str(path))
            return original(path)

        return ask

    monkeypatch.setattr(os, "listdir", refuse(listdir))
    monkeypatch.setattr(os, "scandir", refuse(scandir))
    monkeypatch.setattr(os.path, "isfile", lambda path: not within(path) and isfile(path))
    monkeypatch.setattr(
        os.path,
        "isdir",
        lambda path: str(path) == str(folder) or (not within(path) and isdir(path)),
    )


def test_a_folder_that_may_not_be_read_is_a_step_that_fails(tmp_path, monkeypatch):
    root = folders(tmp_path / "run", "step0", "step8")
    forbid(monkeypatch, root / "step8")
    found = LocalModel.open(root)
    assert found.steps == (0, 8)
    with pytest.raises(CheckpointError, match="cannot read .*step8: Permission denied"):
        found.checkpoint(8).config()


def test_a_framework_folder_that_may_not_be_read_stops_nothing(tmp_path, monkeypatch):
    root = folders(tmp_path / "run", "step0", "global_step8")
    forbid(monkeypatch, root / "global_step8")
    assert LocalModel.open(root).steps == (0,)


def test_a_run_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    root = folders(tmp_path / "run", "step0")
    forbid(monkeypatch, root)
    with pytest.raises(SuiteError, match="cannot read .*run: Permission denied"):
        LocalModel.open(root)


ADAPTERS = {
    "an adapter": (
        ["adapter_config.json", "adapter_model.safetensors"],
        "a PEFT adapter, not a model",
    ),
    "DeepSpeed's parts": (["zero_to_fp32.py"], "DeepSpeed ZeRO's parts of a model"),
    "a training's state": (["optimizer.pt"], "the state of a training and no weights"),
}


@pytest.mark.parametrize(("names", "said"), ADAPTERS.values(), ids=ADAPTERS)
def test_what_a_step_holds_instead_is_said(tmp_path, names, said):
    root = folders(tmp_path / "run", "step0")
    for name in names:
        (root / "step0" / name).write_text("{}")
    with pytest.raises(CheckpointError, match=said):
        LocalModel.open(root).checkpoint(0).config()


SLOW = {
    "BPE": (["vocab.json", "merges.txt"], "vocab.json and merges.txt are of a slow tokenizer"),
    "SentencePiece": (["tokenizer.model"], "tokenizer.model are of a slow tokenizer"),
    "WordPiece": (["vocab.txt"], "vocab.txt are of a slow tokenizer"),
    "half of one": (["vocab.json"], None),
}


@pytest.mark.parametrize(("names", "said"), SLOW.values(), ids=SLOW)
def test_a_slow_tokenizer_is_named_with_what_to_do(tmp_path, names, said):
    root = folders(tmp_path / "run", "step0")
    for name in names:
        (root / "step0" / name).write_text("{}")
    checkpoint = LocalModel.open(root).checkpoint(0)
    assert checkpoint.tokenizer() is None
    instead = checkpoint.tokenizer_instead()
    if said is None:
        assert instead is None
    else:
        assert said in instead
        assert "use_fast=True" in instead


SUITES = {
    "nothing in it": (b"{}", ("local", None)),
    "both": (b'{"suite": "mine", "tokens_per_step": 2048}', ("mine", 2048)),
    "both null": (b'{"suite": null, "tokens_per_step": null}', ("local", None)),
    "a byte order mark": (b'\xef\xbb\xbf{"suite": "mine"}', ("mine", None)),
    "more than is known": (b'{"suite": "mine", "seed": 3}', ("mine", None)),
    "the most tokens": (b'{"tokens_per_step": 9007199254740992}', ("local", 2**53)),
    "tokens that are true": (b'{"tokens_per_step": true}', "tokens_per_step is True"),
    "tokens as text": (b'{"tokens_per_step": "2048"}', "tokens_per_step is '2048'"),
    "tokens as a float": (b'{"tokens_per_step": 2048.0}', "tokens_per_step is 2048.0"),
    "no tokens": (b'{"tokens_per_step": 0}', "tokens_per_step is 0"),
    "fewer tokens than none": (b'{"tokens_per_step": -1}', "tokens_per_step is -1"),
    "10**30 tokens": (b'{"tokens_per_step": 1' + b"0" * 30 + b"}", "tokens_per_step is 1000"),
    "tokens of 5000 digits": (
        b'{"tokens_per_step": ' + b"9" * 5000 + b"}",
        "number of thousands of digits",
    ),
    "infinitely many": (b'{"tokens_per_step": 1e999}', "holds 1e999, which is not a finite number"),
    "no number": (b'{"tokens_per_step": NaN}', "holds NaN, which is not a finite number"),
    "a suite without a name": (b'{"suite": ""}', "suite is ''"),
    "a suite of many words": (b'{"suite": "' + b"x" * 101 + b'"}', "suite is 'xxx"),
    "a suite that is a number": (b'{"suite": 5}', "suite is 5"),
    "a suite with an escape": (
        b'{"suite": "a\\u001b[31m"}',
        "one line of text without control characters",
    ),
    "a suite of two lines": (b'{"suite": "a\\nb"}', "one line of text without control characters"),
    "half a surrogate pair": (b'{"suite": "\\udc00"}', "holds half of a surrogate pair"),
    "a list": (b"[]", "valid dictionary"),
    "null": (b"null", "valid dictionary"),
    "no JSON": (b"suite: mine", "is not JSON"),
    "100,000 deep": (b"[" * 100_000, "is nested too deep"),
    "a key twice": (b'{"suite": "a", "suite": "b"}', "names 'suite' twice"),
}


@pytest.mark.parametrize(("written", "expected"), SUITES.values(), ids=SUITES)
def test_a_suite_json_is_facts_or_refused_in_a_line(tmp_path, written, expected):
    root = folders(tmp_path / "run", "step1")
    (root / "suite.json").write_bytes(written)
    if isinstance(expected, tuple):
        found = LocalModel.open(root)
        assert (found.suite, found.tokens_per_step) == expected
        return
    with pytest.raises(SuiteError) as refusal:
        LocalModel.open(root)
    assert expected in str(refusal.value)
    assert "suite.json" in str(refusal.value)
    assert "\n" not in str(refusal.value)


NO_FILES = {
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_a_suite_json_that_is_no_file_is_refused(tmp_path, make):
    root = folders(tmp_path / "run", "step1")
    make(root / "suite.json")
    with pytest.raises(SuiteError, match=r"suite\.json is not a regular file"):
        LocalModel.open(root)


def test_three_gigabytes_are_not_read(tmp_path):
    root = folders(tmp_path / "run", "step1")
    with (root / "suite.json").open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(SuiteError, match=r"suite\.json has 3221225472 bytes"):
        LocalModel.open(root)


def test_more_tokens_than_a_table_holds_are_refused(tmp_path):
    root = folders(tmp_path / "run", "step1", f"step{MOST_STEP}")
    (root / "suite.json").write_text(json.dumps({"tokens_per_step": 2**33}))
    with pytest.raises(
        SuiteError,
        match=r"tokens_per_step is 8589934592: step 2147483647 would be after \d+ tokens",
    ):
        LocalModel.open(root)


NAMES = {
    "commas and equals signs": ("lr=0.001,wd=0.1", "lr-0.001-wd-0.1"),
    "spaces": ("my run", "my-run"),
    "no UTF-8": (os.fsdecode(b"run-\xff\xfe"), "run"),
    "another script": ("\u043c\u043e\u0434\u0435\u043b\u044c", "model"),
    "a newline and an escape": ("a\n\x1b[31mb", "a-31mb"),
    "a date": ("2024-01-01", "model-2024-01-01"),
    "a number": ("12", "model-12"),
    "a learning rate": ("1e-3", "model-1e-3"),
    "a truth value": ("true", "model-true"),
    "no number": ("NaN", "model-NaN"),
    "a hexadecimal number": ("0x10", "model-0x10"),
}


@pytest.mark.parametrize(("name", "expected"), NAMES.values(), ids=NAMES)
def test_any_name_of_a_directory_becomes_one_that_every_reader_takes_for_text(
    tmp_path, name, expected
):
    found = LocalModel.open(folders(tmp_path / name, "step0"))
    assert found.model == expected
    json.dumps(found.origin, ensure_ascii=False).encode()
    assert found.origin.startswith("directory:/")


def test_a_name_too_long_for_a_partition_is_refused(tmp_path):
    with pytest.raises(SuiteError, match="has 230 characters, at most 200 can name a model"):
        LocalModel.open(folders(tmp_path / ("x" * 230), "step0"))
    assert LocalModel.open(tmp_path / ("x" * 230), name="short").model == "short"
