"""Checkpoints opened ahead: in order, never too many, errors where they belong, and nothing left
behind whoever leaves and how.
"""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

import pythia_traj as pt
from pythia_traj.checkpoint import Room, WeightFile
from pythia_traj.errors import CheckpointError, Interrupted
from pythia_traj.hub.model import HubModel
from pythia_traj.hub.retry import RetryPolicy
from pythia_traj.stream.prefetch import Prefetcher
from tests.hub.faults import Fault
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import publish_steps
from tests.hub.repository import Repository
from tests.support import publish, random_model

STEPS = (0, 1, 2, 4, 8, 16)


@dataclass
class Staging:
    """Where the fake's checkpoints are put."""

    ahead: int
    medium: str = "network"
    stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self):
        self.stopped.set()


class Checkpoints:
    """A published model in memory, which says what is open at which moment."""

    def __init__(self, seconds=0.0, damaged=(), limit=None):
        self.seconds, self.damaged, self.limit = seconds, damaged, limit
        self.lock = threading.Lock()
        self.opened, self.closed, self.stagings = [], [], []
        self.open_now = self.most = 0

    def staging(self, room, steps):
        self.stagings.append(
            Staging(room.prefetch if self.limit is None else min(room.prefetch, self.limit))
        )
        return self.stagings[-1]

    def checkpoint(self, step):
        return OneOf(self, step)


@dataclass(frozen=True)
class OneOf:
    published: Checkpoints
    step: int

    @contextmanager
    def open(self, staging):
        published = self.published
        with published.lock:
            published.opened.append(self.step)
            published.open_now += 1
            published.most = max(published.most, published.open_now)
        try:
            if staging.stopped.wait(published.seconds):
                raise CheckpointError("stopped")
            if self.step in published.damaged:
                raise CheckpointError(f"step {self.step} is damaged")
            yield [WeightFile("model.safetensors", memoryview(b"%d" % self.step))]
        finally:
            with published.lock:
                published.open_now -= 1
                published.closed.append(self.step)


def content(opened):
    (file,) = opened.files
    return int(bytes(file.data))


def read(prefetcher, published, step):
    with prefetcher.open(published.checkpoint(step)) as opened:
        return content(opened)


def settle(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.002)


def threads_left():
    return [
        thread.name for thread in threading.enumerate() if thread.name.startswith("pythia-traj")
    ]


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert threads_left() == []


# In turn


@pytest.mark.parametrize("ahead", [0, 1, 2, 10])
def test_checkpoints_come_in_order_and_never_more_than_one_and_those_ahead(ahead):
    published = Checkpoints()
    with Prefetcher(published, STEPS, Room(prefetch=ahead)) as prefetcher:
        for i, step in enumerate(STEPS):
            with prefetcher.open(published.checkpoint(step)) as opened:
                assert content(opened) == step
                expected = min(i + 1 + ahead, len(STEPS))
                settle(lambda expected=expected: len(published.opened) == expected)
                time.sleep(0.01)
                assert published.opened == list(STEPS[:expected])
            assert opened.files == ()
    assert published.opened == list(STEPS)
    assert sorted(published.closed) == sorted(STEPS)
    assert published.most == min(1 + ahead, len(STEPS))


def test_a_room_that_is_smaller_than_asked_for_limits_how_many_are_open():
    published = Checkpoints(limit=1)
    with Prefetcher(published, STEPS, Room(prefetch=5)) as prefetcher:
        for step in STEPS:
            with prefetcher.open(published.checkpoint(step)):
                time.sleep(0.01)
    assert published.most == 2


def test_nothing_is_opened_before_the_first_is_asked_for():
    published = Checkpoints()
    with Prefetcher(published, STEPS, Room()):
        time.sleep(0.02)
        assert threads_left() == []
    assert published.opened == []


def test_a_step_that_is_listed_several_times_is_opened_once():
    published = Checkpoints()
    with Prefetcher(published, [0, 0, 1, 1, 0], Room()) as prefetcher:
        assert [read(prefetcher, published, step) for step in (0, 1)] == [0, 1]
    assert published.opened == [0, 1]


def test_the_next_arrives_while_one_is_worked_on():
    published = Checkpoints(seconds=0.1)
    waited = []
    with Prefetcher(published, STEPS[:4], Room(prefetch=1)) as prefetcher:
        for step in STEPS[:4]:
            with prefetcher.open(published.checkpoint(step)) as opened:
                waited.append(opened.waited)
                assert opened.seconds >= 0.1
                assert (opened.bytes, opened.medium) == (len(str(step)), "network")
                time.sleep(0.15)
    assert waited[0] >= 0.1
    assert max(waited[1:]) < 0.05


