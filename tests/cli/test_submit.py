"""`submit` at the command line: whole command lines, its dry run, its exit status."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import pythia_traj as pt
from pythia_traj.cluster.local import Local
from tests.cluster.test_local import FAKE

SLEEPS = """
import time
from pythia_traj.experiment import experiment
from pythia_traj.values import Rows

@experiment(version=1)
def sleeps(model) -> Rows:
    \"\"\"Takes long.\"\"\"
    time.sleep(600)
"""


@pytest.fixture
def asking(suite, tmp_path):
    return (
        *("submit", "--model", suite, "--steps", "all", "--experiment", "induction"),
        *("--set", "induction.length=20", "--set", "induction.n=2", "--device", "cpu"),
        *("--out", tmp_path / "run"),
    )


def test_inline_is_a_sweep_and_repeating_it_starts_nothing(cli, asking, tmp_path):
    metrics = tmp_path / "run" / "metrics"
    words = (*asking, "--executor", "inline")
    ended = (0, f"4 done, 0 already there, 0 failed; Parquet: {metrics}\n", "")
    assert cli(*words) == ended
    status, out, err = cli(*words)
    assert (status, err) == (0, "nothing to do: nothing was started\n")
    assert out == f"0 done, 4 already there, 0 failed; Parquet: {metrics}\n"
    document = json.loads(cli(*words, "--json")[1])
    assert len(document["skipped"]) == 4
    assert (document["left"], document["workers"]) == ([], [])


@pytest.mark.slow
def test_two_workers_do_a_whole_command_line(asking, tmp_path):
    program = Path(sys.executable).with_name("pythia-traj")
    ended = subprocess.run(
        [program, *asking, "--jobs", "2"], capture_output=True, text=True, timeout=300
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    metrics = tmp_path / "run" / "metrics"
    assert ended.stdout == f"4 done, 0 already there, 0 failed; Parquet: {metrics}\n"
    assert len(list((tmp_path / "run" / "log").glob("*.out"))) == 2
    assert len(set(pt.load(tmp_path / "run").step)) == 4


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_command_and_its_workers(suite, tmp_path, number, status):
    (tmp_path / "sleeps.py").write_text(SLEEPS)
    program = Path(sys.executable).with_name("pythia-traj")
    words = ("submit", "--model", suite, "--steps", "0,1", "--experiment", tmp_path / "sleeps.py")
    process = subprocess.Popen(
        [program, *words, "--out", tmp_path / "run", "--jobs", "2", "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 200
        logs = []
        while len(logs) < 2 and time.monotonic() < until and process.poll() is None:
            time.sleep(0.2)
            found = (tmp_path / "run" / "log").glob("*.jsonl")
            logs = [path for path in found if '"started"' in path.read_text()]
        workers = [int(path.stem.split("-")[-2]) for path in logs]
        assert len(workers) == 2
        assert all(psutil.Process(pid).ppid() == process.pid for pid in workers)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (status, "")
    assert err.startswith("stopped: finished units are stored")
    assert not [pid for pid in workers if psutil.pid_exists(pid)]
    assert all('"stopped"' in path.read_text() for path in logs)


@pytest.fixture
def fake_local(monkeypatch):
    """`local` with workers that measure nothing."""
    local = Local(count_gpus=lambda: 0, program=FAKE)
    monkeypatch.setattr("pythia_traj.cluster.submission.EXECUTORS", {"local": local})


def test_units_that_are_left_exit_with_3_and_say_what_to_do(cli, asking, fake_local, tmp_path):
    (tmp_path / "behaviour-0").write_text("done=tiny/induction/step0 killed")
    status, out, err = cli(*asking, "--jobs", "2")
    assert status == 3
    assert out.startswith("1 done, 0 already there, 0 failed; ")
    assert err.splitlines()[0].startswith("worker 0/2 (process ")
    assert err.endswith("\nunits left: 3: repeat the command to do them\n")
    document = json.loads(cli(*asking, "--json")[1])
    assert len(document["left"]) == 3
    assert "was killed (signal 9)" in document["workers"][0]


def test_units_that_fail_exit_with_3_and_with_1_where_all_do(cli, asking, fake_local, tmp_path):
    units = [f"tiny/induction/step{step}" for step in (0, 1, 2, 4)]
    behaviour = tmp_path / "behaviour-0"
    behaviour.write_text(" ".join(f"failed={unit}" for unit in units))
    status, _, err = cli(*asking)
    assert (status, err) == (1, "failed: tiny/induction/step0 and 3 more: no number\n")
    behaviour.write_text(f"failed={units[0]} {' '.join(f'done={unit}' for unit in units[1:])}")
    status, out, err = cli(*asking)
    assert (status, err) == (3, "failed: tiny/induction/step0: no number\n")
    assert out.startswith("3 done, 0 already there, 1 failed; ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--executor", "slrum"), "unknown executor 'slrum': did you mean slurm?"),
        (("--executor", "script:pbz"), "unknown executor 'script:pbz': did you mean script:pbs"),
        (("--executor", "inline", "--jobs", "2"), "--jobs 2: inline is this process alone"),
        (("--executor", "inline", "--per-gpu", "2"), "--per-gpu 2: only --executor local shares"),
        (("--executor", "script:lsf", "--per-gpu", "2"), "--per-gpu 2: only --executor local"),
        (("--executor", "script:lsf", "--jobs", "0"), "--jobs 0: give at least 1"),
        (("--executor", "script:kubernetes"), "cluster.image is missing: kubernetes needs"),
        (("--per-gpu", "2"), "--per-gpu 2: the workers use the CPU"),
    ],
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_wrong_command_line_is_one_line_and_writes_nothing(
    cli, asking, words, message, dry, tmp_path
):
    status, out, err = cli(*asking, *words, *dry)
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_script_is_written_and_its_line_is_shown(cli, asking, tmp_path):
    words = (*asking, "--executor", "script:pbs", "--jobs", "3", "--prefetch", "1")
    status, out, err = cli(*words)
    assert (status, err) == (0, "")
    script = tmp_path / "run" / "scripts" / "job.pbs"
    assert out == f"4 to do, 0 already there; script: {script}\nsubmit it with: qsub {script}\n"
    (request,) = (path.stem for path in (tmp_path / "run" / "requests").glob("*.json"))
    assert script.read_text().splitlines()[-1] == (
        f"exec pythia-traj worker {tmp_path / 'run'} --request {request} --device cpu --prefetch 1"
        " --on-defect skip --shards 3"
    )
    assert not (tmp_path / "run" / "metrics").exists()
    document = json.loads(cli(*words, "--json")[1])
    assert document == {
        "run": str(tmp_path / "run"),
        "todo": 4,
        "done": 0,
        "script": str(script),
        "submit": f"qsub {script}",
    }


def test_a_run_that_holds_a_script_and_has_lost_its_run_json_is_still_a_run(cli, asking, tmp_path):
    assert cli(*asking, "--executor", "script:pbs")[0] == 0
    assert cli(*asking, "--executor", "inline")[0] == 0
    (tmp_path / "run" / "run.json").unlink()
    assert cli(*asking, "--executor", "inline")[1].startswith("0 done, 4 already there")


def test_a_dry_run_says_units_bytes_and_hours_and_writes_nothing(
    cli, asking, suite, tmp_path, monkeypatch
):
    monkeypatch.setattr("pythia_traj.suites.local.LocalCheckpoint.open", None)
    status, out, err = cli(*asking, "--jobs", "2", "--dry-run")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["model", "label", "to", "do", "done", "seconds", "a", "unit"]
    assert lines[1].split() == ["tiny", "induction", "4", "0", "not", "known"]
    assert lines[2].startswith("weights to read: ")
    assert lines[3] == "hours: not known"
    assert not (tmp_path / "run").exists()
    document = json.loads(cli(*asking, "--jobs", "2", "--dry-run", "--json")[1])
    sizes = [(suite / f"step{step}/model.safetensors").stat().st_size for step in (0, 1, 2, 4)]
    assert document["bytes"] == sum(sizes)
    assert (document["todo"], document["done"], document["jobs"]) == (4, 0, 2)
    assert (document["hours"], document["worker_hours"]) == (None, None)


def test_a_dry_run_knows_hours_once_something_was_measured(cli, asking, tmp_path):
    assert cli(*asking, "--steps", "0,1", "--executor", "inline")[0] == 0
    out = cli(*asking, "--jobs", "2", "--dry-run")[1]
    assert out.endswith(
        "hours: less than 0.01 by 2 workers, less than 0.01 of work (from units of this run)\n"
    )
    assert cli(*asking, "--executor", "inline")[0] == 0
    out = cli(*asking, "--jobs", "2", "--dry-run")[1]
    assert out.endswith("nothing to do: no worker would start\n")
