"""How far a run is: what is counted by names, and what the logs say of units and workers."""

import builtins
import io
import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import pythia_traj as pt
from pythia_traj.store import done, parquet
from pythia_traj.store.layout import Run
from pythia_traj.store.records import as_json
from pythia_traj.sweeps import journal as journal_module
from pythia_traj.sweeps.heartbeat import SILENT_SECONDS
from pythia_traj.sweeps.journal import read_journal

HERE = socket.gethostname()
ALIVE = f"{HERE}-{os.getpid()}-{{}}"
"""A worker's name; this process is the worker."""


@pytest.fixture(scope="module")
def dead_pid():
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    return int(ended.stdout)


class Made:
    """A run of which only the names and the logs matter."""

    def __init__(self, path, steps, labels=("loss",), sizes=None):
        self.run = Run.create(path)
        request = {"explicit_steps": steps, "experiments": {label: {} for label in labels}}
        self.request = self.run.record_request({**request, "weight_bytes": sizes or {}})

    def is_done(self, *units):
        for unit in units:
            model, label, step = unit.split("/")
            path = self.run.unit_path(model, label, int(step.removeprefix("step")))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def log(self, worker, *events, beat=None):
        """Appends events; `beat` is how many seconds ago the log changed."""
        path = self.run.path / "log" / f"{worker}.jsonl"
        path.parent.mkdir(exist_ok=True)
        with path.open("a") as file:
            for event in events:
                file.write(as_json({"time": time.time(), "host": HERE, **event}) + "\n")
        if beat is not None:
            os.utime(path, (time.time() - beat,) * 2)

    def status(self):
        return pt.status(self.run.path)


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path / "run", {"tiny": [0, 1, 2, 4]}, ["loss", "induction"])


def started(unit, **more):
    return {"event": "started", "unit": unit, **more}


def ended(unit, event="done", **more):
    return {"event": event, "unit": unit, **more}


def test_a_unit_is_being_measured_while_its_worker_lives(made, dead_pid):
    unit = "tiny/loss/step2"
    for worker, beat, state in (
        (ALIVE.format("0000000a"), 0, "running"),
        (f"{HERE}-{dead_pid}-0000000b", 0, "left"),
        # Of another host only the heartbeat is known.
        ("elsewhere-1-0000000c", SILENT_SECONDS - 60, "running"),
        ("elsewhere-1-0000000d", SILENT_SECONDS + 60, "left"),
        ("not the name of a worker", 0, "left"),
    ):
        made.log(worker, started(unit), beat=beat)
        assert (worker, made.status().units[unit]) == (worker, state)
        (made.run.path / "log" / f"{worker}.jsonl").unlink()


@pytest.mark.parametrize("last", ["finished", "stopped", "refused"])
def test_a_worker_that_says_that_it_ended_has_ended(made, last):
    made.log(ALIVE.format("0000000a"), started("tiny/loss/step2"), {"event": last, "error": "full"})
    found = made.status()
    assert (found.running, found.units["tiny/loss/step2"]) == (0, "left")
    assert [(worker.state, worker.error) for worker in found.workers] == [(last, "full")]


def test_units_are_counted_by_model_and_label(tmp_path):
    made = Made(tmp_path / "run", {"a": [0, 1, 2], "b": [0, 8]}, ["loss", "ioi"])
    made.is_done("a/loss/step0", "a/loss/step1", "b/ioi/step8")
    made.log(
        ALIVE.format("0000000a"),
        started("a/loss/step2"),
        started("b/loss/step0"),
        ended("b/loss/step0", "failed", error="no number"),
        ended("b/loss/step8", "defective", error="another step's"),
    )
    found = made.status()
    assert found.by_label["a"]["loss"] == {
        "done": 2, "running": 1, "failed": 0, "defective": 0, "left": 0,
    }  # fmt: skip
    assert found.by_label["b"]["loss"] == {
        "done": 0, "running": 0, "failed": 1, "defective": 1, "left": 0,
    }  # fmt: skip
    assert found.by_label["a"]["ioi"]["left"] == 3
    assert (found.done, found.running, found.failed, found.defective, found.left) == (3, 1, 1, 1, 4)
    assert found.errors == {"b/loss/step0": "no number", "b/loss/step8": "another step's"}
    assert set(found.logs.values()) == {f"log/{ALIVE.format('0000000a')}.jsonl"}
    # A later attempt of another worker has the last word.
    made.log("elsewhere-1-0000000d", started("b/loss/step0", time=time.time() + 1), beat=0)
    assert made.status().units["b/loss/step0"] == "running"
    made.log(ALIVE.format("0000000a"), ended("b/loss/step0", "failed", time=time.time() + 2))
    assert made.status().units["b/loss/step0"] == "failed"


