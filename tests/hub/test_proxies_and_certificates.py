"""The way to the Hub as the environment says it: proxies, who is asked without one, and authorities
of one's own.
"""

import importlib.util
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import get_session, set_client_factory
from huggingface_hub.utils import _http as hub_http

from pythia_traj.errors import CheckpointError, HubError
from pythia_traj.hub import network
from pythia_traj.hub.client import Client
from pythia_traj.hub.connections import Connections
from pythia_traj.hub.masks import Masks
from pythia_traj.hub.retry import RetryPolicy, describe, passing
from pythia_traj.hub.staging import InMemory
from pythia_traj.hub.stream import get
from pythia_traj.hub.weights import hold
from tests.hub.fixtures import online as online
from tests.hub.fixtures import point_to
from tests.hub.fixtures import serve as serve
from tests.hub.proxies import forward_proxy
from tests.hub.repository import Repository

REPO = "me/tiny"
QUICK = RetryPolicy(attempts=2, first=0.01, longest=0.02, timeout=5, connect=2)
VARIABLES = (
    *(
        name
        for kind in ("http", "https", "all", "no")
        for name in (f"{kind}_proxy", f"{kind}_proxy".upper())
    ),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
PASSWORD = "hunter2-of-the-proxy"


@pytest.fixture(autouse=True)
def bare(online, monkeypatch):
    """An environment that says nothing of the way; the session that read it is not used again."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    huggingface_hub.close_session()
    yield
    set_client_factory(hub_http.default_client_factory)
    network._context.cache_clear()


# Proxies


@pytest.fixture
def published(serve, tmp_path):
    """A hub with one step, and what fetches its weights."""
    (tmp_path / "step0").mkdir()
    (tmp_path / "step0" / "pytorch_model.bin").write_bytes(b"weights" * 1000)
    repository = Repository(REPO)
    commit = repository.publish("step0", tmp_path / "step0")
    hub = serve(repository)

    def fetch():
        client = Client(QUICK)
        files = client.files(REPO, client.branches(REPO)["step0"])
        with hold(client, REPO, commit, files, InMemory(0), Masks()) as (file,):
            return bytes(file.data)

    return hub, fetch


OBEYED = {
    "by the scheme": ("http_proxy", "http://127.0.0.1:{port}"),
    "for all schemes": ("ALL_PROXY", "http://127.0.0.1:{port}"),
    "without a scheme of its own": ("HTTP_PROXY", "127.0.0.1:{port}"),
    "with a slash": ("http_proxy", "http://127.0.0.1:{port}/"),
    "with a user and a password": ("http_proxy", f"http://me:{PASSWORD}@127.0.0.1:{{port}}"),
}


@pytest.mark.parametrize(("name", "address"), OBEYED.values(), ids=OBEYED)
def test_listings_and_weights_go_by_the_proxy(published, monkeypatch, caplog, name, address):
    hub, fetch = published
    with forward_proxy() as proxy:
        monkeypatch.setenv(name, address.format(port=proxy.port))
        assert fetch() == b"weights" * 1000
    assert {host for _, host in proxy.asked} == {
        endpoint.removeprefix("http://") for endpoint in (hub.endpoint, hub.content_endpoint)
    }
    assert len(proxy.asked) == len(hub.requests)
    assert proxy.authorizations == (
        {"Basic bWU6aHVudGVyMi1vZi10aGUtcHJveHk="} if "me:" in address else {None}
    )
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    "excepted", ["127.0.0.1", "*", "example.org, 127.0.0.1", "127.0.0.1:{port}"]
)
def test_who_is_excepted_is_asked_without_the_proxy(published, monkeypatch, excepted):
    hub, fetch = published
    with forward_proxy() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        content = hub.content_endpoint.rpartition(":")[2]
        monkeypatch.setenv("NO_PROXY", excepted.format(port=content))
        assert fetch() == b"weights" * 1000
    asked = {host for _, host in proxy.asked}
    assert asked == ({hub.endpoint.removeprefix("http://")} if "{port}" in excepted else set())


@pytest.mark.parametrize("is_dead", [True, False])
def test_a_proxy_that_does_not_answer_is_one_line_without_its_password(
    published, monkeypatch, cli, is_dead
):
    port = 9 if is_dead else None
    with forward_proxy() as proxy:
        monkeypatch.setattr("pythia_traj.hub.client.RetryPolicy", lambda: QUICK)
        # Where there is one: a hub that is not there.
        if not is_dead:
            point_to(monkeypatch, "https://127.0.0.1:9")
        variable = "http_proxy" if is_dead else "https_proxy"
        monkeypatch.setenv(variable, f"http://me:{PASSWORD}@127.0.0.1:{port or proxy.port}")
        code, out, err = cli("fetch", REPO)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "check the network, proxies and HF_ENDPOINT" in err
    assert PASSWORD not in err


KINDS = "use one of http, https, socks5, socks5h"
UNFIT = {
    "a scheme that is none": (
        "HTTPS_PROXY",
        "ftp://127.0.0.1:1",
        f"HTTPS_PROXY names a proxy by ftp://, which is not known: {KINDS}",
    ),
    "an old kind of socks": (
        "all_proxy",
        "socks4://127.0.0.1:1",
        f"all_proxy names a proxy by socks4://, which is not known: {KINDS}",
    ),
    "socks of no version": (
        "ALL_PROXY",
        f"socks://me:{PASSWORD}@h:1",
        f"ALL_PROXY names a proxy by socks://, which is not known: {KINDS}",
    ),
    "no host": (
        "http_proxy",
        "http://",
        "http_proxy is not the address of a proxy: give one such as http://proxy.example:3128",
    ),
    "a port that is none": (
        "http_proxy",
        f"http://me:{PASSWORD}@h:99999999",
        "http_proxy is not the address of a proxy",
    ),
    "a port of letters": (
        "http_proxy",
        "http://127.0.0.1:port",
        "http_proxy is not the address of a proxy",
    ),
    "half an address": (
        "HTTPS_PROXY",
        f"http://me:{PASSWORD}@[::1",
        "HTTPS_PROXY is not the address of a proxy",
    ),
    "a control character": (
        "HTTPS_PROXY",
        "http://127.0.0.1:1\x1b[31m",
        "HTTPS_PROXY is not the address of a proxy",
    ),
    "a scheme that colours": (
        "HTTPS_PROXY",
        "\x1b[31mred://h",
        r"HTTPS_PROXY names a proxy by \x1b[31mred://, which",
    ),
    "socks without its package": (
        "HTTPS_PROXY",
        f"socks5://me:{PASSWORD}@127.0.0.1:1",
        (
            "HTTPS_PROXY names a SOCKS proxy, which needs a package that is not installed:"
            " pip install socksio"
        ),
    ),
    "likewise with names looked up there": (
        "all_proxy",
        "socks5h://127.0.0.1:1",
        "all_proxy names a SOCKS proxy, which needs",
    ),
}


@pytest.mark.parametrize(("name", "address", "said"), UNFIT.values(), ids=UNFIT)
def test_a_proxy_that_cannot_be_used_is_one_line_before_anything_is_asked(
    published, monkeypatch, cli, name, address, said
):
    hub, _ = published
    monkeypatch.setenv(name, address)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda of, *more: None if of == "socksio" else real(of, *more)
    )
    code, out, err = cli("fetch", REPO)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"error: {said}")
    assert PASSWORD not in err
    assert "\x1b" not in err
    assert hub.requests == []


def test_offline_no_proxy_is_looked_at(published, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HTTPS_PROXY", "ftp://127.0.0.1:1")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        Client(QUICK).branches(REPO)


def test_a_socks_proxy_is_used_where_its_package_is_installed(published, monkeypatch):
    pytest.importorskip("socksio", reason="the package of SOCKS proxies is not installed")
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    with pytest.raises(HubError, match="cannot be reached"):
        Client(QUICK).branches(REPO)


# Certificates


class Hub(BaseHTTPRequestHandler):
    """Lists branches, and has one file."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        listing = b'{"branches": [{"name": "main", "targetCommit": "' + b"a" * 40 + b'"}]}'
        body = listing if self.path.startswith("/api/") else b"weights"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A folder with an authority of one's own, `ca.pem`, and what it signed for `localhost`."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command makes certificates")
    folder = tmp_path_factory.mktemp("authority")
    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2)
    own = ("-keyout", folder / "ca.key", "-out", folder / "ca.pem")
    openssl(*new, *own, "-subj", "/CN=An authority of one's own")
    signed = ("-CA", folder / "ca.pem", "-CAkey", folder / "ca.key")
    signed += ("-addext", "subjectAltName=DNS:localhost", "-subj", "/CN=localhost")
    openssl(*new, *signed, "-keyout", folder / "key.pem", "-out", folder / "own.pem")
    (folder / "hashed").mkdir()
    shutil.copy(folder / "ca.pem", folder / "hashed" / "ca.pem")
    openssl("rehash", folder / "hashed")
    return folder


