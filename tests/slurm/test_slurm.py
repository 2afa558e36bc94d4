"""`submit --executor slurm` on a real SLURM: the rows are those of one sweep, whatever fails."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

import pythia_traj as pt
from pythia_traj.cluster.slurm.slurm import Slurm
from pythia_traj.cluster.submission import submit
from pythia_traj.config import read_config
from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run
from tests.slurm.held import Gate
from tests.support import publish_suite

pytestmark = pytest.mark.slow

STEPS = tuple(range(8))

PROGRAM = str(Path(sys.executable).with_name("pythia-traj"))


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """A suite of eight steps."""
    return publish_suite(tmp_path_factory.mktemp("suites") / "eight", STEPS)


@pytest.fixture(autouse=True)
def as_on_a_cluster(slurm, monkeypatch):
    """Tasks have a thread each, and no cache of this process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("PYTHIA_TRAJ_CACHE")


@pytest.fixture
def gate(tmp_path):
    made = Gate(tmp_path / "gate")
    yield made
    made.open()


@pytest.fixture
def config(eight, gate, tmp_path):
    def make(**settings):
        cluster = {"time": "1:00:00", "cpus": 1, **settings.pop("cluster", {})}
        return pt.SweepConfig(
            **{
                "model": str(eight),
                "steps": "all",
                "experiments": {"held": {"use": str(gate.experiment)}},
                "out": tmp_path / "run",
                "device": "cpu",
                "cluster": cluster,
                **settings,
            }
        )

    return make


def hand_over(config, jobs=2, **settings):
    """Submits, and returns the id of the one job."""
    outcome = submit(config, Slurm(**settings), jobs=jobs)
    (job,) = outcome.handed.jobs
    return job


def files(config):
    """The units that are done, with their times of change."""
    return {path: path.stat().st_mtime_ns for path in config.out.glob("metrics/*/*/*.parquet")}


def some_are_done(config, n=1):
    return lambda: len(files(config)) >= n


def all_are_done(config):
    return lambda: pt.status(config.out).left + pt.status(config.out).running == 0


def is_over(lab, job):
    """No task of a job waits or runs."""
    return lambda: not lab.run("squeue", "-h", "-j", job, check=False).strip()


