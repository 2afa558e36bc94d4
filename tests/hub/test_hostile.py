"""Whoever answers for the Hub may say anything.

It ends in one sentence, in bounded time and memory.
"""

import gzip
import hashlib
import itertools
import json
import re
import resource
import time
import zlib

import pytest

from pythia_traj.cli import main
from pythia_traj.errors import PythiaTrajError
from pythia_traj.hub.client import Client
from pythia_traj.hub.listed import RemoteFile
from pythia_traj.hub.repository import Repository
from pythia_traj.printable import one_line
from tests.hub.fixtures import online as online
from tests.hub.hostile import COMMIT, CONTENT, FILE, LISTED, REFS, REPO, answer, goes_on
from tests.hub.hostile import alone as alone
from tests.hub.hostile import serve as serve

pytestmark = pytest.mark.usefixtures("alone")

SECONDS, MEMORY = 20, 1 << 20
"""What a case may take; memory in KB. Far less is usual."""


ASKS = {
    "refs": lambda: Client().branches(REPO),
    "tree": lambda: Client().files(REPO, COMMIT),
    "head": lambda: fetch(),
    "get": lambda: fetch(),
    "whoami": lambda: Client().owner(seconds=1.5),
    "models": lambda: Client().status(seconds=1.5),
}
"""A question of each kind."""


def fetch(name="config.json", content=CONTENT):
    digest = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return Repository(REPO, refresh=False).fetch(COMMIT, RemoteFile(name, len(content), digest))


def refs(*branches):
    return answer(
        {"branches": [{"name": name, "targetCommit": commit} for name, commit in branches]}
    )


def files(*changes, drop=()):
    """A listing of config.json, changed; of several."""
    changed = [{**FILE, **change} for change in changes or ({},)]
    return answer(
        [{key: value for key, value in entry.items() if key not in drop} for entry in changed]
    )


def packed(content, kind="gzip"):
    return answer(content, content_encoding=kind)


def bomb(asked):
    """Gigabytes of zeros, packed: as many as anybody unpacks."""
    packer = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    yield answer(length=10**8, content_encoding="gzip")
    for _ in range(5000):
        yield packer.compress(bytes(1 << 20))
    yield packer.flush()


def drips(start=b""):
    """An answer that begins, and goes on with a byte now and then."""

    def say(asked):
        yield start
        for _ in itertools.count():
            time.sleep(0.1)
            yield b" "

    return say


def steadily(asked):
    """An answer that takes longer than a silent one may, and never stops coming."""
    yield answer(json.dumps(REFS).encode(), content_length="")
    for _ in range(20):
        time.sleep(0.15)
        yield b" " * 60_000


def paging(entries=(), link=lambda number: f"?cursor={number}"):
    """A listing that always has a next page."""
    numbers = itertools.count(1)
    return lambda asked: [answer(list(entries), link=f'<{link(next(numbers))}>; rel="next"')]


def endless_headers(asked):
    yield b"HTTP/1.1 200 OK\r\n"
    yield from itertools.repeat(b"x-more: and more\r\n" * 1000)


def circle(asked):
    yield answer(status=302, location=f"{asked.path}?on")


NO_HUB = r"does not answer like a Hub: "
NOT_JSON = NO_HUB + r"it sends no readable JSON where the .* should be; check HF_ENDPOINT"
ELSE = NO_HUB + r"it does not send the "
NOWHERE = NO_HUB + "it gives an address that is not a web server's"
TOO_MUCH = NO_HUB + r"it sends more than the \d+ bytes that were expected"
SLOW = r"answers too slowly \(1 attempt in \d+ s\): check the network"
CUT = r"cannot be reached \(.*\).*; given up after 2 attempts"
CORRUPT = r"is corrupt: fetched twice, its content is not what the Hub lists"

MANY = [
    {"name": f"step{step}", "ref": f"refs/heads/step{step}", "targetCommit": COMMIT}
    for step in range(10**5)
]

