"""Whoever holds the files may send anything, or nothing, or never stop: a transfer ends with the
right bytes or one line, soon.
"""

import hashlib
import itertools
import random
import re
import socket
import threading
import time
import zlib
from contextlib import contextmanager, suppress

import pytest

from pythia_traj.errors import CheckpointError
from pythia_traj.hub import transfer
from pythia_traj.hub.client import Client
from pythia_traj.hub.masks import Masks
from pythia_traj.hub.retry import RetryPolicy, log
from pythia_traj.hub.staging import InMemory
from pythia_traj.hub.weights import hold
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.repository import Repository
from tests.hub.server import Hub

REPO = "me/tiny"
SIZE = 20_000
CONTENT = random.Random(0).randbytes(SIZE)
QUICK = RetryPolicy(attempts=3, first=0.01, longest=0.02, timeout=0.5, connect=1)
SECRET = "hf_abcdefghijklmnop"


def head(status="206 Partial Content", **headers):
    named = {"Content_Range": f"bytes 0-{SIZE - 1}/{SIZE}", "Content_Length": str(SIZE), **headers}
    lines = [
        f"HTTP/1.1 {status}",
        *(f"{key.replace('_', '-')}: {value}" for key, value in named.items() if value is not None),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def dripping(data, pause):
    for byte in data:
        yield bytes([byte])
        time.sleep(pause)


def endless(beginning, piece):
    yield beginning
    while True:
        yield piece


WRONG = CONTENT[::-1]
PACKED = zlib.compress(CONTENT, wbits=31)
RIGHT = None
CORRUPT = "is corrupt: fetched twice, its content is not what the Hub lists"

SENT = {
    "the file": (lambda: [head(), CONTENT], RIGHT),
    "more than was promised": (lambda: [head(), CONTENT + b"more" * 1000], RIGHT),
    "the file without a length": (lambda: [head(Content_Length=None), CONTENT], RIGHT),
    "the whole file unasked": (lambda: [head("200 OK", Content_Range=None), CONTENT], RIGHT),
    "the whole file without an end": (
        lambda: endless(
            head("200 OK", Content_Range=None, Content_Length=None) + CONTENT, b"more" * 1000
        ),
        RIGHT,
    ),
    "chunks without an end": (
        lambda: endless(
            head("200 OK", Content_Range=None, Content_Length=None, Transfer_Encoding="chunked"),
            b"5\r\nwrong\r\n",
        ),
        CORRUPT,
    ),
    "other bytes": (lambda: [head(), WRONG], CORRUPT),
    "other bytes without an end": (
        lambda: endless(head(Content_Length=None) + WRONG, b"more" * 1000),
        CORRUPT,
    ),
    "a length of 10**30": (lambda: [head(Content_Length=str(10**30)), CONTENT], RIGHT),
    "a length below nothing": (lambda: [head(Content_Length="-1"), CONTENT], RIGHT),
    "a length that is text": (lambda: [head(Content_Length="many"), CONTENT], RIGHT),
    "packed, of a range": (
        lambda: [head(Content_Encoding="gzip", Content_Length=str(len(PACKED))), PACKED],
        "it is packed",
    ),
    "packed, of the whole": (
        lambda: [
            head(
                "200 OK",
                Content_Range=None,
                Content_Encoding="gzip",
                Content_Length=str(len(PACKED)),
            ),
            PACKED,
        ],
        "it is packed",
    ),
    "another range": (
        lambda: [head(Content_Range=f"bytes 1-{SIZE}/{SIZE}"), CONTENT],
        "it sent 'bytes 1-20000/20000'",
    ),
    "a range of another file": (
        lambda: [head(Content_Range=f"bytes 0-{SIZE - 1}/9999999"), CONTENT],
        "it sent 'bytes",
    ),
    "a range of 5000 digits": (
        lambda: [head(Content_Range=f"bytes 0-{'9' * 5000}/1"), CONTENT],
        "it sent 'bytes 0-9999",
    ),
    "a range that is none": (
        lambda: [head(Content_Range="\x1b[31mred"), CONTENT],
        r"it sent '\x1b[31mred'",
    ),
    "no range": (lambda: [head(Content_Range=None), CONTENT], "it sent None"),
    "another size": (
        lambda: [head("200 OK", Content_Range=None, Content_Length="77"), CONTENT],
        "it sent '77' bytes, status 200",
    ),
    "less than was promised": (lambda: [head(), CONTENT[:-1]], "it ended 1 bytes early"),
    "no content": (lambda: [head("204 No Content")], "status 204"),
    "headers without an end": (
        lambda: endless(head()[:-2], b"X-Header: text\r\n"),
        "got more than 100 headers",
    ),
    "a header without an end": (
        lambda: endless(head()[:-2], b"X" * 65536),
        "got more than 65536 bytes",
    ),
    "a head byte by byte": (lambda: dripping(head() + CONTENT, 0.2), "cannot be reached"),
    "a body byte by byte": (
        lambda: itertools.chain([head()], dripping(CONTENT, 0.05)),
        "bytes came in",
    ),
    "no status": (lambda: [b"hello\r\n\r\n"], "hello"),
    "a status of 999": (lambda: [head("999 \x1b[31mYes")], "answers 999 for"),
    "a status that is text": (lambda: [b"HTTP/1.1 two OK\r\n\r\n"], "two"),
    "a refusal in its own words": (
        lambda: [head(f"400 {SECRET} \x1b[31m")],
        "answers 400 Bad Request for",
    ),
    "nothing": (lambda: [], "cannot be reached"),
    "silence": (lambda: dripping(b"..", 2), "does not answer"),
}


@contextmanager
def saying(say):
    """A server that answers every request so; its address, and how many there were."""
    asked, closing = [], threading.Event()

    def answer(connection):
        with connection, suppress(OSError):
            connection.settimeout(20)
            asked.append(connection.recv(65536))
            for part in say():
                if closing.is_set():
                    return
                connection.sendall(part)

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept():
            with suppress(OSError):
                while True:
                    threading.Thread(
                        target=answer, args=(listening.accept()[0],), daemon=True
                    ).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/file", asked
        finally:
            closing.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture
def fetched(serve, tmp_path, monkeypatch):
    """Fetches the one file of a repository whose bytes are at an address."""
    monkeypatch.setattr(transfer, "_TRICKLE_SECONDS", 0.4)
    (tmp_path / "step0").mkdir()
    (tmp_path / "step0" / "pytorch_model.bin").write_bytes(CONTENT)
    repository = Repository(REPO)
    commit = repository.publish("step0", tmp_path / "step0")
    hub: Hub = serve(repository)

    def fetch(address):
        hub._routes._content_address = lambda *_: address
        client = Client(QUICK)
        files = client.files(REPO, commit)
        assert files[0].blob == hashlib.sha256(CONTENT).hexdigest()
        with hold(client, REPO, commit, files, InMemory(0), Masks()) as (file,):
            return bytes(file.data)

    return fetch


@pytest.mark.parametrize(("say", "expected"), SENT.values(), ids=SENT)
def test_whatever_is_sent_the_bytes_are_right_or_one_line_says_why(fetched, caplog, say, expected):
    start = time.monotonic()
    with saying(say) as (address, asked):
        if expected is RIGHT:
            assert fetched(address) == CONTENT
        else:
            with pytest.raises(CheckpointError) as raised:
                fetched(address)
            # What went wrong first is in the log.
            assert expected in str(raised.value) + caplog.text
            assert_fit(str(raised.value))
    assert time.monotonic() - start < 20
    assert len(asked) <= 2 * QUICK.attempts
    for record in caplog.records:
        assert_fit(record.getMessage())


def test_bytes_that_trickle_are_given_up_though_each_attempt_brings_some(fetched):
    def trickle():
        start = int(re.search(rb"range: bytes=(\d+)-", asked[-1], re.IGNORECASE)[1])
        yield head(
            Content_Range=f"bytes {start}-{SIZE - 1}/{SIZE}", Content_Length=str(SIZE - start)
        )
        yield from dripping(CONTENT[start:], 0.05)

    with (
        saying(trickle) as (address, asked),
        pytest.raises(
            CheckpointError,
            match=r"cannot be reached \(only \d+ bytes came in \d s\).*given up after 3 attempts",
        ),
    ):
        fetched(address)
    assert len(asked) == QUICK.attempts


def test_bytes_that_come_faster_are_waited_for(fetched, monkeypatch):
    monkeypatch.setattr(transfer, "_TRICKLE_BYTES", 100)

    def slowly():
        yield head()
        for start in range(0, SIZE, 500):
            yield CONTENT[start : start + 500]
            time.sleep(0.03)

    with saying(slowly) as (address, asked):
        assert fetched(address) == CONTENT
    assert len(asked) == 1


def assert_fit(text):
    assert "\n" not in text
    assert "\x1b" not in text
    assert SECRET not in text
    assert len(text) < 1000


ELSEWHERE = {
    "a file": "file:///etc/passwd",
    "another protocol": "ftp://127.0.0.1/file",
    "no host": "http:///file",
    "half a host": "http://[::1/file",
    "a port beyond all": "http://127.0.0.1:99999/file",
    "a port of letters": "http://127.0.0.1:port/file",
    "nothing": "http://",
    "a host of 300 letters": f"http://{'a' * 300}/file",
    "a control character": "http://127.0.0.1:1/\x01\x1b[31m",
}


@pytest.mark.parametrize("address", ELSEWHERE.values(), ids=ELSEWHERE)
def test_an_address_that_leads_nowhere_is_one_line(fetched, address):
    start = time.monotonic()
    with pytest.raises(CheckpointError) as raised:
        fetched(address)
    assert time.monotonic() - start < 20
    assert_fit(str(raised.value))


def test_letters_of_all_alphabets_in_an_address_are_sent_as_they_have_to_be(fetched):
    with saying(lambda: [head(), CONTENT]) as (address, asked):
        assert fetched(f"{address}/\u00e9t\u00e9?name=caf\u00e9") == CONTENT
    assert asked[0].startswith(b"GET /file/%C3%A9t%C3%A9?name=caf%C3%A9 HTTP/1.1\r\n")


LINES = {
    "a token": ("with %s", (SECRET,), "with ***"),
    "a signed address": (
        "%s",
        ("https://h/f?X-Amz-Signature=abc123&x=1",),
        "https://h/f?X-Amz-Signature=***&x=1",
    ),
    "a password": ("%s", ("http://me:hunter2@h/",), "http://***@h/"),
    "control characters": ("%s", ("a\x1b[31mb",), r"a\x1b[31mb"),
    "lines": ("%s", ("a\nb",), "a b"),
    "numbers": ("%d of %.1f", (1, 2.0), "1 of 2.0"),
    "a text that is no pattern": ("100 %", (), "100 %"),
}


@pytest.mark.parametrize(("pattern", "values", "said"), LINES.values(), ids=LINES)
def test_a_line_of_the_log_is_one_line_without_secrets(caplog, pattern, values, said):
    log.warning(pattern, *values)
    assert [record.getMessage() for record in caplog.records] == [said]