def workers_of(config):
    """The processes that measure, by the shard that each of them does."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "worker" in words and str(config.out) in words and "--shard" in words:
            found[words[words.index("--shard") + 1]] = process
    return found


def said_by_tasks(config):
    """What all tasks have printed."""
    return "\n".join(path.read_text() for path in sorted(config.out.glob("jobs/*/*_log.out")))


def check_rows(config, tmp_path, before=None):
    """The rows are those of one sweep, and what was done before a fault is as it was."""
    alone = config.model_copy(update={"out": tmp_path / "alone"})
    pt.sweep(alone)
    ours, theirs = (
        pt.load(out, controls=True).sort_values(["label", "step", "metric"], ignore_index=True)
        for out in (config.out, alone.out)
    )
    keys = [name for name in ours if name not in ("value", "stderr", "low", "high")]
    assert ours[keys].equals(theirs[keys])
    np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-6)
    after = files(config)
    assert {path: after[path] for path in before or {}} == (before or {})


def submit_words(config_file, out, *more):
    return [PROGRAM, "submit", str(config_file), "--executor", "slurm", "--out", str(out), *more]


def run(*words, **how):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, **how)


def test_the_demo_is_done_by_four_tasks_on_two_nodes(slurm, tmp_path):
    """Each task waits in its set-up for the others, so that all four hold a GPU at once."""
    config = Path(__file__).parents[2] / "configs" / "demo-cluster.yaml"
    seen = tmp_path / "seen"
    seen.mkdir()
    setup = [
        f'echo "$SLURMD_NODENAME $CUDA_VISIBLE_DEVICES" > {seen}/$SLURM_ARRAY_TASK_ID',
        f"while [ $(ls {seen} | wc -l) -lt 4 ]; do sleep 0.1; done",
    ]
    words = ["--jobs", "4", "--steps", "log:5", "--set", f"cluster.setup={json.dumps(setup)}"]
    done = run(*submit_words(config, "run", *words), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "; job " in done.stdout
    assert ": 4 tasks; logs: " in done.stdout
    out = tmp_path / "run"
    slurm.wait(lambda: pt.status(out).done == 25, 240)
    devices = [path.read_text().split() for path in seen.iterdir()]
    assert sorted(devices) == [["n1", "0"], ["n1", "1"], ["n2", "0"], ["n2", "1"]]
    whole = pt.SweepConfig.from_settings(read_config(config)).model_copy(
        update={
            "model": (str(tmp_path / "runs" / "toy"),),
            "steps": "log:5",
            "out": tmp_path / "alone",
        }
    )
    pt.sweep(whole)
    ours, theirs = (pt.load(path, controls=True) for path in (out, tmp_path / "alone"))
    measured = ["value", "stderr", "low", "high"]
    assert ours.drop(columns=measured).equals(theirs.drop(columns=measured))
    for name in measured:
        np.testing.assert_allclose(
            ours[name].to_numpy("float64", na_value=np.nan),
            theirs[name].to_numpy("float64", na_value=np.nan),
            rtol=1e-6,
            atol=1e-9,
        )
    jobs = {worker.job for worker in pt.status(out).workers}
    assert all(job.partition("_")[2] in "0123" for job in jobs)


def test_a_killed_task_is_done_by_the_other(slurm, config, gate, tmp_path):
    asked = config()
    job = hand_over(asked)
    slurm.wait(some_are_done(asked, 2))
    gate.close()
    slurm.wait(lambda: gate.holds)
    before = files(asked)
    slurm.run("scancel", "--signal=KILL", f"{job}_0")
    slurm.wait(lambda: "0/2" not in workers_of(asked))
    gate.open()
    slurm.wait(is_over(slurm, job))
    assert len(files(asked)) == 8
    check_rows(asked, tmp_path, before)


def test_a_preempted_task_finishes_its_unit_and_goes_on_later(slurm, config, tmp_path):
    asked = config()
    job = hand_over(asked, 1)
    slurm.wait(some_are_done(asked, 2))
    before = files(asked)
    urgent = ["--partition=urgent", "--nodes=2", "--exclusive", "--time=1"]
    slurm.run("sbatch", *urgent, "--output=/dev/null", "--wrap=sleep 1")
    slurm.wait(is_over(slurm, job), 120)
    check_rows(asked, tmp_path, before)
    assert "Requeued job" in said_by_tasks(asked)
    events = [event for event in read_events(Run.open(asked.out)) if event["event"] != "note"]
    assert {"event": "stopped", "signal": signal.SIGUSR2}.items() <= next(
        event.items() for event in events if event["event"] == "stopped"
    )
    begun = [event["unit"] for event in events if event["event"] == "started"]
    assert sorted(begun) == sorted(set(begun)), "the unit in hand was dropped"


def test_a_task_goes_on_after_its_time_limit(slurm, config, tmp_path):
    """The shortest limit that SLURM has is a minute; it looks every 30 s."""
    own = config()
    (label,) = own.experiments
    asked = config(
        cluster={"time": "0:01:00"},
        experiments={label: {"use": own.experiments[label].use, "seconds": 8.0}},
    )
    job = hand_over(asked, 1)
    slurm.wait(lambda: "Requeued job" in said_by_tasks(asked), 90)
    before = files(asked)
    assert 0 < len(before) < 8
    slurm.wait(lambda: len(files(asked)) > len(before), 60)
    slurm.run("scancel", job)
    slurm.wait(is_over(slurm, job))
    before = files(asked)
    left = asked.model_copy(update={"steps": "0:4"})
    check_rows(asked, tmp_path, before)


def test_a_task_whose_node_is_gone_goes_on_on_another_one(slurm, config, gate, tmp_path):
    asked = config()
    job = hand_over(asked, 1)
    slurm.wait(some_are_done(asked, 2))
    gate.close()
    slurm.wait(lambda: gate.holds)
    before = files(asked)
    ((_, _, _, node, _),) = [one for one in slurm.queue("-j", job) if one[1] == "RUNNING"]
    slurm.stop_node(node)
    gate.open()
    slurm.wait(lambda: len(files(asked)) == 8, 120)
    slurm.wait(is_over(slurm, job))
    check_rows(asked, tmp_path, before)


def test_a_controller_that_is_killed_starts_every_task_twice(slurm, config, tmp_path):
    asked = config()
    job = hand_over(asked, settling=0.0)
    slurm.stop_controller()
    slurm.start_controller()
    slurm.wait(is_over(slurm, job), 120)
    if len(files(asked)) < 8:
        job = hand_over(asked)
        slurm.wait(is_over(slurm, job), 120)
    check_rows(asked, tmp_path)


def test_a_worker_that_hangs_is_ended_and_its_units_are_done(slurm, config, gate, tmp_path):
    """A heart beats every 15 s."""
    asked = config()
    job = hand_over(asked, silent_seconds=20.0)
    slurm.wait(some_are_done(asked, 2))
    gate.close()
    slurm.wait(lambda: gate.holds)
    before = files(asked)
    workers_of(asked)["1/2"].send_signal(signal.SIGSTOP)
    gate.open()
    slurm.wait(is_over(slurm, job), 120)
    assert "worker 1/2 (process " in said_by_tasks(asked)
    assert " had no heartbeat for 2" in said_by_tasks(asked)
    if len(files(asked)) < 8:
        slurm.wait(is_over(slurm, hand_over(asked, silent_seconds=20.0)), 120)
    check_rows(asked, tmp_path, before)


def test_status_says_that_the_controller_is_gone(slurm, config, gate, cli, tmp_path):
    asked = config()
    gate.close()
    job = hand_over(asked, 1)
    slurm.wait(lambda: gate.holds)
    status, out, _ = cli("status", asked.out)
    assert status == 0
    assert "tasks in Slurm: 1 running\n" in out
    slurm.stop_controller()
    status, out, _ = cli("status", asked.out)
    assert status == 0
    assert "\nSlurm's queue is not known: squeue failed: " in out
    assert out.startswith("0 done, 1 running, 0 failed, 7 left")
    status, out, _ = cli("status", asked.out, "--json")
    assert json.loads(out)["queue"]["tasks"] == []
    gate.open()
    slurm.wait(lambda: len(files(asked)) == 8)
    slurm.start_controller()
    slurm.wait(is_over(slurm, job))
    check_rows(asked, tmp_path)