ANSWERS = [
    # What is no JSON
    ("html", "refs", answer(b"<!doctype html><title>Sign in</title>"), NOT_JSON),
    ("html files", "tree", answer(b"<html>", content_type="text/html"), NOT_JSON),
    (
        "nothing",
        "refs",
        answer(b""),
        NO_HUB + "it sends an empty answer where the branches of me/tiny should be",
    ),
    (
        "no content",
        "tree",
        answer(status=204, reason="No Content"),
        NO_HUB + "it sends an empty answer",
    ),
    ("no utf-8", "refs", answer(b'{"branches": ["\xff\xfe"]}'), NOT_JSON),
    (
        "surrogate",
        "refs",
        answer(b'{"branches": [{"name": "\\ud800", "targetCommit": "%s"}]}'),
        NOT_JSON,
    ),
    ("deep lists", "tree", answer(b"[" * 10**5 + b"]" * 10**5), NOT_JSON),
    ("deep objects", "refs", answer(b'{"branches":' * 10**5 + b"1" + b"}" * 10**5), NOT_JSON),
    ("deep and cut", "refs", answer(b"[" * 10**5), NOT_JSON),
    (
        "deeper",
        "refs",
        answer(b"[" * 10**6),
        NO_HUB + "it sends more than 300000 entries where the branches",
    ),
    (
        "number of 5000 digits",
        "tree",
        answer(b'[{"type": "file", "path": "a", "size": %s}]' % (b"9" * 5000)),
        NOT_JSON,
    ),
    ("nan", "tree", answer(b'[{"type": "file", "path": "a", "size": NaN}]'), NOT_JSON),
    ("infinity", "tree", answer(b'[{"type": "file", "path": "a", "size": 1e999}]'), NOT_JSON),
    ("a name twice", "refs", answer(b'{"branches": [], "branches": []}'), NOT_JSON),
    # What is JSON and something else
    ("null", "refs", answer(None), ELSE + "branches of me/tiny: the whole"),
    ("list for object", "refs", answer([]), ELSE),
    ("object for list", "tree", answer({}), ELSE + "files of me/tiny"),
    ("text", "tree", answer("files"), ELSE),
    (
        "missing branches",
        "refs",
        answer({"tags": []}),
        ELSE + r"branches of me/tiny: branches: Field required",
    ),
    ("null branches", "refs", answer({"branches": None}), ELSE),
    ("branches of text", "refs", answer({"branches": ["step1"]}), ELSE),
    ("branch without commit", "refs", answer({"branches": [{"name": "step1"}]}), ELSE),
    ("commit of a number", "refs", refs(("step1", 1)), ELSE),
    ("name of a list", "refs", refs((["step1"], COMMIT)), ELSE),
    (
        "a branch twice",
        "refs",
        refs(("step1", COMMIT), ("step1", "d" * 40)),
        NO_HUB + "it lists one branch of me/tiny twice",
    ),
    ("null entries", "tree", answer([None]), ELSE),
    ("a million nulls", "tree", answer(b"[" + b"null," * 10**6 + b"null]"), ELSE),
    (
        "lists by the million",
        "tree",
        answer(b"[" + b"[]," * 5 * 10**6 + b"[]]"),
        NO_HUB + "it sends more than 300000 entries",
    ),
    (
        "no size",
        "tree",
        files(drop=["size"]),
        ELSE + r"files of me/tiny at cccccccccccc: 0.size: Field required",
    ),
    ("no digest", "tree", files(drop=["oid"]), NO_HUB + "it lists config.json without a digest"),
    ("negative size", "tree", files({"size": -1}), ELSE),
    ("size of a fraction", "tree", files({"size": 26.0}), ELSE),
    ("size of a truth value", "tree", files({"size": True}), ELSE),
    ("size of a text", "tree", files({"size": "26"}), ELSE),
    ("size beyond 2**63", "tree", files({"size": 2**63}), ELSE),
    ("path of a number", "tree", files({"path": 7}), ELSE),
    ("path of null", "tree", files({"path": None}), ELSE),
    (
        "a path twice",
        "tree",
        files({}, {"oid": "f" * 40}),
        NO_HUB + r"it lists one file of me/tiny at c{12} twice",
    ),
    ("large file of a list", "tree", files({"lfs": []}), ELSE),
    ("large file without digest", "tree", files({"lfs": {"size": 1}}), ELSE),
    ("owner of null", "whoami", answer({"name": None}), ELSE + "token's owner"),
    ("owner of html", "whoami", answer(b"<html>"), NO_HUB + "it sends no readable JSON"),
    # What does not end, or ends too early
    ("endless", "refs", goes_on(itertools.repeat(bytes(1 << 16))), TOO_MUCH),
    ("endless blanks", "tree", goes_on(itertools.repeat(b" " * (1 << 16))), TOO_MUCH),
    ("endless file", "get", goes_on(itertools.repeat(b"x" * (1 << 16))), TOO_MUCH),
    ("endless owner", "whoami", goes_on(itertools.repeat(b" " * (1 << 16))), TOO_MUCH),
    ("endless models", "models", goes_on(itertools.repeat(b" " * (1 << 16))), TOO_MUCH),
    ("endless headers", "refs", endless_headers, CUT),
    ("dripping", "refs", drips(answer(content_length="")), SLOW),
    ("dripping files", "tree", drips(answer(length=10**6)), SLOW),
    ("dripping file", "get", drips(answer(length=len(CONTENT))), SLOW + "|" + CORRUPT),
    ("dripping headers", "tree", drips(b"HTTP/1.1 200 OK\r\nx-long: "), SLOW),
    ("dripping headers of an address", "head", drips(b"HTTP/1.1 200 OK\r\nx-long: "), SLOW),
    ("dripping owner", "whoami", drips(b"HTTP/1.1 200 OK\r\nx-long: "), "cannot be reached"),
    ("bomb", "refs", bomb, TOO_MUCH),
    ("bomb in a small file", "get", bomb, TOO_MUCH),
    ("bomb, deflated", "tree", packed(zlib.compress(bytes(10**8)), "deflate"), TOO_MUCH),
    (
        "packed twice",
        "refs",
        packed(gzip.compress(gzip.compress(b"{}")), "gzip, gzip"),
        NO_HUB + "it packs its answer",
    ),
    ("packed otherwise", "refs", packed(b"{}", "br"), NO_HUB + "it packs its answer"),
    ("packed and damaged", "refs", packed(b"{}"), NO_HUB + "its answer is packed, and damaged"),
    (
        "packed and cut",
        "refs",
        packed(gzip.compress(b"{}" * 99)[:-9]),
        NO_HUB + "its answer is packed, and ends early",
    ),
    ("larger than listed", "get", answer(CONTENT + b" "), TOO_MUCH),
    ("smaller than listed", "get", answer(CONTENT[:-1]), CORRUPT),
    ("another file", "get", answer(b"x" * len(CONTENT)), CORRUPT),
    ("promises more", "tree", answer(b"[]", length=100), CUT),
    ("promises less", "tree", answer(b'[{"type": "file"}]', length=5), NOT_JSON),
    ("promises nonsense", "tree", answer(b"[]", content_length="many"), CUT),
    (
        "endless pages",
        "tree",
        paging(),
        NO_HUB + "its listing of the files of me/tiny at cccccccccccc does not end",
    ),
    (
        "a page of itself",
        "tree",
        paging(link=lambda _: ""),
        NO_HUB + "its listing of the .* does not end",
    ),
    ("pages of many", "tree", paging([{**FILE, "path": "x" * 10**6}]), TOO_MUCH),
    (
        "page at another host",
        "tree",
        paging(link=lambda _: "http://127.0.0.2:9/"),
        "goes on at another host, 127.0.0.2",
    ),
    (
        "page at no address",
        "tree",
        paging(link=lambda _: "http://[::1"),
        NO_HUB + "it gives an invalid address",
    ),
    ("page in a file", "tree", paging(link=lambda _: "file:///etc/passwd"), NOWHERE),
    ("circle", "refs", circle, NO_HUB + "it redirects 10 times or more"),
    ("circle of an address", "head", circle, NO_HUB + "it redirects 10 times or more"),
    ("circle of a file", "get", circle, NO_HUB + "it redirects 10 times or more"),
    (
        "sent nowhere",
        "refs",
        answer(status=302),
        NO_HUB + "it answers 302 where an answer should be",
    ),
    ("sent into a file", "refs", answer(status=302, location="file:///etc/passwd"), NOWHERE),
    (
        "sent to port 99999",
        "head",
        answer(status=302, location="http://h:99999/"),
        NOWHERE,
    ),
    (
        "sent on with an endless body",
        "refs",
        goes_on(itertools.repeat(bytes(1 << 16)), location="/y"),
        TOO_MUCH,
    ),
    (
        "status 999",
        "refs",
        answer(status=999, reason="?"),
        "answers 999 for me/tiny: try again later",
    ),
    (
        "refused without end",
        "tree",
        goes_on(itertools.repeat(bytes(1 << 16)), status=404),
        "answers 404 Not Found for me/tiny",
    ),
    (
        "no list of branches",
        "refs",
        answer(status=404),
        r"lists no branches of me/tiny \(404 Not Found\)",
    ),
    ("no HTTP", "refs", b"220 mail.example ESMTP\r\n", CUT),
    ("closed at once", "refs", b"", CUT),
]


