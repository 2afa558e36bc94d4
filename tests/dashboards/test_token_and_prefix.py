"""Who is answered where others than this machine reach the server, and pages behind proxies."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from pythia_traj.dashboards.guard import Guard, is_loopback
from pythia_traj.dashboards.prefix import checked_prefix, under_prefix
from pythia_traj.dashboards.serving import dashboard
from pythia_traj.errors import ConfigError
from tests.dashboards.client import Client, raw

PREFIX = "/user/me%40lab/proxy/8050"


@pytest.fixture(scope="module")
def open_page(small_run):
    """A page that others reach too, behind a proxy."""
    with dashboard(small_run, port=0, host="0.0.0.0", prefix=PREFIX, names=["Hub.Example"]) as page:
        yield page


@pytest.fixture(scope="module")
def token(open_page):
    return parse_qs(urlsplit(open_page.url).query)["token"][0]


@pytest.fixture
def stranger(open_page):
    return Client(open_page.port)


@pytest.fixture
def reader(stranger, token):
    cookie = stranger.get(f"?token={token}").headers["Set-Cookie"].partition(";")[0]
    return Client(stranger.port, cookie=cookie)


PATHS = ["", "page/script.js", "page/plotly.js", "page/style.css", "view.html", "_dash-layout",
         "_dash-dependencies", "nothing", "_dash-component-suites/dash/x.js"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("prefix", ["/", f"{PREFIX}/"], ids=["stripped", "kept"])
def test_nothing_is_answered_without_the_token(stranger, path, prefix):
    answer = Client(stranger.port, prefix=prefix).get(path)
    assert answer.status == 403
    assert answer.text == "give the address that the server printed: it holds a token"
    assert "Content-Security-Policy" in answer.headers
    assert "Set-Cookie" not in answer.headers


def test_no_question_is_answered_without_the_token(stranger):
    assert stranger.post(b'{"output": "page.data"}').status == 403


WRONG = ["", "x", "%00", "%ff%fe", "%ED%A0%80", "é".encode().hex(), "a" * 10_000, "%F0%9F%92%A9"]


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_a_wrong_token_is_refused_and_breaks_nothing(stranger, token, wrong):
    assert stranger.get(f"?token={wrong}").status == 403
    name = Guard(frozenset(), "/", token).cookie
    assert Client(stranger.port, cookie=f"{name}={wrong}").get().status == 403
    assert Client(stranger.port, cookie=f"{name}x={token}").get().status == 403


@pytest.mark.parametrize("value", [b"\xff\xfe", b"\xed\xa0\x80", b'"\\303"', "é".encode()])
def test_bytes_that_are_no_text_are_no_token(stranger, token, value):
    guard = Guard(frozenset(), "/", token)
    answer = stranger.get(headers={"Cookie": guard.cookie.encode() + b"=" + value})
    assert answer.status == 403
    line = b"GET /?token=" + value + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert raw(stranger.port, line).split()[1] in (b"403", b"400")


def test_the_token_becomes_a_cookie_and_leaves_the_address(stranger, open_page, token):
    answer = stranger.get(f"?experiment=loss&token={token}&models=a&models=b%26c")
    assert answer.status == 302
    assert answer.headers["Location"] == f"{PREFIX}/?experiment=loss&models=a&models=b%26c"
    assert token not in answer.headers["Location"] + answer.text
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Lax", f"Path={PREFIX}/"} <= set(cookie.split("; "))
    assert stranger.get(f"?token={token}").headers["Location"] == f"{PREFIX}/"
    assert open_page.wants_token
    assert open_page.url.endswith(f"{PREFIX}/?token={token}")


def test_the_address_goes_nowhere_else_whatever_it_holds(stranger, token):
    for path in (f"//evil.example/?token={token}", f"/%5cevil.example?token={token}"):
        answer = Client(stranger.port, prefix="").get(path)
        assert answer.headers["Location"] in (f"{PREFIX}/", None)


@pytest.mark.parametrize("prefix", ["/", f"{PREFIX}/"], ids=["stripped", "kept"])
def test_a_reader_with_the_cookie_is_answered_whichever_path_the_proxy_asks(reader, prefix):
    client = Client(reader.port, prefix=prefix, cookie=reader.cookie)
    page = client.get()
    assert page.status == 200
    assert f'src="{PREFIX}/page/script.js"' in page.text
    own = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert own
    assert all(path.startswith(f"{PREFIX}/") for path in own)
    for path in ("page/script.js", "view.html", "_dash-layout"):
        assert client.get(path).status == 200
    assert client.offered("?experiment=induction")["query"] == "experiment=induction"


def test_the_prefix_without_its_last_slash_is_the_page_too(reader):
    client = Client(reader.port, prefix=PREFIX, cookie=reader.cookie)
    assert "<title>run</title>" in client.get().text


def test_the_proxys_name_is_answered_and_other_names_are_not(reader):
    for host in ("hub.example", "HUB.example:443", "localhost"):
        assert reader.get(host=host).status == 200
    assert reader.get(host="evil.example").status == 403
    assert reader.get(headers={"X-Forwarded-Host": "evil.example"}).status == 200
    assert reader.get(host="evil.example", headers={"X-Forwarded-Host": "localhost"}).status == 403


def test_two_servers_of_one_host_do_not_take_each_others_cookie(small_run, reader):
    with dashboard(small_run, port=0, names=["hub.example"]) as other:
        query = urlsplit(other.url).query
        second = Client(other.port).get(f"?{query}").headers["Set-Cookie"].partition(";")[0]
        both = f"{reader.cookie}; {second}"
        assert second.partition("=")[0] != reader.cookie.partition("=")[0]
        assert Client(other.port, cookie=both).get().status == 200
        assert Client(reader.port, cookie=both).get().status == 200
        assert Client(other.port, cookie=reader.cookie).get().status == 403


def test_each_server_has_a_token_of_its_own_where_it_needs_one():
    tokens = {Guard.of("0.0.0.0").token for _ in range(20)}
    assert len(tokens) == 20
    assert min(map(len, tokens)) >= 32
    assert Guard.of("127.0.0.1").token == ""
    assert Guard.of("127.0.0.1", ["hub.example"]).token


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "::1", "[::1]"])
def test_only_this_machine_reaches_its_loopback_addresses(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "localhost.evil", "127.1", "", "::2"]
)
def test_others_reach_any_other_address(host):
    assert not is_loopback(host)
    assert Guard.of(host).token


@pytest.mark.parametrize(
    "prefix",
    ["", "user/me", "//evil.example", "/a/../b", "/a b", '/"onload="x', "/<b>", "/a?b", "/a#b",
     "http://evil.example", "/é", "/a\n", "/{%config%}"],
    ids=ascii,
)  # fmt: skip
def test_a_prefix_that_is_no_path_is_refused(small_run, prefix):
    with pytest.raises(ConfigError, match="give a path such as /user/me/proxy/8050"):
        checked_prefix(prefix)
    with pytest.raises(ConfigError), dashboard(small_run, port=0, prefix=prefix):
        pass


@pytest.mark.parametrize(
    ("prefix", "path", "inside"),
    [
        ("/", "/a", "/a"),
        ("/x/", "/x/a", "/a"),
        ("/x/", "/x/", "/"),
        ("/x/", "/x", "/"),
        ("/x/", "/xy", "/xy"),
        ("/x/", "/a", "/a"),
        ("/x/", "/x/x/a", "/x/a"),
        ("/u%40l/", "/u@l/a", "/a"),
        ("/%C3%A9/", "/\xc3\xa9/a", "/a"),
    ],
    ids=["none", "below", "itself", "no-slash", "longer", "stripped", "twice", "quoted", "bytes"],
)
def test_a_path_below_the_prefix_is_that_path_of_the_page(prefix, path, inside):
    asked = under_prefix(lambda environ, _: [environ["PATH_INFO"]], prefix)
    assert asked({"PATH_INFO": path}, None) == [inside]
