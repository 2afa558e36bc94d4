"""Caches as machines have them: without links, without locks, without a home, read-only, damaged;
ours and the one that all tools share.
"""

import errno
import fcntl
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download

import pythia_traj as pt
from pythia_traj.errors import ConfigError, StoreError
from pythia_traj.hub import locks, shared
from pythia_traj.hub.cache import cache_directory
from pythia_traj.hub.disk import OnDisk
from pythia_traj.hub.fetch import fetch, kept, remove
from pythia_traj.hub.listed import RemoteFile
from pythia_traj.hub.listings import Listings
from pythia_traj.hub.model import HubModel
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import publish_steps
from tests.hub.repository import Repository

REPO = "me/tiny"
COMMIT = "c" * 40
ENDPOINT = "https://hub.example"
SIZE = 1000


@pytest.fixture
def tiny(serve, suite):
    repository = Repository(REPO)
    publish_steps(repository, suite)
    return serve(repository)


def sweep(out, **settings):
    experiments = {"induction": {"length": 20, "n": 4}}
    settings = {
        "model": REPO,
        "steps": "0,2",
        "experiments": experiments,
        "device": "cpu",
        **settings,
    }
    return pt.sweep(pt.SweepConfig(out=out, **settings))


def content(number):
    return random.Random(number).randbytes(SIZE)


def listed(number):
    return RemoteFile("model.safetensors", SIZE, hashlib.sha256(content(number)).hexdigest())


def store(number, **settings):
    def fill(file, buffer):
        buffer[:] = content(number)

    with OnDisk(**settings).hold(REPO, [listed(number)], fill) as (file,):
        assert bytes(file.data) == content(number)


# The shared cache without links


def without_links(folder):
    """As it is copied to a disk that has none."""
    for path in sorted((folder / "snapshots").rglob("*")):
        if path.is_symlink():
            target = path.resolve()
            path.unlink()
            shutil.copyfile(target, path)
    shutil.rmtree(folder / "blobs")


def as_downloaded(folder):
    """With links, as most are."""


def with_blobs_too(folder):
    blobs = shutil.copytree(folder / "blobs", folder / "kept")
    without_links(folder)
    blobs.rename(folder / "blobs")


def half_and_half(folder):
    for path in sorted((folder / "snapshots").rglob("*.safetensors")):
        target = path.resolve()
        path.unlink()
        shutil.copyfile(target, path)


def with_branches_of_what_is_not_here(folder):
    without_links(folder)
    (folder / "refs" / "step4").write_text("f" * 40)
    (folder / "refs" / "odd").write_text("../../..")
    os.mkfifo(folder / "refs" / "pipe")


def with_foreign_files(folder):
    without_links(folder)
    for snapshot in (folder / "snapshots").iterdir():
        (snapshot / ".DS_Store").write_text("of a desktop")
        os.mkfifo(snapshot / "pipe.safetensors")
        (snapshot / "gone.bin").symlink_to("nowhere")
    (folder / "snapshots" / "notes.txt").write_text("of a user")