def test_each_worker_is_shown_with_what_it_does(made, dead_pid):
    now = time.time()
    made.is_done("tiny/loss/step0")
    busy, dead = ALIVE.format("0000000a"), f"{HERE}-{dead_pid}-0000000b"
    asked = {"event": "requested", "request": made.request}
    made.log(
        busy,
        {**asked, "shard": "1/2", "job": "77_1"},
        started("tiny/loss/step0", time=now - 50),
        started("tiny/loss/step1", time=now - 50),
        started("tiny/induction/step1", time=now - 50),
        ended("tiny/loss/step0", time=now - 20),
        {"event": "note", "message": "retried"},
        beat=5,
    )
    made.log(dead, {**asked, "shard": "0/2"}, started("tiny/loss/step4"), beat=40)
    made.log("elsewhere-3-0000000c", {**asked, "host": "elsewhere"}, {"event": "finished"})
    first, second, third = sorted(made.status().workers, key=lambda one: one.name[-1])
    assert (first.name, first.host, first.job, first.shard) == (busy, HERE, "77_1", "1/2")
    assert (first.state, first.done) == ("working", 1)
    assert first.units == ("tiny/loss/step1", "tiny/induction/step1")
    assert first.since == pytest.approx(now - 20, abs=0.01)
    assert first.seconds_since_beat == pytest.approx(5, abs=2)
    assert (second.state, second.units) == ("silent", ("tiny/loss/step4",))
    assert second.seconds_since_beat == pytest.approx(40, abs=2)
    assert (third.state, third.host, third.units) == ("finished", "elsewhere", ())


def test_a_unit_that_is_measured_again_is_done_and_in_hand(made):
    made.is_done("tiny/loss/step0")
    made.log(ALIVE.format("0000000a"), started("tiny/loss/step0", why="version: 2, 1"))
    found = made.status()
    assert found.units["tiny/loss/step0"] == "done"
    assert found.workers[0].units == ("tiny/loss/step0",)


def work(units, *, begun, seconds):
    """The lines of units that took so long each, one after the other, with their times."""
    lines = []
    for i, unit in enumerate(units):
        lines.append(started(unit, time=begun + i * seconds))
        lines.append(ended(unit, time=begun + (i + 1) * seconds))
    return lines


@pytest.fixture
def paced(tmp_path):
    """Four units of a small model took 10 s each, two of a large one 30 s; some are left."""
    steps = {"small": list(range(7)), "large": list(range(4))}
    made = Made(tmp_path / "run", steps, sizes={"small": 80_000_000, "large": 280_000_000})
    small, large = ([f"{name}/loss/step{i}" for i in range(4)] for name in ("small", "large"))
    made.is_done(*small, *large[:2])
    made.lines = {
        "small": work(small, begun=time.time() - 60, seconds=10),
        "large": work(large[:2], begun=time.time() - 60, seconds=30),
    }
    return made


def test_the_time_left_counts_all_workers_and_the_sizes_of_models(paced):
    paced.log(ALIVE.format("0000000a"), *paced.lines["small"])
    paced.log(ALIVE.format("0000000b"), *paced.lines["large"])
    found = paced.status()
    assert found.units_per_minute == pytest.approx(6 + 2)
    # 10 and 10 bytes of weights a second; three small and two large units are left.
    assert found.seconds_left == pytest.approx((3 * 100 + 2 * 300) / 20, rel=1e-3)


def test_a_dead_worker_does_not_count_beside_a_living_one(paced, dead_pid):
    paced.log(ALIVE.format("0000000a"), *paced.lines["small"])
    paced.log(f"{HERE}-{dead_pid}-0000000b", *paced.lines["large"])
    found = paced.status()
    assert found.units_per_minute == pytest.approx(6)
    assert found.seconds_left == pytest.approx(900 / 10, rel=1e-3)


def test_without_living_workers_those_count_that_worked_last(paced, dead_pid):
    hour = 3600
    early = [{**line, "time": line["time"] - hour} for line in paced.lines["large"]]
    paced.log(f"{HERE}-{dead_pid}-0000000a", *early)
    paced.log(f"{HERE}-{dead_pid}-0000000b", *paced.lines["small"])
    assert paced.status().units_per_minute == pytest.approx(6)


def test_units_of_one_step_that_end_at_once_took_the_time_since_the_step_began(tmp_path):
    labels = [f"label{i}" for i in range(50)]
    made = Made(tmp_path / "run", {"tiny": [0, 1]}, labels)
    units, now = [f"tiny/{label}/step0" for label in labels], time.time()
    made.is_done(*units)
    lines = [started(unit, time=now - 100) for unit in units]
    made.log(ALIVE.format("0000000a"), *lines, *(ended(unit, time=now) for unit in units))
    found = made.status()
    assert found.units_per_minute == pytest.approx(30)
    # Of unknown size, all units weigh the same.
    assert found.seconds_left == pytest.approx(100)


def test_before_the_first_unit_the_time_left_is_not_known(made):
    made.log(ALIVE.format("0000000a"), started("tiny/loss/step0"))
    found = made.status()
    assert (found.units_per_minute, found.seconds_left) == (None, None)


