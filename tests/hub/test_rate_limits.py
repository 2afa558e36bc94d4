"""A server that asks to be left alone is left alone for as long as it says, within limits; what is
absurd ends at once, in a line.
"""

import itertools
import threading
import time
from dataclasses import replace
from email.utils import formatdate

import pytest

from pythia_traj.errors import CheckpointError, HubError
from pythia_traj.hub import pauses
from pythia_traj.hub.client import Client
from pythia_traj.hub.masks import Masks
from pythia_traj.hub.questions import Questions
from pythia_traj.hub.retry import Attempts, GivenUpError, RetryPolicy, StatusError
from pythia_traj.hub.staging import InMemory
from pythia_traj.hub.weights import hold
from tests.hub.answers import error as refusal
from tests.hub.content import ContentHost
from tests.hub.fixtures import clock as clock
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.repository import Repository
from tests.hub.routes import HubRoutes

REPO = "me/tiny"
QUICK = RetryPolicy(attempts=3, first=0.01, longest=0.02, timeout=0.5, connect=1)
NOW = 1_800_000_000.0
USUAL = None
"""What the server says is no reason to wait otherwise than after any failure."""


def date(seconds):
    return formatdate(NOW + seconds, usegmt=True)


# What is asked for, and what becomes of it


WAITED = {
    "seconds": (429, {"Retry-After": "30"}, 30),
    "a fraction": (429, {"retry-after": "2.5"}, 2.5),
    "the whole of the limit": (429, {"Retry-After": "900"}, 900),
    "also where a service is not available": (503, {"Retry-After": "120"}, 120),
    "a date": (429, {"Retry-After": date(60)}, 60),
    "a date by the server's clock": (429, {"Retry-After": date(7260), "Date": date(7200)}, 60),
    "as the Hub says it": (
        429,
        {"RateLimit": '"api";r=0;t=55', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'},
        56,
    ),
    "with blanks": (429, {"ratelimit": '"api" ; r = 0 ; t = 55'}, 56),
    "the limit that is spent": (429, {"RateLimit": '"burst";r=9;t=500, "daily";r=0;t=20'}, 21),
    "the longer of two": (429, {"RateLimit": '"burst";r=0;t=5, "daily";r=0;t=20'}, 21),
    "as earlier drafts say it": (429, {"RateLimit": "limit=500, remaining=0, reset=40"}, 41),
    "as still earlier ones do": (429, {"RateLimit-Remaining": "0", "RateLimit-Reset": "40"}, 41),
    "the longer of both headers": (429, {"Retry-After": "10", "RateLimit": '"api";r=0;t=55'}, 56),
    "no time at all": (429, {"Retry-After": "0"}, USUAL),
    "a date that has passed": (429, {"Retry-After": date(-60)}, USUAL),
    "words": (429, {"Retry-After": "soon"}, USUAL),
    "nothing": (429, {"Retry-After": ""}, USUAL),
    "no header": (429, {}, USUAL),
    "a limit that is not spent": (429, {"RateLimit": '"api";r=7;t=55'}, USUAL),
    "a limit where the server is ill": (500, {"RateLimit": '"api";r=0;t=55'}, USUAL),
    "no limit but text": (429, {"RateLimit": "later"}, USUAL),
}


@pytest.mark.parametrize(("status", "headers", "seconds"), WAITED.values(), ids=WAITED)
def test_what_a_server_asks_for_is_waited_and_counts_as_no_failure(
    clock, caplog, monkeypatch, status, headers, seconds
):
    monkeypatch.setattr(pauses.time, "time", lambda: NOW)
    attempts, start = Attempts(RetryPolicy(), "files of me/tiny"), clock.now
    attempts.failed(StatusError(status, headers))
    (line,) = [record.getMessage() for record in caplog.records]
    if seconds is USUAL:
        assert clock.now - start == pytest.approx(0.5)
        assert line.endswith("; attempt 2 of 6 in 0.5 s")
    else:
        assert clock.now - start == pytest.approx(seconds)
        assert (
            f"waiting {seconds:.0f} s, as the server asks"
            " (0 s waited before that, at most 900 s in all)" in line
        )
    # As many failures as ever are borne after that.
    for _ in range(4 if seconds is USUAL else 5):
        attempts.failed(StatusError(500, {}))
    with pytest.raises(GivenUpError, match="500 Internal Server Error"):
        attempts.failed(StatusError(500, {}))


ABSURD = {
    "more than is waited in all": ({"Retry-After": "901"}, "901 s"),
    "30 years": ({"Retry-After": "1000000000"}, "1000000000 s"),
    "with an exponent": ({"Retry-After": "1e9"}, "1000000000 s"),
    "less than nothing": ({"Retry-After": "-1"}, "longer than any date"),
    "no number": ({"Retry-After": "nan"}, "longer than any date"),
    "for ever": ({"Retry-After": "inf"}, "longer than any date"),
    "5000 digits": ({"Retry-After": "9" * 5000}, "longer than any date"),
    "the last of all years": ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, "251602300799 s"),
    "a window of years": ({"RateLimit": '"api";r=0;t=1000000000'}, "1000000001 s"),
    "a reset at a date": (
        {"RateLimit-Remaining": "0", "RateLimit-Reset": "1800000000"},
        "1800000001 s",
    ),
}


@pytest.mark.parametrize(("headers", "said"), ABSURD.values(), ids=ABSURD)
def test_what_nobody_waits_for_ends_at_once_with_what_was_asked(
    clock, caplog, monkeypatch, headers, said
):
    monkeypatch.setattr(pauses.time, "time", lambda: NOW)
    start = clock.now
    with pytest.raises(GivenUpError) as given_up:
        Attempts(RetryPolicy(), "it").failed(StatusError(429, headers))
    assert clock.now == start
    assert caplog.records == []
    waited = "at most 900 s are waited for one answer"
    assert str(given_up.value) == f"429 Too Many Requests and asks to wait {said}: {waited}"


