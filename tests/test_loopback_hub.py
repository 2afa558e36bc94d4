"""The loopback hub itself: the real client takes it for the Hub, its faults are what they say."""

import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import safe_open
from transformers import GPTNeoXForCausalLM

from tests.hub.faults import FAULTS, Fault, RandomFaults
from tests.hub.fixtures import online  # noqa: F401
from tests.hub.publish import ROOT, hub_process, publish_steps, random_pythia
from tests.hub.repository import Repository
from tests.hub.server import Hub
from tests.support import TINY, publish, random_model

pytestmark = pytest.mark.usefixtures("online")

NAME = "lab/model"
WEIGHTS = 300_000


def write_step(folder: Path, seed: int) -> Path:
    """A folder like a checkpoint's: weights that differ by seed, a config and a subfolder that do
    not.
    """
    (folder / "notes").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "gpt_neox"}')
    (folder / "notes" / "data card.md").write_text("Made of nothing.\n")
    (folder / "model.safetensors").write_bytes(random.Random(seed).randbytes(WEIGHTS))
    return folder


@pytest.fixture
def steps(tmp_path: Path) -> Path:
    for step in (0, 1, 16):
        write_step(tmp_path / "steps" / f"step{step}", step)
    return tmp_path / "steps"


@pytest.fixture
def repository(steps: Path) -> Repository:
    """Branches step0, step1, step16 and main, which is step16."""
    repository = Repository(NAME)
    publish_steps(repository, steps)
    return repository


@pytest.fixture
def hub(repository: Repository) -> Iterator[Hub]:
    with Hub(repository, token="right") as hub:
        yield hub


@pytest.fixture
def download(hub: Hub, tmp_path: Path) -> Callable[..., Path]:
    """`hf_hub_download` from the hub into a cache of the test's own."""

    def download(path: str, revision: str | None = None, token: str | bool = False) -> Path:
        cache = tmp_path / "cache"
        return Path(
            hf_hub_download(
                NAME, path, revision=revision, endpoint=hub.endpoint, cache_dir=cache, token=token
            )
        )

    return download


def api(hub: Hub, token: str | bool = False) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=token)


@contextmanager
def asking(
    url: str, method: str = "GET", body: str | None = None, timeout: float = 10, **headers: str
) -> Iterator[http.client.HTTPResponse]:
    """A plain client's request, on a connection of its own."""
    address = urlsplit(url)
    with closing(
        http.client.HTTPConnection(address.hostname or "", address.port, timeout=timeout)
    ) as connection:
        connection.request(method, f"{address.path}?{address.query}", body, headers)
        with connection.getresponse() as response:
            yield response


