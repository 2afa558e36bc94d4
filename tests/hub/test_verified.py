"""A weight file is hashed once in a process, and again when it is another file."""

import hashlib
import os
import random
import shutil
import time
from collections import Counter

import pytest
from huggingface_hub import constants, snapshot_download

import pythia_traj as pt
from pythia_traj.hub import shared, verified
from pythia_traj.hub.disk import OnDisk
from pythia_traj.hub.listed import RemoteFile
from pythia_traj.hub.verified import map_verified, remember_written, sha256_of
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import publish_steps
from tests.hub.repository import Repository

EXPERIMENTS = {"induction": {"length": 20, "n": 4}, "norms": {"use": "weights"}}


@pytest.fixture
def hashed(monkeypatch):
    """How often each content was hashed whole, by its sha256."""
    counts = Counter()
    real = hashlib.sha256

    class Counted:
        def __init__(self, data=b"", **settings):
            self._hash = real(data, **settings)

        def __getattr__(self, name):
            return getattr(self._hash, name)

        def hexdigest(self):
            found = self._hash.hexdigest()
            counts[found] += 1
            return found

    monkeypatch.setattr(hashlib, "sha256", Counted)
    return counts


@pytest.fixture
def anew(monkeypatch):
    """As in a process that has hashed nothing yet, when it is called."""

    def forget():
        monkeypatch.setattr(verified, "_DIGESTS", {})

    forget()
    return forget


def digests(suite, steps):
    files = [suite / f"step{step}" / "model.safetensors" for step in steps]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def sweep(out, model="me/tiny", **settings):
    """Two steps, two experiments; one of them compares with the first step's weights."""
    config = pt.SweepConfig(
        model=str(model), steps="0,2", experiments=EXPERIMENTS, out=out, device="cpu", **settings
    )
    result = pt.sweep(config)
    assert (len(result.done), len(result.failed)) == (4, 0)


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize("settings", [{"keep": True}, {"disk_budget": "1GB"}, {}], ids=str)
def test_a_kept_file_is_hashed_once(serve, suite, tmp_path, hashed, anew, settings):
    repository = Repository("me/tiny")
    publish_steps(repository, suite)
    serve(repository)
    files = digests(suite, (0, 2))
    hashed.clear()
    sweep(tmp_path / "fetched", keep=True)
    assert [hashed[file] for file in files] == [1, 1], "while it arrived"
    sweep(tmp_path / "again", **settings)
    assert [hashed[file] for file in files] == [1, 1], "it was known"
    anew()
    sweep(tmp_path / "later", **settings)
    assert [hashed[file] for file in files] == [2, 2], "by a process that did not fetch it"
    sweep(tmp_path / "later still", **settings)
    assert [hashed[file] for file in files] == [2, 2]


def test_the_weights_of_a_directory_are_hashed_by_nobody(suite, tmp_path, hashed):
    files = digests(suite, (0, 2))
    hashed.clear()
    sweep(tmp_path / "run", suite)
    assert [hashed[file] for file in files] == [0, 0]


@pytest.mark.usefixtures("online")
def test_a_file_of_another_tools_cache_without_links_is_hashed_once(
    serve, suite, tmp_path, hashed, anew, monkeypatch
):
    repository = Repository("me/tiny")
    publish_steps(repository, suite)
    serve(repository)
    for step in (0, 2):
        snapshot_download("me/tiny", revision=f"step{step}")
    an_hour_ago = time.time() - 3600
    for link in sorted((shared.folder("me/tiny") / "snapshots").rglob("*.*")):
        shutil.copyfile(link.resolve(), copy := link.with_name("copy"))
        copy.replace(link)
        os.utime(link, (an_hour_ago, an_hour_ago))
    shutil.rmtree(shared.folder("me/tiny") / "blobs")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    files = digests(suite, (0, 2))
    hashed.clear()
    sweep(tmp_path / "run")
    assert [hashed[file] for file in files] == [1, 1]


# One file

SIZE = 1000


@pytest.fixture
def file(tmp_path):
    """A file that was written a while ago, and how it is listed."""
    path, content = tmp_path / "file.bin", random.Random(0).randbytes(SIZE)
    path.write_bytes(content)
    an_hour_ago = time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))
    return path, RemoteFile("file.bin", SIZE, hashlib.sha256(content).hexdigest())


def test_what_did_not_change_is_hashed_once(file, hashed, anew):
    path, listed = file
    for _ in range(3):
        assert map_verified(path, listed) == path.read_bytes()
        assert sha256_of(path) == listed.blob
    assert hashed == {listed.blob: 1}
    anew()
    sha256_of(path)
    assert map_verified(path, listed) is not None
    assert hashed == {listed.blob: 2}


def test_a_file_that_is_not_what_is_listed_never_becomes_it(file, anew):
    path, listed = file
    other = RemoteFile("file.bin", SIZE, "0" * 64)
    for one, is_it in ((other, False), (listed, True), (other, False)):
        assert (map_verified(path, one) is not None) == is_it
    assert map_verified(path, RemoteFile("file.bin", SIZE + 1, listed.blob)) is None


def test_git_blobs_and_large_files_are_told_apart(file, hashed, anew):
    path, listed = file
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % SIZE + content, usedforsecurity=False).hexdigest()
    for _ in range(2):
        assert map_verified(path, listed) is not None
        assert map_verified(path, RemoteFile("file.bin", SIZE, blob)) is not None
        assert map_verified(path, RemoteFile("file.bin", SIZE, "0" * 40)) is None


def in_place(path):
    with path.open("r+b") as file:
        file.write(b"\0")


def replaced(path):
    """Another file of the same size and time."""
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(bytes(SIZE))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def cut(path):
    os.truncate(path, SIZE - 1)


@pytest.mark.parametrize("change", [in_place, replaced, cut])
def test_a_file_that_was_changed_is_noticed(file, anew, change):
    path, listed = file
    assert map_verified(path, listed) is not None
    change(path)
    assert map_verified(path, listed) is None


def test_a_change_right_after_a_file_was_written_is_noticed_however_coarse_the_clock(
    file, anew, monkeypatch
):
    path, listed = file
    content = path.read_bytes()
    path.write_bytes(content)
    now = path.stat().st_mtime_ns
    assert map_verified(path, listed) is not None
    in_place(path)
    os.utime(path, ns=(now, now))  # As a disk that counts in seconds.
    assert map_verified(path, listed) is None
    path.write_bytes(content)
    with path.open("r+b") as written:
        remember_written(written.fileno(), listed)
    in_place(path)
    os.utime(path, ns=(now, now))
    assert map_verified(path, listed) is None


def test_what_was_written_and_checked_is_not_hashed_and_looks_used(file, hashed, anew):
    path, listed = file
    with path.open("r+b") as written:
        remember_written(written.fileno(), listed)
    assert map_verified(path, listed) is not None
    assert hashed == {}
    assert path.stat().st_atime > time.time() - 60


@pytest.mark.usefixtures("online")
def test_a_kept_file_that_is_damaged_in_the_same_process_is_fetched_again(
    serve, suite, tmp_path, anew
):
    repository = Repository("me/tiny")
    publish_steps(repository, suite)
    hub = serve(repository)
    sweep(tmp_path / "run", keep=True)
    (damaged, _) = OnDisk().files()
    in_place(damaged.path)
    hub.reset_log()
    sweep(tmp_path / "again", keep=True)
    assert [record.kind for record in hub.requests if record.kind == "content"] == ["content"]
    assert sha256_of(damaged.path) == damaged.path.name