SHAPES = [
    as_downloaded,
    without_links,
    with_blobs_too,
    half_and_half,
    with_branches_of_what_is_not_here,
    with_foreign_files,
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_a_shared_cache_is_swept_offline_whatever_its_form(tiny, tmp_path, monkeypatch, shape):
    for step in (0, 2):
        snapshot_download(REPO, revision=f"step{step}", endpoint=tiny.endpoint)
    folder = shared.folder(REPO)
    shape(folder)
    tiny.reset_log()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    result = sweep(tmp_path / "run")
    assert (len(result.done), result.failed, tiny.requests) == (2, [], [])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    online = sweep(tmp_path / "online")
    assert len(online.done) == 2
    first, second = (
        pt.load(tmp_path / name, controls=True).sort_values(["step", "metric", "layer", "head"])
        for name in ("run", "online")
    )
    assert first["value"].tolist() == second["value"].tolist()


def test_what_a_copy_holds_is_not_called_what_the_hub_lists(tiny, tmp_path, monkeypatch):
    snapshot_download(REPO, revision="step0", endpoint=tiny.endpoint)
    snapshot_download(REPO, revision="main", endpoint=tiny.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("PYTHIA_TRAJ_CACHE", str(tmp_path / "other"))
    without_links(shared.folder(REPO))
    integrity = HubModel.open(REPO).checkpoint(0).integrity()
    assert integrity.verdict == "unchecked"
    assert "its files are copies, whose digests by the Hub are not known offline" in integrity.why


def test_a_copy_that_is_damaged_is_noticed_where_the_listing_is_remembered(
    tiny, tmp_path, monkeypatch
):
    model = HubModel.open(REPO)
    for step in (0, 2):
        snapshot_download(REPO, revision=f"step{step}", endpoint=tiny.endpoint)
        model.checkpoint(step).integrity()
    without_links(shared.folder(REPO))
    commit = model.checkpoint(2).commit
    damaged = shared.folder(REPO) / "snapshots" / commit / "model.safetensors"
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    result = sweep(tmp_path / "run")
    assert len(result.done) == 1
    ((_, error),) = result.failed
    assert "HF_HUB_OFFLINE is set" in error


# No locks


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def lockless(request, tmp_path, monkeypatch):
    """A disk that refuses every lock."""
    monkeypatch.setenv("PYTHIA_TRAJ_CACHE", str(tmp_path / "cache"))
    locks._note.cache_clear()

    def refuse(descriptor, operation):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_without_locks_files_are_kept_and_used_and_the_log_says_so_once(lockless, caplog):
    for number in (1, 2, 1):
        store(number)
    store(3, keep=True, budget=10 * SIZE)
    assert sum(entry.files for entry in kept()) == 3
    (line,) = [record.getMessage() for record in caplog.records]
    assert "has no locks" in line
    assert "it cannot be known whether another process uses a file, so nothing is evicted" in line
    assert remove(None).files == 3


def test_without_locks_a_budget_holds_what_fits_and_is_one_line_where_something_had_to_go(lockless):
    store(1, budget=2 * SIZE)
    store(2, budget=2 * SIZE)
    store(1, budget=2 * SIZE)
    with pytest.raises(
        StoreError, match=r"has no locks, without which nothing is evicted: set PYTHIA_TRAJ_CACHE"
    ) as one:
        store(3, budget=2 * SIZE)
    assert "\n" not in str(one.value)
    assert sum(entry.files for entry in kept()) == 2


def test_without_locks_two_writers_of_one_file_do_not_wait_for_each_other(lockless):
    def fill(file, buffer):
        buffer[:] = content(1)
        store(1)  # Another process, meanwhile.

    with OnDisk().hold(REPO, [listed(1)], fill) as (file,):
        assert bytes(file.data) == content(1)
    assert [stored.size for stored in OnDisk().files()] == [SIZE]


def test_without_locks_what_a_killed_process_left_is_in_nobodys_way(lockless):
    left = Path(os.environ["PYTHIA_TRAJ_CACHE"]) / "weights" / "me--tiny"
    store(2)
    for name in (f"{listed(1).blob}.part", f"{listed(1).blob}.{'0' * 32}.part"):
        (left / name).write_bytes(b"half")
    store(1)
    assert (remove(None).files, list(left.iterdir())) == (4, [])


def test_other_failures_of_locks_are_not_taken_for_that(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="broken"), (tmp_path / "file").open("w") as file:
        locks.lock(file.fileno(), fcntl.LOCK_EX)


# Where the cache is


def cache_in(environment, tmp_path):
    """What a process with such an environment takes for its cache, or its error; run in an empty
    folder, which stays empty.
    """
    where = tmp_path / "working"
    where.mkdir()
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            (
                "from pythia_traj.hub.cache import cache_directory\n"
                "from pythia_traj.errors import ConfigError\n"
                "try: print(cache_directory())\n"
                "except ConfigError as error: print('error:', error)"
            ),
        ],
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment},
        cwd=where,
        capture_output=True,
        text=True,
        check=True,
    )
    assert list(where.iterdir()) == []
    return said.stdout.strip()