def test_whoever_watches_is_told_what_is_waited_for_only_when_it_is():
    published, said = Checkpoints(seconds=0.05), []
    with Prefetcher(published, [0, 1], Room(), said.append) as prefetcher:
        read(prefetcher, published, 0)
        settle(lambda: published.opened == [0, 1])
        time.sleep(0.1)
        read(prefetcher, published, 1)
    assert said == ["step 0: waiting for the network"]


# Errors


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_error_belongs_to_its_step_and_the_next_go_on(ahead):
    published = Checkpoints(damaged=(1, 2, 16))
    got = {}
    with Prefetcher(published, STEPS, Room(prefetch=ahead)) as prefetcher:
        for step in STEPS:
            try:
                got[step] = read(prefetcher, published, step)
            except CheckpointError as error:
                got[step] = str(error)
    assert got == {
        step: f"step {step} is damaged" if step in published.damaged else step for step in STEPS
    }
    assert published.most <= 1 + ahead
    assert published.open_now == 0


@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize("left", [RuntimeError, KeyboardInterrupt, lambda: Interrupted(15)])
def test_what_is_raised_while_a_checkpoint_is_used_lets_go_of_it_and_of_those_ahead(ahead, left):
    published = Checkpoints()
    raised = left()
    with (
        pytest.raises(type(raised)),
        Prefetcher(published, STEPS, Room(prefetch=ahead)) as prefetcher,
        prefetcher.open(published.checkpoint(0)),
    ):
        raise raised
    assert published.open_now == 0


def test_an_error_in_the_use_of_one_step_does_not_take_the_place_of_another():
    published = Checkpoints()
    with Prefetcher(published, STEPS, Room(prefetch=1)) as prefetcher:
        for step in STEPS:
            with pytest.raises(ZeroDivisionError), prefetcher.open(published.checkpoint(step)):
                raise ZeroDivisionError
    assert published.opened == list(STEPS)
    assert published.most <= 2


# Threads that cannot be started


def refuse_threads(monkeypatch, times):
    """As a system does whose limit of processes is reached; what was refused."""
    refused, start = [], threading.Thread.start

    def refusing(thread):
        if thread.name.startswith("pythia-traj") and len(refused) < times:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    return refused


@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize("times", [1, 3, 10**9])
def test_where_no_thread_can_be_started_each_is_opened_when_it_is_asked_for(
    monkeypatch, caplog, times, ahead
):
    refused = refuse_threads(monkeypatch, times)
    published = Checkpoints()
    with Prefetcher(published, STEPS, Room(prefetch=ahead)) as prefetcher:
        for step in STEPS:
            with prefetcher.open(published.checkpoint(step)) as opened:
                assert content(opened) == step
    assert published.opened == list(STEPS)
    assert published.open_now == 0
    assert published.most <= 1 + ahead
    assert len(refused) == min(times, len(STEPS))
    (line,) = [record.getMessage() for record in caplog.records]
    assert (
        line
        == "nothing is opened ahead: the system allows no more threads (can't start new thread)"
    )


def test_errors_of_steps_opened_so_belong_to_them_too(monkeypatch):
    refuse_threads(monkeypatch, 10**9)
    published = Checkpoints(damaged=(1,))
    with Prefetcher(published, STEPS, Room(prefetch=0)) as prefetcher:
        assert read(prefetcher, published, 0) == 0
        with pytest.raises(CheckpointError, match="step 1 is damaged"):
            read(prefetcher, published, 1)
        with pytest.raises(ZeroDivisionError), prefetcher.open(published.checkpoint(2)):
            raise ZeroDivisionError
        assert [read(prefetcher, published, step) for step in (8, 4)] == [8, 4]
    assert published.open_now == 0


# Out of turn


@pytest.mark.parametrize("ahead", [0, 1, 2, 10])
def test_steps_that_are_passed_over_are_let_go(ahead):
    published = Checkpoints()
    with Prefetcher(published, STEPS, Room(prefetch=ahead)) as prefetcher:
        assert read(prefetcher, published, 0) == 0
        settle(lambda: len(published.opened) >= min(2, 1 + ahead))
        assert read(prefetcher, published, 8) == 8
        settle(lambda: {1, 2, 4} & set(published.opened) <= set(published.closed))
        assert read(prefetcher, published, 16) == 16
    assert published.most <= 1 + ahead
    assert published.open_now == 0


def test_a_step_that_is_passed_over_while_it_arrives_is_let_go():
    published = Checkpoints(seconds=0.1)
    with Prefetcher(published, STEPS, Room(prefetch=1)) as prefetcher:
        read(prefetcher, published, 0)
        settle(lambda: published.opened == [0, 1])
        assert read(prefetcher, published, 16) == 16
        assert published.opened == [0, 1, 16]


