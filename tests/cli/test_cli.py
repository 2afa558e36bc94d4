"""The command line as a user meets it: what it prints, what it exits with, what it says when
something is wrong.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.cli.main import app

SMALL = ["--set", "induction.length=20", "--set", "induction.n=4"]


def sweep_arguments(suite, out, *more):
    return [
        "sweep",
        "--model",
        suite,
        "--steps",
        "0,4",
        "--experiment",
        "induction",
        *SMALL,
        "--out",
        out,
        "--device",
        "cpu",
        *more,
    ]


def test_a_sweep_ends_naming_its_parquet(cli, suite, tmp_path):
    code, out, _ = cli(*sweep_arguments(suite, tmp_path / "run"))
    assert code == 0
    assert out == f"2 done, 0 already there, 0 failed; Parquet: {tmp_path / 'run' / 'metrics'}\n"
    code, out, _ = cli(*sweep_arguments(suite, tmp_path / "run", "--json"))
    assert code == 0
    assert json.loads(out)["skipped"] == ["tiny/induction/step0", "tiny/induction/step4"]


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(cli, suite, tmp_path):
    code, out, _ = cli(*sweep_arguments(suite, tmp_path / "run", "--dry-run", "--json"))
    assert code == 0
    assert json.loads(out)["todo"] == ["tiny/induction/step0", "tiny/induction/step4"]
    code, out, _ = cli(*sweep_arguments(suite, tmp_path / "run", "--dry-run"))
    assert "tiny: 2 steps: 0, 4" in out
    assert not (tmp_path / "run").exists()


def test_a_dry_run_prints_passes_and_seconds(cli, suite, tmp_path):
    own = str(Path(__file__).parents[1] / "experiments" / "own_task.jsonl")
    arguments = [
        "sweep",
        "--model",
        suite,
        "--steps",
        "0,4",
        "--experiment",
        "ablation,loss",
        "--out",
        tmp_path / "run",
    ]
    arguments += ["--set", f"ablation.task={own}", "--set", "loss.length=64", "--dry-run"]
    code, out, _ = cli(*arguments)
    assert code == 0
    assert "forward passes a step" in out
    assert "seconds a step" in out
    costs = json.loads(cli(*arguments, "--json")[1])["cost_per_step"]["tiny"]
    assert costs["ablation"]["passes"] > 100
    assert costs["ablation"]["seconds"] > 0
    assert costs["loss"]["tokens"] == 64
    assert not (tmp_path / "run").exists()


def test_a_dry_run_says_which_experiments_share_a_pass(cli, suite, tmp_path):
    arguments = [
        "sweep",
        "--model",
        suite,
        "--steps",
        "0,4",
        "--experiment",
        "loss,logit_lens,induction",
    ]
    arguments += ["--out", tmp_path / "run", "--set", "induction.length=20", "--dry-run"]
    code, out, _ = cli(*arguments)
    assert code == 0
    assert "logit_lens, loss share one pass: together they take less than the sum." in out
    costs = json.loads(cli(*arguments, "--json")[1])["cost_per_step"]["tiny"]
    assert {label: cost["shared_with"] for label, cost in costs.items()} == {
        "loss": ["logit_lens"], "logit_lens": ["loss"], "induction": [],
    }  # fmt: skip
    assert "One pass" not in cli(*arguments, "--set", "loss.n=3")[1]


def test_a_dry_run_of_what_cannot_be_read_still_lists_the_units(cli, own_suite, tmp_path):
    for step in own_suite.glob("step*"):
        (step / "config.json").unlink()
    code, out, err = cli(
        "sweep",
        "--model",
        own_suite,
        "--steps",
        "0",
        "--experiment",
        "loss",
        "--out",
        tmp_path / "run",
        "--dry-run",
    )
    assert code == 0
    assert "the cost is not known: " in err
    assert "not known" in out


def test_the_command_line_beats_the_file(cli, suite, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(
        f"model: {suite}\nsteps: all\n"
        "experiments: {induction: {length: 30}, loss: {length: 64}}\n"
        f"out: {tmp_path / 'a'}\n"
    )
    _code, out, _ = cli(
        "sweep", file, "--steps", "1", "--experiment", "induction", "--dry-run", "--json"
    )
    request = json.loads(out)
    assert request["steps"] == {"tiny": [1]}
    assert list(request["request"]["experiments"]) == ["induction"]
    assert request["request"]["experiments"]["induction"]["parameters"]["length"] == 30


def test_a_models_directory_can_lie_below_a_source(cli, suite, tmp_path):
    code, out, _ = cli("steps", suite.name, "--source", suite.parent, "--json")
    assert (code, [row["step"] for row in json.loads(out)]) == (0, [0, 1, 2, 4])


def test_steps_lists_tokens_and_revisions(cli, suite):
    code, out, _ = cli("steps", suite, "--json")
    assert json.loads(out)[3] == {"step": 4, "tokens": 8192, "revision": "step4", "lr": None}
    _code, out, _ = cli("steps", suite, "--steps", "last")
    assert out.split() == ["step", "tokens", "revision", "lr", "4", "8192", "step4"]


def test_experiments_are_listed_with_parameters(cli):
    code, out, _ = cli("experiments", "--json")
    listed = {entry["name"]: entry for entry in json.loads(out)}
    assert {"induction", "loss"} <= listed.keys()
    assert {"name", "version", "description", "cites", "parameters"} <= listed["loss"].keys()
    assert {
        "name": "bos",
        "default": False,
        "type": "bool",
        "meaning": "whether BOS is prepended.",
    } in listed["loss"]["parameters"]
    _code, out, _ = cli("experiments", "induction")
    assert "Attention paid to the token after the previous occurrence" in out


def test_doctor_examines_this_machine(cli, monkeypatch):
    code, out, _ = cli("doctor", "--json")
    found = {check["what"]: check for check in json.loads(out)}
    assert code == 0
    assert {
        "python",
        "torch",
        "transformer-lens",
        "cpu",
        "disk here",
        "hub",
        "HF_TOKEN",
    } <= found.keys()
    assert found["transformer-lens"]["ok"]
    assert len(cli("doctor")[1].splitlines()) < 25


def test_doctor_says_when_the_hub_cannot_be_reached():
    code = (
        "import os; os.environ.update(HF_ENDPOINT='http://127.0.0.1:9', NO_PROXY='127.0.0.1');"
        " os.environ.pop('HF_HUB_OFFLINE', None)\n"
        "from pythia_traj.doctor import examine\n"
        "print(next(check for check in examine() if check.what == 'hub'))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "http://127.0.0.1:9 cannot be reached" in out
    assert "ok=False" in out


WRONG = {
    "an unpublished step": (["--steps", "3"], "step 3 is not published: the nearest are 2 and 4"),
    "a malformed expression": (["--steps", "log:x"], "cannot read 'log:x' as steps"),
    "an unknown experiment": (
        ["--experiment", "indction"],
        "unknown experiment 'indction': did you mean induction?",
    ),
    "an unknown parameter": (
        ["--set", "induction.lenght=3"],
        "induction has no parameter 'lenght': did you mean length?",
    ),
    "an unknown label": (["--set", "loss.length=3"], "'loss' is neither a label nor a setting"),
    "no such device": (["--device", "cuda:9"], "this machine has no device 'cuda:9'"),
    "an unknown dtype": (
        ["--dtype", "int8"],
        "dtype: 'int8': input should be 'float32', 'float16' or 'bfloat16'",
    ),
    "a model that is not there": (
        ["--model", "nowhere"],
        "unknown model 'nowhere', and no such directory",
    ),
    "too long a context": (["--set", "induction.length=90"], "set length to at most 64"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_gets_one_line_and_status_1(cli, suite, tmp_path, wrong):
    more, message = WRONG[wrong]
    code, out, err = cli(*sweep_arguments(suite, tmp_path / "run"), *more)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_foreign_out_is_refused(cli, suite, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    code, _, err = cli(*sweep_arguments(suite, tmp_path))
    assert code == 1
    assert "holds thesis.tex and is not a run: give an empty or a new directory" in err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            "holds no weights: expected one of model.safetensors",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"\x08" + b"\0" * 20),
            "model.safetensors",
        ),
        (
            lambda folder: (folder / "config.json").write_text(
                '{"architectures": ["LlamaForCausalLM"]}'
            ),
            "architecture LlamaForCausalLM",
        ),
    ],
)
def test_a_damaged_checkpoint_costs_its_own_units_and_exits_3_or_1_when_all_fail(
    cli, own_suite, tmp_path, damage, message
):
    damage(own_suite / "step4")
    code, out, err = cli(*sweep_arguments(own_suite, tmp_path / "run"))
    assert code == 3
    assert out.startswith("1 done, 0 already there, 1 failed")
    assert err.startswith("failed: own/induction/step4: ")
    assert message in err
    assert err.count("\n") == 1
    code, _, err = cli(*sweep_arguments(own_suite, tmp_path / "other"), "--steps", "4")
    assert code == 1
    assert message in err


def test_a_full_disk_ends_the_sweep_in_a_line_and_keeps_what_is_done(cli, suite, mount, tmp_path):
    small_disk = mount("size=120k")
    arguments = sweep_arguments(
        suite,
        small_disk / "run",
        "--steps",
        "all",
        "--experiment",
        "loss",
        "--set",
        "loss.length=64",
    )
    code, _, err = cli(*arguments)
    assert code == 1
    assert "is full: free some space and repeat the command; what is finished is kept" in err
    assert err.count("\n") == 1
    done = len(list((small_disk / "run" / "metrics").rglob("*.parquet")))
    assert 0 < done < 8
    assert not list((small_disk / "run" / ".tmp").iterdir())
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    code, out, _ = cli(*arguments)
    assert code == 0
    assert f"{8 - done} done, {done} already there" in out
    cli(*(tmp_path / "calm" if word == small_disk / "run" else word for word in arguments))
    pd.testing.assert_frame_equal(
        pt.load(small_disk / "run", controls=True),
        pt.load(tmp_path / "calm", controls=True),
        check_exact=True,
    )


def test_a_read_only_disk_is_named(cli, suite, mount):
    code, _, err = cli(*sweep_arguments(suite, mount("size=1m,ro") / "run"))
    assert code == 1
    assert "is read-only: give another --out" in err
    assert err.count("\n") == 1


def test_a_model_that_cannot_fit_is_refused_naming_a_dtype(cli, own_suite, tmp_path):
    import psutil

    vocabulary = int(psutil.virtual_memory().available * 1.5 / 4 / 2 / 4096)
    for path in own_suite.glob("*/config.json"):
        path.write_text(
            json.dumps(
                {**json.loads(path.read_text()), "hidden_size": 4096, "vocab_size": vocabulary}
            )
        )
    code, _, err = cli(*sweep_arguments(own_suite, tmp_path / "run"))
    assert code == 1
    assert "use --dtype float16 or bfloat16" in err


@pytest.mark.parametrize("arguments", [["sweep", "--nonsense"], ["bogus"], ["status"], []])
def test_usage_errors_exit_2(cli, arguments):
    assert cli(*arguments)[0] == 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_sweep_cleanly_whatever_an_experiment_catches(
    suite, tmp_path, number, status
):
    file = tmp_path / "slow.py"
    file.write_text(
        "import time\n"
        "from pythia_traj.experiment import experiment\n"
        "from pythia_traj.values import Key, Rows\n"
        "@experiment(version=1)\n"
        "def slow(model):\n"
        '    """Takes its time."""\n'
        "    try:\n"
        "        time.sleep(0.5)\n"
        "    except Exception:\n"
        "        pass\n"
        "    rows = Rows()\n"
        "    rows.add(Key('m'), 1.0)\n"
        "    return rows\n"
    )
    run = tmp_path / "run"
    command = [
        Path(sys.executable).with_name("pythia-traj"),
        "sweep",
        "--model",
        suite,
        "--steps",
        "all",
        "--experiment",
        file,
    ]
    process = subprocess.Popen(
        [*map(str, command), "--out", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(run.glob("metrics/*/*/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert err == "stopped: finished units are stored, the same command goes on from here\n"
    assert not list((run / ".tmp").iterdir())
    assert 1 <= len(list(run.glob("metrics/*/*/*.parquet"))) < 4
    events = [
        json.loads(line)
        for file in (run / "log").iterdir()
        for line in file.read_text().splitlines()
    ]
    assert events[-1]["event"] == "stopped"


def test_every_command_has_help_and_stands_in_the_readme():
    from typer.main import get_command

    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for name, command in get_command(app).commands.items():
        assert command.help, name
        assert f"pythia-traj {name}" in readme
        for parameter in command.params:
            if parameter.name not in {"help"}:
                assert getattr(parameter, "help", None), f"{name} {parameter.name}"