EXPERIMENT = '''
from pythia_traj.experiment import experiment
from pythia_traj.values import Key, Rows

@experiment(version=1)
def biases(model) -> Rows:
    """Items and tensors beside the rows."""
    rows = Rows()
    rows.add_items(Key("mean"), model.b_U.detach().numpy()[:4])
    rows.tensors("biases", {"b_U": model.b_U.detach().numpy()})
    return rows
'''


@pytest.fixture
def opened(monkeypatch):
    """The files of units that are opened, in whichever way."""
    paths = []

    def spy_on(where, name):
        call = getattr(where, name)

        def spy(path, *arguments, **options):
            if str(path).endswith((".parquet", ".safetensors")):
                paths.append(str(path))
            return call(path, *arguments, **options)

        monkeypatch.setattr(where, name, spy)

    for where, names in (
        (builtins, ["open"]),
        (io, ["open"]),
        (os, ["open"]),
        (pq, ["ParquetFile", "read_metadata", "read_schema", "read_table"]),
        (parquet, ["read_parquet", "check_tensors", "safe_open"]),
        (done, ["read_parquet", "check_tensors"]),
    ):
        for name in names:
            spy_on(where, name)
    return paths


def test_no_file_of_a_unit_is_opened_unless_they_are_checked(suite, tmp_path, opened):
    (tmp_path / "mine.py").write_text(EXPERIMENT)
    run, settings = tmp_path / "run", {"steps": "0,2", "device": "cpu"}
    use = {"biases": {"use": str(tmp_path / "mine.py")}}
    pt.sweep(pt.SweepConfig(model=str(suite), experiments=use, out=run, **settings))
    opened.clear()
    assert pt.status(run).done == 2
    assert opened == []
    assert pt.status(run, check=True).done == 2
    assert {path.removeprefix(f"{run}/").split("/")[0] for path in opened} == {"metrics", "tables"}
    assert {Path(path).suffix for path in opened} == {".parquet", ".safetensors"}


def test_only_a_check_finds_a_damaged_file(suite, tmp_path):
    run = tmp_path / "run"
    experiments = {"induction": {"length": 20, "n": 2}}
    pt.sweep(pt.SweepConfig(model=str(suite), steps="0,2", experiments=experiments, out=run))
    name = "metrics/model=tiny/label=induction/step-000002.parquet"
    (run / name).write_bytes(b"PAR1")
    found = pt.status(run)
    assert (found.done, found.damaged, found.checked) == (2, 0, False)
    found = pt.status(run, check=True)
    assert (found.done, found.left, list(found.damaged_files)) == (1, 1, [name])
    assert found.checked


def everything(log, known):
    found = read_journal(log, known)
    recent = [(visit.model, visit.step, visit.done, visit.ended) for visit in found.recent]
    return found.in_hand, found.since, found.done, recent, found.ended, found.requests


ODD = [
    b'{"event": "failed", "error": "\\"unit\\": \\"m/a/step0\\"", "time": 3, "unit": "m/b/step1"}',
    b'{"event": "started", "more": {"unit": "m/a/step0"}, "time": 4, "unit": "m/b/step2"}',
    b'{"event": "started", "time": 4, "unit": "m/b/step2", "with": {"unit": "m/a/step0"}}',
    b'{"event": "note", "message": "x", "more": {"event": "done"}, "time": 4}',
    b'{"unit": "m/a/step3", "time": 5, "event": "started"}',
    b'{"event": "started", "ti{"event": "done", "time": 6, "unit": "m/a/step0"}',
    b'{"event": "started", "time": 7, "unit": "m/\\u0061/step4"}',
    b"null",
]


def test_lines_of_done_units_say_the_same_whether_they_are_parsed_or_not(tmp_path):
    units = [f"m/{label}/step{step}" for step in range(6) for label in "abc"]
    known = {unit.encode() for unit in units}
    for seed in range(20):
        draw, lines = random.Random(seed), []
        for i in range(60):
            event = {"event": draw.choice(["started", "started", "done", "failed"])}
            event |= {"time": 10.0 + i, "unit": draw.choice(units), "error": 'it\'s "odd"'}
            lines.append(as_json(event).encode())
        lines += draw.sample(ODD, 3)
        lines.append(b'{"event": "requested", "request": "abc", "time": 1.0}')
        draw.shuffle(lines)
        log = tmp_path / f"{seed}.jsonl"
        log.write_bytes(b"\n".join(lines) + b"\n")
        assert everything(log, known) == everything(log, set())


def test_the_time_of_a_done_unit_costs_no_parsing(tmp_path, monkeypatch):
    made = Made(tmp_path / "run", {"tiny": list(range(500))})
    units = [f"tiny/loss/step{step}" for step in range(500)]
    made.is_done(*units)
    made.log(ALIVE.format("0000000a"), *work(units, begun=time.time() - 500, seconds=1))
    made.log(ALIVE.format("0000000a"), *[{"event": "note", "message": "retried"}] * 500)
    parsed = []

    def spy(line):
        parsed.append(line)
        return json.loads(line)

    monkeypatch.setattr(journal_module, "parse_event", spy)
    assert made.status().units_per_minute == pytest.approx(60)
    assert len(parsed) < 10