def test_steps_out_of_turn_are_opened_when_they_are_asked_for():
    published = Checkpoints()
    with Prefetcher(published, (0, 1, 2, 4), Room(prefetch=1)) as prefetcher:
        asked = [0, 2, 1, 0, 4, 77, 2, 4]
        assert [read(prefetcher, published, step) for step in asked] == asked
    assert published.open_now == 0


def test_a_step_that_is_open_can_be_opened_a_second_time():
    published = Checkpoints()
    with (
        Prefetcher(published, STEPS, Room(prefetch=0)) as prefetcher,
        prefetcher.open(published.checkpoint(0)) as one,
        prefetcher.open(published.checkpoint(0)) as other,
    ):
        assert content(one) == content(other) == 0


@pytest.mark.parametrize("ahead", [0, 2])
def test_references_opened_aside_do_not_disturb_the_order(ahead):
    published = Checkpoints()
    with Prefetcher(published, STEPS, Room(prefetch=ahead)) as prefetcher:
        for step in STEPS:
            with (
                prefetcher.open(published.checkpoint(step)) as opened,
                prefetcher.open_aside(published.checkpoint(STEPS[-1])) as reference,
            ):
                assert (content(opened), content(reference)) == (step, STEPS[-1])
                assert reference.waited == reference.seconds
    in_turn = published.opened.copy()
    for _ in STEPS:
        in_turn.remove(STEPS[-1])
    assert in_turn == list(STEPS)
    assert published.most <= 1 + ahead + 1
    assert len(published.stagings) == 2
    assert all(staging.stopped.is_set() for staging in published.stagings)


def test_a_damaged_reference_fails_where_it_is_asked_for():
    published = Checkpoints(damaged=(16,))
    with Prefetcher(published, STEPS, Room()) as prefetcher:
        with (
            pytest.raises(CheckpointError, match="step 16 is damaged"),
            prefetcher.open_aside(published.checkpoint(16)),
        ):
            pass
        assert read(prefetcher, published, 0) == 0


@pytest.mark.parametrize("seed", range(25))
def test_whatever_is_asked_for_in_whatever_order_is_had_and_let_go(seed):
    dice = random.Random(seed)
    ahead = dice.randrange(4)
    steps = list(range(12))
    published = Checkpoints(seconds=dice.choice([0, 0.001, 0.003]), damaged=dice.sample(steps, 3))
    with Prefetcher(published, steps, Room(prefetch=ahead)) as prefetcher:
        for _ in range(30):
            step = dice.choice([*steps, 99])
            opener = dice.choice([prefetcher.open, prefetcher.open, prefetcher.open_aside])
            try:
                with opener(published.checkpoint(step)) as opened:
                    assert content(opened) == step
                    time.sleep(dice.choice([0, 0.002]))
            except CheckpointError:
                assert step in published.damaged
    # The one that was asked for out of turn may be open beside those ahead.
    assert published.most <= 1 + ahead + 1
    assert published.open_now == 0


# Leaving early


def test_leaving_while_the_next_arrives_stops_it():
    published = Checkpoints(seconds=60)
    published.seconds = 0.01
    start = time.monotonic()
    with Prefetcher(published, STEPS, Room(prefetch=1)) as prefetcher:
        read(prefetcher, published, 0)
        published.seconds = 60
        settle(lambda: len(published.opened) >= 3)
    assert time.monotonic() - start < 2
    assert published.open_now == 0


def test_leaving_while_one_is_waited_for_stops_it():
    """As a signal does that comes while the main thread waits."""
    published = Checkpoints(seconds=60)

    class Signal(BaseException):
        pass

    def told(what):
        raise Signal

    start = time.monotonic()
    with pytest.raises(Signal), Prefetcher(published, STEPS, Room(), told) as prefetcher:
        read(prefetcher, published, 0)
    assert time.monotonic() - start < 2
    assert published.open_now == 0


# From a hub


@pytest.fixture
def quick(monkeypatch):
    retry = RetryPolicy(attempts=4, first=0.01, longest=0.05, timeout=1, connect=1)
    monkeypatch.setattr("pythia_traj.hub.client.RetryPolicy", lambda: retry)


@pytest.fixture(scope="module")
def large_suite(tmp_path_factory):
    """Checkpoints of half a megabyte."""
    folder = tmp_path_factory.mktemp("large")
    for step in (0, 1, 2, 4):
        publish(folder / f"step{step}", random_model(step, vocab_size=3000))
    return folder


@pytest.fixture
def hub(serve, large_suite, quick):
    repository = Repository("me/tiny")
    publish_steps(repository, large_suite)
    return serve(repository)


