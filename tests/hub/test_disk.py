"""Weights on disk: never more than the budget, never one in use removed, each fetched once, and no
trace of whoever was killed.
"""

import fcntl
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from huggingface_hub import snapshot_download

import pythia_traj as pt
from pythia_traj.checkpoint import Room
from pythia_traj.errors import CheckpointError, ConfigError, StoreError
from pythia_traj.hub import stored
from pythia_traj.hub.client import Client
from pythia_traj.hub.disk import OnDisk
from pythia_traj.hub.masks import Masks
from pythia_traj.hub.model import HubModel
from pythia_traj.hub.retry import RetryPolicy
from pythia_traj.hub.staging import InMemory
from pythia_traj.hub.weights import hold
from tests.hub.faults import Fault
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import ROOT, publish_steps
from tests.hub.repository import Repository
from tests.hub.server import Hub
from tests.support import publish, random_model

REPO = "me/large"
SIZE = 100_000
QUICK = RetryPolicy(attempts=4, first=0.01, longest=0.05, timeout=5, connect=1)
ALWAYS = 10**9


@dataclass
class Remote:
    """Files of one size on a hub, one a branch."""

    hub: Hub
    client: Client

    @property
    def repository(self):
        return self.hub.repositories[REPO]

    def file(self, step):
        commit = self.repository.branches[f"step{step}"]
        return commit, self.client.files(REPO, commit)

    @contextmanager
    def hold(self, staging, step):
        """One file's content is right for as long as it is held."""
        commit, files = self.file(step)
        with hold(self.client, REPO, commit, files, staging, Masks()) as held:
            for found in held:
                assert found.data == self.repository.commits[commit][found.name].file.read_bytes()
            yield held

    def use(self, staging, step):
        with self.hold(staging, step):
            pass

    @property
    def gets(self):
        return [record for record in self.hub.requests if record.kind == "content"]

    @property
    def sent(self):
        return sum(record.sent for record in self.gets)


@pytest.fixture
def remote(serve, tmp_path):
    """Twelve files; `pytorch_model.bin`, because they are random bytes."""
    repository = Repository(REPO)
    for step in range(12):
        folder = tmp_path / "files" / f"step{step}"
        folder.mkdir(parents=True)
        (folder / "pytorch_model.bin").write_bytes(random.Random(step).randbytes(SIZE))
        repository.publish(f"step{step}", folder)
    return Remote(serve(repository), Client(QUICK))


def kept(remote):
    """The steps whose files are here, the oldest first."""
    steps = {files[0].blob: step for step in range(12) for _, files in [remote.file(step)]}
    return [steps[stored.path.name] for stored in OnDisk().files()]


def parts():
    return list(stored.weights_directory().rglob("*.part"))


