"""A step is in one living worker's hand at a time; what nobody has in hand is taken over."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from hashlib import sha256

import pytest

import pythia_traj as pt
from pythia_traj.errors import DataError, Interrupted, StoreError
from pythia_traj.store.events import EventLog, read_events
from pythia_traj.store.layout import Run
from pythia_traj.sweeps import claims as claims_module
from pythia_traj.sweeps import heartbeat
from pythia_traj.sweeps import worker as worker_module
from pythia_traj.sweeps.claims import Claims
from pythia_traj.sweeps.heartbeat import SILENT_SECONDS, beating, is_alive, last_beat
from pythia_traj.sweeps.requests import find_request, record
from pythia_traj.sweeps.shards import Shard
from pythia_traj.sweeps.worker import work
from tests.sweeps.test_sweep import REFERENCES

HERE = socket.gethostname()


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run")


def worker(run, *, host=HERE, pid=None, silent=0.0, number=0):
    """The name of a worker with a log, whose last heartbeat was so many seconds ago."""
    name = f"{host}-{pid or os.getpid()}-{number:08x}"
    log = run.path / "log" / f"{name}.jsonl"
    log.parent.mkdir(exist_ok=True)
    log.touch()
    os.utime(log, (time.time() - silent,) * 2)
    return name


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    return int(ended.stdout)


def holder(run):
    return run.claim_path("m", 512).read_text()


def test_a_step_is_in_one_hand_until_it_is_put_down(run):
    first, second = (Claims(run, worker(run, number=number)) for number in range(2))
    with first.taking("m", 512) as is_ours:
        assert is_ours
        assert holder(run) == worker(run)
        for other, is_free in ((512, False), (513, True)):
            with second.taking("m", other) as is_ours:
                assert is_ours is is_free
        with second.taking("n", 512) as is_ours:
            assert is_ours
        assert second.is_held("m", 512)
    assert not second.is_held("m", 512)
    with second.taking("m", 512) as is_ours:
        assert is_ours
    assert not list(run.path.glob("claims/*/*"))
    assert not list(run.path.glob(".tmp/*"))


def test_a_claim_falls_with_its_worker(run, dead):
    taker = Claims(run, worker(run, number=9))
    for name, is_free in (
        (worker(run, number=1), False),
        (worker(run, number=2, pid=dead), True),
        (worker(run, number=3, silent=SILENT_SECONDS + 1), True),
        (worker(run, host="elsewhere", pid=dead), False),
        (worker(run, host="elsewhere", silent=SILENT_SECONDS + 1, number=4), True),
        (f"elsewhere-{dead}-0000000a", True),
        ("", True),
        ("x" * 10_000, True),
    ):
        path = run.claim_path("m", 512)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        with taker.taking("m", 512) as is_ours:
            assert is_ours is is_free, name
        path.unlink(missing_ok=True)


def test_who_was_thought_dead_does_not_put_down_anothers_step(run):
    first, second = (Claims(run, worker(run, number=number)) for number in range(2))
    with first.taking("m", 512):
        worker(run, number=0, silent=SILENT_SECONDS + 1)
        taken = second.taking("m", 512)
        assert taken.__enter__()
    # The first one has gone on and ended.
    assert holder(run) == worker(run, number=1)
    taken.__exit__(None, None, None)
    assert not run.claim_path("m", 512).exists()


def test_of_two_that_see_a_dead_claim_the_slower_one_gives_it_back(run, dead, monkeypatch):
    path = run.claim_path("m", 512)
    path.parent.mkdir(parents=True)
    path.write_text(worker(run, pid=dead))
    quicker = worker(run, number=1)

    def meanwhile(run, name):
        path.write_text(quicker)
        return False

    monkeypatch.setattr(claims_module, "is_alive", meanwhile)
    with Claims(run, worker(run, number=2)).taking("m", 512) as is_ours:
        assert not is_ours
    assert path.read_text() == quicker
    assert not list(run.path.glob(".tmp/*"))


def test_an_heir_that_died_as_one_stops_the_next_one_once(run, dead):
    path = run.claim_path("m", 512)
    path.parent.mkdir(parents=True)
    gone = worker(run, pid=dead)
    path.write_text(gone)
    heir = path.with_name(f"{path.name}.after-{sha256(gone.encode()).hexdigest()[:16]}")
    taker = Claims(run, worker(run, number=2))
    for name, came in ((worker(run, number=1), [False, False]), (gone, [False, True])):
        heir.write_text(name)
        took = []
        for _ in came:
            with taker.taking("m", 512) as is_ours:
                took.append(is_ours)
        assert took == came


@pytest.mark.parametrize("attempt", range(20))
def test_of_many_that_come_at_once_one_gets_it(run, dead, attempt):
    path = run.claim_path("m", 512)
    path.parent.mkdir(parents=True)
    path.write_text(worker(run, pid=dead))
    ready, took = threading.Barrier(12), []

    def come(number):
        taker = Claims(run, worker(run, number=number))
        ready.wait()
        with taker.taking("m", 512) as is_ours:
            took.append(is_ours)
            ready.wait()

    threads = [threading.Thread(target=come, args=(number,)) for number in range(1, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(took) == [False] * 11 + [True]


def test_a_heart_beats_until_the_work_ends(run, monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    log = EventLog(run)
    log.write("requested")
    long_ago = time.time() - SILENT_SECONDS - 1
    os.utime(log.path, (long_ago, long_ago))
    assert not is_alive(run, log.worker)
    with beating(log):
        deadline = time.monotonic() + 30
        while not is_alive(run, log.worker):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # A log that is gone stops nothing.
        log.path.unlink()
        time.sleep(0.05)
        log.write("finished")
    os.utime(log.path, (long_ago, long_ago))
    time.sleep(0.1)
    assert last_beat(run, log.worker) == pytest.approx(long_ago)


def test_a_worker_says_how_it_ended(request_of, monkeypatch):
    recorded = request_of()
    run = Run.open(recorded.config.out)

    def last():
        event = [*read_events(run)][-1]
        return event["event"], event.get("error"), event.get("signal")

    def refuse(*_args, **_more):
        raise error

    monkeypatch.setattr("pythia_traj.sweeps.record.write_unit", refuse)
    for error, said in (
        (StoreError("the disk is full"), ("stopped", "the disk is full", None)),
        (Interrupted(signal.SIGTERM), ("stopped", None, signal.SIGTERM)),
        (DataError("no such text"), ("refused", "no such text", None)),
    ):
        with pytest.raises(type(error)):
            work(recorded, Shard())
        assert last() == said
        assert not list(run.path.glob("claims/*/*"))
    monkeypatch.undo()
    work(recorded, Shard())
    assert last() == ("finished", None, None)


@pytest.fixture
def request_of(suite, tmp_path):
    """Builds a request about the tiny suite's four steps, recorded in a run."""
    (tmp_path / "references.py").write_text(REFERENCES)

    def build(out="run", **experiments):
        config = pt.SweepConfig(
            model=str(suite),
            steps="all",
            experiments=experiments or {"induction": {"length": 20, "n": 4}},
            out=tmp_path / out,
            device="cpu",
        )
        record(config)
        return find_request(Run.open(config.out))

    return build


