"""`local`: what its workers are told, and what becomes of those that end badly."""

import json
import os
import signal
import stat
import sys
import time
from pathlib import Path

import psutil
import pytest

import pythia_traj as pt
from pythia_traj.cluster.children import Child, Children, _Log, _uninterrupted
from pythia_traj.cluster.local import Local
from pythia_traj.cluster.submission import submit
from pythia_traj.errors import ConfigError, DeviceError, Interrupted, PythiaTrajError
from pythia_traj.store.layout import Run
from pythia_traj.sweeps.record import Silent

FAKE = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))

UNITS = [f"tiny/induction/step{step}" for step in (0, 1, 2, 4)]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    """The tests themselves may run with some GPUs, or a number of threads."""
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def config(suite, tmp_path):
    def make(**settings):
        return pt.SweepConfig(
            **{
                "model": str(suite),
                "steps": "all",
                "experiments": {"induction": {"length": 20, "n": 2}},
                "out": tmp_path / "run",
                **settings,
            }
        )

    return make


def behave(config, index, *words):
    behave_in(config.out.parent, index, *words)


def behave_in(folder, index, *words):
    """What the fake worker of a shard does; the run is `folder/run`."""
    (folder / f"behaviour-{index}").write_text(" ".join(words))


def started_in(folder):
    """What the first worker was told."""
    return json.loads((folder / "run" / "started-0.json").read_text())


def started(config):
    """What each worker was told, in the order of their shards."""
    files = sorted(config.out.glob("started-*.json"))
    return [json.loads(file.read_text()) for file in files]


def fake(gpus=0, **settings):
    return Local(count_gpus=lambda: gpus, program=FAKE, **settings)


@pytest.mark.parametrize(
    ("visible", "jobs", "per_gpu", "seen"),
    [
        (None, None, None, ["0", "1"]),
        (None, 1, None, ["0"]),
        (None, None, 2, ["0", "0", "1", "1"]),
        (None, 3, 2, ["0", "0", "1"]),
        ("3,5", None, None, ["3", "5"]),
        ("GPU-aa, GPU-bb", None, 2, ["GPU-aa", "GPU-aa", "GPU-bb", "GPU-bb"]),
    ],
)
def test_each_worker_sees_one_gpu(config, monkeypatch, visible, jobs, per_gpu, seen):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    asked = config()
    submit(asked, fake(2), jobs=jobs, per_gpu=per_gpu)
    told = started(asked)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in told] == seen
    assert {one["argv"][one["argv"].index("--device") + 1] for one in told} == {"cuda"}
    shards = [one["argv"][one["argv"].index("--shard") + 1] for one in told]
    assert shards == [f"{i}/{len(seen)}" for i in range(len(seen))]


def test_a_device_that_is_named_is_the_only_one(config):
    asked = config(device="cuda:1")
    submit(asked, fake(2), per_gpu=2)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in started(asked)] == ["1", "1"]


