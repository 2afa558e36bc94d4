"""A server that accepts connections and says nothing: given up within minutes, in so many words,
whatever was asked of it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import httpx2
import pytest

import pythia_traj as pt
from pythia_traj.errors import CheckpointError, HubError
from pythia_traj.hub.client import Client
from pythia_traj.hub.listed import RemoteFile
from pythia_traj.hub.questions import Questions
from pythia_traj.hub.retry import Attempts, GivenUpError, RetryPolicy, StatusError
from tests.hub.fixtures import clock as clock
from tests.hub.fixtures import online as online
from tests.hub.fixtures import point_to
from tests.hub.fixtures import serve as serve
from tests.hub.publish import ROOT, publish_steps
from tests.hub.repository import Repository
from tests.hub.silence import Silence, silent_port

FIVE_MINUTES = 300
QUICK = RetryPolicy(attempts=4, first=0.01, longest=0.05, timeout=0.2, connect=0.2)
COMMIT = "a" * 40
SAID = r"http://127\.0\.0\.1:\d+ does not answer \(4 attempts in 1 s\): check the network"


# What the default settings promise


@pytest.mark.parametrize(
    ("seconds", "attempts"),
    [
        pytest.param(10, 6, id="nobody accepts"),
        pytest.param(30, 6, id="accepted, and nothing said"),
        pytest.param(50, 4, id="connection, encryption and answer late, each to the last"),
        pytest.param(90, 3, id="nobody accepts at any of nine addresses"),
    ],
)
def test_whatever_an_attempt_takes_the_default_settings_end_within_five_minutes(
    clock, seconds, attempts
):
    retry = RetryPolicy()
    start, made, asked = clock.now, 0, Attempts(retry, "it")
    with pytest.raises(GivenUpError) as given_up:
        while True:
            made += 1
            clock.wait(seconds)
            asked.failed(httpx2.ReadTimeout("late"))
    assert clock.now - start < FIVE_MINUTES
    if seconds <= retry.attempt:
        assert clock.now - start <= retry.total
    assert (given_up.value.attempts, given_up.value.is_silence) == (made, True) == (attempts, True)
    assert given_up.value.effort == f"{attempts} attempts in {clock.now - start:.0f} s"


def test_one_step_can_need_several_more_answers_and_end_within_five_minutes_all_the_same():
    retry = RetryPolicy()
    assert retry.attempts * retry.timeout + 0.5 + 1 + 2 + 4 + 8 < retry.total, (
        "some attempts are never made"
    )
    further = 5  # Indices of shards in either format, those of `main`, a config.
    assert retry.total + further * retry.connect < FIVE_MINUTES


def test_what_a_server_asked_to_be_waited_is_not_counted_as_silence(clock):
    start, asked = clock.now, Attempts(RetryPolicy(), "it")
    for _ in range(3):
        asked.failed(StatusError(429, {"retry-after": "300"}))
    assert clock.now - start == pytest.approx(900)
    for _ in range(5):
        asked.failed(StatusError(500, {}))
    with pytest.raises(GivenUpError, match="500"):
        asked.failed(StatusError(500, {}))


def test_bytes_that_come_now_and_then_are_never_given_up(clock):
    asked = Attempts(RetryPolicy(), "it")
    for _ in range(100):
        clock.wait(29)
        asked.progressed()
        asked.failed(httpx2.ReadTimeout("late"))


# Questions


def ask_silence(questions, what, calls):
    def ask(timeouts, attempts):
        calls.append((what, timeouts.read))
        raise httpx2.ReadTimeout("late")

    with pytest.raises(GivenUpError) as error:
        questions.ask(what, ask)
    return error.value


def test_after_silence_other_questions_are_asked_once_and_the_same_one_not_at_all():
    retry = replace(QUICK, timeout=0.5)
    questions, calls = Questions(retry, lambda: False), []
    first = ask_silence(questions, "files", calls)
    assert calls == [("files", 0.5)] * 4
    assert ask_silence(questions, "files", calls) is first
    assert len(calls) == 4
    assert ask_silence(questions, "config", calls).attempts == 1
    assert calls[4:] == [("config", 0.2)]
    assert questions.ask("refs", lambda *_: "an answer") == "an answer"
    ask_silence(questions, "index", calls)
    assert calls[5:] == [("index", 0.5)] * 4


def test_a_refusal_is_an_answer_too_and_failures_that_are_not_silence_are_asked_again():
    questions, calls = Questions(QUICK, lambda: False), []
    ask_silence(questions, "files", calls)

    def refuse(*_):
        raise StatusError(404, {})

    with pytest.raises(StatusError):
        questions.ask("config", refuse)
    ask_silence(questions, "index", calls)
    assert len(calls) == 8

    def broken(*_):
        calls.append("broken")
        raise httpx2.ReadError("reset")

    for _ in range(2):
        with pytest.raises(GivenUpError):
            questions.ask("tokenizer", broken)
    # The first time once, as after silence; it was no silence, so then as ever.
    assert calls[8:] == ["broken"] * 5


def test_a_silent_question_is_asked_again_later(monkeypatch):
    questions, calls = Questions(QUICK, lambda: False), []
    ask_silence(questions, "files", calls)
    later = time.monotonic() + QUICK.total
    monkeypatch.setattr("pythia_traj.hub.questions.time.monotonic", lambda: later)
    assert questions.ask("files", lambda *_: "files") == "files"


# Each kind of request, against a port that is silent


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.branches("me/tiny"),
        lambda client: client.files("me/tiny", COMMIT),
        lambda client: client.download("me/tiny", COMMIT, RemoteFile("config.json", 2, COMMIT)),
    ],
    ids=["branches", "files", "small file"],
)
def test_every_question_is_given_up_after_as_many_requests_as_its_message_says(
    online, monkeypatch, ask
):
    with silent_port() as port:
        point_to(monkeypatch, port.endpoint)
        start = time.monotonic()
        with pytest.raises((HubError, CheckpointError), match=SAID):
            ask(Client(QUICK))
        assert time.monotonic() - start < 2
        assert len(port.accepted) == 4


def test_an_address_is_given_up_likewise(online, monkeypatch):
    with silent_port() as port:
        point_to(monkeypatch, port.endpoint)
        client = Client(QUICK)
        with pytest.raises(HubError, match=SAID), client.asking("me/tiny"):
            client.address("me/tiny", COMMIT, "model.safetensors")
        assert len(port.accepted) == 4


# A whole fetch, and a whole sweep, of one step


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("pythia_traj.hub.client.RetryPolicy", lambda: QUICK)


@pytest.fixture
def tiny(suite):
    repository = Repository("me/tiny")
    publish_steps(repository, suite)
    return repository


@pytest.fixture
def silenced(serve, tiny):
    """Starts a hub that says nothing to some requests."""
    planned = []

    def start(*silence):
        hub = serve(tiny)
        planned.append(Silence(*silence))
        hub.faults.add(planned[-1])
        return planned[-1]

    yield start
    for silence in planned:
        silence.end()


SILENCES = {
    "branches": ("refs",),
    "files": ("tree",),
    "address of a config": ("resolve", "config.json", "HEAD"),
    "config": ("resolve", "config.json", "GET"),
    "tokenizer": ("resolve", "tokenizer.json", "GET"),
    "address of weights": ("resolve", "model.safetensors"),
    "weights": ("content",),
}


def most_requests(kind):
    """A question at all its attempts, and a few more at one each.

    Of weights a few ranges are asked for at once.
    """
    return 4 * QUICK.attempts if kind in ("weights", "files") else QUICK.attempts + 2


@pytest.mark.parametrize("kind", SILENCES)
def test_a_fetch_of_one_step_ends_whichever_answer_never_comes(silenced, cli, quick, kind):
    silence = silenced(*SILENCES[kind])
    code, _, err = cli("fetch", "me/tiny", "--steps", "1")
    # Twice as much would be a second question at all its attempts.
    assert time.monotonic() - silence.began < 1.6
    assert code == 1
    assert re.search(SAID, err)
    assert QUICK.attempts <= len(silence.requests) <= most_requests(kind)


@pytest.mark.parametrize("kind", SILENCES)
def test_a_sweep_of_one_step_ends_likewise(silenced, quick, tmp_path, kind):
    silence = silenced(*SILENCES[kind])
    config = pt.SweepConfig(
        model="me/tiny",
        steps="1",
        experiments={"induction": {"length": 20, "n": 4}, "weights": {}},
        out=tmp_path / "run",
        device="cpu",
    )
    if kind == "branches":
        with pytest.raises(HubError, match=SAID):
            pt.sweep(config)
    else:
        result = pt.sweep(config)
        assert result.done == []
        assert result.failed
        # The files of `main` are asked for first: after that silence those of the step are asked
        # for once.
        said = SAID.replace("4 attempts in 1 s", "1 attempt in 0 s") if kind == "files" else SAID
        assert all(re.search(said, error) for _, error in result.failed), result.failed
    assert QUICK.attempts <= len(silence.requests) <= most_requests(kind)


def test_indices_of_either_format_that_never_come_are_not_each_waited_for_as_if_they_were_the_first(
    serve, suite, cli, quick, tmp_path
):
    shutil.copytree(suite / "step1", tmp_path / "step1")
    (tmp_path / "step1" / "model.safetensors").unlink()
    for name in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        (tmp_path / "step1" / name).write_text(json.dumps({"weight_map": {"a": f"{name}-shard"}}))
    repository, silence = Repository("me/sharded"), Silence("resolve", "index.json")
    for branch in ("main", "step1"):
        repository.publish(branch, tmp_path / "step1")
    hub = serve(repository)
    hub.faults.add(silence)
    try:
        code, _, err = cli("fetch", "me/sharded", "--steps", "1")
    finally:
        silence.end()
    assert code == 1
    assert re.search(SAID, err)
    assert time.monotonic() - silence.began < 2
    assert len(silence.requests) <= QUICK.attempts + 3


# At default settings


@pytest.mark.slow
@pytest.mark.timeout(2 * FIVE_MINUTES)
def test_a_fetch_from_a_silent_port_ends_within_five_minutes_at_default_settings(tmp_path):
    with silent_port() as port:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "PYTHIA_"))
        }
        environment |= {
            "HF_ENDPOINT": port.endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            "PYTHIA_TRAJ_CACHE": str(tmp_path / "cache"),
            "NO_PROXY": "127.0.0.1",
        }
        command = (
            "from pythia_traj.cli import main; main(['fetch', 'pythia-70m', '--steps', '512'])"
        )
        start = time.monotonic()
        ended = subprocess.run(
            [sys.executable, "-c", command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - start
        requests = len(port.accepted)
    assert ended.returncode == 1
    assert re.search(
        r"does not answer \(6 attempts in (18|19)\d s\): check the network", ended.stderr
    ), ended.stderr
    assert 180 < seconds < FIVE_MINUTES
    # The Hub's client asks once for something of its own, with a time-out of its own of a few
    # seconds.
    assert 6 <= requests <= 7