@pytest.mark.parametrize(
    ("kind", "says", "end"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS]
)
def test_whatever_is_answered_ends_in_one_sentence(serve, kind, says, end):
    serve(**{kind: says})
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PythiaTrajError) as refused:
        ASKS[kind]()
    said = str(refused.value)
    assert re.search(end, said), said
    assert said == one_line(said)
    assert len(said) < 600
    assert time.monotonic() - began < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY


GOOD = [
    ("many branches", "refs", answer({"branches": MANY}), lambda found: len(found) == 10**5),
    ("none", "refs", answer({"branches": []}), lambda found: found == {}),
    (
        "more than is read",
        "refs",
        answer({**REFS, "tags": [1], "converts": None}),
        lambda found: "step1" in found,
    ),
    (
        "packed unasked",
        "refs",
        packed(gzip.compress(json.dumps(REFS).encode())),
        lambda found: "step1" in found,
    ),
    (
        "a file packed unasked",
        "get",
        packed(gzip.compress(CONTENT)),
        lambda found: found.read_bytes() == CONTENT,
    ),
    ("slow and steady", "refs", steadily, lambda found: "step1" in found),
    (
        "folders and others",
        "tree",
        files({"type": "directory", "size": 0}, {"type": "?"}),
        lambda found: found == (),
    ),
    (
        "null in place of a large file",
        "tree",
        files({"lfs": None}),
        lambda found: found[0].blob == LISTED,
    ),
    ("a page by a path", "tree", paging([], lambda n: "/api/models/me/tiny/tree/x"), None),
    (
        "sent on within the Hub",
        "head",
        lambda asked: (
            [answer(status=307, location="/moved")]
            if "resolve" in asked.path
            else [answer(length=len(CONTENT))]
        ),
        lambda found: found.read_bytes() == CONTENT,
    ),
]


@pytest.mark.parametrize(
    ("kind", "says", "holds"), [case[1:] for case in GOOD], ids=[case[0] for case in GOOD]
)
def test_what_is_only_unusual_is_read(serve, kind, says, holds):
    if holds is None:
        last = answer([FILE])
        pages = says
        says = lambda asked: [last] if asked.path.endswith("/x") else pages(asked)  # noqa: E731
        holds = lambda found: [file.path for file in found] == ["config.json"]  # noqa: E731
    serve(**{kind: says})
    assert holds(ASKS[kind]())


@pytest.mark.parametrize(
    "kind", ["html", "endless", "bomb", "deep objects", "null", "dripping", "circle", "no HTTP"]
)
def test_the_command_line_says_it_in_one_line(serve, capfd, kind):
    serve(refs=next(says for name, _, says, _ in ANSWERS if name == kind))
    with pytest.raises(SystemExit) as end:
        main(["steps", REPO])
    err = capfd.readouterr().err
    assert end.value.code == 1
    assert err.startswith("error: http://127.0.0.1:")
    assert err.count("\n") == 1