def test_without_a_gpu_or_by_wish_workers_use_the_cpu_and_share_the_cores(config, monkeypatch):
    cores = len(os.sched_getaffinity(0))
    for asked, gpus in ((config(device="cpu", steps="0"), 2), (config(device="auto"), 0)):
        submit(asked, fake(gpus), jobs=2)
        told = started(asked)
        assert [one["CUDA_VISIBLE_DEVICES"] for one in told] == [None, None]
        assert {one["OMP_NUM_THREADS"] for one in told} == {str(max(1, cores // 2))}
        assert {one["argv"][one["argv"].index("--device") + 1] for one in told} == {"cpu"}
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    submit(asked, fake(), jobs=2)
    assert {one["OMP_NUM_THREADS"] for one in started(asked)} == {"7"}
    assert [one["pid"] == one["session"] for one in started(asked)] == [True, True]


def test_a_worker_is_told_how_not_what(config):
    asked = config(prefetch=3, keep=True, disk_budget="20GB", on_defect="measure")
    submit(asked, fake(), jobs=1)
    (told,) = started(asked)
    (request,) = (path.stem for path in asked.out.glob("requests/*.json"))
    assert told["argv"] == [
        *("worker", str(asked.out), "--request", request, "--device", "cpu", "--prefetch", "3"),
        *("--disk-budget", "20000000000", "--keep", "--on-defect", "measure", "--shard", "0/1"),
    ]


@pytest.mark.parametrize(
    ("device", "gpus", "jobs", "per_gpu", "message"),
    [
        ("auto", 2, 3, None, "--jobs 3: 2 GPUs for 1 worker each: give at most --jobs 2, or --per"),
        ("auto", 2, 9, 2, "give at most --jobs 4, or --per-gpu 5"),
        (
            "cuda:0",
            2,
            2,
            None,
            "--jobs 2: 1 GPU for 1 worker each: give at most --jobs 1, or --per",
        ),
        ("auto", 0, None, 2, "--per-gpu 2: the workers use the CPU"),
        ("auto", 0, 0, None, "--jobs 0: give at least 1"),
        ("auto", 2, None, -1, "--per-gpu -1: give at least 1"),
        ("cuda", 0, None, None, "this machine has no device 'cuda': use auto, cpu"),
        ("cuda:2", 2, None, None, "no device 'cuda:2': use auto, cpu, cuda:0, cuda:1"),
    ],
)
def test_what_this_machine_cannot_do_is_said_before_anything_is_written(
    config, device, gpus, jobs, per_gpu, message
):
    asked = config(device=device)
    with pytest.raises((ConfigError, DeviceError), match=message.replace("(", r"\(")):
        submit(asked, fake(gpus), jobs=jobs, per_gpu=per_gpu)
    assert not asked.out.exists()


def test_a_killed_worker_is_told_of_and_what_it_left(config):
    asked = config()
    behave(asked, 0, f"done={UNITS[0]}", "killed")
    behave(asked, 1, f"failed={UNITS[2]}", f"done={UNITS[3]}")
    outcome = submit(asked, fake(), jobs=2)
    assert [unit.name for unit in outcome.result.done] == [UNITS[0], UNITS[3]]
    assert [(unit.name, why) for unit, why in outcome.result.failed] == [(UNITS[2], "no number")]
    assert [unit.name for unit in outcome.left] == [UNITS[1]]
    (note,) = outcome.notes
    pid = started(asked)[0]["pid"]
    assert note.startswith(f"worker 0/2 (process {pid}) was killed (signal 9), perhaps because mem")
    assert note.endswith(":\n  request, shard 0/2")


def test_what_one_worker_failed_at_and_another_did_is_done(config):
    asked = config()
    behave(asked, 0, f"failed={UNITS[0]}")
    behave(asked, 1, f"done={UNITS[0]}")
    outcome = submit(asked, fake(), jobs=2)
    assert UNITS[0] in [unit.name for unit in outcome.result.done]
    assert outcome.result.failed == []


def test_a_hung_worker_is_ended_and_named(config):
    asked = config()
    behave(asked, 0, "stopped")
    (note,) = submit(asked, fake(silent_seconds=3.0), jobs=2).notes
    told = started(asked)[0]
    assert note.startswith(
        f"worker 0/2 (process {told['pid']}) had no heartbeat for 3 s and was ki"
    )
    assert not psutil.pid_exists(told["pid"])


def test_a_worker_with_a_heartbeat_is_left_alone(config):
    """Its log's time of change moves, though it writes no event."""
    asked = config()
    behave(asked, 0, "sleeps")

    class Beating(Silent):
        def __init__(self):
            self.looks = 0

        def working(self, what):
            for path in asked.out.glob("log/*.jsonl"):
                os.utime(path)
            self.looks += 1
            if self.looks == 6:
                raise Interrupted(signal.SIGINT)

    with pytest.raises(Interrupted):
        submit(asked, fake(silent_seconds=0.8), jobs=1, observer=Beating())
    assert not psutil.pid_exists(started(asked)[0]["pid"])


@pytest.mark.parametrize("deaf", [False, True])
def test_an_interruption_ends_all_workers(config, deaf):
    asked = config()
    for i in range(2):
        behave(asked, i, "sleeps", *(["deaf"] if deaf else []))

    class Stopping(Silent):
        def working(self, what):
            if len(started(asked)) == 2:
                self.at = time.monotonic()
                raise Interrupted(signal.SIGTERM)

    # Those that hear are not waited for longer than they take.
    patience, stopping = 1.5 if deaf else 60.0, Stopping()
    with pytest.raises(Interrupted):
        submit(asked, fake(patience=patience), jobs=2, observer=stopping)
    assert (time.monotonic() - stopping.at >= patience) == deaf
    assert not [one for one in started(asked) if psutil.pid_exists(one["pid"])]


def test_a_signal_while_a_worker_is_started_waits_until_it_is_known():
    known = []

    def stop(signum, frame):
        raise Interrupted(signum)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(Interrupted), _uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            known.append("started")
        assert known == ["started"]
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_request_that_all_workers_refuse_is_one_error(config):
    asked = config()
    behave(asked, 0, "refuses")
    behave(asked, 1, "refuses")
    with pytest.raises(PythiaTrajError, match="^this cannot be measured$"):
        submit(asked, fake(), jobs=2)


def test_a_crash_shows_the_end_of_what_the_worker_printed(config):
    asked = config()
    behave(asked, 1, "crashes")
    (note,) = submit(asked, fake(), jobs=2).notes
    assert "worker 1/2 (process " in note
    assert "ended with status 1; the end of " in note
    assert note.endswith("\n  RuntimeError: a bug")


def test_output_files_follow_the_umask(config):
    asked = config()
    before = os.umask(0o002)
    try:
        submit(asked, fake(), jobs=1)
    finally:
        os.umask(before)
    (output,) = asked.out.glob("log/*.out")
    assert stat.S_IMODE(output.stat().st_mode) == 0o664
    assert output.read_text() == "request, shard 0/1\n"


def test_the_log_of_an_earlier_process_of_the_same_number_is_not_read(config, monkeypatch):
    """In a container, process numbers are small and come again."""
    asked = config()
    run = Run.create(asked.out)
    (run.path / "log").mkdir()
    with Children(run, [(signal.SIGTERM, 1.0)]) as children:
        monkeypatch.setattr("socket.gethostname", lambda: "vm")
        children.start("0/1", ["true"], {})
        (child,) = children.all
        child.process.wait()
        old, new = (
            run.path / "log" / f"vm-{child.process.pid}-{digits}.jsonl"
            for digits in ("00000000", "11111111")
        )
        old.write_text('{"time": 1.0, "event": "done", "unit": "old"}\n')
        log = _Log(run.path / "log", child.process.pid, [old.name])
        later = Child("worker 0/1", child.process, log)
        assert later.look() == {}
        new.write_text('{"time": 1.0, "event": "done", "unit": "new"}\n{"time": 2.0, "eve')
        assert list(later.look()) == ["new"]
        assert later.look() == {}
        with new.open("a") as file:
            file.write('nt": "failed", "unit": "other", "error": "why"}\nno JSON\n')
        assert later.look() == {"other": ("failed", "why")}


DIES_ONCE = """
import os
import signal
from pathlib import Path
from pythia_traj.experiment import experiment
from pythia_traj.values import Key, Rows

@experiment(version=1)
def dies_once(model) -> Rows:
    \"\"\"Kills the first process that measures it.\"\"\"
    try:
        Path(__file__).with_name("died").touch(exist_ok=False)
    except FileExistsError:
        rows = Rows()
        rows.add(Key("nll"), 1.0, n=1)
        return rows
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_what_a_killed_worker_had_in_hand_is_done_by_the_other_or_by_one_more_command(
    config, tmp_path, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = tmp_path / "dies_once.py"
    file.write_text(DIES_ONCE)
    asked = config(experiments={"dies_once": {"use": str(file)}}, device="cpu")
    first = submit(asked, Local(), jobs=2)
    (note,) = first.notes
    assert "was killed (signal 9)" in note
    assert len(first.result.done) + len(first.left) == 4
    assert first.result.failed == []
    before = {path: path.stat().st_mtime_ns for path in asked.out.glob("metrics/**/*.parquet")}
    assert before
    second = submit(asked, Local(), jobs=2)
    assert (second.notes, second.left) == ((), ())
    assert len(second.result.done) + len(second.result.skipped) == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert pt.status(asked.out).done == 4