NAMED = {
    "a tilde": ({"PYTHIA_TRAJ_CACHE": "~/cache"}, "/home/me/cache"),
    "a tilde alone": ({"PYTHIA_TRAJ_CACHE": "~", "HF_HOME": "/elsewhere"}, "/home/me"),
    "HOME": ({"PYTHIA_TRAJ_CACHE": "$HOME/cache"}, "/home/me/cache"),
    "HOME in braces": ({"PYTHIA_TRAJ_CACHE": "${HOME}/cache"}, "/home/me/cache"),
    "another variable": ({"PYTHIA_TRAJ_CACHE": "$DISK/cache", "DISK": "/disk"}, "/disk/cache"),
    "a tilde for all tools": ({"XDG_CACHE_HOME": "~/caches"}, "/home/me/caches/pythia-traj"),
    "HOME for all tools": ({"XDG_CACHE_HOME": "$HOME/caches"}, "/home/me/caches/pythia-traj"),
    "blanks around": ({"PYTHIA_TRAJ_CACHE": " /disk/cache "}, "/disk/cache"),
    "a name with blanks": ({"PYTHIA_TRAJ_CACHE": "/disk/my cache"}, "/disk/my cache"),
    "relative": ({"PYTHIA_TRAJ_CACHE": "cache"}, "{working}/cache"),
    "empty": ({"PYTHIA_TRAJ_CACHE": "  ", "XDG_CACHE_HOME": ""}, "/home/me/.cache/pythia-traj"),
    "nothing": ({}, "/home/me/.cache/pythia-traj"),
    "a user that there is not": (
        {"PYTHIA_TRAJ_CACHE": "~nobody-of-that-name/c"},
        (
            "error: PYTHIA_TRAJ_CACHE is '~nobody-of-that-name/c', and ~nobody-of-that-name is"
            " unknown: write the whole path of a directory"
        ),
    ),
    "a variable that is not set": (
        {"PYTHIA_TRAJ_CACHE": "$SCRATCH/c"},
        (
            "error: PYTHIA_TRAJ_CACHE is '$SCRATCH/c', and $SCRATCH is unknown: write the whole"
            " path of a directory"
        ),
    ),
    "a variable that is empty": (
        {"PYTHIA_TRAJ_CACHE": "$SCRATCH", "SCRATCH": ""},
        "error: PYTHIA_TRAJ_CACHE is '$SCRATCH', and $SCRATCH is unknown: write",
    ),
}


@pytest.mark.parametrize(("environment", "expected"), NAMED.values(), ids=NAMED)
def test_the_cache_is_where_a_shell_would_have_it(tmp_path, environment, expected):
    said = cache_in({"HOME": "/home/me", **environment}, tmp_path)
    expected = expected.format(working=tmp_path / "working")
    assert said.startswith(expected) if expected.startswith("error") else said == expected


THEIRS = "~/.cache/huggingface"
"""What the Hub's client makes of a user without a home."""


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (
            "",
            "/disk/hf",
            (
                "this user has no home directory to keep weights and listings in: set"
                " PYTHIA_TRAJ_CACHE to a dir"
            ),
        ),
        (
            "~/cache",
            "/disk/hf",
            (
                "PYTHIA_TRAJ_CACHE is '~/cache', and ~ is unknown: write the whole path of a"
                " directory"
            ),
        ),
        (
            "/disk/cache",
            THEIRS,
            f"{THEIRS} is not known, for this user has no home directory: set HOME or HF_HOME",
        ),
        ("/disk/cache", "/disk/hf", None),
    ],
)
def test_whoever_has_no_home_is_told_so_in_one_line(monkeypatch, ours, theirs, said):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.setattr(os.path, "expanduser", str)
    monkeypatch.setattr(constants, "HF_HOME", theirs)
    monkeypatch.setenv("PYTHIA_TRAJ_CACHE", ours)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if said is None:
        assert cache_directory() == Path(ours)
        return
    with pytest.raises(ConfigError) as error:
        cache_directory()
    assert str(error.value).startswith(said)


