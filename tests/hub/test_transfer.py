"""Bytes on their way: right ones only, several ranges at a time, and through everything that can go
wrong on a network.
"""

import itertools
import logging
import random
import re
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace

import huggingface_hub
import pytest

from pythia_traj.errors import CheckpointError
from pythia_traj.hub import masks, stored, transfer
from pythia_traj.hub.client import Client
from pythia_traj.hub.disk import OnDisk
from pythia_traj.hub.masks import Masks, fetch_file
from pythia_traj.hub.retry import RetryPolicy
from pythia_traj.hub.staging import InMemory
from pythia_traj.hub.transfer import CONNECTIONS, METER, Meter, Source, Transfer
from pythia_traj.hub.weights import hold
from pythia_traj.suites.buffers import anonymous
from tests.hub.content import ContentHost
from tests.hub.faults import Fault
from tests.hub.fixtures import online as online
from tests.hub.fixtures import point_to
from tests.hub.fixtures import serve as serve
from tests.hub.repository import Repository
from tests.hub.server import Hub

REPO = "me/files"
PIECE = 10_000
QUICK = RetryPolicy(attempts=4, first=0.01, longest=0.05, timeout=0.5, connect=1)
ALWAYS = 10**9


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(transfer, "SEGMENT", PIECE)
    monkeypatch.setattr(masks, "SEGMENT", PIECE)


@dataclass
class Published:
    """One file on a hub, and what is needed to fetch it."""

    hub: Hub
    content: bytes
    source: Source

    def fetch(self) -> bytes:
        """The file by one transfer, or b"" where it is not what was listed."""
        buffer = anonymous(len(self.content))
        return bytes(buffer) if Transfer(self.source, buffer).complete([(0, len(buffer))]) else b""

    def hold(self, staging):
        """As a checkpoint's only weight file."""
        source = self.source
        return hold(source.client, source.repo, source.commit, [source.file], staging, Masks())

    @property
    def gets(self):
        """What the content host was asked, in order."""
        return [record for record in self.hub.requests if record.kind == "content"]

    @property
    def addresses(self):
        return [record for record in self.hub.requests if record.kind == "resolve"]


@pytest.fixture
def published(serve, tmp_path):
    def publish(size, name="pytorch_model.bin", retry=QUICK, **options):
        content = random.Random(size).randbytes(size)
        (tmp_path / "files").mkdir()
        (tmp_path / "files" / name).write_bytes(content)
        repository = Repository(REPO)
        commit = repository.publish("step0", tmp_path / "files")
        hub = serve(repository, **options)
        client = Client(retry)
        (file,) = client.files(REPO, commit)
        hub.reset_log()
        return Published(hub, content, Source(client, REPO, commit, file))

    return publish


def ranges(records):
    return [record.range for record in records]


def at_once(records):
    """The most answers that were on their way at any moment."""
    return max(
        sum(other.start <= record.start < other.start + other.seconds for other in records)
        for record in records
    )