def weights_asked_for(hub, repository="me/tiny"):
    """When each step's weights were asked of the content host, by step."""
    published = hub.repositories[repository]
    steps = {
        published.commits[commit]["model.safetensors"].sha256: int(branch[4:])
        for branch, commit in published.branches.items()
        if branch != "main"
    }
    return {
        steps[record.path.split("/")[3]]: record
        for record in hub.requests
        if record.kind == "content"
    }


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_leaving_a_loop_ends_a_slow_transfer_within_two_seconds(hub, prefetch):
    size = HubModel.open("me/tiny").checkpoint(0).listed()[-1].size
    hub.bytes_per_second = 2 * size
    loop = pt.checkpoints("me/tiny", device="cpu", prefetch=prefetch)
    for ckpt in loop:
        assert ckpt.step == 0
        hub.bytes_per_second = size / 60
        time.sleep(0.2)
        if prefetch:
            assert any(name.startswith("pythia-traj-fetch") for name in threads_left()), (
                "nothing is on its way"
            )
        break
    start = time.monotonic()
    loop.close()
    assert time.monotonic() - start < 2
    assert threads_left() == []


@pytest.mark.parametrize("raised", [KeyboardInterrupt, Interrupted(2), ValueError("mine")])
def test_what_is_raised_in_a_loop_comes_out_of_it_at_once(hub, raised):
    start = time.monotonic()
    with pytest.raises(type(raised) if isinstance(raised, BaseException) else raised):
        for _ckpt in pt.checkpoints("me/tiny", device="cpu"):
            hub.bytes_per_second = 1000
            time.sleep(0.1)
            raise raised
    assert time.monotonic() - start < 3
    assert threads_left() == []


def test_the_next_checkpoint_is_on_its_way_while_one_is_worked_on(hub):
    hub.latency = 0.02
    worked = {}
    for ckpt in pt.checkpoints("me/tiny", device="cpu", prefetch=1):
        time.sleep(0.3)
        worked[ckpt.step] = time.time()
    asked = weights_asked_for(hub)
    for step, after in ((0, 1), (1, 2), (2, 4)):
        assert asked[after].start + asked[after].seconds < worked[step], (
            f"step {after} came after the work on {step}"
        )


def test_without_prefetching_a_checkpoint_is_asked_for_when_the_last_one_is_let_go(hub):
    worked = {}
    for ckpt in pt.checkpoints("me/tiny", device="cpu", prefetch=0):
        time.sleep(0.1)
        worked[ckpt.step] = time.time()
    asked = weights_asked_for(hub)
    for step, after in ((0, 1), (1, 2), (2, 4)):
        assert asked[after].start > worked[step]


def test_no_more_checkpoints_are_asked_for_than_there_is_room_for(hub):
    for ckpt in pt.checkpoints("me/tiny", device="cpu", prefetch=1):
        time.sleep(0.1)
        assert len(weights_asked_for(hub)) <= {0: 2, 1: 3, 2: 4, 4: 4}[ckpt.step]


def test_a_revision_that_cannot_be_had_fails_its_step_of_a_sweep_and_no_other(hub, tmp_path):
    commit = hub.repositories["me/tiny"].branches["step1"]
    sha256 = hub.repositories["me/tiny"].commits[commit]["model.safetensors"].sha256
    hub.faults.add(Fault("500", where=sha256, times=10**9))
    experiments = {"induction": {"length": 20, "n": 2}}
    result = pt.sweep(
        pt.SweepConfig(
            model="me/tiny",
            steps="all",
            experiments=experiments,
            out=tmp_path / "run",
            device="cpu",
        )
    )
    assert {unit.step for unit in result.done} == {0, 2, 4}
    ((unit, error),) = result.failed
    assert unit.step == 1
    assert "model.safetensors at commit" in error
    assert "500 Internal Server Error" in error


def test_what_goes_by_disk_is_not_refused_because_memory_is_short(hub, tmp_path, monkeypatch):
    class Short:
        available = 1000

    monkeypatch.setattr("pythia_traj.hub.staging.psutil.virtual_memory", lambda: Short)
    model = HubModel.open("me/tiny")
    with Prefetcher(model, model.steps, Room(disk_budget=10**9)) as prefetcher:
        for step in model.steps:
            with prefetcher.open(model.checkpoint(step)) as opened:
                assert opened.bytes > 100_000


def test_a_transfer_that_can_start_no_thread_fails_its_step_alone(hub, tmp_path, monkeypatch):
    model = HubModel.open("me/tiny")
    model.checkpoint(0).weights()
    submit = ThreadPoolExecutor.submit

    def refusing(pool, work, *arguments):
        if pool._thread_name_prefix == "pythia-traj-fetch":
            raise RuntimeError("can't start new thread")
        return submit(pool, work, *arguments)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refusing)
    with (
        pytest.raises(
            CheckpointError,
            match=r"the system allows no more threads \(can't start new thread\): end other",
        ),
        model.checkpoint(0).open(model.staging(Room(), [0])),
    ):
        pass