@pytest.fixture(scope="module")
def encrypted(authority):
    """The endpoint of a hub with a certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "own.pem", authority / "key.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # Clients that do not trust it leave.
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"https://localhost:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def weights_from(endpoint):
    """A file by a connection of our own."""
    pool, buffer = Connections(), memoryview(bytearray(100))
    try:
        with get(f"{endpoint}/file", {}, httpx2.Timeout(5), set(), pool) as answer:
            return bytes(buffer[: answer.read_into(buffer)])
    finally:
        pool.close()


TRUSTED = {
    "SSL_CERT_FILE": "ca.pem",
    "SSL_CERT_DIR": "hashed",
    "REQUESTS_CA_BUNDLE": "ca.pem",
    "CURL_CA_BUNDLE": "ca.pem",
    "REQUESTS_CA_BUNDLE ": "hashed",
}


@pytest.mark.parametrize(
    ("name", "file"), TRUSTED.items(), ids=[f"{name}={file}" for name, file in TRUSTED.items()]
)
def test_an_authority_of_ones_own_is_trusted_for_listings_and_weights(
    monkeypatch, authority, encrypted, name, file
):
    monkeypatch.setenv(name.strip(), str(authority / file))
    point_to(monkeypatch, encrypted)
    assert Client(QUICK).branches(REPO) == {"main": "a" * 40}
    assert weights_from(encrypted) == b"weights"


def test_what_was_trusted_is_not_any_more_when_the_variable_is_gone(
    monkeypatch, authority, encrypted
):
    point_to(monkeypatch, encrypted)
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(authority / "ca.pem"))
        huggingface_hub.close_session()
        assert Client(QUICK).branches(REPO)
        monkeypatch.delenv(name)
        huggingface_hub.close_session()
        with pytest.raises(HubError):
            Client(QUICK).branches(REPO)


def test_a_way_of_the_users_own_to_make_connections_is_left_alone(monkeypatch, authority):
    own = httpx2.Client()
    set_client_factory(lambda: own)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority / "ca.pem"))
    Client(QUICK)
    assert get_session() is own


def test_a_certificate_that_nobody_here_trusts_is_one_line_at_once(
    monkeypatch, encrypted, cli, caplog
):
    point_to(monkeypatch, encrypted)
    start = time.monotonic()
    code, out, err = cli("fetch", REPO)
    assert time.monotonic() - start < 10
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "cannot be reached" in err
    assert "name the file of its certificate in SSL_CERT_FILE" in err
    assert "attempt 2" not in caplog.text
    with pytest.raises(httpx2.ConnectError) as raised:
        weights_from(encrypted)
    assert not passing(raised.value)
    assert describe(raised.value).endswith("name the file of its certificate in SSL_CERT_FILE")


def no_certificate(tmp_path):
    (tmp_path / "text.pem").write_text(
        "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n"
    )
    return tmp_path / "text.pem"


def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def empty(tmp_path):
    (tmp_path / "empty.pem").touch()
    return tmp_path / "empty.pem"


NO_CERTIFICATES = {
    "missing": (
        lambda tmp_path: tmp_path / "nowhere.pem",
        "which is not there: name a file of certificates (PEM)",
    ),
    "text": (
        no_certificate,
        "which holds no certificates that can be read: name a file of them (PEM), or unset it",
    ),
    "empty": (empty, "which holds no certificates that can be read"),
    "a pipe": (pipe, "which holds no certificates that can be read"),
    "without an end": (lambda _: "/dev/zero", "which holds no certificates that can be read"),
}


@pytest.mark.parametrize(
    "name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
)
@pytest.mark.parametrize(("make", "said"), NO_CERTIFICATES.values(), ids=NO_CERTIFICATES)
def test_certificates_that_are_none_are_one_line_before_anything_is_asked(
    published, monkeypatch, tmp_path, cli, name, make, said
):
    hub, _ = published
    path = make(tmp_path)
    monkeypatch.setenv(name, str(path))
    code, out, err = cli("fetch", REPO)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"error: {name} names {path}, {said}")
    assert hub.requests == []


def test_nor_do_they_end_a_sweep_that_asks_for_nothing(tmp_path, suite):
    run = subprocess.run(
        [Path(sys.executable).with_name("pythia-traj"), "steps", str(suite)],
        env={**os.environ, "SSL_CERT_FILE": str(tmp_path / "nowhere"), "HTTPS_PROXY": "ftp://x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_weights_that_come_from_an_untrusted_host_fail_their_step_alone(
    published, monkeypatch, encrypted
):
    hub, fetch = published
    hub._routes._content_address = lambda *_: f"{encrypted}/file"
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin at commit .*SSL_CERT_FILE"):
        fetch()
