"""`sweep --follow` as a user meets it: what it prints, what it refuses, how it is ended."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

import pythia_traj as pt
from pythia_traj.suites import arrivals
from pythia_traj.sweeps import following

SMALL = ("--experiment", "induction", "--set", "induction.length=10", "--set", "induction.n=4")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(arrivals, "STILL_SECONDS", 0.05)
    monkeypatch.setattr(arrivals, "PATIENCE_SECONDS", 0.2)


@pytest.fixture
def ended(own_suite):
    """A training run that has ended at step 4."""
    state = {"global_step": 4, "max_steps": 4}
    (own_suite / "step4" / "trainer_state.json").write_text(json.dumps(state))
    return own_suite


def command(live, out, *more):
    return ("sweep", *SMALL, "--follow", live, "--out", out, "--device", "cpu", *more)


def test_it_says_that_it_waits_why_it_ended_and_what_it_did(cli, ended, tmp_path):
    code, said, errors = cli(*command(ended, tmp_path / "run"))
    assert code == 0
    assert said.startswith("4 done, 0 already there, 0 failed; Parquet: ")
    end = "step4/trainer_state.json says that step 4 was the last of 4"
    assert errors.splitlines()[-1] == end
    assert set(errors.splitlines()) <= {f"waiting for checkpoints in {ended}", end}
    assert cli(*command(ended, tmp_path / "run"))[1].startswith("0 done, 4 already there")
    assert cli("status", tmp_path / "run")[0] == 0


def test_json_is_one_document_that_names_what_was_removed(cli, ended, tmp_path):
    out = tmp_path / "run"
    request = ("sweep", *SMALL, "--model", ended, "--steps", "all", "--out", out)
    assert cli(*request, "--device", "cpu", "--record-only")[0] == 0
    shutil.rmtree(ended / "step1")
    code, said, errors = cli(*command(ended, out, "--json"))
    document = json.loads(said)
    assert code == 0
    assert document["removed"] == {"1": "step 1 was removed before it was measured"}
    assert document["removed"]["1"] in errors
    assert "step 4 was the last of 4" in document["end"]
    assert len(document["done"]) == 3


def test_a_removed_checkpoint_is_counted_and_the_status_is_0(cli, ended, tmp_path):
    out = tmp_path / "run"
    request = ("sweep", *SMALL, "--model", ended, "--steps", "all", "--out", out)
    cli(*request, "--device", "cpu", "--record-only")
    shutil.rmtree(ended / "step1")
    code, said, _ = cli(*command(ended, out))
    assert (code, said.splitlines()[-1]) == (0, "1 checkpoint was removed before the measurement")


def test_what_is_damaged_at_the_end_has_the_status_of_a_sweep(cli, ended, tmp_path):
    weights = ended / "step1" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    code, said, errors = cli(*command(ended, tmp_path / "run"))
    assert (code, said[:6]) == (3, "3 done")
    assert "waiting for step 1: model.safetensors is truncated" in errors


def test_a_hostile_name_reaches_the_terminal_as_text(cli, ended, tmp_path):
    hostile = ended.rename(tmp_path / "a\x1b[31mb")
    errors = cli(*command(hostile, tmp_path / "run"))[2]
    assert "\x1b" not in errors
    assert "waiting for checkpoints in " in errors


def test_the_step_that_ends_it_may_be_given(cli, own_suite, tmp_path):
    code, said, errors = cli(*command(own_suite, tmp_path / "run", "--until", 3, "--steps", "0:2"))
    assert (code, said[:6]) == (0, "3 done")
    assert "step 4 is there" in errors


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        pytest.param(("--model", "pythia-70m"), "leave out --model", id="model"),
        pytest.param(("--refine", "induction.nll"), "and --refine chooses among", id="refine"),
        pytest.param(("--record-only",), "and --record-only records steps", id="record"),
        pytest.param(("--dry-run",), "give --model in place of --follow", id="dry"),
        pytest.param(("--steps", "log:12"), "steps that are still to come", id="steps"),
    ],
)
def test_what_does_not_go_with_it_is_refused(cli, own_suite, tmp_path, more, sentence):
    code, _, errors = cli(*command(own_suite, tmp_path / "run", *more))
    assert (code, errors.count("\n")) == (1, 1)
    assert sentence in errors
    assert not (tmp_path / "run").exists()


def test_its_end_belongs_to_it(cli, own_suite, tmp_path):
    given = ("--model", own_suite, "--steps", "all", "--out", tmp_path / "run", "--until", 3)
    code, _, errors = cli("sweep", *SMALL, *given)
    assert (code, errors) == (
        1,
        "error: --until belongs to --follow: give --follow DIRECTORY too\n",
    )


def test_a_model_of_the_hub_is_refused(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pythia-70m", "EleutherAI/pythia-70m", "some-org/some-model"):
        code, _, errors = cli(*command(name, tmp_path / "run"))
        assert code == 1
        assert "published model" in errors or "a model of the Hub cannot be followed" in errors


def test_a_run_that_cannot_be_written_ends_it_before_anything_arrives(cli, mount, tmp_path):
    code, _, errors = cli(*command(tmp_path / "later", mount("size=1m,ro") / "run"))
    assert (code, errors.count("\n")) == (1, 1)
    assert "Read-only file system" in errors or "read-only" in errors


def test_a_full_disk_ends_it_with_a_sentence(cli, ended, mount):
    code, _, errors = cli(*command(ended, mount("size=20k") / "run"))
    assert code == 1
    assert "error: " in errors.splitlines()[-1]
    assert "No space left" in errors or "full" in errors


@pytest.mark.slow
def test_told_to_end_it_ends_and_the_same_command_goes_on(own_suite, tmp_path, cli):
    live = tmp_path / "live"
    live.mkdir()
    shutil.copytree(own_suite / "step0", live / "step0")
    given = [str(word) for word in command(live, tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-m", "pythia_traj.cli", *given],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run").glob("metrics/*/*/*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.splitlines()[-1].startswith("stopped: finished units are stored")
    assert pt.status(tmp_path / "run").workers[0].state == "stopped"
    shutil.copytree(own_suite / "step1", live / "step1")
    code, said, _ = cli(*command(live, tmp_path / "run", "--until", 1))
    assert (code, said[:24]) == (0, "1 done, 1 already there,")
