"""`status` at the command line: a table, a document, or redrawn until the run is over."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pythia_traj.store.layout import Run
from pythia_traj.store.records import as_json

COMMAND = str(Path(sys.executable).with_name("pythia-traj"))
WORKER = f"{socket.gethostname()}-{os.getpid()}-0000000a"


class Made:
    """A run of two labels and two steps, of which only the names and the logs matter."""

    def __init__(self, path):
        self.path, self.run = path, Run.create(path)
        experiments = {"loss": {}, "induction": {}}
        self.run.record_request({"explicit_steps": {"tiny": [0, 8]}, "experiments": experiments})
        (path / "log").mkdir()

    def is_done(self, label, step):
        file = self.run.unit_path("tiny", label, step)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()

    def log(self, *events, worker=WORKER):
        with (self.path / "log" / f"{worker}.jsonl").open("a") as file:
            for event in events:
                file.write(as_json({"time": time.time(), **event}) + "\n")


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path / "run")


def test_a_finished_run_is_a_line_and_a_table(cli, made):
    for label in ("loss", "induction"):
        for step in (0, 8):
            made.is_done(label, step)
    code, out, err = cli("status", made.path)
    assert (code, err) == (0, "")
    first, *table = out.splitlines()
    assert first == "4 done, 0 running, 0 failed, 0 left"
    assert [line.split() for line in table] == [
        ["model", "label", "done", "running", "failed", "left"],
        ["tiny", "induction", "2", "0", "0", "0"],
        ["tiny", "loss", "2", "0", "0", "0"],
    ]


def test_workers_failures_and_the_time_left_are_said(cli, made, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    now = time.time()
    made.is_done("loss", 0)
    made.log(
        {"event": "requested", "request": "x", "shard": "0/2", "job": "77_0"},
        {"event": "started", "unit": "tiny/loss/step0", "time": now - 90},
        {"event": "done", "unit": "tiny/loss/step0", "time": now - 30},
        {"event": "started", "unit": "tiny/loss/step8", "time": now - 30},
    )
    gone = "elsewhere-1-0000000b"
    made.log(
        {"event": "started", "unit": "tiny/induction/step0"},
        {"event": "failed", "unit": "tiny/induction/step0", "error": "no\nnumber"},
        {"event": "started", "unit": "tiny/induction/step8"},
        worker=gone,
    )
    os.utime(made.path / "log" / f"{gone}.jsonl", (now - 7200,) * 2)
    made.log({"event": "finished"}, worker="elsewhere-2-0000000c")
    code, out, _ = cli("status", made.path)
    assert code == 0
    assert out.startswith(
        "1 done, 1 running, 1 failed, 1 left; 1 units a minute, about 2 min to go at that rate\n"
    )
    rows = {line.split()[0]: " ".join(line.split()) for line in out.splitlines()}
    assert rows[WORKER].startswith(f"{WORKER} 77_0 0/2 tiny/loss/step8 for 3")
    assert rows[WORKER].endswith("s ago")
    assert rows[gone] == (f"{gone} silent, with tiny/induction/step8 in hand 2.0 h ago")
    assert "other workers: 1 finished\n" in out
    assert f"failed: tiny/induction/step0: no number (log/{gone}.jsonl)\n" in out


def test_the_document_has_all_of_it(cli, made):
    made.is_done("loss", 0)
    made.log(
        {"event": "started", "unit": "tiny/loss/step8"},
        {"event": "failed", "unit": "tiny/loss/step8", "error": "no number"},
    )
    document = json.loads(cli("status", made.path, "--json")[1])
    assert (document["done"], document["failed"], document["left"]) == (1, 1, 2)
    assert document["units"]["tiny/loss/step0"] == "done"
    assert document["by_label"]["tiny"]["loss"]["failed"] == 1
    assert document["errors"] == {"tiny/loss/step8": "no number"}
    assert document["logs"] == {"tiny/loss/step8": f"log/{WORKER}.jsonl"}
    (worker,) = document["workers"]
    assert (worker["name"], worker["state"], worker["units"]) == (WORKER, "working", [])
    assert (document["units_per_minute"], document["seconds_left"]) == (None, None)


def test_a_check_names_damaged_files(cli, made):
    made.is_done("loss", 0)
    assert "damaged" not in cli("status", made.path)[1]
    out = cli("status", made.path, "--check")[1]
    assert out.startswith("0 done, 0 running, 0 failed, 4 left, 1 damaged\n")
    assert "damaged: metrics/model=tiny/label=loss/step-000000.parquet: it is empty\n" in out


@pytest.mark.parametrize("other", ["--json", "--check"])
def test_what_is_looked_at_once_is_not_watched(cli, made, other):
    assert cli("status", made.path, "--watch", other) == (
        1,
        "",
        f"error: --watch looks again and again, {other} once: leave out one\n",
    )


def watching(made, **options):
    return subprocess.Popen(
        [COMMAND, "status", str(made.path), "--watch"],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        text=True,
        **options,
    )


def test_without_a_terminal_each_change_is_a_line_until_the_run_is_over(made):
    made.is_done("loss", 0)
    watch = watching(made, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watch.stdout.readline() == "1 done, 0 running, 0 failed, 3 left\n"
    made.is_done("loss", 8)
    assert watch.stdout.readline() == "2 done, 0 running, 0 failed, 2 left\n"
    # Nothing changes here; then the rest is done, and fails.
    time.sleep(2.5)
    made.log({"event": "failed", "unit": "tiny/induction/step8"}, worker="elsewhere")
    made.is_done("induction", 0)
    rest, err = watch.communicate(timeout=30)
    assert (err, watch.returncode) == ("", 0)
    # It may have looked between the two.
    *between, last = rest.splitlines()
    assert last == "3 done, 0 running, 1 failed, 0 left"
    assert between in ([], ["2 done, 0 running, 1 failed, 1 left"])


def test_a_worker_that_still_works_is_waited_for(made):
    for label in ("loss", "induction"):
        for step in (0, 8):
            made.is_done(label, step)
    made.log({"event": "started", "unit": "tiny/loss/step0"})
    watch = watching(made, stdout=subprocess.PIPE)
    assert watch.stdout.readline().startswith("4 done")
    with pytest.raises(subprocess.TimeoutExpired):
        watch.wait(timeout=3)
    made.log({"event": "finished"})
    assert watch.wait(timeout=30) == 0
    watch.stdout.close()


def test_on_a_terminal_it_is_redrawn_and_ctrl_c_ends_it_with_130(made):
    made.is_done("loss", 0)
    ours, theirs = pty.openpty()
    watch = watching(made, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while b"1 done" not in seen:
        seen += os.read(ours, 4096)
    made.is_done("loss", 8)
    while b"2 done" not in seen:
        seen += os.read(ours, 4096)
    watch.send_signal(signal.SIGINT)
    assert watch.wait(timeout=30) == 130
    while True:
        try:
            more = os.read(ours, 4096)
        except OSError:
            # A terminal whose other end is closed.
            break
        if not more:
            break
        seen += more
    os.close(ours)
    # The cursor goes up, over what stands there.
    assert b"\x1b[1A" in seen
    assert b"Traceback" not in seen
    assert b"stored" not in seen
