"""Configs and tokenizers: resumed where they broke off, put where the Hub's client and other tools
find them.
"""

import random
import time

import pytest
from huggingface_hub import constants, hf_hub_download, scan_cache_dir

from pythia_traj.errors import CheckpointError, StoreError
from pythia_traj.hub.client import Client
from pythia_traj.hub.listed import RemoteFile
from pythia_traj.hub.repository import Repository as Repo
from pythia_traj.hub.retry import RetryPolicy
from tests.hub.faults import Fault
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.repository import Repository

REPO, NAME = "me/tiny", "tokenizer.json"
QUICK = RetryPolicy(attempts=4, first=0.01, longest=0.05, timeout=0.3, connect=0.3)
CONTENT = random.Random(7).randbytes(300_000)
ALWAYS = 10**9


@pytest.fixture
def publish(serve, tmp_path):
    """Starts a hub with one small file; returns it, the file's commit and the file as listed."""

    def start(**options):
        (tmp_path / "files").mkdir()
        (tmp_path / "files" / NAME).write_bytes(CONTENT)
        repository = Repository(REPO, **options)
        commit = repository.publish("step0", tmp_path / "files")
        blob = repository.commits[commit][NAME]
        return serve(repository), commit, RemoteFile(NAME, blob.size, blob.etag)

    return start


def asked(hub):
    return [(record.method, record.kind, record.range) for record in hub.requests]


@pytest.mark.parametrize("threshold", [10**9, 1], ids=["git", "lfs"])
def test_a_file_that_was_fetched_is_one_that_the_client_has_in_its_cache(
    publish, monkeypatch, threshold
):
    hub, commit, file = publish(lfs_threshold=threshold)
    path = Client(QUICK).download(REPO, commit, file)
    assert path.read_bytes() == CONTENT
    kind = "content" if threshold == 1 else "resolve"
    assert asked(hub) == [("HEAD", "resolve", None), ("GET", kind, None)]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hf_hub_download(REPO, NAME, revision=commit) == str(path)
    (cached,) = scan_cache_dir(constants.HF_HUB_CACHE).repos
    assert scan_cache_dir(constants.HF_HUB_CACHE).warnings == []
    assert (cached.repo_id, cached.nb_files, cached.size_on_disk) == (REPO, 1, len(CONTENT))
    assert Client(QUICK).cached_blob(REPO, path.resolve().name) is not None
    assert Repo(REPO, refresh=False).fetch(commit, file) == path


def test_it_is_the_same_file_as_the_client_would_have_put_there(publish, tmp_path):
    _, commit, file = publish()
    ours = Client(QUICK).download(REPO, commit, file)
    theirs = hf_hub_download(REPO, NAME, revision=commit, cache_dir=tmp_path / "other")
    assert ours.readlink() == type(ours)(theirs).readlink()
    assert str(ours.relative_to(constants.HF_HUB_CACHE)) == str(
        type(ours)(theirs).relative_to(tmp_path / "other")
    )


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("damage", [b"damaged", CONTENT + b"more", b"\xff" + CONTENT[1:]])
def test_one_that_is_there_is_fetched_anew_only_where_it_is_something_else(
    publish, monkeypatch, links, damage
):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", not links)
    hub, commit, file = publish()
    repository = Repo(REPO, refresh=False)
    path = repository.fetch(commit, file)
    assert path.is_symlink() is links
    hub.reset_log()
    assert repository.fetch(commit, file).read_bytes() == CONTENT
    assert asked(hub) == []
    path.resolve().write_bytes(damage)
    assert repository.fetch(commit, file).read_bytes() == CONTENT
    assert asked(hub) == [("HEAD", "resolve", None), ("GET", "resolve", None)]
    assert not [left for left in path.parents[2].rglob("*") if left.name.endswith(".incomplete")]


@pytest.mark.parametrize("kind", ["reset-in-body", "truncate", "stall"])
def test_what_breaks_off_goes_on_where_it_broke(publish, kind):
    hub, commit, file = publish()
    hub.faults.add(Fault(kind, where=NAME, after=100_000, seconds=0.6, times=2))
    assert Client(QUICK).download(REPO, commit, file).read_bytes() == CONTENT
    gets = [span for method, _, span in asked(hub) if method == "GET"]
    assert gets[0] is None
    assert all(span is not None for span in gets[1:])
    assert sum(record.sent for record in hub.requests if record.method == "GET") < 2 * len(CONTENT)


def test_a_server_that_ignores_ranges_and_always_breaks_off_gets_nowhere_and_is_given_up(publish):
    hub, commit, file = publish()

    class Ignoring:
        def take(self, request, answer):
            return (
                Fault("truncate", after=100_000)
                if answer.kind == "resolve" and request.method == "GET"
                else None
            )

    honest = hub._routes._resolve
    hub._routes._resolve = lambda request, *others: honest(request.without_range(), *others)
    hub.faults.add(Ignoring())
    with pytest.raises(
        CheckpointError, match=r"cannot be reached .*; given up after 4 attempts in \d s"
    ):
        Client(QUICK).download(REPO, commit, file)
    # The first brought something; four after it brought nothing more.
    assert len([method for method, *_ in asked(hub) if method == "GET"]) <= 5


@pytest.mark.parametrize("kind", ["429", "503", "reset"])
@pytest.mark.parametrize("times", [3, ALWAYS])
def test_failures_are_ours_to_count_and_nobody_elses(publish, kind, times):
    hub, commit, file = publish()
    hub.faults.add(Fault(kind, where=NAME, times=times))
    start = time.monotonic()
    if times == 3:
        assert Client(QUICK).download(REPO, commit, file).read_bytes() == CONTENT
    else:
        with pytest.raises(CheckpointError, match=r"; given up after 4 attempts in \d s$"):
            Client(QUICK).download(REPO, commit, file)
        assert len(hub.requests) == 4
    assert time.monotonic() - start < 2


def test_a_cache_that_cannot_be_written_is_said_so(publish, monkeypatch, tmp_path):
    _, commit, file = publish()

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pythia_traj.hub.small.Path.mkdir", refuse)
    with pytest.raises(
        StoreError, match="cannot write to the Hub's cache in .*: Permission denied; set HF_HOME"
    ):
        Client(QUICK).download(REPO, commit, file)


def test_offline_a_file_that_is_not_here_is_a_sentence(publish, monkeypatch):
    _, commit, file = publish()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        CheckpointError,
        match="HF_HUB_OFFLINE is set and this part of me/tiny is not on this machine",
    ):
        Client(QUICK).download(REPO, commit, file)