def eventually(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


# In another process


HOLD = """
import sys
from pythia_traj.hub.client import Client
from pythia_traj.hub.listed import RemoteFile
from pythia_traj.hub.masks import Masks
from pythia_traj.hub.disk import OnDisk
from pythia_traj.hub.weights import hold

repo, commit, path, size, blob, budget = sys.argv[1:]
staging = OnDisk(budget=int(budget) or None)
wanted = [RemoteFile(path, int(size), blob)]
with hold(Client(), repo, commit, wanted, staging, Masks()) as (file,):
    print("holding", len(file.data), flush=True)
    sys.stdin.read()
"""


@contextmanager
def holding_process(remote, step, tmp_path, *, budget=0):
    """Another process that fetches a file and holds it until its standard input ends."""
    commit, (file,) = remote.file(step)
    environment = {
        **os.environ,
        "HF_ENDPOINT": remote.hub.endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "hf-home"),
        "PYTHIA_TRAJ_CACHE": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-c", HOLD, REPO, commit, file.path, str(file.size), file.blob]
    command += [str(budget)]
    process = subprocess.Popen(
        command, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def said(process):
    return process.stdout.readline().split()


# The budget


def test_the_budget_is_never_exceeded_whoever_comes_and_goes(remote):
    budget = 4 * SIZE + SIZE // 2
    seen, errors, done = [], [], threading.Event()

    def watch():
        store = OnDisk()
        while not done.is_set():
            with store._locked():
                seen.append(store.files())
            time.sleep(0.001)

    def work(seed):
        dice, staging = random.Random(seed), OnDisk(budget=budget)
        try:
            for _ in range(15):
                with remote.hold(staging, dice.randrange(12)):
                    time.sleep(dice.uniform(0, 0.005))
        except BaseException as error:
            errors.append(error)

    watcher = threading.Thread(target=watch)
    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in (watcher, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    watcher.join()
    assert errors == []
    assert max(sum(stored.size for stored in files) for files in seen) == 4 * SIZE
    assert len({frozenset(stored.path.name for stored in files) for files in seen}) >= 10, (
        "nothing was seen of it"
    )
    assert parts() == []


def test_the_oldest_goes_first_and_use_makes_young(remote):
    staging = OnDisk(budget=3 * SIZE)
    for step in (0, 1, 2):
        remote.use(staging, step)
    assert kept(remote) == [0, 1, 2]
    remote.use(staging, 0)
    remote.use(InMemory(0), 1)
    assert kept(remote) == [2, 0, 1], "what another way in uses is in use too"
    remote.use(staging, 3)
    assert kept(remote) == [0, 1, 3]
    assert remote.sent == 4 * SIZE


def test_what_is_in_use_is_never_evicted_though_it_is_the_oldest(remote):
    staging = OnDisk(budget=2 * SIZE)
    with remote.hold(staging, 0):
        for step in (1, 2, 3):
            remote.use(staging, step)
            assert set(kept(remote)) == {0, step}
    remote.use(staging, 4)
    assert set(kept(remote)) == {3, 4}


def test_what_another_process_uses_is_not_evicted_nor_removed_before_it_ends(remote, tmp_path):
    staging = OnDisk(budget=2 * SIZE)
    with holding_process(remote, 0, tmp_path, budget=2 * SIZE) as process:
        assert said(process) == ["holding", str(SIZE)]
        for step in (1, 2):
            remote.use(staging, step)
        assert set(kept(remote)) == {0, 2}
        (mine,) = [
            stored for stored in staging.files() if stored.path.name == remote.file(0)[1][0].blob
        ]
        assert not staging.remove(mine.path)
        process.communicate()
    remote.use(staging, 3)
    assert set(kept(remote)) == {2, 3}


def test_who_needs_room_that_is_all_in_use_waits_until_some_is_let_go(remote):
    staging = OnDisk(budget=2 * SIZE)
    opened = threading.Event()

    def wait_for_room():
        with remote.hold(staging, 2):
            opened.set()

    with ExitStack() as both:
        for step in (0, 1):
            both.enter_context(remote.hold(staging, step))
        waiting = threading.Thread(target=wait_for_room)
        waiting.start()
        assert not opened.wait(0.4)
        assert remote.sent == 2 * SIZE, "bytes are fetched for which there is no room"
    assert opened.wait(2)
    waiting.join()


def test_waiting_for_room_can_be_stopped(remote):
    staging, raised = OnDisk(budget=SIZE), []

    def wait_for_room():
        try:
            remote.use(staging, 1)
        except CheckpointError as error:
            raised.append(str(error))

    with remote.hold(staging, 0):
        waiting = threading.Thread(target=wait_for_room)
        waiting.start()
        time.sleep(0.2)
        staging.stop()
        waiting.join(2)
    assert raised == ["stopped while waiting for room on the disk"]


def test_what_is_to_be_kept_is_never_evicted_and_a_budget_full_of_it_is_a_sentence(remote):
    staging = OnDisk(budget=2 * SIZE, keep=True)
    for step in (0, 1):
        remote.use(staging, step)
    with pytest.raises(
        StoreError,
        match=r"the disk budget of 200\.0 kB is used up by what is kept in .*: give more, or see",
    ):
        remote.use(staging, 2)
    assert kept(remote) == [0, 1]
    for step in range(5):
        remote.use(OnDisk(keep=True), step)
    assert len(kept(remote)) == 5
    assert remote.sent == 5 * SIZE


def test_what_is_kept_outlives_sweeps_with_budgets_of_their_own(remote):
    for step in (0, 1):
        remote.use(OnDisk(keep=True), step)
    staging = OnDisk(budget=SIZE)
    for step in (2, 3, 0):
        remote.use(staging, step)
    assert set(kept(remote)) == {0, 1, 3}
    assert remote.sent == 4 * SIZE


def test_what_is_being_fetched_to_be_kept_counts_as_kept(remote):
    remote.hub.latency = 0.1
    staging, ended = OnDisk(budget=2 * SIZE, keep=True), []

    def use(step):
        try:
            remote.use(staging, step)
        except StoreError as error:
            ended.append(str(error))

    threads = [threading.Thread(target=use, args=(step,)) for step in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    remote.hub.latency = 0
    assert len(kept(remote)) == 2
    assert len(ended) == 3
    # What another sweep put there counts from the moment on that it is to stay.
    other = next(step for step in range(12) if step not in kept(remote))
    remote.use(OnDisk(budget=SIZE), other)
    with pytest.raises(StoreError, match="is used up by what is kept"):
        remote.use(staging, other)
    remote.use(OnDisk(budget=3 * SIZE, keep=True), other)
    remote.use(OnDisk(budget=SIZE), next(step for step in range(12) if step not in kept(remote)))
    assert other in kept(remote)


def test_what_was_to_be_kept_and_failed_leaves_no_mark(remote):
    remote.hub.faults.add(Fault("500", where="content", times=ALWAYS))
    with pytest.raises(CheckpointError, match="500"):
        remote.use(OnDisk(keep=True), 0)
    assert [path.name for path in stored.weights_directory().rglob("*") if path.is_file()] == [
        ".lock"
    ]


@pytest.fixture
def tiny(serve, suite):
    repository = Repository("me/tiny")
    publish_steps(repository, suite)
    return serve(repository)


def sweep(out, model="me/tiny", **settings):
    experiments = {"induction": {"length": 20, "n": 2}}
    return pt.sweep(
        pt.SweepConfig(
            model=model, steps="all", experiments=experiments, out=out, device="cpu", **settings
        )
    )


def test_a_budget_that_cannot_hold_one_checkpoint_is_refused_before_any_weights_are_asked_for(
    tiny, tmp_path
):
    model = HubModel.open("me/tiny")
    (size,) = {
        file.size for step in model.steps for file in model.checkpoint(step).listed() if file.sha256
    }
    with pytest.raises(
        ConfigError, match=r"a disk budget of \S+ kB cannot hold a checkpoint of \S+ kB: give more"
    ):
        model.staging(Room(disk_budget=size - 1), model.steps)
    with pytest.raises(ConfigError, match=r"cannot hold all the checkpoints to be kept, of \S+ kB"):
        model.staging(Room(disk_budget=4 * size - 1, keep=True), model.steps)
    with pytest.raises(ConfigError, match="cannot hold a checkpoint"):
        sweep(tmp_path / "run", disk_budget=size - 1)
    assert not [record for record in tiny.requests if record.kind == "content"]
    assert not list((tmp_path / "cache").rglob("weights/*/*"))
    assert model.staging(Room(disk_budget=size), model.steps).ahead == 0
    assert model.staging(Room(disk_budget=3 * size - 1), model.steps).ahead == 1
    assert model.staging(Room(disk_budget=100 * size, prefetch=2), model.steps).ahead == 2
    assert model.staging(Room(disk_budget=4 * size, keep=True), model.steps).ahead == 2


@pytest.mark.parametrize("checkpoints", [1, 2, 4])
def test_a_sweep_within_a_budget_gives_the_rows_of_one_in_memory(tiny, tmp_path, checkpoints):
    model = HubModel.open("me/tiny")
    (size,) = {
        file.size for step in model.steps for file in model.checkpoint(step).listed() if file.sha256
    }
    assert not sweep(tmp_path / "disk", disk_budget=checkpoints * size).failed
    stored = OnDisk().files()
    assert sum(file.size for file in stored) <= checkpoints * size
    assert len(stored) == checkpoints
    assert not sweep(tmp_path / "memory").failed
    by_step = [
        pt.load(tmp_path / run, controls=True).sort_values(["step", "metric"]).value.tolist()
        for run in ("disk", "memory")
    ]
    assert by_step[0] == pytest.approx(by_step[1], abs=0, nan_ok=True)


def test_a_checkpoint_larger_than_the_budget_fails_alone(remote, tmp_path):
    (tmp_path / "bigger").mkdir()
    (tmp_path / "bigger" / "pytorch_model.bin").write_bytes(bytes(3 * SIZE))
    remote.repository.publish("step99", tmp_path / "bigger")
    staging = OnDisk(budget=2 * SIZE)
    with pytest.raises(
        CheckpointError,
        match=r"a disk budget of 200\.0 kB cannot hold this checkpoint of 300\.0 kB",
    ):
        remote.use(staging, 99)
    remote.use(staging, 0)
    assert remote.sent == SIZE


def test_checkpoints_without_weights_fail_for_that_reason_with_a_budget_too(serve, suite, tmp_path):
    for step in (0, 1):
        publish(tmp_path / "steps" / f"step{step}", random_model(step))
        (tmp_path / "steps" / f"step{step}" / "model.safetensors").unlink()
    repository = Repository("me/bare")
    publish_steps(repository, tmp_path / "steps")
    serve(repository)
    result = sweep(tmp_path / "run", "me/bare", disk_budget=10**9)
    assert len(result.failed) == 2
    assert all("holds no weights" in error for _, error in result.failed)


# Once for all


def test_two_threads_that_want_the_same_file_fetch_it_once(remote):
    remote.hub.latency = 0.1
    errors = []

    def use():
        try:
            remote.use(OnDisk(), 0)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert remote.sent == SIZE


def test_two_processes_that_want_the_same_file_fetch_it_once(remote, tmp_path):
    remote.hub.bytes_per_second = 2 * SIZE
    with holding_process(remote, 0, tmp_path) as one, holding_process(remote, 0, tmp_path) as other:
        assert said(one) == said(other) == ["holding", str(SIZE)]
    assert remote.sent == SIZE


def test_revisions_that_share_a_file_share_it_on_disk(remote, tmp_path):
    remote.repository.publish("step50", tmp_path / "files" / "step0")
    for step in (0, 50):
        remote.use(OnDisk(), step)
    assert remote.sent == SIZE


def test_one_content_under_two_names_in_one_checkpoint_is_one_file(remote, tmp_path):
    folder = tmp_path / "twice"
    folder.mkdir()
    for name in ("a.bin", "b.bin"):
        (folder / name).write_bytes(bytes(range(250)))
    remote.repository.publish("step60", folder)
    with remote.hold(OnDisk(budget=SIZE), 60) as held:
        assert [file.name for file in held] == ["a.bin", "b.bin"]
    assert len(OnDisk().files()) == 1


# Whoever was killed


def killed_in_the_middle(remote, step, tmp_path):
    """A process that fetched a file slowly and is killed half-way; returns the part it wrote."""
    remote.hub.bytes_per_second = SIZE / 2
    with holding_process(remote, step, tmp_path) as process:
        eventually(parts)
        eventually(lambda: any(parts()[0].read_bytes()))
        process.send_signal(signal.SIGKILL)
        process.wait()
    remote.hub.bytes_per_second = None
    (part,) = parts()
    assert 0 < part.read_bytes().count(0) < SIZE
    remote.hub.reset_log()
    return part


def test_what_a_killed_process_left_half_written_is_written_anew(remote, tmp_path):
    killed_in_the_middle(remote, 0, tmp_path)
    start = time.monotonic()
    remote.use(OnDisk(), 0)
    assert time.monotonic() - start < 2
    assert parts() == []
    assert remote.sent == SIZE


def test_what_a_killed_process_left_half_written_is_removed_by_the_next_who_needs_room(
    remote, tmp_path, caplog
):
    part = killed_in_the_middle(remote, 0, tmp_path)
    remote.use(OnDisk(budget=SIZE), 1)
    assert parts() == []
    assert f"{part} was left half-written: removed" in caplog.text
    assert kept(remote) == [1]


def test_who_waits_for_a_process_that_is_killed_goes_on(remote, tmp_path):
    remote.hub.bytes_per_second = SIZE / 20
    done = threading.Event()

    def use():
        remote.use(OnDisk(), 0)
        done.set()

    with holding_process(remote, 0, tmp_path) as process:
        eventually(parts)
        waiting = threading.Thread(target=use)
        waiting.start()
        assert not done.wait(0.5)
        remote.hub.bytes_per_second = None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert done.wait(3)
    waiting.join()
    assert parts() == []


# Disks that are full, or none


@pytest.fixture
def small_disk(mount):
    """A file system of 1 MB."""
    return mount("size=1m")


def test_a_full_disk_is_a_sentence_before_a_byte_is_fetched_and_leaves_nothing(
    remote, small_disk, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHIA_TRAJ_CACHE", str(small_disk / "cache"))
    folder = tmp_path / "shards"
    folder.mkdir()
    for name, size in (("a.bin", SIZE), ("b.bin", 2 * 2**20)):
        (folder / name).write_bytes(random.Random(size).randbytes(size))
    remote.repository.publish("step70", folder)
    for _ in range(2):
        with pytest.raises(
            StoreError, match=r"the disk of .* is full: \S+ MB are needed; free some, set PYTHIA_"
        ):
            remote.use(OnDisk(), 70)
        assert OnDisk().files() == []
    assert remote.sent == 0
    # Nobody holds what was given up: the shard that would have fitted can be had.
    for step in range(4):
        remote.use(OnDisk(budget=4 * SIZE), step)
    assert len(kept(remote)) == 4


def test_a_sweep_on_a_full_disk_ends_with_that_sentence(tiny, small_disk, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHIA_TRAJ_CACHE", str(small_disk / "cache"))
    (small_disk / "ballast").write_bytes(bytes(900_000))
    with pytest.raises(StoreError, match="is full"):
        sweep(tmp_path / "run", disk_budget=10**8)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pythia-traj")]


def test_a_cache_that_cannot_be_written_is_a_sentence(remote, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv("PYTHIA_TRAJ_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(
        StoreError, match=r"cannot be written \(Not a directory\): set PYTHIA_TRAJ_CACHE"
    ):
        remote.use(OnDisk(budget=SIZE), 0)
    remote.use(InMemory(0), 0)


# What lies there is not trusted


def damaged(path, damage):
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(damage(content))
    return path


DAMAGES = [
    pytest.param(lambda data: data[:777] + bytes([data[777] ^ 1]) + data[778:], id="a bit"),
    pytest.param(lambda data: data[:-1], id="the end"),
    pytest.param(lambda data: b"", id="everything"),
    pytest.param(lambda data: data + b"\0", id="more"),
]


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_that_was_kept_is_noticed_and_fetched_again(remote, caplog, damage, on_disk):
    remote.use(OnDisk(), 0)
    (stored,) = OnDisk().files()
    damaged(stored.path, damage)
    remote.use(OnDisk() if on_disk else InMemory(0), 0)
    assert f"{stored.path} is damaged: its content is not what the Hub lists" in caplog.text
    assert remote.sent == 2 * SIZE
    assert kept(remote) == ([0] if on_disk else []), "the damaged file is still there"


def test_a_damaged_file_that_another_process_uses_is_not_handed_out(remote, tmp_path):
    with holding_process(remote, 0, tmp_path) as process:
        said(process)
        (stored,) = OnDisk().files()
        damaged(stored.path, lambda data: bytes(len(data)))
        with pytest.raises(
            CheckpointError, match="is damaged and in use by another process: end that one first"
        ):
            remote.use(OnDisk(), 0)
        remote.use(InMemory(0), 0)
        process.communicate()
    remote.use(OnDisk(), 0)


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize("damage", [None, *DAMAGES])
def test_the_hubs_cache_is_used_where_it_is_right_and_never_touched(
    remote, caplog, damage, on_disk
):
    commit, (file,) = remote.file(0)
    snapshot_download(REPO, revision=commit, endpoint=remote.hub.endpoint)
    path = remote.client.cached_blob(REPO, file.blob)
    if damage is not None:
        damaged(path, damage)
    remote.hub.reset_log()
    before = path.read_bytes(), path.stat().st_mtime_ns
    remote.use(OnDisk() if on_disk else InMemory(0), 0)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert remote.sent == (0 if damage is None else SIZE)
    assert ("is damaged: its content is not what the Hub lists" in caplog.text) == (
        damage is not None
    )


def test_an_interrupted_or_failed_download_leaves_no_file(remote):
    class Left(BaseException):
        pass

    staging = OnDisk()
    commit, files = remote.file(0)

    def leave(file, buffer):
        buffer[:100] = bytes(100)
        raise Left

    with pytest.raises(Left), staging.hold(REPO, files, leave):
        pass
    remote.hub.faults.add(Fault("500", where="content", times=ALWAYS))
    with pytest.raises(CheckpointError, match="500"):
        remote.use(staging, 0)
    assert staging.files() == []


def test_what_fails_while_it_is_used_stays_for_the_next(remote):
    with pytest.raises(ZeroDivisionError), remote.hold(OnDisk(), 0):
        raise ZeroDivisionError
    remote.use(OnDisk(), 0)
    assert remote.sent == SIZE


def test_an_empty_weight_file_is_a_sentence(remote, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "pytorch_model.bin").touch()
    remote.repository.publish("step80", tmp_path / "empty")
    for staging in (OnDisk(), InMemory(0)):
        with pytest.raises(
            CheckpointError, match=r"pytorch_model\.bin of me/large at commit \S+ is empty"
        ):
            remote.use(staging, 80)


def test_a_file_that_was_replaced_while_it_was_opened_is_not_taken_for_the_new_one(
    tmp_path, monkeypatch
):
    path, real = tmp_path / "blob", fcntl.flock
    path.write_bytes(b"old")

    def late(descriptor, operation):
        path.unlink()
        path.write_bytes(b"new")
        real(descriptor, operation)

    monkeypatch.setattr(stored.fcntl, "flock", late)
    assert stored.use(path) is None
