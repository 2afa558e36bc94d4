"""What a terminal is shown of text from elsewhere: no control characters, no credentials, wherever
the text comes from.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import pythia_traj as pt
from pythia_traj.cli import main

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e\r\x7f"
SHOWN = r"\x1b]0;owned\x07"

RAW = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f"
    r"\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]"
)

MINE = '''
from pythia_traj.data.repeated import RepeatedTokens
from pythia_traj.experiment import experiment
from pythia_traj.values import ItemValues, Key, Rows

HOSTILE = {hostile!a}

@experiment(version=1, cites=HOSTILE)
def mine(model, *, word: str = HOSTILE) -> Rows:
    """DOCUMENTED"""
    raise RuntimeError(HOSTILE)

@experiment(version=1, data=RepeatedTokens(n=4, length=9), reads=("loss",))
def misshapen(acts) -> ItemValues:
    """Yields queries as items."""
    values = ItemValues()
    values.add(Key(HOSTILE), acts.output("loss").mean(0))
    return values

@experiment(version=1, data=RepeatedTokens(n=4, length=9), reads=("loss",))
def named(acts) -> ItemValues:
    """Yields a metric of a bad name."""
    values = ItemValues()
    values.add(Key("x", variant=HOSTILE), acts.output("loss").mean(-1))
    return values
'''


@pytest.fixture
def cli(capsys):
    """Runs a command in this process: exit status, and all that it printed."""

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return end.value.code, captured.out + captured.err

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        MINE.format(hostile=HOSTILE).replace(
            "DOCUMENTED", HOSTILE.encode("unicode_escape").decode()
        )
    )
    return path


def check(printed, shown=SHOWN):
    assert RAW.findall(printed) == []
    assert shown in printed


ARGUMENTS = {
    "a model": (["--model", HOSTILE], 1),
    "steps": (["--steps", HOSTILE], 1),
    "an experiment": (["--experiment", HOSTILE], 1),
    "an experiment's file": (["--experiment", f"{HOSTILE}.py"], 1),
    "an assignment": (["--set", f"{HOSTILE}=1"], 1),
    "an assigned value": (["--set", f"induction.n={HOSTILE}"], 1),
    "a source": (["--source", HOSTILE, "--model", "nosuch"], 1),
    "a type": (["--dtype", HOSTILE], 1),
    "a device": (["--device", HOSTILE], 1),
    "a budget": (["--disk-budget", HOSTILE], 1),
    "a seed": (["--seed", HOSTILE], 2),
    "an option": ([f"--{HOSTILE}"], 2),
    "a config": ([HOSTILE], 1),
    "too many configs": (["one", HOSTILE], 2),
}


@pytest.mark.parametrize(("arguments", "status"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_an_argument_is_shown_without_control_characters(cli, suite, tmp_path, arguments, status):
    given = {
        "--model": suite,
        "--steps": "0",
        "--experiment": "induction",
        "--out": tmp_path / "run",
    }
    given |= dict([arguments]) if len(arguments) == 2 and arguments[0] in given else {}
    more = [] if len(arguments) == 2 and arguments[0] in given else arguments
    code, printed = cli("sweep", *(word for pair in given.items() for word in pair), *more)
    assert code == status
    # Of a number that is none it is not said what it was.
    check(printed, "" if "--seed" in arguments else SHOWN)
    if status == 1:
        assert printed.count("\n") == 1


COMMANDS = [HOSTILE, "status", "describe", "report", "steps", "experiments", "cache"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_its_argument_so(cli, command):
    arguments = (
        ["--remove", HOSTILE] if command == "cache" else [] if command == HOSTILE else [HOSTILE]
    )
    code, printed = cli(command, *arguments)
    assert code in (1, 2)
    check(printed)


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"caf\xe9"])
def test_bytes_that_are_no_utf8_are_shown_as_such(cli, raw):
    word = raw.decode(errors="surrogateescape")
    for arguments in (
        ["status", word],
        ["steps", word],
        ["sweep", word],
        [word],
        ["sweep", f"--{word}"],
    ):
        code, printed = cli(*arguments)
        assert code in (1, 2)
        check(printed, r"\udc")


def test_a_run_of_a_hostile_name_is_named_at_its_end(cli, suite, tmp_path):
    out = tmp_path / HOSTILE.replace("\r", "")
    code, printed = cli(
        "sweep", "--model", suite, "--steps", "0", "--experiment", "induction",
        "--set", "induction.length=9", "--set", "induction.n=2", "--out", out,
    )  # fmt: skip
    assert code == 0
    check(printed)
    code, printed = cli("report", out, "-o", out / "page" / "report.html")
    check(printed)


def test_what_an_experiment_says_of_itself_and_raises(cli, suite, tmp_path, mine):
    code, printed = cli("experiments", f"{mine}:mine")
    assert code == 0
    check(printed)
    code, printed = cli("experiments", f"{mine}:mine", "--json")
    assert RAW.findall(printed) == []
    assert json.loads(printed)[0]["documentation"].startswith(HOSTILE[:8])
    run = tmp_path / "run"
    for label, words in {
        "mine": "RuntimeError",
        "misshapen": "axis item: expected 4, found 17",
    }.items():
        code, printed = cli(
            "sweep",
            "--model",
            suite,
            "--steps",
            "0",
            "--experiment",
            f"{mine}:{label}",
            "--out",
            run,
        )
        assert code == 1
        check(printed)
        assert words in printed
        assert sum("failed: " in line for line in printed.splitlines()) == 1
    code, printed = cli("status", run)
    assert code == 0
    check(printed)
    code, printed = cli("status", run, "--json")
    assert RAW.findall(printed) == []


def test_a_variant_of_a_hostile_name_is_stored_and_reported(cli, suite, tmp_path, mine):
    run = tmp_path / "run"
    code, _ = cli(
        "sweep", "--model", suite, "--steps", "0", "--experiment", f"{mine}:named", "--out", run
    )
    assert code == 0
    code, printed = cli("report", run, "-o", tmp_path / "report.html")
    assert RAW.findall(printed) == []
    code, printed = cli("describe", run)
    assert code == 0
    check(printed)
    assert RAW.findall(repr(pt.describe(run))) == []
    assert RAW.findall(cli("describe", run, "--json")[1]) == []


def write_suite(folder):
    (folder / "suite.json").write_text(json.dumps({"suite": "s", "tokens_per_step": HOSTILE}))


def write_config(folder, **keys):
    for path in folder.glob("step*/config.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def write_tokenizer(folder):
    for path in folder.glob("step*/tokenizer.json"):
        path.write_text(json.dumps({"version": "1.0", "model": {"type": HOSTILE}}))


def write_tensor(folder):
    for path in folder.glob("step*/model.safetensors"):
        save_file({**load_file(path), f"gpt_neox.{HOSTILE}.weight": torch.ones(2)}, path)


def rename_steps(folder):
    for path in folder.glob("step*"):
        shutil.move(path, folder / f"{path.name}{HOSTILE}")


FILES = {
    "suite.json": (write_suite, False),
    "an activation": (lambda folder: write_config(folder, hidden_act=HOSTILE), True),
    "an architecture": (
        lambda folder: write_config(folder, model_type=HOSTILE, architectures=[HOSTILE]),
        True,
    ),
    "a number": (lambda folder: write_config(folder, num_attention_heads=HOSTILE), True),
    "a tokenizer": (write_tokenizer, False),
    "a tensor": (write_tensor, False),
    "names of folders": (rename_steps, False),
}


@pytest.mark.parametrize(("damage", "is_named"), FILES.values(), ids=FILES)
def test_what_files_say_is_shown_without_control_characters(
    cli, own_suite, tmp_path, damage, is_named
):
    damage(own_suite)
    arguments = ("--steps", "0", "--experiment", "loss", "--out", tmp_path / "run")
    code, printed = cli("sweep", "--model", own_suite, *arguments)
    assert code in (0, 1)
    check(printed, SHOWN if is_named else "")
    for more in ((), ("--json",)):
        assert RAW.findall(cli("steps", own_suite, *more)[1]) == []


def test_warnings_and_logs_are_one_line_each(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import logging, warnings\n"
        "from pythia_traj.experiment import experiment\n"
        f"warnings.warn('of a library ' + {HOSTILE!a} + ' in two\\nlines')\n"
        f"logging.getLogger('somebody').warning('said %s', {HOSTILE!a} + '\\nmore')\n"
        "@experiment(version=1)\ndef mine(model):\n    'Mine.'\n"
    )
    command = [str(Path(sys.executable).with_name("pythia-traj")), "experiments", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    check(result.stderr)
    assert [line.split(SHOWN)[0] for line in result.stderr.splitlines()] == [
        "warning: of a library ",
        "warning: said ",
    ]


SECRETS = {
    "https://me:password123@hub.example/x": "password123",
    "socks5://me:password123@hub.example": "password123",
    "hf_abcdefghijklmnop": "hf_abcdefghijklmnop",
    "https://hub.example/?X-Signature=abcdef123&a=b": "abcdef123",
}


@pytest.mark.parametrize(("given", "secret"), SECRETS.items())
def test_credentials_are_not_shown_wherever_they_stand(cli, given, secret):
    for arguments in (
        ["status", given],
        ["report", given],
        [given],
        ["sweep", given],
        ["experiments", given],
    ):
        code, printed = cli(*arguments)
        assert code in (1, 2)
        assert secret not in printed
        assert "***" in printed
