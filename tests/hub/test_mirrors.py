"""Mirrors that say less than the Hub: what is not needed is done without, and for the rest one line
says what they lack.
"""

import json
from dataclasses import replace

import pytest

import pythia_traj as pt
from tests.hub.answers import Answer, MemorySlice
from tests.hub.answers import error as refusal
from tests.hub.content import ContentHost
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import publish_steps
from tests.hub.repository import Repository
from tests.hub.routes import HubRoutes

REPO = "me/tiny"


@pytest.fixture
def mirror(serve, suite, monkeypatch):
    """A hub whose answers are changed on their way."""

    def start(change):
        for host in (HubRoutes, ContentHost):
            real = host.respond
            monkeypatch.setattr(
                host,
                "respond",
                lambda self, request, real=real: change(request, real(self, request)),
            )
        repository = Repository(REPO)
        publish_steps(repository, suite)
        return serve(repository)

    return start


def without(*names):
    def change(request, answer):
        return replace(
            answer,
            headers={
                key: value for key, value in answer.headers.items() if key.lower() not in names
            },
        )

    return change


def listed(change):
    """Each entry of a listing of files is changed."""

    def changed(request, answer):
        if answer.kind != "tree" or answer.status != 200:
            return answer
        entries = [change(entry) for entry in json.loads(answer.body.read())]
        return replace(answer, body=MemorySlice(json.dumps(entries).encode()))

    return changed


def lacking(*keys):
    return listed(lambda entry: {key: value for key, value in entry.items() if key not in keys})


LESS = {
    "no commit": without("x-repo-commit"),
    "no digest of small files": without("etag"),
    "no digest of large files": without("x-linked-etag", "x-linked-size"),
    "none of these": without(
        "x-repo-commit", "etag", "x-linked-etag", "x-linked-size", "x-request-id"
    ),
    "no word of ranges": without("accept-ranges"),
    "no kind of content": without("content-type"),
    "no security or Xet in listings": lacking("security", "xetHash", "lastCommit"),
    "another name for large files' digests alone": listed(
        lambda entry: {
            key: value for key, value in entry.items() if key != "oid" or "lfs" not in entry
        }
    ),
}


@pytest.mark.parametrize("change", LESS.values(), ids=LESS)
def test_what_is_not_needed_is_done_without(mirror, tmp_path, change):
    mirror(change)
    experiments = {"induction": {"length": 20, "n": 4}}
    result = pt.sweep(
        pt.SweepConfig(
            model=REPO, steps="0,2", experiments=experiments, out=tmp_path / "run", device="cpu"
        )
    )
    assert (len(result.done), result.failed) == (2, [])


def no_refs(status):
    def change(request, answer):
        return refusal("refs", status, "what is that?") if answer.kind == "refs" else answer

    return change


def a_page(request, answer):
    page = MemorySlice(b"<!doctype html><title>Sign in</title>")
    return (
        Answer(200, "refs", {"Content-Type": "text/html"}, page)
        if answer.kind == "refs"
        else answer
    )


HINT = "name a Hub or a mirror that does with HF_ENDPOINT"
LACKING = {
    "no branches (404)": (
        no_refs(404),
        f"lists no branches of {REPO} (404 Not Found), by which its steps are found: {HINT}",
    ),
    "no branches (405)": (
        no_refs(405),
        f"lists no branches of {REPO} (405 Method Not Allowed), by which its steps are",
    ),
    "no branches (501)": (
        no_refs(501),
        f"lists no branches of {REPO} (501 Not Implemented), by which its steps are",
    ),
    "a page in their place": (a_page, "does not answer like a Hub: it sends no readable JSON"),
    "no digests at all": (lacking("oid", "lfs"), "without a digest"),
    "large files by their pointers": (
        listed(
            lambda entry: {
                **{k: v for k, v in entry.items() if k != "lfs"},
                "size": entry["size"] + 11 * 2**20,
            }
        ),
        "without the sha256 by which large files are known",
    ),
}


@pytest.mark.parametrize(("change", "said"), LACKING.values(), ids=LACKING)
def test_what_they_lack_is_said_in_one_line(mirror, cli, change, said):
    hub = mirror(change)
    code, _, err = cli("fetch", REPO, "--steps", "0")
    assert code == 1
    assert err.count("\n") == 1
    assert said in err
    assert not [record for record in hub.requests if record.kind == "content"], (
        "weights were fetched in vain"
    )
