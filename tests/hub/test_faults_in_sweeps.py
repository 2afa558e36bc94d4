"""Whole sweeps through bad networks and beside processes that are killed: the rows are those of a
clean run, at no further request.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.errors import HubError
from pythia_traj.hub.disk import OnDisk
from pythia_traj.hub.retry import RetryPolicy
from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run
from tests.hub.faults import FAULTS, Fault, RandomFaults
from tests.hub.fixtures import online as online
from tests.hub.fixtures import pythia_14m as pythia_14m
from tests.hub.fixtures import serve as serve
from tests.hub.publish import ROOT, publish_steps
from tests.hub.repository import Repository
from tests.support import publish, random_model

EXPERIMENTS = {"induction": {"length": 20, "n": 4}}
API = {"refs", "revision", "tree", "paths-info", "commits", "models", "whoami"}
ALWAYS = 10**9


@pytest.fixture
def quick(monkeypatch):
    """RetryPolicy for as many failures as ever, which does not take as long."""
    retry = RetryPolicy(first=0.01, longest=0.05, timeout=0.5, connect=1)
    monkeypatch.setattr("pythia_traj.hub.client.RetryPolicy", lambda: retry)
    # The client's own pauses between attempts are of whole seconds.
    monkeypatch.setattr(
        "huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda _: time.sleep(0.01))
    )


@pytest.fixture
def tiny(suite):
    repository = Repository("me/tiny")
    publish_steps(repository, suite)
    return repository


@pytest.fixture(scope="module")
def expected(suite, tmp_path_factory):
    """The rows of the tiny suite, measured where it lies."""
    out = tmp_path_factory.mktemp("expected") / "run"
    sweep(str(suite), out)
    return rows(out)


def sweep(model, out, **settings):
    return pt.sweep(
        pt.SweepConfig(
            **{
                "model": model,
                "steps": "all",
                "experiments": EXPERIMENTS,
                "out": out,
                "device": "cpu",
                **settings,
            }
        )
    )


def rows(out):
    """What was measured, without what says where and how."""
    frame = pt.load(out, controls=True).drop(
        columns=["model", "experiment", "suite", "revision", "commit", "tokens"]
    )
    keys = [name for name in frame.columns if name != "value" and frame[name].notna().any()]
    return frame[[*keys, "value"]].sort_values(keys, ignore_index=True)


def notes(out):
    return [event["message"] for event in read_events(Run(out)) if event["event"] == "note"]


# One fault at a time


@pytest.mark.parametrize("settings", [{}, {"disk_budget": 10**9}], ids=["in memory", "on disk"])
@pytest.mark.parametrize("kind", FAULTS)
def test_a_sweep_gives_the_same_rows_whatever_goes_wrong_with_the_weights(
    serve, tiny, expected, quick, tmp_path, kind, settings
):
    hub = serve(tiny)
    hub.faults.add(Fault(kind, where="content", times=1 if kind == "corrupt" else 3, seconds=0.7))
    result = sweep("me/tiny", tmp_path / "run", **settings)
    assert (len(result.done), result.failed) == (4, [])
    pd.testing.assert_frame_equal(rows(tmp_path / "run"), expected, check_exact=True)


@pytest.mark.parametrize("where", ["refs", "tree"])
@pytest.mark.parametrize("kind", ["429", "reset", "reset-in-body", "truncate", "stall", "corrupt"])
def test_a_sweep_gives_the_same_rows_whatever_goes_wrong_with_a_listing(
    serve, tiny, expected, quick, tmp_path, kind, where
):
    hub = serve(tiny)
    hub.faults.add(Fault(kind, where=where, times=2, seconds=0.7))
    result = sweep("me/tiny", tmp_path / "run")
    assert (len(result.done), result.failed) == (4, [])
    pd.testing.assert_frame_equal(rows(tmp_path / "run"), expected, check_exact=True)


def test_a_hub_whose_answers_are_a_page_of_whoever_stands_between_is_a_sentence(
    serve, tiny, quick, tmp_path
):
    hub = serve(tiny)
    hub.faults.add(Fault("corrupt", where="refs", after=0, times=ALWAYS))
    with pytest.raises(
        HubError, match=r"http://\S+ does not answer like a Hub: it sends no readable JSON"
    ):
        sweep("me/tiny", tmp_path / "run")
    assert len(hub.requests) == RetryPolicy().attempts


def test_what_was_tried_again_stands_in_the_log_of_the_run(serve, tiny, quick, tmp_path):
    hub = serve(tiny)
    hub.faults.add(Fault("503", where="content", times=2))
    assert not sweep("me/tiny", tmp_path / "run").failed
    retries = [note for note in notes(tmp_path / "run") if "attempt" in note]
    assert len(retries) == 2
    assert all(
        re.match(r"me/tiny/model\.safetensors at \S+: 503 Service Unavailable; attempt", note)
        for note in retries
    )


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_small_file_that_arrives_damaged_is_fetched_once_more(
    serve, tiny, expected, quick, tmp_path, name
):
    hub = serve(tiny)
    hub.faults.add(Fault("corrupt", where=name, times=1))
    assert not sweep("me/tiny", tmp_path / "run").failed
    assert sum(record.fault == "corrupt" for record in hub.requests) == 1
    pd.testing.assert_frame_equal(rows(tmp_path / "run"), expected, check_exact=True)


def test_a_small_file_that_never_arrives_well_fails_and_leaves_nothing_behind(
    serve, tiny, expected, quick, tmp_path
):
    hub = serve(tiny)
    hub.faults.add(Fault("corrupt", where="config.json", times=ALWAYS))
    result = sweep("me/tiny", tmp_path / "run")
    assert len(result.failed) == 4
    assert all(
        "config.json of me/tiny" in error and "is corrupt: fetched twice" in error
        for _, error in result.failed
    )
    hub.faults.clear()
    assert not sweep("me/tiny", tmp_path / "run").failed
    pd.testing.assert_frame_equal(rows(tmp_path / "run"), expected, check_exact=True)


def test_weights_that_never_arrive_well_fail_their_step_and_no_other(
    serve, tiny, expected, quick, tmp_path
):
    hub = serve(tiny)
    sha256 = tiny.commits[tiny.branches["step2"]]["model.safetensors"].sha256
    hub.faults.add(Fault("corrupt", where=sha256, times=ALWAYS))
    result = sweep("me/tiny", tmp_path / "run", disk_budget=10**9)
    ((unit, error),) = result.failed
    assert unit.step == 2
    assert "is corrupt: fetched twice, its content is not what the Hub lists" in error
    assert sha256 not in {stored.path.name for stored in OnDisk().files()}
    hub.faults.clear()
    assert [unit.step for unit in sweep("me/tiny", tmp_path / "run").done] == [2]
    pd.testing.assert_frame_equal(rows(tmp_path / "run"), expected, check_exact=True)


# Any of them at any time


@pytest.mark.slow
def test_a_sweep_of_154_revisions_through_a_bad_network_is_that_through_a_good_one(
    serve, pythia_14m, quick, tmp_path, monkeypatch
):
    hub = serve(pythia_14m)
    sweep("pythia-14m", tmp_path / "clean")
    clean = rows(tmp_path / "clean")
    monkeypatch.setenv("PYTHIA_TRAJ_CACHE", str(tmp_path / "other-cache"))
    hub.reset_log()
    hub.faults.add(RandomFaults(0.05, seed=20, seconds=0.7))
    result = sweep("pythia-14m", tmp_path / "run")
    assert (len(result.done), result.failed) == (154, [])
    pd.testing.assert_frame_equal(rows(tmp_path / "run"), clean, check_exact=True)

    spoiled = Counter(record.fault for record in hub.requests if record.fault)
    assert spoiled.total() > 15
    assert len(spoiled) >= 6
    assert notes(tmp_path / "run")
    answered = Counter(
        record.kind for record in hub.requests if record.fault is None and record.status < 400
    )
    assert sum(count for kind, count in answered.items() if kind in API) <= 3 + 154
    assert answered["refs"] == 1
    hub.reset_log()
    assert len(sweep("pythia-14m", tmp_path / "run").skipped) == 154
    assert hub.requests == []


# Processes


SWEEP = "import sys; from pythia_traj.cli import main; main(sys.argv[1:])"


@contextmanager
def sweeping(hub, model, out, cache, *more):
    """A sweep in a process of its own."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": f"{cache}-hf",
        "PYTHIA_TRAJ_CACHE": str(cache),
    }
    settings = [
        f"--set={label}.{name}={value}"
        for label, own in EXPERIMENTS.items()
        for name, value in own.items()
    ]
    command = [sys.executable, "-c", SWEEP, "sweep", "--model", model]
    command += ["--experiment", ",".join(EXPERIMENTS), *settings]
    command += ["--steps", "all", "--out", str(out), "--device", "cpu", *more]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def eventually(condition, *processes, seconds=60.0):
    """Waits for something that living processes bring about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def units(out):
    return sorted((out / "metrics").rglob("step-*.parquet"))


@pytest.fixture
def twelve_steps(suite, tmp_path):
    """Twelve revisions, each with weights of its own, large enough that a sweep takes a while on a
    slow network.
    """
    for step in range(12):
        publish(tmp_path / "steps" / f"step{step}", random_model(step, vocab_size=1500))
    repository = Repository("me/twelve")
    publish_steps(repository, tmp_path / "steps")
    return repository


@pytest.mark.slow
def test_of_two_processes_in_one_run_within_one_budget_one_is_killed_and_the_other_finishes(
    serve, twelve_steps, tmp_path
):
    hub = serve(twelve_steps)
    out, cache = tmp_path / "run", tmp_path / "shared-cache"
    size = max(blob.size for blob in twelve_steps.blobs.values())
    hub.bytes_per_second = 9 * size
    arguments = ("me/twelve", out, cache, "--disk-budget", str(3 * size))
    with sweeping(hub, *arguments) as doomed, sweeping(hub, *arguments) as other:
        eventually(lambda: list(cache.rglob("*.part")), doomed, other)
        time.sleep(random.Random(os.urandom(8)).uniform(0, 1.5))
        doomed.send_signal(signal.SIGKILL)
        doomed.wait()
        assert len(units(out)) < 12, "it was killed too late to prove anything"
        printed, complaints = other.communicate(timeout=60)
    assert other.returncode == 0, complaints
    assert "0 failed" in printed
    assert sum(file.stat().st_size for file in cache.rglob("weights/*/*")) <= 3 * size
    sweep(str(tmp_path / "steps"), tmp_path / "clean")
    pd.testing.assert_frame_equal(rows(out), rows(tmp_path / "clean"), check_exact=True)

    for unit in units(out)[2:5]:
        unit.unlink()
    hub.bytes_per_second = None
    with sweeping(hub, *arguments) as again:
        printed, complaints = again.communicate(timeout=60)
    assert "3 done, 9 already there, 0 failed" in printed, complaints
    pd.testing.assert_frame_equal(rows(out), rows(tmp_path / "clean"), check_exact=True)
    assert not list(cache.rglob("*.part"))
    assert not list((out / ".tmp").glob("*")), "a killed process's leftovers stay"


@pytest.mark.parametrize("more", [(), ("--disk-budget", "1GB")], ids=["in memory", "on disk"])
def test_a_sweep_that_is_interrupted_while_bytes_trickle_in_ends_at_once(
    serve, twelve_steps, tmp_path, more
):
    hub = serve(twelve_steps)
    size = max(blob.size for blob in twelve_steps.blobs.values())
    with sweeping(hub, "me/twelve", tmp_path / "run", tmp_path / "shared-cache", *more) as process:
        eventually(lambda: units(tmp_path / "run"), process)
        hub.bytes_per_second = size / 300
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        _, complaints = process.communicate(timeout=30)
    assert time.monotonic() - start < 10, "300 s of bytes were waited for"
    assert process.returncode == 130
    assert "Traceback" not in complaints
    assert not list((tmp_path / "shared-cache").rglob("*.part"))


def test_a_hub_that_goes_away_in_the_middle_costs_the_steps_that_were_not_here(
    serve, tiny, expected, quick, tmp_path
):
    hub = serve(tiny)
    hub.faults.add(Fault("reset", where="content", skip=1, times=ALWAYS))
    result = sweep("me/tiny", tmp_path / "run")
    assert [unit.step for unit in result.done] == [0]
    assert len(result.failed) == 3
    assert all("cannot be reached" in error for _, error in result.failed)
    hub.faults.clear()
    assert not sweep("me/tiny", tmp_path / "run").failed
    pd.testing.assert_frame_equal(rows(tmp_path / "run"), expected, check_exact=True)
