"""Tokens and passwords go to the endpoint's own origin alone, and are in nothing that is printed,
logged or stored.
"""

import os
import re

import pytest

from pythia_traj.cli import main
from pythia_traj.doctor import examine_hub
from pythia_traj.errors import PythiaTrajError
from pythia_traj.hub.client import Client
from pythia_traj.hub.inventory import Inventory
from pythia_traj.hub.listed import RemoteFile
from pythia_traj.hub.repository import Repository
from pythia_traj.printable import one_line
from tests.hub.fixtures import online as online
from tests.hub.fixtures import point_to
from tests.hub.hostile import COMMIT, CONTENT, FILE, LISTED, REFS, REPO, answer, hostile
from tests.hub.hostile import alone as alone
from tests.hub.hostile import serve as serve

TOKEN, PASSWORD = "hf_secretSECRETsecret", "pass-word-0"
BEARER = f"Bearer {TOKEN}"
BASIC = "Basic bWU6cGFzcy13b3JkLTA="


@pytest.fixture(autouse=True)
def token(alone, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture
def stranger():
    """Another server, which would like to know who asks."""
    with hostile() as server:
        yield server


def branches():
    return Client().branches(REPO)


def files():
    return Client().files(REPO, COMMIT)


def config():
    return Repository(REPO, refresh=False).fetch(
        COMMIT, RemoteFile("config.json", len(CONTENT), LISTED)
    )


def address():
    return Client().address(REPO, COMMIT, "model.safetensors")


def owner():
    return Client().owner()


def linked(to, page=()):
    """A page that goes on elsewhere."""
    return lambda asked: [answer(list(page), link=f'<{to(asked)}>; rel="next"')]


def sent(to):
    return lambda asked: [answer(status=302, location=to(asked))]


def by_way_of_itself(to):
    """Sent on within the Hub first, then elsewhere."""
    return lambda asked: [
        answer(status=302, location=to(asked) if "twice" in asked.path else f"{asked.path}?twice")
    ]


def to_stranger(stranger):
    """Addresses of another server, by how they are written."""
    bare = stranger.endpoint.removeprefix("http:")
    return {
        "whole": stranger.endpoint + "/x",
        "without scheme": bare + "/x",
        "with a user": f"http://you:theirs@{bare.removeprefix('//')}/x",
        "by its own name": stranger.endpoint.replace("127.0.0.1", "localhost") + "/x",
    }


ELSEWHERE = [
    ("a link to the next page", "tree", linked, "whole", files, "goes on at another host"),
    ("a link without scheme", "tree", linked, "without scheme", files, "goes on at another host"),
    ("a link with a user", "tree", linked, "with a user", files, "goes on at another host"),
    ("a link by another name", "tree", linked, "by its own name", files, "goes on at another host"),
    ("branches sent on", "refs", sent, "whole", branches, "stranger"),
    ("branches sent on by another name", "refs", sent, "by its own name", branches, "stranger"),
    ("files sent on", "tree", sent, "without scheme", files, "stranger"),
    ("files sent on with a user", "tree", sent, "with a user", files, "stranger"),
    ("an address elsewhere", "head", sent, "whole", address, "not asked"),
    ("a small file elsewhere", "head", sent, "whole", config, "stranger"),
    (
        "an address elsewhere, by way of itself",
        "head",
        by_way_of_itself,
        "whole",
        address,
        "not asked",
    ),
    ("a small file sent on", "get", sent, "whole", config, "stranger"),
    (
        "a small file sent on, by way of itself",
        "get",
        by_way_of_itself,
        "without scheme",
        config,
        "stranger",
    ),
    ("whose the token is", "whoami", sent, "whole", owner, "stranger"),
]


@pytest.mark.parametrize("credentials", ["token", "password"])
@pytest.mark.parametrize(
    ("kind", "plan", "how", "ask", "end"),
    [case[1:] for case in ELSEWHERE],
    ids=[case[0] for case in ELSEWHERE],
)
def test_only_the_endpoint_is_told_who_asks(
    serve, stranger, monkeypatch, credentials, kind, plan, how, ask, end
):
    stranger.says |= {
        "refs": answer(REFS),
        "tree": answer([FILE]),
        "whoami": answer({"name": "you"}),
    }
    stranger.says["get"] = (
        stranger.says[kind] if kind in ("refs", "tree", "whoami") else answer(CONTENT)
    )
    hub = serve(**{kind: plan(lambda _: to_stranger(stranger)[how])})
    if credentials == "password":
        point_to(monkeypatch, hub.endpoint.replace("//", f"//me:{PASSWORD}@"))
    said = ""
    try:
        found = str(ask())
        assert end != "goes on at another host"
        assert TOKEN not in found.replace(str(hub.endpoint), "")
    except PythiaTrajError as error:
        said = str(error)
        assert end in said
    assert hub.authorizations == {BEARER if credentials == "token" else BASIC}
    for secret in (TOKEN, PASSWORD):
        assert secret not in said
    assert len(stranger.requests) == (1 if end == "stranger" else 0)
    assert not stranger.authorizations & {BEARER, BASIC}


def test_what_a_mirror_links_to_at_the_hub_is_asked_of_the_mirror(serve):
    says = {
        "tree": linked(lambda asked: "https://huggingface.co/api/models/me/tiny/tree/next", [FILE])
    }
    mirror = serve(
        tree=lambda asked: (
            [answer([{**FILE, "path": "other"}])] if "next" in asked.path else says["tree"](asked)
        )
    )
    assert [file.path for file in Client().files(REPO, COMMIT)] == ["config.json", "other"]
    assert mirror.authorizations == {BEARER}


SAID = [
    ("reason", {"refs": answer(status=403, reason=f"Not {TOKEN} \x1b[31m{PASSWORD}")}, branches),
    ("reason of a small file", {"get": answer(status=500, reason=f"{PASSWORD}\x1b]0;")}, config),
    ("message", {"tree": answer(status=404, x_error_message=f"\x1b[2J {TOKEN} {PASSWORD}")}, files),
    ("body", {"tree": answer({"error": f"\x1b[2J {TOKEN} {PASSWORD}"}, status=400)}, files),
    ("warning", {"tree": answer(status=404, x_hf_warning=f"x; \x1b[2J {TOKEN} {PASSWORD}")}, files),
    (
        "warning of an answer",
        {"tree": answer([{**FILE, "size": -1}], x_hf_warning=f"y; \x1b[2J {PASSWORD}")},
        files,
    ),
    ("not HTTP", {"refs": f"220 \x1b[31m {TOKEN}\r\n\r\n".encode()}, branches),
    ("wrong header", {"refs": f"HTTP/1.1 200 OK\r\n\x1b[31m{TOKEN}\r\n\r\n".encode()}, branches),
    ("wrong value", {"refs": answer({"branches": [{"name": 1, f"\x1b{TOKEN}": 1}]})}, branches),
    ("link", {"tree": linked(lambda _: f"http://me:{PASSWORD}@127.0.0.9/?token={TOKEN}")}, files),
    ("long link", {"tree": linked(lambda _: f"http://{'x' * 5000}/{TOKEN}")}, files),
    ("address", {"head": sent(lambda _: f"ftp://me:{PASSWORD}@h/{TOKEN}\x7f")}, config),
    ("path without digest", {"tree": answer([{"type": "file", "path": TOKEN, "size": 1}])}, files),
]


@pytest.mark.parametrize(
    ("says", "ask"), [case[1:] for case in SAID], ids=[case[0] for case in SAID]
)
def test_what_a_server_says_is_not_repeated(serve, capfd, caplog, says, ask):
    serve(**says)
    with pytest.raises(PythiaTrajError) as refused:
        ask()
    out, err = capfd.readouterr()
    logged = "".join(record.getMessage() for record in caplog.records)
    for text in (str(refused.value), out, err, logged):
        assert TOKEN not in text
        assert PASSWORD not in text
        assert "\x1b" not in text
    assert str(refused.value) == one_line(str(refused.value))
    assert len(str(refused.value)) < 700


def test_an_owner_is_shown_on_one_line(serve):
    serve(whoami=answer({"name": f"\x1b[31mme\n{TOKEN}"}))
    found = {check.what: check.found for check in examine_hub([], "all")}
    assert found["HF_TOKEN"] == r"belongs to \x1b[31mme ***"


def test_a_password_in_the_endpoint_is_used_and_neither_shown_nor_stored(
    serve, monkeypatch, capfd, tmp_path
):
    hub = serve(head=answer(status=404, x_error_code="EntryNotFound"))
    point_to(monkeypatch, hub.endpoint.replace("//", f"//me:{PASSWORD}@"))
    inventory = Inventory(Client(), REPO, refresh=False)
    assert inventory.branches() == {"main": COMMIT, "step1": COMMIT}
    assert len(inventory.files(COMMIT)) == 2
    assert hub.authorizations == {BASIC}
    stored = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert stored
    for path in stored:
        assert PASSWORD not in str(path)
        assert PASSWORD not in path.read_text()
    checks = str(examine_hub([REPO], "all"))
    assert hub.endpoint in checks
    assert PASSWORD not in checks
    with pytest.raises(SystemExit):
        main(["fetch", REPO, "--steps", "1"])
    assert PASSWORD not in "".join(capfd.readouterr())


ENDPOINTS = [
    ("no scheme", "hf-mirror.com", "is not the address of a Hub"),
    ("another scheme", "ftp://hf-mirror.com", "is not the address of a Hub"),
    ("a file", "file:///etc/passwd", "is not the address of a Hub"),
    ("no host", "https://", "is not the address of a Hub"),
    ("port", "http://127.0.0.1:99999", "is not the address of a Hub"),
    ("port of letters", "http://127.0.0.1:http", "is not the address of a Hub"),
    ("half an address", "http://[::1", "is not the address of a Hub"),
    ("query", "http://127.0.0.1:9?token=hf_abcdefghijklmnop", "is not the address of a Hub"),
    ("backslash", "http://127.0.0.1\\@example.com", "is not the address of a Hub"),
    ("password with a slash", f"http://me:{PASSWORD}/x@127.0.0.1", "is not the address of a Hub"),
    ("quotes", '"https://hf-mirror.com"', "is in quotes: set it without them"),
    ("half a quote", "https://hf-mirror.com'", "is in quotes"),
    ("line break", "https://hf-mirror.com\n", "holds a line break"),
    ("blank", "https://hf-mirror.com ", "holds blanks"),
    ("two", "https://a.example https://b.example", "holds blanks"),
    ("not ASCII", "https://münchen.example", "is not ASCII"),
    ("control", "https://hf-mirror.com/\x1b[31m", "holds control characters"),
    ("NUL", "https://hf-mirror.com/\x00", "holds control characters"),
    ("surrogate", "https://hf-mirror.com/\udc80", "is not ASCII"),
    ("long", "https://hf-mirror.com/" + "x" * 10**6, "has more than 4096 characters"),
]


@pytest.mark.parametrize(
    ("given", "end"), [case[1:] for case in ENDPOINTS], ids=[case[0] for case in ENDPOINTS]
)
def test_an_endpoint_that_is_none_is_one_line_at_once(monkeypatch, capfd, given, end):
    point_to(monkeypatch, given)
    with pytest.raises(SystemExit) as code:
        main(["steps", REPO])
    out, err = capfd.readouterr()
    assert code.value.code == 1
    assert re.fullmatch(rf"error: HF_ENDPOINT.* {re.escape(end)}.*\n", err), err
    assert out == ""
    assert PASSWORD not in err
    assert "abcdefghijklmnop" not in err


TOKENS = [
    ("quotes", '"hf_abcdefghij"', "is in quotes: set it without them"),
    ("apostrophes", "'hf_abcdefghij'", "is in quotes"),
    ("line break", "hf_abcdefghij\n", "holds a line break"),
    ("header", "hf_abcdefghij\r\nx-evil: 1", "holds a line break"),
    ("blank", " hf_abcdefghij", "holds blanks"),
    ("words", "Bearer hf_abcdefghij", "holds blanks"),
    ("not ASCII", "hf_äbcdefghij", "is not ASCII"),
    ("surrogate", "hf_\udc80", "is not ASCII"),
    ("control", "hf_abcdefghij\x1b", "holds control characters"),
    ("long", "hf_" + "a" * 10**5, "has more than 4096 characters"),
]


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
@pytest.mark.parametrize(
    ("given", "end"), [case[1:] for case in TOKENS], ids=[case[0] for case in TOKENS]
)
def test_a_token_that_cannot_be_sent_is_one_line_at_once(
    serve, monkeypatch, capfd, name, given, end
):
    hub = serve()
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv(name, given)
    with pytest.raises(SystemExit) as code:
        main(["steps", REPO])
    err = capfd.readouterr().err
    assert code.value.code == 1
    assert err.startswith(f"error: {name} {end}")
    assert err.count("\n") == 1
    assert "abcdefghij" not in err
    assert hub.requests == []


@pytest.mark.parametrize("given", ["", " ", "\n"])
def test_an_empty_token_is_as_none(serve, monkeypatch, given):
    hub = serve()
    monkeypatch.setenv("HF_TOKEN", given)
    assert branches()
    assert hub.authorizations == {None}


def test_an_endpoint_at_which_the_hubs_client_breaks_is_one_line(monkeypatch, capfd):
    monkeypatch.setitem(os.environ, "HF_ENDPOINT", "http://[::1")
    with pytest.raises(SystemExit) as code:
        main(["models"])
    assert code.value.code == 1
    assert capfd.readouterr().err.startswith(
        "error: HF_ENDPOINT 'http://[::1' is not the address of a Hub"
    )