def eventually(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def threads_of_transfers():
    return [
        thread.name for thread in threading.enumerate() if thread.name.startswith("pythia-traj")
    ]


# What arrives


@pytest.mark.parametrize(
    "size",
    [1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 4 * PIECE - 1, 4 * PIECE + 1, 13 * PIECE + 7],
)
def test_the_bytes_are_right_around_the_borders_of_pieces(published, size):
    remote = published(size)
    assert remote.fetch() == remote.content
    assert sorted(ranges(remote.gets), key=lambda span: int(re.search(r"\d+", span)[0])) == [
        f"bytes={start}-{min(start + PIECE, size) - 1}" for start in range(0, size, PIECE)
    ]
    assert len(remote.addresses) == 1


def test_spans_are_fetched_and_what_lies_between_them_is_left_alone(published):
    remote = published(5 * PIECE)
    buffer = anonymous(5 * PIECE)
    buffer[:] = b"\xaa" * len(buffer)
    Transfer(remote.source, buffer).fetch([(3, 5), (2 * PIECE - 1, 4 * PIECE + 1)])
    expected = bytearray(b"\xaa" * len(buffer))
    for start, end in ((3, 5), (2 * PIECE - 1, 4 * PIECE + 1)):
        expected[start:end] = remote.content[start:end]
    assert bytes(buffer) == bytes(expected)
    assert sum(record.sent for record in remote.gets) == 2 + 2 * PIECE + 2


def test_what_was_there_before_counts_for_the_digest(published):
    remote = published(3 * PIECE)
    for there, is_right in ((remote.content, True), (bytes(3 * PIECE), False)):
        buffer = anonymous(3 * PIECE)
        buffer[PIECE : 2 * PIECE] = there[PIECE : 2 * PIECE]
        assert (
            Transfer(remote.source, buffer).complete([(0, PIECE), (2 * PIECE, 3 * PIECE)])
            is is_right
        )


def test_a_small_file_that_the_hub_itself_holds_is_known_by_its_git_blob_id(published):
    remote = published(3 * PIECE + 1, name="notes.txt")
    assert remote.source.file.sha256 is None
    assert remote.fetch() == remote.content
    assert {record.origin for record in remote.hub.requests} == {"hub"}


def test_several_ranges_are_on_their_way_at_once_and_never_more(published, monkeypatch):
    remote = published(12 * PIECE, latency=0.05)
    open_now, most, real = [], [], transfer.get

    @contextmanager
    def counted(*arguments):
        open_now.append(arguments)
        most.append(len(open_now))
        with real(*arguments) as answer:
            yield answer
        open_now.pop()

    monkeypatch.setattr(transfer, "get", counted)
    assert remote.fetch() == remote.content
    assert max(most) == CONNECTIONS
    assert at_once(remote.gets) >= CONNECTIONS


def test_the_token_goes_to_the_hub_and_never_to_the_content_host(published, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    remote = published(3 * PIECE, token="hf_right")
    remote.hub.repositories[REPO].gated = True
    remote.hub.faults.add(
        Fault("expired", where="content"), Fault("reset-in-body", where="content", skip=2)
    )
    assert remote.fetch() == remote.content
    assert all(record.authorized for record in remote.hub.requests if record.origin == "hub")
    assert not any(record.authorized for record in remote.gets)
    assert len(remote.gets) >= 5


def test_the_meter_counts_every_byte_that_arrives_once(published):
    remote = published(4 * PIECE)
    remote.hub.faults.add(Fault("reset-in-body", where="content", times=2, after=100))
    before = METER.total
    assert remote.fetch() == remote.content
    assert METER.total - before == 4 * PIECE
    assert METER.rate() > 0


def test_a_meter_shows_the_rate_of_the_last_seconds_and_remembers_no_more_of_them(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(transfer.time, "monotonic", lambda: now)
    meter = Meter()
    for _ in range(10_000):
        now += 0.01
        meter.add(5)
    assert meter.total == 50_000
    assert meter.rate() == pytest.approx(500, rel=0.1)
    assert len(meter._recent) < 1000, "what nobody will ask for is kept"
    now += 60
    assert meter.rate() == 0


# Servers that do not do what was asked for


@pytest.mark.parametrize("times", [1, ALWAYS])
def test_a_server_that_ignores_ranges_gives_the_right_bytes_all_the_same(published, times, caplog):
    remote = published(5 * PIECE)
    remote.hub.faults.add(Fault("ignore-range", where="content", times=times))
    assert remote.fetch() == remote.content
    assert "the server ignores ranges" in caplog.text
    assert None in ranges(remote.gets)


def test_a_whole_file_without_ranges_begins_again_where_it_breaks_off(published):
    class WithoutRange:
        times = 2

        def take(self, request, answer):
            if request.range is not None or answer.kind != "content" or not self.times:
                return None
            self.times -= 1
            return Fault("reset-in-body", after=PIECE)

    remote = published(5 * PIECE)
    remote.hub.faults.add(Fault("ignore-range", where="content", times=ALWAYS), WithoutRange())
    assert remote.fetch() == remote.content
    assert ranges(remote.gets).count(None) == 3


def test_a_whole_file_that_arrives_for_longer_than_silence_may_last_is_not_given_up_when_it_breaks_off(  # noqa: E501
    published,
):
    retry = RetryPolicy(attempts=4, first=0.01, longest=0.05, timeout=0.3, connect=0.1, total=0.6)
    remote = published(5 * PIECE, retry=retry, bytes_per_second=5 * PIECE)
    remote.hub.faults.add(
        Fault("ignore-range", where="content", times=ALWAYS, skip=1),
        Fault("reset-in-body", where="content", after=4 * PIECE),
    )
    buffer = anonymous(5 * PIECE)
    transfer = Transfer(remote.source, buffer)
    start = time.monotonic()
    transfer._fetch_whole()
    assert time.monotonic() - start > retry.total
    assert bytes(buffer) == remote.content


def test_a_whole_file_without_ranges_is_given_up_as_well(published):
    remote = published(5 * PIECE)
    remote.hub.faults.add(
        Fault("ignore-range", where="content", times=CONNECTIONS),
        Fault("503", where="content", times=ALWAYS),
    )
    with pytest.raises(CheckpointError, match="503 Service Unavailable"), remote.hold(InMemory(0)):
        pass
    assert ranges(remote.gets).count(None) == QUICK.attempts


def misanswering(monkeypatch, times, change):
    """The content host changes its first answers to ranges."""
    honest, numbers = ContentHost.respond, itertools.count()

    def respond(self, request):
        answer = honest(self, request)
        if answer.status == 206 and next(numbers) < times:
            return change(self, request, answer)
        return answer

    monkeypatch.setattr(ContentHost, "respond", respond)


def another_range(host, request, answer):
    """Bytes beside those that were asked for, honestly announced."""
    start, stop, size = map(int, re.findall(r"\d+", answer.headers["Content-Range"]))
    start, stop = (start - 1, stop - 1) if start else (start + 1, stop)
    body = replace(answer.body, start=start, length=stop - start + 1)
    return replace(
        answer,
        body=body,
        headers={**answer.headers, "Content-Range": f"bytes {start}-{stop}/{size}"},
    )


def another_size(host, request, answer):
    """The range of a file that is not of the size that was listed."""
    span = answer.headers["Content-Range"].partition("/")[0]
    return replace(answer, headers={**answer.headers, "Content-Range": f"{span}/123456789"})


def no_range(host, request, answer):
    """Status 206 that does not say which bytes it brings."""
    return replace(
        answer,
        headers={key: value for key, value in answer.headers.items() if key != "Content-Range"},
    )


def another_file(host, request, answer):
    """The whole of something shorter, such as a proxy's error page."""
    return replace(answer, status=200, body=replace(answer.body, length=77))


@pytest.mark.parametrize("change", [another_range, another_size, no_range, another_file])
def test_an_answer_that_is_not_the_range_asked_for_is_not_trusted(
    published, monkeypatch, change, caplog
):
    misanswering(monkeypatch, 3, change)
    remote = published(5 * PIECE + 1)
    assert remote.fetch() == remote.content
    assert caplog.text.count("not what was asked for: it sent") == 3


@pytest.mark.parametrize("change", [another_range, another_size, no_range, another_file])
def test_one_that_never_is_fails_in_the_end(published, monkeypatch, change):
    misanswering(monkeypatch, ALWAYS, change)
    remote = published(5 * PIECE + 1)
    with (
        pytest.raises(
            CheckpointError, match=r"cannot be reached \(not what was asked for: it sent"
        ),
        remote.hold(InMemory(0)),
    ):
        pass
    assert len(remote.gets) <= CONNECTIONS * QUICK.attempts


# What passes


@pytest.mark.parametrize("where", ["content", "resolve"])
def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(published, where):
    remote = published(PIECE)
    remote.hub.faults.add(Fault("429", where=where, seconds=1))
    assert remote.fetch() == remote.content
    refused, again = (remote.gets if where == "content" else remote.addresses)[:2]
    assert refused.status == 429
    assert 1 <= again.start - refused.start < 2


@pytest.mark.parametrize("where", ["content", "resolve"])
@pytest.mark.parametrize("kind", ["429", "500", "503", "reset"])
def test_what_goes_wrong_before_the_first_byte_is_tried_again_with_a_line_in_the_log(
    published, kind, where, caplog
):
    remote = published(3 * PIECE)
    remote.hub.faults.add(Fault(kind, where=where, times=3))
    assert remote.fetch() == remote.content
    assert len(remote.gets) + len(remote.addresses) == 1 + 3 + 3
    lines = [record for record in caplog.records if record.name == "pythia_traj.hub.retry"]
    assert [line.levelno for line in lines] == [logging.WARNING] * 3
    assert all(
        re.search(r"me/files/.*; attempt \d of 4 in 0\.\d s$", line.getMessage()) for line in lines
    )


@pytest.mark.parametrize("after", [1, 4321, PIECE - 1])
@pytest.mark.parametrize("kind", ["reset-in-body", "truncate", "stall"])
def test_what_breaks_off_in_the_middle_goes_on_at_the_very_byte(published, kind, after, caplog):
    remote = published(PIECE)
    remote.hub.faults.add(Fault(kind, where="content", after=after, seconds=1))
    start = time.monotonic()
    assert remote.fetch() == remote.content
    assert time.monotonic() - start < 0.9
    # A stalled answer is recorded when its time is over.
    eventually(lambda: len(remote.gets) == 2)
    assert ranges(remote.gets) == [f"bytes=0-{PIECE - 1}", f"bytes={after}-{PIECE - 1}"]
    assert len([record for record in caplog.records if record.name == "pythia_traj.hub.retry"]) == 1


def test_a_connection_that_brings_nothing_is_taken_for_dead_on_the_address_too(published):
    remote = published(PIECE)
    slow = remote.hub.latency = 5.0
    threading.Timer(0.8, lambda: setattr(remote.hub, "latency", 0.0)).start()
    start = time.monotonic()
    assert remote.fetch() == remote.content
    assert time.monotonic() - start < slow


def test_progress_between_failures_resets_their_count(published):
    remote = published(PIECE)
    remote.hub.faults.add(Fault("reset-in-body", where="content", after=700, times=12))
    assert remote.fetch() == remote.content
    assert len(remote.gets) == 13 > QUICK.attempts


@pytest.mark.parametrize("times", [1, CONNECTIONS])
def test_an_address_that_expired_is_asked_for_anew_once_for_all(published, times):
    # So late that all connections have used the old address by then.
    remote = published(8 * PIECE, latency=0.1)
    remote.hub.faults.add(Fault("expired", where="content", times=times))
    assert remote.fetch() == remote.content
    assert len(remote.addresses) == 2


def test_addresses_that_last_shorter_than_the_file_takes_are_asked_for_once_each(published):
    remote = published(24 * PIECE, address_seconds=0.3, bytes_per_second=20 * PIECE)
    assert remote.fetch() == remote.content
    # 1.2 seconds in all.
    assert 3 <= len(remote.addresses) <= 8


def test_wrong_bytes_of_the_right_size_are_fetched_whole_once_more(published, caplog):
    remote = published(3 * PIECE)
    remote.hub.faults.add(Fault("corrupt", where="content", after=100))
    buffer = anonymous(3 * PIECE)
    fetch_file(remote.source, buffer, Masks())
    assert bytes(buffer) == remote.content
    assert sum(record.sent for record in remote.gets) == 2 * 3 * PIECE
    assert "its content is not what the Hub lists; fetching it once more" in caplog.text


# What does not


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
@pytest.mark.parametrize("on_disk", [False, True])
def test_what_is_always_corrupt_is_fetched_twice_and_not_kept(published, on_disk, name):
    remote = published(200_000, name=name)
    remote.hub.faults.add(Fault("corrupt", where="content", times=ALWAYS))
    staging = OnDisk() if on_disk else InMemory(0)
    with (
        pytest.raises(
            CheckpointError, match=r"me/files/\S+ at [0-9a-f]{12} is corrupt: fetched twice"
        ),
        remote.hold(staging),
    ):
        pass
    fetched = sum(record.sent for record in remote.gets)
    assert fetched <= 2 * 200_000 + (masks._HEADER if name == "model.safetensors" else 0)
    assert OnDisk().files() == []
    assert not list(stored.weights_directory().rglob("*.part"))
    remote.hub.faults.clear()
    with remote.hold(staging) as (file,):
        assert file.data == remote.content


@pytest.mark.parametrize(
    ("kind", "where", "said"),
    [
        ("429", "content", "429 Too Many Requests"),
        ("500", "content", "500 Internal Server Error"),
        ("503", "content", "503 Service Unavailable"),
        ("reset", "content", "cannot be reached"),
        ("expired", "content", "the address is not valid any more (403 Forbidden)"),
        ("429", "resolve", "answers 429 Too Many Requests for me/files: try again later"),
        ("500", "resolve", "answers 500 Internal Server Error for me/files: try again later"),
        ("503", "resolve", "answers 503 Service Unavailable for me/files: try again later"),
        ("reset", "resolve", "cannot be reached"),
    ],
)
def test_more_failures_in_a_row_than_patience_bears_are_a_sentence(published, kind, where, said):
    remote = published(8 * PIECE)
    remote.hub.faults.add(Fault(kind, where=where, times=ALWAYS))
    start = time.monotonic()
    with pytest.raises(CheckpointError, match=re.escape(said)) as error, remote.hold(InMemory(0)):
        pass
    assert time.monotonic() - start < 3
    assert str(error.value).startswith(
        f"{remote.source.file.path} at commit {remote.source.commit[:12]}: "
    )
    if where == "content":
        assert len(remote.gets) <= CONNECTIONS * QUICK.attempts
    else:
        assert len(remote.addresses) == QUICK.attempts
    assert threads_of_transfers() == []


@pytest.mark.parametrize("kind", ["truncate", "stall", "reset-in-body"])
def test_a_connection_that_always_breaks_off_without_a_byte_more_is_given_up(published, kind):
    remote = published(PIECE, retry=replace(QUICK, timeout=0.2))
    remote.hub.faults.add(Fault(kind, where="content", after=0, seconds=1, times=ALWAYS))
    start = time.monotonic()
    said = (
        r"does not answer \(4 attempts in \d s\)"
        if kind == "stall"
        else r"reached .*; given up after 4 attempts in \d s"
    )
    with pytest.raises(CheckpointError, match=said), remote.hold(InMemory(0)):
        pass
    assert time.monotonic() - start < 3
    eventually(lambda: len(remote.gets) >= QUICK.attempts)
    assert len(remote.gets) == QUICK.attempts


def test_a_hub_that_is_gone_is_given_up_after_as_many_attempts_as_patience_allows(
    published, monkeypatch, caplog
):
    remote = published(8 * PIECE)
    point_to(monkeypatch, "http://127.0.0.1:9")
    remote.source = replace(remote.source, client=Client(QUICK))
    with pytest.raises(CheckpointError, match="cannot be reached"), remote.hold(InMemory(0)):
        pass
    assert (
        len([record for record in caplog.records if "; attempt " in record.getMessage()])
        == QUICK.attempts - 1
    )


def test_a_file_that_is_not_there_any_more_is_not_asked_for_twice(published):
    remote = published(8 * PIECE)
    gone = replace(remote.source, file=replace(remote.source.file, path="gone.bin"))
    with (
        pytest.raises(CheckpointError, match=r"gone\.bin at commit .*: me/files has no such file"),
        hold(gone.client, REPO, gone.commit, [gone.file], InMemory(0), Masks()),
    ):
        pass
    assert len(remote.addresses) == 1


# Ending early


def stopped_after(remote, staging, seconds):
    """How long it takes until a fetch has ended that is stopped after so many seconds."""
    raised = []

    def fetch():
        try:
            with remote.hold(staging):
                pass
        except CheckpointError as error:
            raised.append(error)

    asking = threading.Thread(target=fetch, name="pythia-traj-asking")
    asking.start()
    time.sleep(seconds)
    assert asking.is_alive()
    start = time.monotonic()
    staging.stop()
    asking.join()
    assert len(raised) == 1
    assert threads_of_transfers() == []
    return time.monotonic() - start


PATIENT = RetryPolicy(timeout=30, first=30, longest=30)


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_transfer_can_be_stopped_while_bytes_arrive(published, on_disk):
    remote = published(100 * PIECE, retry=PATIENT, bytes_per_second=10 * PIECE)
    assert stopped_after(remote, OnDisk() if on_disk else InMemory(0), 0.3) < 1
    assert OnDisk().files() == []


@pytest.mark.parametrize("ignored", [0, CONNECTIONS], ids=["", "ranges ignored"])
def test_a_transfer_can_be_stopped_while_none_arrive(published, ignored):
    remote = published(10 * PIECE, retry=PATIENT)
    remote.hub.faults.add(
        Fault("ignore-range", where="content", times=ignored),
        Fault("stall", where="content", after=100, seconds=30, times=ALWAYS),
    )
    assert stopped_after(remote, InMemory(0), 0.3) < 1


def closing_answers(host, request, answer):
    """The server ends each connection after one answer."""
    return replace(answer, headers={**answer.headers, "Connection": "close"})


def test_a_transfer_can_be_stopped_where_the_server_ends_connections_itself(published, monkeypatch):
    misanswering(monkeypatch, ALWAYS, closing_answers)
    remote = published(10 * PIECE, retry=PATIENT)
    remote.hub.faults.add(Fault("stall", where="content", after=100, seconds=30, times=ALWAYS))
    assert stopped_after(remote, InMemory(0), 0.3) < 1


class Left(BaseException):
    """As a signal's handler raises it: no Exception."""


@pytest.mark.parametrize("kind", ["stall", "429"])
def test_what_a_signal_raises_comes_out_at_once_and_as_it_is(published, kind):
    remote = published(10 * PIECE, retry=PATIENT)
    remote.hub.faults.add(Fault(kind, where="content", after=100, seconds=60, times=ALWAYS))

    def leave(*_):
        raise Left

    before = signal.signal(signal.SIGALRM, leave)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    start = time.monotonic()
    try:
        with pytest.raises(Left):
            remote.fetch()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < 2
    assert threads_of_transfers() == []


def test_a_transfer_can_be_stopped_before_the_first_answer(published, monkeypatch):
    def late(host, request, answer):
        time.sleep(2)
        return answer

    misanswering(monkeypatch, ALWAYS, late)
    assert stopped_after(published(10 * PIECE, retry=PATIENT), InMemory(0), 0.3) < 1


def test_a_transfer_can_be_stopped_while_it_waits_for_its_next_attempt(published):
    remote = published(10 * PIECE, retry=PATIENT)
    remote.hub.faults.add(Fault("429", where="content", seconds=60, times=ALWAYS))
    assert stopped_after(remote, InMemory(0), 0.3) < 1


@pytest.mark.parametrize("place", [0, 2])
def test_one_range_that_fails_for_good_ends_the_waiting_of_the_others(
    published, monkeypatch, place
):
    """One stands still, one is asked back in a minute, one is told that there is no such range."""
    spans = [f"bytes={start}-{start + PIECE - 1}" for start in range(0, 4 * PIECE, PIECE)]
    refused, stalled, busy = spans.pop(place), spans[0], spans[1]

    class ByRange:
        def take(self, request, answer):
            if request.range == stalled:
                return Fault("stall", after=100, seconds=30)
            if request.range == busy:
                return Fault("429", seconds=60)
            return None

    def no_such_range(host, request, answer):
        time.sleep(0.3)
        return replace(answer, status=416) if request.range == refused else answer

    misanswering(monkeypatch, ALWAYS, no_such_range)
    remote = published(4 * PIECE, retry=PATIENT)
    remote.hub.faults.add(ByRange())
    start = time.monotonic()
    with (
        pytest.raises(CheckpointError, match="416 Requested Range Not Satisfiable"),
        remote.hold(InMemory(0)),
    ):
        pass
    assert time.monotonic() - start < 2
    assert threads_of_transfers() == []


def test_a_session_of_another_library_in_between_does_no_harm(published):
    remote = published(3 * PIECE)
    assert remote.fetch() == remote.content
    huggingface_hub.close_session()
    assert remote.fetch() == remote.content
    assert Counter(record.status for record in remote.gets) == {206: 6}