def claimed(run, step, name):
    path = run.claim_path("tiny", step)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name)


def names(units):
    return [f"{unit.label}/{unit.step}" for unit in units]


def test_a_worker_takes_over_what_no_living_worker_has_in_hand(request_of, dead):
    recorded = request_of()
    run = Run.open(recorded.config.out)
    claimed(run, 0, worker(run))
    claimed(run, 1, worker(run, pid=dead))
    result = work(recorded, Shard(1, 2))
    # Its own shard from the beginning, the other from the end.
    assert names(result.done) == ["induction/2", "induction/4", "induction/1"]
    assert names(result.left) == ["induction/0"]
    assert [path.name for path in run.path.glob("claims/*/*")] == ["step-000000"]
    claimed(run, 0, worker(run, pid=dead))
    assert names(work(recorded, Shard(1, 2)).done) == ["induction/0"]


def test_two_workers_at_once_measure_each_unit_once(request_of):
    recorded = request_of()
    results = {}

    def do(index):
        # The log's name is the worker's, so that two in one process have two names.
        results[index] = work(recorded, Shard(index, 2))

    threads = [threading.Thread(target=do, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = names((*results[0].done, *results[1].done))
    assert sorted(done) == [f"induction/{step}" for step in (0, 1, 2, 4)]


def test_what_compares_with_a_step_in_anothers_hand_is_left_too(request_of, tmp_path):
    growth = {"growth": {"use": f"{tmp_path}/references.py:growth"}}
    recorded = request_of(**growth)
    run = Run.open(recorded.config.out)
    claimed(run, 1, worker(run))
    result = work(recorded, Shard(0, 1))
    assert names(result.done) == ["growth/0"]
    assert names(result.left) == ["growth/1", "growth/2", "growth/4"]
    assert result.failed == []
    # Another shard compares with rows that it measures for itself, whoever has the step in hand.
    other = work(recorded, Shard(3, 4), takes_over=False)
    assert [name for name in names(other.done) if name != "growth/4"] == ["growth/1", "growth/2"]
    assert pt.status(run.path).units["tiny/growth/step4"] == "done"


def test_a_sweep_waits_for_what_another_process_has_in_hand(request_of, monkeypatch):
    recorded = request_of()
    run = Run.open(recorded.config.out)
    monkeypatch.setattr(worker_module, "_LOOK_SECONDS", 0.01)
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    claimed(run, 0, worker(run, pid=living.pid))
    waited = []

    class Watching:
        def planned(self, plan):
            pass

        def ended(self, unit, error):
            pass

        def working(self, what):
            if what.startswith("waiting for another process"):
                waited.append(what)
                living.communicate(b"\n")

    result = pt.sweep(recorded.config, observer=Watching())
    assert waited == ["waiting for another process: tiny step 0"]
    assert names(result.done) == [f"induction/{step}" for step in (1, 2, 4, 0)]
    assert result.left == []
    assert pt.status(run.path).done == 4


def test_a_unit_that_another_worker_has_done_since_the_plan_is_not_measured_again(
    request_of, monkeypatch
):
    recorded = request_of()
    run = Run.open(recorded.config.out)
    original, others = Claims._take, []

    def after_another(self, path):
        # Between the plan and the first claim another worker does the last step.
        if not others:
            others.append(None)
            others[0] = work(recorded, Shard(3, 4), takes_over=False)
        return original(self, path)

    monkeypatch.setattr(Claims, "_take", after_another)
    result = pt.sweep(recorded.config)
    assert names(others[0].done) == ["induction/4"]
    assert names(result.done) == ["induction/0", "induction/1", "induction/2"]
    assert names(result.skipped) == ["induction/4"]
    assert not list(run.path.glob("claims/*/*"))