def test_pauses_are_waited_up_to_a_total_and_never_shorter_than_after_failures(clock):
    attempts, start = Attempts(RetryPolicy(), "it"), clock.now
    with pytest.raises(
        GivenUpError,
        match=r"asks to wait 400 s, after 800 s: at most 900 s are waited for one answer",
    ):
        for _ in range(10):
            attempts.failed(StatusError(429, {"retry-after": "400"}))
    assert clock.now - start == pytest.approx(800)
    attempts, start, asked = Attempts(RetryPolicy(), "it"), clock.now, 0
    with pytest.raises(GivenUpError, match="asks to wait 1 s, after"):
        for asked in itertools.count(1):  # noqa: B007 - counted
            attempts.failed(StatusError(429, {"retry-after": "1"}))
    assert 800 < clock.now - start <= 900
    assert asked < 50, "the server is asked every second"


def test_bytes_that_arrive_begin_the_total_anew(clock):
    attempts = Attempts(RetryPolicy(), "it")
    for _ in range(5):
        attempts.failed(StatusError(429, {"retry-after": "800"}))
        attempts.progressed()


def test_failures_and_pauses_may_alternate_and_both_are_counted(clock):
    attempts = Attempts(RetryPolicy(), "it")
    with pytest.raises(GivenUpError, match=r"^500"):
        for _ in range(10):
            attempts.failed(StatusError(429, {"retry-after": "5"}))
            attempts.failed(StatusError(500, {}))


def test_after_a_wait_in_vain_further_questions_are_not_waited_for_until_one_is_answered(clock):
    questions, asked = Questions(RetryPolicy(), lambda: False), []

    def busy(timeouts, attempts):
        asked.append(clock.now)
        raise StatusError(429, {"retry-after": "300"})

    for count in (4, 5, 6):
        with pytest.raises(GivenUpError, match="asks to wait 300 s, after 900 s"):
            questions.ask("files", busy)
        assert len(asked) == count
    assert questions.ask("refs", lambda *_: "an answer") == "an answer"
    with pytest.raises(GivenUpError):
        questions.ask("files", busy)
    assert len(asked) == 10


@pytest.mark.parametrize("seconds", [0.3, 0.0])
def test_whoever_waits_can_be_called_off(seconds):
    unwanted = threading.Event()
    threading.Timer(seconds, unwanted.set).start()
    start = time.monotonic()
    with pytest.raises(StatusError, match="429"):
        Attempts(RetryPolicy(), "it", unwanted.is_set).failed(
            StatusError(429, {"retry-after": "600"})
        )
    assert time.monotonic() - start < 10


# On the way


@pytest.fixture
def busy(serve, tmp_path, monkeypatch):
    """A hub that refuses the first requests of a kind with a status and headers; the client, and
    what it was asked.
    """

    def start(kind, times, status, headers, retry=QUICK):
        (tmp_path / "step0").mkdir()
        (tmp_path / "step0" / "pytorch_model.bin").write_bytes(b"weights" * 1000)
        repository = Repository(REPO)
        commit = repository.publish("step0", tmp_path / "step0")
        refused = []

        def refusing(host):
            real = host.respond

            def respond(self, request):
                answer = real(self, request)
                if answer.kind != kind or len(refused) >= times:
                    return answer
                refused.append(time.monotonic())
                return replace(refusal(kind, status, "slow down"), headers=headers)

            monkeypatch.setattr(host, "respond", respond)

        refusing(ContentHost)
        refusing(HubRoutes)
        hub = serve(repository)
        client = Client(retry)

        def fetch():
            files = client.files(REPO, client.branches(REPO)["step0"])
            with hold(client, REPO, commit, files, InMemory(0), Masks()) as (file,):
                return bytes(file.data)

        return hub, fetch

    return start


@pytest.mark.parametrize("kind", ["refs", "tree", "resolve", "content"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "1"},
        {"RateLimit": '"api";r=0;t=0'},
        {"RateLimit-Remaining": "0", "RateLimit-Reset": "0"},
    ],
    ids=["Retry-After", "RateLimit", "RateLimit-Reset"],
)
def test_every_kind_of_request_is_waited_for(busy, caplog, kind, headers):
    hub, fetch = busy(kind, 1, 429, headers)
    assert fetch() == b"weights" * 1000
    first, second = [record for record in hub.requests if record.kind == kind][:2]
    assert (first.status, 1 <= second.start - first.start < 5) == (429, True)
    assert "429 Too Many Requests: waiting 1 s, as the server asks" in caplog.text


def test_more_pauses_than_failures_are_borne_are_waited_for(busy):
    hub, fetch = busy("content", 5, 429, {"Retry-After": "0.6"})
    assert fetch() == b"weights" * 1000
    assert len([record for record in hub.requests if record.kind == "content"]) == 6


@pytest.mark.parametrize(("kind", "error"), [("refs", HubError), ("content", CheckpointError)])
def test_what_cannot_be_waited_for_is_one_line_at_once(busy, kind, error):
    _, fetch = busy(kind, 10**9, 429, {"Retry-After": "100000"})
    start = time.monotonic()
    with pytest.raises(error) as raised:
        fetch()
    assert time.monotonic() - start < 10
    text = str(raised.value)
    assert (
        "answers 429 Too Many Requests and asks to wait 100000 s:"
        " at most 900 s are waited for one answer" in text
    )
    assert "\n" not in text