def test_a_cache_for_one_user_alone_is_made_with_a_strict_mask(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHIA_TRAJ_CACHE", str(tmp_path / "cache"))
    before = os.umask(0o077)
    try:
        store(1, keep=True, budget=SIZE)
        Listings(ENDPOINT, REPO).keep_branches({"main": COMMIT})
    finally:
        os.umask(before)
    assert Listings(ENDPOINT, REPO).branches() == {"main": COMMIT}
    assert {
        path.stat().st_mode & 0o077 for path in tmp_path.rglob("*") if "cache" in str(path)
    } == {0}
    assert remove(None).files == 1


def test_a_cache_that_is_a_file_is_one_line_and_listings_are_done_without(
    tmp_path, monkeypatch, cli
):
    (tmp_path / "file").write_text("of a user")
    monkeypatch.setenv("PYTHIA_TRAJ_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        StoreError, match=r"file cannot be written \(File exists\): set PYTHIA_TRAJ_CACHE"
    ):
        store(1)
    memory = Listings(ENDPOINT, REPO)
    memory.keep_branches({"main": COMMIT})
    assert memory.branches() is None
    assert cli("cache", "--remove", "all")[0] == 0
    assert (tmp_path / "file").read_text() == "of a user"


@pytest.fixture
def read_only(mount, monkeypatch):
    """A cache with a file and a listing, on a disk that can only be read."""
    mounted = mount("size=1m")
    monkeypatch.setenv("PYTHIA_TRAJ_CACHE", str(mounted / "cache"))
    store(1)
    Listings(ENDPOINT, REPO).keep_branches({"main": COMMIT})
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    return mounted


def test_what_a_read_only_cache_holds_is_used_and_the_rest_is_one_line(read_only):
    with OnDisk().hold_if_there(REPO, listed(1)) as path:
        assert path.read_bytes() == content(1)
    memory = Listings(ENDPOINT, REPO)
    memory.keep_branches({"main": "d" * 40})
    assert memory.branches() == {"main": COMMIT}
    assert [entry.files for entry in kept()] == [1]
    for change in (
        lambda: store(2),
        lambda: store(2, budget=SIZE),
        lambda: remove(None),
        lambda: remove(REPO),
    ):
        with pytest.raises(
            StoreError, match=r"cannot be written \(Read-only file system\): set PYTHIA_TRAJ_CACHE"
        ):
            change()


# What is remembered of the Hub


def sparse(path):
    with path.open("wb") as file:
        file.truncate(3 * 2**30)


def pipe(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


def holding(text):
    return lambda path: path.write_bytes(
        text if isinstance(text, bytes) else json.dumps(text).encode()
    )


DAMAGED = {
    "nothing": holding(b""),
    "half": holding(b'{"main": "'),
    "nested 100,000 deep": holding(b"[" * 10**5 + b"]" * 10**5),
    "nested as objects": holding(b'{"a":' * 10**5),
    "no text": holding(b"\xff\xfe\0\0"),
    "half of a surrogate pair": holding(b'{"\\ud800": "' + b"c" * 40 + b'"}'),
    "null": holding(None),
    "text": holding("main"),
    "a number": holding(10**30),
    "a number of 5000 digits": holding(b"9" * 5000),
    "a pipe": pipe,
    "without an end": endless,
    "3 GB of nothing": sparse,
    "a folder": Path.mkdir,
}
OF_BRANCHES = DAMAGED | {
    "a list": holding([["main", COMMIT]]),
    "a commit that is none": holding({"main": "main"}),
    "a commit that leads elsewhere": holding({"main": "../../../../etc/passwd"}),
    "a commit in upper case": holding({"main": "C" * 40}),
    "a commit with a line": holding({"main": COMMIT + "\n"}),
    "a commit that is a number": holding({"main": 10**39}),
    "a branch named twice": holding(f'{{"main": "{COMMIT}", "main": "{"d" * 40}"}}'.encode()),
    "a branch without a name": holding({"": COMMIT}),
}
OF_FILES = DAMAGED | {
    "an object": holding({"a": 1}),
    "too short": holding([["a", 1]]),
    "too long": holding([["a", 1, "a" * 40, "more"]]),
    "a size that is text": holding([["a", "1", "a" * 40]]),
    "a size that is true": holding([["a", True, "a" * 40]]),
    "a size below nothing": holding([["a", -1, "a" * 40]]),
    "a size beyond all disks": holding([["a", 2**63, "a" * 40]]),
    "a digest that leads elsewhere": holding([["a", 1, "../../a"]]),
    "a digest that is too long": holding([["a", 1, "a" * 41]]),
    "a name that leads elsewhere": holding([["../a", 1, "a" * 40]]),
    "a name that is none": holding([[None, 1, "a" * 40]]),
}


@pytest.fixture
def memory(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHIA_TRAJ_CACHE", str(tmp_path / "cache"))
    return Listings(ENDPOINT, REPO)


def remembered(tmp_path):
    (path,) = (tmp_path / "cache" / "hub").rglob("*.json")
    return path


def spoil(path, damage):
    path.unlink()
    damage(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return time.monotonic(), before


def modest(since):
    start, before = since
    return (
        time.monotonic() - start < 20
        and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10**6
    )


@pytest.mark.parametrize("damage", OF_BRANCHES.values(), ids=OF_BRANCHES)
def test_remembered_branches_that_are_damaged_are_as_good_as_none(memory, tmp_path, damage):
    memory.keep_branches({"main": COMMIT, "step0": "d" * 40})
    assert memory.branches() == {"main": COMMIT, "step0": "d" * 40}
    since = spoil(remembered(tmp_path), damage)
    assert memory.branches() is None
    assert modest(since)


@pytest.mark.parametrize("damage", OF_FILES.values(), ids=OF_FILES)
def test_remembered_files_that_are_damaged_are_as_good_as_none(memory, tmp_path, damage):
    memory.keep_files(COMMIT, [listed(1)])
    assert memory.files(COMMIT) == (listed(1),)
    since = spoil(remembered(tmp_path), damage)
    assert memory.files(COMMIT) is None
    assert modest(since)


def test_a_password_in_the_endpoint_is_no_part_of_a_folders_name(memory, tmp_path):
    Listings("https://me:hunter2-secret@hub.example/path", REPO).keep_branches({"main": COMMIT})
    names = [path.name for path in (tmp_path / "cache" / "hub").iterdir()]
    assert names == ["https-hub.example-path"]
    assert Listings("https://hub.example/path", REPO).branches() == {"main": COMMIT}


def test_a_damaged_memory_is_asked_for_anew_by_a_sweep(tiny, tmp_path):
    assert len(sweep(tmp_path / "first").done) == 2
    listings = list((tmp_path / "cache" / "hub").rglob("*.json"))
    assert len(listings) >= 3
    for path in listings:
        path.write_bytes(b"[" * 10**5)
    assert len(sweep(tmp_path / "second").done) == 2
    assert all(json.loads(path.read_bytes()) for path in listings)


def test_a_fetch_into_a_directory_that_is_none_of_ours_is_one_line(tiny, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "thesis.tex").write_text("of a user")
    with pytest.raises(StoreError, match=r"is not a cache of pythia-traj: it holds thesis\.tex"):
        fetch(HubModel.open(REPO), [0])
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["thesis.tex"]
