"""`submit --executor slurm` on a real Slurm: the rows are those of one sweep, whatever fails."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

import pythia_traj as pt
from pythia_traj.cluster.slurm import arrays
from pythia_traj.cluster.slurm.slurm import Slurm
from pythia_traj.cluster.submission import submit
from pythia_traj.errors import ConfigError, SchedulerError
from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import publish_steps
from tests.hub.repository import Repository
from tests.slurm.held import Gate
from tests.slurm.lab import OVER
from tests.support import publish_suite

pytestmark = pytest.mark.slow

STEPS = tuple(range(8))

DEMO = Path(__file__).parents[2] / "configs" / "demo-cluster.yaml"

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


def is_settled(lab, job):
    """No task of a job runs, or waits for what will come."""

    def settled():
        active = [reason for _, state, reason, *_ in lab.queue("-j", job) if state not in OVER]
        return all(reason == "launch failed requeued held" for reason in active)

    return settled


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
    pt.sweep(config.model_copy(update={"out": tmp_path / "alone"}))
    check_equal(config.out, tmp_path / "alone")
    after = files(config)
    assert {path: after[path] for path in before or {}} == (before or {})


def check_equal(ours, theirs):
    """All rows of two runs: keys equal, values within 1e-6."""
    one, other = (pt.load(run, controls=True) for run in (ours, theirs))
    values = ["value", "stderr", "low", "high"]
    assert one.drop(columns=values).equals(other.drop(columns=values))
    for name in values:
        ours_are, theirs_are = (
            df[name].to_numpy("float64", na_value=np.nan) for df in (one, other)
        )
        np.testing.assert_allclose(ours_are, theirs_are, rtol=1e-6, atol=1e-12)


def run_cli(*words, **how):
    command = [PROGRAM, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **how)


def test_the_demo_is_done_by_four_tasks_on_two_nodes(slurm, eight, tmp_path):
    """Each task waits in its set-up for the others, so that all four hold a GPU at once.

    The demo's own suite would take a minute to train.
    """
    seen = tmp_path / "seen"
    seen.mkdir()
    setup = [
        f'echo "$SLURMD_NODENAME $CUDA_VISIBLE_DEVICES" > {seen}/$SLURM_ARRAY_TASK_ID',
        f"while [ $(ls {seen} | wc -l) -lt 4 ]; do sleep 0.1; done",
    ]
    out = tmp_path / "run"
    words = ["--model", eight, "--steps", "0,2,5,7", "--set", f"cluster.setup={json.dumps(setup)}"]
    # There is a suite already, which is not the toy suite.
    words += ["--set", "toy_seed=null"]
    done = run_cli("submit", DEMO, "--executor", "slurm", "--jobs", 4, "--out", out, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        rf"24 to do, 0 already there; job [0-9]+: 4 tasks; logs: {out}/jobs\n", done.stdout
    )
    slurm.wait(lambda: pt.status(out).done == 24, 240)
    devices = [path.read_text().split() for path in seen.iterdir()]
    assert sorted(devices) == [["n1", "0"], ["n1", "1"], ["n2", "0"], ["n2", "1"]]
    settings = {"model": str(eight), "steps": "0,2,5,7", "toy_seed": None}
    settings["out"] = str(tmp_path / "alone")
    pt.sweep(pt.SweepConfig.from_yaml(DEMO, **settings))
    check_equal(out, tmp_path / "alone")
    jobs = {worker.job for worker in pt.status(out).workers}
    assert {job.partition("_")[2] for job in jobs} == {"0", "1", "2", "3"}


def test_only_what_is_missing_is_submitted_and_not_twice(slurm, config, cli, tmp_path):
    """Held jobs show what was submitted, and take no time."""
    asked = config(cluster={"directives": ["--hold"]})
    pt.sweep(asked)
    whole = files(asked)
    outcome = submit(asked, Slurm(), jobs=4)
    assert outcome.is_empty
    assert not slurm.run("squeue", "-h").strip()
    assert not (asked.out / "jobs").exists()
    lost = [
        asked.out / f"metrics/model=eight/label=held/step-00000{step}.parquet" for step in (2, 7)
    ]
    for path in lost:
        path.unlink()
    job = hand_over(asked, 4, settling=0.0)
    (folder,) = (asked.out / "jobs").iterdir()
    array = json.loads((folder / "array.json").read_text())
    assert (array["job"], array["count"], array["shards"]) == (job, 4, [1, 3])
    assert [name for name, *_ in slurm.queue("--states=pending")] == [f"{job}_0", f"{job}_1"]
    again = submit(asked, Slurm(), jobs=4)
    assert again.handed.jobs == ()
    assert again.notes == ("tasks in the queue already, not submitted again: 2",)
    with pytest.raises(ConfigError, match=f"--jobs 2: job {job} of this request is in the queue"):
        submit(asked, Slurm(), jobs=2)
    status, out, _ = cli("status", asked.out)
    assert "\ntasks in Slurm: 2 pending (JobHeldUser)\n" in out
    slurm.run("scontrol", "release", job)
    slurm.wait(is_over(slurm, job))
    after = files(asked)
    assert all(after.pop(path) for path in lost)
    assert after.items() < whole.items()


def test_arrays_are_split_at_the_clusters_limit_and_cancelled_alone(slurm, config, cli, tmp_path):
    """Of the lab, an array has at most six tasks."""
    other = config(cluster={"directives": ["--hold"]}, out=tmp_path / "other")
    asked = config(cluster={"directives": ["--hold"], "at_once": 2})
    kept = hand_over(other, 2, settling=0.0)
    outcome = submit(asked, Slurm(settling=0.0), jobs=8)
    first, second = outcome.handed.jobs
    shown = slurm.run("squeue", "-h", "-o", "%i %E %K")
    assert f"{first}_[0-5%2]" in shown
    assert f"{second}_[0-1%2] afterany:{first}_*(unfulfilled)" in shown
    status, out, _ = cli("cancel", asked.out)
    assert (status, out) == (0, f"cancelled job {first}, {second}: 8 tasks\n")
    assert {name.partition("_")[0] for name, *_ in slurm.queue("--states=pending")} == {kept}
    assert cli("cancel", asked.out)[1] == "nothing of this run is in the queue\n"
    assert cli("cancel", other.out, "--json")[1].startswith("{")
    assert slurm.queue("--states=pending") == []


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (
            {"partition": "nowhere"},
            "Invalid partition name specified (asked for: partition nowhere",
        ),
        ({"gpus": 3}, "Requested node configuration is not available (asked for: gres gpu:3"),
        ({"qos": "vip", "directives": "--wrong"}, "unrecognized option '--wrong'"),
    ],
)
def test_what_slurm_refuses_is_one_line(slurm, config, cluster, message):
    asked = config(cluster=cluster)
    with pytest.raises(SchedulerError) as error:
        submit(asked, Slurm(), jobs=2)
    assert str(error.value).startswith("sbatch failed: ")
    assert str(error.value).endswith("; nothing is left submitted")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (asked.out / "jobs").exists()
    assert slurm.queue("--states=pending,running") == []


def test_a_run_that_nodes_cannot_see_is_one_line(slurm, config):
    if not slurm.private:
        pytest.skip("the lab's node sees all where mounting is not allowed")
    out = slurm.directory / "unseen" / "mine"
    asked = config(cluster={"partition": "blind"}, out=out)
    with pytest.raises(SchedulerError) as error:
        submit(asked, Slurm(settling=60.0), jobs=3)
    assert re.fullmatch(
        r"task [0-9]+_[0-9] has failed on n3 before it could write its log: can the nodes"
        rf" see {out}, and has it room\? .*; nothing is left submitted",
        str(error.value),
    )
    assert not (out / "jobs").exists()
    slurm.wait(lambda: not slurm.run("squeue", "-h").strip())


def test_what_was_submitted_in_part_is_withdrawn_or_said(slurm, config, cli, tmp_path, monkeypatch):
    """The second of two arrays is refused; then, Slurm does not answer any more either."""
    programs = tmp_path / "bin"
    programs.mkdir()
    real = {name: shutil.which(name) for name in ("sbatch", "squeue", "scancel")}
    refusal = "echo 'sbatch: error: no more jobs' >&2; exit 1"
    for name, path in real.items():
        gone = f"[ -e {programs}/once ] && [ -e {programs}/gone ] && exit 1"
        mark = f"[ -e {programs}/once ] && {{ {refusal}; }}; touch {programs}/once"
        first = mark if name == "sbatch" else gone
        (programs / name).write_text(f'#!/bin/sh\n{first}\nexec {path} "$@"\n')
        (programs / name).chmod(0o755)
    asked = config(cluster={"directives": ["--hold"]})
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with pytest.raises(SchedulerError, match="^sbatch failed: no more jobs .*nothing is left subm"):
        submit(asked, Slurm(), jobs=8)
    assert slurm.queue("--states=pending") == []
    assert not (asked.out / "jobs").exists()
    (programs / "once").unlink()
    (programs / "gone").touch()
    with pytest.raises(SchedulerError, match="a part may be in the queue: pythia-traj cancel /"):
        submit(asked, Slurm(), jobs=8)
    assert len(slurm.queue("--states=pending")) == 6
    for name in ("once", "gone"):
        (programs / name).unlink()
    again = submit(asked, Slurm(), jobs=8)
    assert again.notes == ("tasks in the queue already, not submitted again: 6",)
    assert cli("cancel", asked.out)[1].endswith(": 8 tasks\n")


def test_without_slurm_submit_and_cancel_are_one_line(config, monkeypatch, cli):
    asked = config()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SchedulerError, match="^sbatch is not on this machine: repeat this "):
        submit(asked, Slurm(), jobs=2)
    assert not (asked.out / "jobs").exists()
    status, out, err = cli("cancel", asked.out)
    assert (status, out) == (1, "")
    assert err.startswith("error: squeue is not on this machine: ")


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


def test_a_task_at_its_time_limit_drops_its_unit_and_goes_on(slurm, config, gate, tmp_path):
    """The shortest limit that Slurm has is a minute; it looks every 30 s."""
    asked = config(cluster={"time": "0:01:00"})
    job = hand_over(asked, 1)
    slurm.wait(some_are_done(asked, 2))
    gate.close()
    slurm.wait(lambda: gate.holds)
    before = files(asked)
    slurm.wait(lambda: "Requeued job" in said_by_tasks(asked), 90)
    assert len(files(asked)) < 8
    gate.open()
    slurm.wait(is_over(slurm, job), 60)
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


@contextmanager
def forgetful_controller(slurm, config):
    """It has saved that the job waits, and is killed before it saves what happens in the block.

    It saves some seconds after a change.
    """
    saved = slurm.directory / "state" / "job_state"
    name = arrays.job_name(Run.open(config.out)).encode()
    slurm.wait(lambda: saved.exists() and name in saved.read_bytes())
    yield
    slurm.stop_controller()
    slurm.start_controller()


def test_a_controller_that_is_killed_starts_every_task_twice(slurm, config, tmp_path):
    """It has saved that the job is held, not that it was released: it ends what runs."""
    asked = config(cluster={"directives": ["--hold"]})
    job = hand_over(asked, settling=0.0)
    with forgetful_controller(slurm, asked):
        slurm.run("scontrol", "release", job)
        slurm.wait(lambda: said_by_tasks(asked).count("request ") == 2)
    slurm.wait(lambda: not [one for one in slurm.processes() if "stepd" in one.name()])
    before = files(asked)
    assert {state for _, state, *_ in slurm.queue("-j", job)} == {"PENDING"}
    slurm.run("scontrol", "release", job)
    slurm.wait(is_over(slurm, job), 120)
    assert said_by_tasks(asked).count("Starting with") == 4
    check_rows(asked, tmp_path, before)


def test_tasks_that_a_killed_controller_holds_are_submitted_again(slurm, config, gate, tmp_path):
    """It starts them where they run already, which the nodes refuse, and then holds them."""
    asked = config()
    gate.close()
    job = hand_over(asked)
    with forgetful_controller(slurm, asked):
        pass
    gate.open()
    slurm.wait(is_settled(slurm, job), 120)
    if len(files(asked)) < 8:
        again = submit(asked, Slurm(), jobs=2)
        assert again.notes == ()
        slurm.wait(is_settled(slurm, *again.handed.jobs), 120)
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


def test_checkpoints_are_fetched_first_and_measured_offline(
    slurm, eight, config, serve, monkeypatch, tmp_path
):
    repository = Repository("me/tiny")
    publish_steps(repository, eight)
    hub = serve(repository)
    for name, value in (("HF_ENDPOINT", hub.endpoint), ("HF_HOME", str(tmp_path / "hf"))):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    asked = config(model="me/tiny", steps="0,3,7", cluster={"fetch": "urgent"})
    fetch, job = submit(asked, Slurm(), jobs=1).handed.jobs
    shown = slurm.run("squeue", "-h", "-o", "%i %P %E")
    assert f"{job} gpu afterok:{fetch}(unfulfilled)" in shown
    slurm.wait(is_over(slurm, fetch))
    requests = len(hub.requests)
    assert requests > 3
    slurm.wait(is_over(slurm, job))
    assert len(hub.requests) == requests
    check_rows(asked, tmp_path)


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


def test_accounts_know_what_the_queue_has_forgotten(accounted, config, cli, monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_CONF", accounted.environment["SLURM_CONF"])
    asked = config(cluster={"setup": ["echo no disk here >&2", "false"]})
    job = hand_over(asked, 1)
    accounted.wait(is_over(accounted, job))
    accounted.wait(lambda: "FAILED" in accounted.run("sacct", "-n", "-X", "-j", job))
    expected = f"\ntask {job} failed on n1: jobs/"
    for _ in range(2):
        status, out, _ = cli("status", asked.out)
        assert status == 0
        assert expected in out
        assert "\n  no disk here\n" in out
        # The second time, the controller is gone, and the accounts are there.
        accounted.stop_controller()
    assert "\nSlurm's queue is not known: squeue failed: " in out
    accounted.start_controller()