def fetch(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers with names in lower case, and body."""
    with asking(url, method, **headers) as response:
        return (
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )


def weights_address(hub: Hub, revision: str = "step0") -> str:
    """A signed address of the weights on the content host."""
    status, headers, _ = fetch(
        f"{hub.endpoint}/{NAME}/resolve/{revision}/model.safetensors", "HEAD"
    )
    assert status == 302
    return headers["location"]


def weights(steps: Path, step: int = 0) -> bytes:
    return (steps / f"step{step}" / "model.safetensors").read_bytes()


# What the real client sees


def test_refs_name_every_step_and_main(hub, repository):
    refs = api(hub).list_repo_refs(NAME)
    assert {branch.name: branch.target_commit for branch in refs.branches} == repository.branches
    assert set(repository.branches) == {"step0", "step1", "step16", "main"}
    assert refs.branches[0].ref.startswith("refs/heads/")
    assert refs.tags == []


def test_a_tree_is_listed_across_pages(repository, steps):
    with Hub(repository, page_size=2) as hub:
        listed = {
            item.path: item
            for item in api(hub).list_repo_tree(NAME, revision="step1", recursive=True)
        }
        assert [record.kind for record in hub.requests] == ["tree", "tree"]
    assert list(listed) == ["config.json", "model.safetensors", "notes", "notes/data card.md"]
    content = weights(steps, 1)
    assert listed["model.safetensors"].lfs.sha256 == hashlib.sha256(content).hexdigest()
    assert listed["model.safetensors"].size == listed["model.safetensors"].lfs.size == WEIGHTS
    assert listed["config.json"].lfs is None


def test_a_blob_has_the_name_that_git_gives_it(hub, steps):
    config = steps / "step0" / "config.json"
    named = subprocess.run(
        ["git", "hash-object", str(config)], capture_output=True, text=True, check=True
    )
    (info,) = api(hub).get_paths_info(NAME, "config.json", revision="step0")
    assert info.blob_id == named.stdout.strip()


def test_a_tree_without_recursion_stays_in_its_folder(hub):
    assert [item.path for item in api(hub).list_repo_tree(NAME)] == [
        "config.json",
        "model.safetensors",
        "notes",
    ]
    assert [item.path for item in api(hub).list_repo_tree(NAME, "notes")] == ["notes/data card.md"]
    with pytest.raises(EntryNotFoundError):
        list(api(hub).list_repo_tree(NAME, "nowhere"))


def test_model_info_has_sizes_and_hashes_when_asked_for(hub, repository, steps):
    info = api(hub).model_info(NAME, revision="step0", files_metadata=True)
    assert info.sha == repository.branches["step0"]
    siblings = {sibling.rfilename: sibling for sibling in info.siblings}
    assert siblings["model.safetensors"].lfs.sha256 == hashlib.sha256(weights(steps)).hexdigest()
    assert siblings["model.safetensors"].lfs.pointer_size > 100
    assert siblings["config.json"].size == len('{"model_type": "gpt_neox"}')
    plain = api(hub).model_info(NAME)
    assert plain.sha == repository.branches["main"]
    assert plain.siblings[0].size is None


def test_paths_info_leaves_out_what_does_not_exist(hub):
    found = api(hub).get_paths_info(
        NAME, ["notes", "nothing", "model.safetensors"], revision="step1"
    )
    assert [item.path for item in found] == ["notes", "model.safetensors"]


def test_paths_info_takes_json_too(hub):
    url = f"{hub.endpoint}/api/models/{NAME}/paths-info/main"
    with asking(
        url, "POST", json.dumps({"paths": ["config.json"]}), **{"Content-Type": "application/json"}
    ) as response:
        assert [item["path"] for item in json.load(response)] == ["config.json"]


@pytest.mark.parametrize("path", ["config.json", "notes/data card.md", "model.safetensors"])
@pytest.mark.parametrize("by", ["branch", "commit"])
def test_a_file_comes_by_branch_and_by_commit(download, repository, steps, path, by):
    revision = "step1" if by == "branch" else repository.branches["step1"]
    assert download(path, revision).read_bytes() == (steps / "step1" / path).read_bytes()


def test_a_cached_commit_costs_no_request(hub, download, repository):
    commit = repository.branches["step0"]
    download("model.safetensors", commit)
    hub.reset_log()
    download("model.safetensors", commit)
    assert hub.requests == []


def test_a_snapshot_is_the_folder(hub, steps, tmp_path):
    folder = snapshot_download(
        NAME,
        revision="step16",
        endpoint=hub.endpoint,
        cache_dir=tmp_path / "cache",
        token=False,
        max_workers=2,
    )
    found = {
        path.relative_to(folder): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }
    published = steps / "step16"
    assert found == {
        path.relative_to(published): path.read_bytes()
        for path in published.rglob("*")
        if path.is_file()
    }


def test_one_content_in_two_branches_is_one_blob(download, tmp_path):
    for revision in ("step16", "main"):
        download("model.safetensors", revision)
    download("model.safetensors", "step0")
    assert (
        len([blob for blob in tmp_path.glob("cache/*/blobs/*") if blob.stat().st_size == WEIGHTS])
        == 2
    )


def test_a_branch_moves_and_its_old_commit_stays(download, hub, repository, steps, tmp_path):
    before = repository.branches["main"]
    after = repository.publish("main", write_step(tmp_path / "new", seed=99))
    assert repository.branches["main"] == after != before
    assert (
        download("model.safetensors").read_bytes()
        == (tmp_path / "new" / "model.safetensors").read_bytes()
    )
    assert download("model.safetensors", before).read_bytes() == weights(steps, 16)
    assert [commit.commit_id for commit in api(hub).list_repo_commits(NAME)] == [after, before]


def test_publishing_the_same_again_moves_nothing(repository, steps):
    before = repository.branches["step0"]
    assert repository.publish("step0", steps / "step0") == before
    assert repository.history["step0"] == [before]
    assert repository.branches["step16"] != repository.branches["main"], (
        "the same files are another branch's commit"
    )


def test_a_branch_with_a_slash_is_found(download, repository, steps):
    repository.publish("try/one", steps / "step1")
    assert download("model.safetensors", "try/one").read_bytes() == weights(steps, 1)


def test_a_hostile_name_is_listed_as_it_is(hub, repository, steps):
    repository.add("step0", "../x", steps / "step0" / "config.json")
    assert "../x" in [
        item.path for item in api(hub).list_repo_tree(NAME, revision="step0", recursive=True)
    ]
    assert "../x" in api(hub).list_repo_files(NAME, revision="step0")


def test_a_branch_may_have_no_weights(hub, repository, tmp_path):
    (tmp_path / "bare").mkdir()
    repository.publish("bare", tmp_path / "bare")
    assert api(hub).list_repo_files(NAME, revision="bare") == []


def test_what_is_missing_is_called_by_its_name(hub, download):
    with pytest.raises(RevisionNotFoundError):
        api(hub).model_info(NAME, revision="step7")
    with pytest.raises(EntryNotFoundError):
        download("nothing.json")
    for known in (False, "right"):
        with pytest.raises(RepositoryNotFoundError):
            api(hub, known).model_info("lab/nothing")


def test_a_private_repository_does_not_exist_without_a_token(hub, repository, download):
    repository.private = True
    with pytest.raises(RepositoryNotFoundError):
        api(hub).list_repo_refs(NAME)
    assert [model.id for model in api(hub).list_models()] == []
    assert api(hub, "right").list_repo_refs(NAME).branches
    assert download("config.json", token="right").exists()


def test_a_gated_repository_can_be_read_about_but_not_read(hub, repository, download, steps):
    repository.gated = True
    assert api(hub).model_info(NAME).gated == "auto"
    assert api(hub).list_repo_files(NAME)
    for token in (False, "wrong"):
        for path in ("model.safetensors", "config.json"):
            with pytest.raises(GatedRepoError):
                download(path, token=token)
    assert download("model.safetensors", token="right").read_bytes() == weights(steps, 16)


def test_a_wrong_token_is_refused_even_where_none_is_needed(hub):
    with pytest.raises(HfHubHTTPError) as refused:
        api(hub, "wrong").model_info(NAME)
    assert refused.value.response.status_code == 401
    assert not isinstance(refused.value, RepositoryNotFoundError)


def test_an_empty_token_is_refused(hub, repository):
    repository.gated = True
    for path in (f"/api/models/{NAME}", f"/{NAME}/resolve/main/config.json"):
        assert fetch(hub.endpoint + path, Authorization="Bearer ")[0] == 401


def test_a_token_has_a_name(hub):
    assert api(hub, "right").whoami()["name"] == "reader"
    assert fetch(f"{hub.endpoint}/api/whoami-v2")[0] == 401


def test_models_are_found_by_author_and_by_part_of_a_name(hub):
    for name in ("lab/other", "someone/model"):
        hub.add(Repository(name))
    models = api(hub).list_models
    assert [model.id for model in models()] == ["lab/model", "lab/other", "someone/model"]
    assert [model.id for model in models(author="lab", limit=1)] == ["lab/model"]
    assert [model.id for model in models(search="Model")] == ["lab/model", "someone/model"]


def test_a_repository_is_named_by_organisation_and_name():
    with pytest.raises(ValueError, match="give it as org/name"):
        Repository("model")


# The content host


def test_the_client_sends_its_token_to_the_hub_only(hub, download):
    download("model.safetensors", token="right")
    by_origin = {record.origin: record.authorized for record in hub.requests}
    assert by_origin == {"hub": True, "content": False}


def test_the_content_host_refuses_a_token(hub):
    assert fetch(weights_address(hub), Authorization="Bearer right")[0] == 403


def test_an_address_cannot_be_changed(hub):
    address = weights_address(hub)
    other = urlsplit(weights_address(hub, "step1")).path.split("/")[3]
    own = urlsplit(address).path.split("/")[3]
    for changed in (
        address.replace(own, other),
        address.replace("Expires=", "Expires=9"),
        address[:-1],
        hub.content_endpoint,
    ):
        assert fetch(changed)[0] == 403


def test_an_address_expires(hub):
    hub.address_seconds = 0.3
    address = weights_address(hub)
    assert fetch(address, "HEAD")[0] == 200
    time.sleep(0.4)
    assert fetch(address)[0] == 403


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=10-", 10, WEIGHTS),
        ("bytes=-7", WEIGHTS - 7, WEIGHTS),
        ("bytes=5-999999", 5, WEIGHTS),
    ],
)
def test_a_range_is_answered_with_206(hub, steps, asked, start, stop):
    status, headers, body = fetch(weights_address(hub), Range=asked)
    assert status == 206
    assert headers["content-range"] == f"bytes {start}-{stop - 1}/{WEIGHTS}"
    assert body == weights(steps)[start:stop]


@pytest.mark.parametrize("asked", [f"bytes={WEIGHTS}-", "bytes=-0"])
def test_a_range_after_the_end_is_answered_with_416(hub, asked):
    status, headers, body = fetch(weights_address(hub), Range=asked)
    assert (status, headers["content-range"], body) == (416, f"bytes */{WEIGHTS}", b"")


@pytest.mark.parametrize("asked", ["", "bytes=9-5", "lines=1-2", "bytes=0-1,5-6"])
def test_what_is_no_single_range_is_answered_with_all(hub, steps, asked):
    status, headers, body = fetch(weights_address(hub), Range=asked)
    assert status == 200
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-length"] == str(WEIGHTS)
    assert body == weights(steps)


def test_a_small_file_has_ranges_too(hub):
    url = f"{hub.endpoint}/{NAME}/resolve/main/config.json"
    assert fetch(url, Range="bytes=2-11")[::2] == (206, b"model_type")
    status, headers, _ = fetch(url, "HEAD")
    assert (status, headers["content-length"]) == (200, "26")
    assert headers["x-repo-commit"] == hub.repositories[NAME].branches["main"]


def test_a_connection_serves_many_requests(hub):
    address = urlsplit(weights_address(hub))
    with closing(
        http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    ) as connection:
        connection.connect()
        socket = connection.sock
        for start in range(5):
            connection.request(
                "GET",
                f"{address.path}?{address.query}",
                headers={"Range": f"bytes={start}-{start + 9}"},
            )
            assert len(connection.getresponse().read()) == 10
            assert connection.sock is socket


# Faults


@pytest.mark.parametrize("status", ["429", "500", "503"])
def test_a_status_is_answered_once(hub, steps, status):
    hub.faults.add(Fault(status, where="content", seconds=3.5))
    address = weights_address(hub)
    answered, headers, _ = fetch(address)
    assert answered == int(status)
    assert headers.get("retry-after") == ("3" if status == "429" else None)
    assert fetch(address)[2] == weights(steps)
    assert [
        (record.status, record.fault) for record in hub.requests if record.kind == "content"
    ] == [
        (int(status), status),
        (200, None),
    ]


def test_a_reset_comes_before_any_byte(hub):
    hub.faults.add(Fault("reset", where="refs"))
    with pytest.raises(ConnectionResetError):
        fetch(f"{hub.endpoint}/api/models/{NAME}/refs")
    assert [(record.status, record.sent, record.fault) for record in hub.requests] == [
        (0, 0, "reset")
    ]


def test_a_reset_in_the_body_comes_after_so_many_bytes(hub, steps):
    hub.faults.add(Fault("reset-in-body", where="content", after=70_000))
    with asking(weights_address(hub)) as response:
        assert response.read(70_000) == weights(steps)[:70_000]
        with pytest.raises(ConnectionResetError):
            response.read(1)
    assert (hub.requests[-1].sent, hub.requests[-1].fault) == (70_000, "reset-in-body")


def test_a_truncated_body_ends_as_if_it_were_complete(hub, steps):
    hub.faults.add(Fault("truncate", where=r"\.safetensors$"))
    with pytest.raises(http.client.IncompleteRead) as cut:
        fetch(weights_address(hub))
    assert cut.value.partial == weights(steps)[: WEIGHTS // 2]
    assert hub.requests[-1].sent == WEIGHTS // 2


def test_a_body_is_cut_before_its_end_however_short_it_is(hub):
    hub.faults.add(Fault("truncate", after=10_000))
    with pytest.raises(http.client.IncompleteRead) as cut:
        fetch(f"{hub.endpoint}/{NAME}/resolve/main/config.json")
    assert cut.value.expected == 1


def test_the_client_goes_on_after_a_truncated_body(hub, download, steps, monkeypatch):
    # It goes on after the last whole chunk.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)
    hub.faults.add(Fault("truncate", where="content", after=1000))
    assert download("model.safetensors", "step0").read_bytes() == weights(steps)
    assert [record.range for record in hub.requests if record.kind == "content"] == [
        None,
        "bytes=1000-",
    ]


def test_a_stall_lasts_and_then_goes_on(hub, steps):
    hub.faults.add(Fault("stall", where="content", after=1000, seconds=0.4))
    address = weights_address(hub)
    started = time.monotonic()
    assert fetch(address)[2] == weights(steps)
    assert time.monotonic() - started > 0.35
    assert hub.requests[-1].seconds > 0.35


def test_a_stall_outlasts_an_impatient_client(hub):
    hub.faults.add(Fault("stall", where="content", after=1000, seconds=60))
    with asking(weights_address(hub), timeout=0.2) as response, pytest.raises(TimeoutError):
        response.read()


def test_corrupt_bytes_are_as_many_as_the_right_ones(hub, steps):
    hub.faults.add(Fault("corrupt", where="content", after=1000))
    _, _, body = fetch(weights_address(hub))
    wrong = [
        i for i, (got, right) in enumerate(zip(body, weights(steps), strict=True)) if got != right
    ]
    assert wrong
    assert min(wrong) == 1000


def test_an_ignored_range_is_answered_with_all(hub, steps):
    hub.faults.add(Fault("ignore-range"))
    status, headers, body = fetch(weights_address(hub), Range="bytes=5-9")
    assert (status, body) == (200, weights(steps))
    assert "content-range" not in headers


def test_an_address_can_expire_early(hub):
    hub.faults.add(Fault("expired"))
    address = weights_address(hub)
    assert [fetch(address)[0], fetch(address)[0]] == [403, 200]


def test_faults_skip_and_repeat_and_pick_by_path(hub):
    hub.faults.add(Fault("500", where="config", skip=1, times=2))
    url = f"{hub.endpoint}/{NAME}/resolve/main/"
    assert fetch(url + "notes/data%20card.md")[0] == 200
    assert [fetch(url + "config.json")[0] for _ in range(4)] == [200, 500, 500, 200]
    hub.faults.add(Fault("503", where="data card", times=9))
    assert fetch(url + "notes/data%20card.md")[0] == 503
    hub.faults.clear()
    assert fetch(url + "notes/data%20card.md")[0] == 200


def test_a_fault_waits_for_an_answer_that_it_can_spoil(hub):
    hub.faults.add(Fault("truncate"), Fault("ignore-range"))
    fetch(f"{hub.endpoint}/{NAME}/resolve/main/model.safetensors")
    assert hub.requests[-1].fault is None, "a redirect has no body to truncate and no range"


def test_an_unknown_fault_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="'teapot': choose one of 429, 500"):
        Fault("teapot")


def statuses_of_a_soak(repository: Repository, seed: int) -> list[int]:
    with Hub(repository) as hub:
        hub.faults.add(RandomFaults(0.5, seed, ("500", "503", "429"), seconds=0))
        return [
            fetch(f"{hub.endpoint}/{NAME}/resolve/main/config.json", "HEAD")[0] for _ in range(40)
        ]


def test_random_faults_follow_from_their_seed_and_let_the_third_try_through(repository):
    statuses = statuses_of_a_soak(repository, seed=1)
    assert (
        statuses == statuses_of_a_soak(repository, seed=1) != statuses_of_a_soak(repository, seed=2)
    )
    assert 10 < sum(status != 200 for status in statuses) < 30
    spoiled = "".join("." if status == 200 else "x" for status in statuses)
    assert "xx" in spoiled
    assert "xxx" not in spoiled


def test_a_patient_client_survives_random_faults_of_all_kinds(hub, steps):
    hub.faults.add(
        RandomFaults(0.5, 3, tuple(kind for kind in FAULTS if kind != "corrupt"), seconds=0.02)
    )
    for _ in range(20):
        for _ in range(3):
            try:
                status, _, body = fetch(
                    hub.address(NAME, "model.safetensors", "step0"), Range="bytes=1000-1999"
                )
            except (ConnectionResetError, http.client.IncompleteRead):
                continue
            if status == 206:
                break
        assert body == weights(steps)[1000:2000]
    assert len({record.fault for record in hub.requests}) > 5


# Slow links and the log


def test_the_content_host_sends_no_faster_than_it_may(hub):
    address = weights_address(hub)
    hub.bytes_per_second = 2 * WEIGHTS
    threads = [threading.Thread(target=fetch, args=(address,)) for _ in range(2)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started > 0.9, "600 kB at 600 kB/s, shared by two"
    hub.bytes_per_second = None
    started = time.monotonic()
    fetch(address)
    assert time.monotonic() - started < 0.5


def test_latency_comes_before_every_answer(hub):
    hub.latency = 0.2
    started = time.monotonic()
    assert fetch(weights_address(hub), "HEAD")[0] == 200
    assert time.monotonic() - started >= 0.4


def test_the_log_tells_what_was_asked_and_answered(hub):
    before = time.time()
    fetch(
        f"{hub.endpoint}/api/models/{NAME}/tree/main?recursive=true", Authorization="Bearer right"
    )
    address = weights_address(hub)
    fetch(address, Range="bytes=0-99")
    tree, resolve, content = hub.requests
    assert (tree.origin, tree.method, tree.kind, tree.status) == ("hub", "GET", "tree", 200)
    assert (tree.path, tree.query) == (f"/api/models/{NAME}/tree/main", "recursive=true")
    assert tree.authorized
    assert (resolve.method, resolve.kind, resolve.status, resolve.sent) == (
        "HEAD",
        "resolve",
        302,
        0,
    )
    assert (content.origin, content.kind, content.range) == ("content", "content", "bytes=0-99")
    assert (content.status, content.sent, content.authorized, content.fault) == (
        206,
        100,
        False,
        None,
    )
    assert before <= tree.start <= resolve.start <= content.start <= time.time()
    assert 0 <= content.seconds < 5


def test_an_answer_that_a_client_has_is_in_the_log(hub):
    address = hub.address(NAME, "model.safetensors", "step0")
    for number in range(1, 101):
        fetch(address, Range="bytes=0-9")
        assert len(hub.requests) == number
        assert hub.requests[-1].sent == 10


def test_a_hub_that_ends_leaves_no_thread_and_no_connection(repository):
    before = set(threading.enumerate())
    with Hub(repository) as hub:
        hub.faults.add(Fault("stall", where="content", seconds=60))
        address = urlsplit(hub.address(NAME, "model.safetensors", "step0"))
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
        connection.request("GET", f"{address.path}?{address.query}")
        response = connection.getresponse()
    with closing(connection), response, pytest.raises(http.client.IncompleteRead):
        response.read()
    assert set(threading.enumerate()) <= before


# A process of its own, and what it makes


def test_random_weights_have_the_names_and_sizes_of_a_gpt_neox(tmp_path):
    publish(tmp_path / "real", random_model())
    random_pythia(tmp_path / "made", "tiny", seed=0)
    names = {}
    for folder in ("real", "made"):
        with safe_open(tmp_path / folder / "model.safetensors", "pt") as file:
            names[folder] = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    real = {name.replace("lm_head.", "embed_out."): shape for name, shape in names["real"].items()}
    constants = names["made"].keys() - real.keys()
    assert {name: names["made"][name] for name in real} == real
    assert constants == {
        f"gpt_neox.layers.{layer}.attention.{name}"
        for layer in range(TINY["num_hidden_layers"])
        for name in ("bias", "masked_bias", "rotary_emb.inv_freq")
    }


@pytest.mark.parametrize(
    "form", [{}, {"sharded": True}, {"binary": True}, {"sharded": True, "binary": True}]
)
def test_random_weights_load_in_transformers_in_every_form(tmp_path, form):
    random_pythia(tmp_path / "made", "tiny", seed=3, masks=not form, **form)
    random_pythia(tmp_path / "again", "tiny", seed=3)
    made, again = (
        GPTNeoXForCausalLM.from_pretrained(tmp_path / name) for name in ("made", "again")
    )
    for name, parameter in made.named_parameters():
        assert parameter.equal(again.get_parameter(name)), name
    assert made.gpt_neox.embed_in.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_an_unknown_shape_is_named_with_those_there_are(tmp_path):
    with pytest.raises(ValueError, match="'3b': choose one of tiny, 14m"):
        random_pythia(tmp_path, "3b", seed=0)


def test_a_process_serves_what_it_finds_and_what_it_is_given(steps, tmp_path, download_from):
    write_step(tmp_path / "served" / "found" / "here" / "main", seed=5)
    with hub_process(
        tmp_path / "served", "--publish", f"{steps}=me/toy", "--token", "t", "--gated", "found/here"
    ) as endpoint:
        names = {
            branch.name
            for branch in HfApi(endpoint=endpoint, token=False).list_repo_refs("me/toy").branches
        }
        assert names == {"main", "step0", "step1", "step16"}
        assert download_from(endpoint, "me/toy", "model.safetensors").read_bytes() == weights(
            steps, 16
        )
        with pytest.raises(GatedRepoError):
            download_from(endpoint, "found/here", "config.json")
        assert download_from(endpoint, "found/here", "config.json", token="t").exists()
    with pytest.raises(ConnectionRefusedError):
        fetch(f"{endpoint}/api/models")


@pytest.fixture
def download_from(tmp_path: Path) -> Callable[..., Path]:
    def download(endpoint: str, name: str, path: str, token: str | bool = False) -> Path:
        return Path(
            hf_hub_download(
                name, path, endpoint=endpoint, cache_dir=tmp_path / "cache", token=token
            )
        )

    return download


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_prints_its_endpoint_and_ends_with_0(steps, tmp_path, number):
    command = [
        sys.executable,
        "-m",
        "tests.hub",
        str(tmp_path / "served"),
        "--publish",
        f"{steps}=me/toy",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        variable, _, endpoint = process.stdout.readline().strip().partition("=")
        assert variable == "HF_ENDPOINT"
        assert fetch(f"{endpoint}/api/models")[0] == 200
        os.kill(process.pid, number)
        assert process.wait(timeout=10) == 0


def test_a_process_refuses_what_it_cannot_publish(tmp_path):
    command = [
        sys.executable,
        "-m",
        "tests.hub",
        str(tmp_path),
        "--publish",
        f"{tmp_path}/nothing=me/toy",
    ]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "nothing' is no directory: give one that holds step folders" in refused.stderr


def test_a_process_makes_random_weights_once(tmp_path):
    arguments = ("--random", "tiny=lab/random", "--steps", "0,512")
    for _ in range(2):
        with hub_process(tmp_path, *arguments) as endpoint:
            info = HfApi(endpoint=endpoint, token=False).model_info(
                "lab/random", revision="step512", files_metadata=True
            )
        assert {sibling.rfilename for sibling in info.siblings} == {
            "config.json",
            "model.safetensors",
            "tokenizer.json",
        }
        arguments = ()


# What a client that writes sees


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Hub]:
    """A hub with an empty dataset."""
    with Hub(token="right") as hub:
        api(hub, "right").create_repo(NAME, repo_type="dataset")
        yield hub


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_files_that_are_uploaded_can_be_downloaded(dataset, tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"by hash")
    (tmp_path / "b.json").write_bytes(b"{}")
    api(dataset, "right").upload_folder(repo_id=NAME, folder_path=tmp_path, repo_type="dataset")
    for name in ("a.parquet", "b.json"):
        path = hf_hub_download(
            *(NAME, name), repo_type="dataset", endpoint=dataset.endpoint, cache_dir=tmp_path / "c"
        )
        assert Path(path).read_bytes() == (tmp_path / name).read_bytes()
    kinds = [record.kind for record in dataset.requests]
    assert kinds.count("upload") == 1, "only one goes by its hash"


def test_a_dataset_is_not_a_model_of_the_same_name(dataset):
    assert api(dataset).dataset_info(NAME).id == NAME
    with pytest.raises(RepositoryNotFoundError):
        api(dataset).model_info(NAME)


def test_writing_without_the_right_token_is_refused(dataset):
    for token in (False, "wrong"):
        with pytest.raises(HfHubHTTPError, match="401"):
            api(dataset, token).create_repo("lab/other", repo_type="dataset")
    assert set(dataset.repositories) == {f"datasets/{NAME}"}


def test_content_of_another_hash_is_refused(dataset):
    with asking(f"{dataset.content_endpoint}/upload/{'0' * 64}", "PUT", "else") as response:
        assert response.status == 400


def test_a_commit_of_a_file_that_was_not_uploaded_is_refused(dataset):
    line = {"key": "lfsFile", "value": {"path": "a", "oid": "0" * 64, "size": 1}}
    address = f"{dataset.endpoint}/api/datasets/{NAME}/commit/main"
    with asking(address, "POST", json.dumps(line), Authorization="Bearer right") as response:
        assert response.status == 400
