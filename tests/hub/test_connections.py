"""Connections that are used again: few, none with another answer's bytes in it, none left open."""

import gc
import logging
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx2
import pytest

from pythia_traj.hub import connections as connections_module
from pythia_traj.hub.client import Client
from pythia_traj.hub.connections import CONNECTIONS, Connections, host_of, new_connection
from pythia_traj.hub.stream import get
from pythia_traj.hub.transfer import Source, Transfer
from tests.hub.faults import Fault
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.test_transfer import (
    ALWAYS,
    PIECE,
    QUICK,
    REPO,
    closing_answers,
    eventually,
    misanswering,
)
from tests.hub.test_transfer import published as published
from tests.hub.test_transfer import small_pieces as small_pieces

TIMEOUTS = httpx2.Timeout(1.0)


def sockets(client):
    return [
        connection.sock
        for waiting in client.connections._waiting.values()
        for _, connection in waiting
    ]


def no_failures(caplog):
    return [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# Few


@pytest.mark.parametrize("pieces", [1, CONNECTIONS, 40])
def test_a_file_of_many_ranges_needs_no_more_connections_than_ranges_are_on_their_way_at_once(
    published, pieces
):
    remote = published(pieces * PIECE)
    assert remote.fetch() == remote.content
    assert len(remote.gets) == pieces
    assert remote.hub.content_connections <= min(pieces, CONNECTIONS)


def test_further_files_use_the_connections_of_earlier_ones(published):
    remote = published(8 * PIECE)
    for _ in range(3):
        assert remote.fetch() == remote.content
    assert len(remote.gets) == 24
    assert remote.hub.content_connections <= CONNECTIONS


def test_a_file_whose_connections_were_closed_meanwhile_is_fetched_without_a_failure(
    published, caplog
):
    remote = published(8 * PIECE)
    assert remote.fetch() == remote.content
    before = remote.hub.content_connections
    remote.hub.end_connections()
    assert remote.fetch() == remote.content
    assert before < remote.hub.content_connections <= before + CONNECTIONS
    assert no_failures(caplog)


def test_one_that_is_closed_while_the_request_is_on_its_way_is_no_failure_either(published, caplog):
    remote = published(PIECE)
    assert remote.fetch() == remote.content
    remote.hub.faults.add(Fault("reset", where="content"))
    assert remote.fetch() == remote.content
    assert remote.hub.content_connections == 2
    assert no_failures(caplog)


def test_a_new_connection_that_is_closed_as_well_is_a_failure(published, caplog):
    remote = published(PIECE)
    assert remote.fetch() == remote.content
    remote.hub.faults.add(Fault("reset", where="content", times=2))
    assert remote.fetch() == remote.content
    assert (
        len([record for record in caplog.records if "; attempt 2 of 4 in" in record.getMessage()])
        == 1
    )


# Whatever goes wrong


@pytest.mark.parametrize(
    "kind", ["reset", "reset-in-body", "truncate", "stall", "ignore-range", "expired", "503", "429"]
)
def test_after_any_fault_on_a_connection_that_was_used_before_the_bytes_are_right(published, kind):
    remote = published(12 * PIECE)
    for skip in (0, 5):
        remote.hub.faults.clear()
        remote.hub.faults.add(
            Fault(kind, where="content", times=3, skip=skip, after=777, seconds=0.7)
        )
        for _ in range(2):
            assert remote.fetch() == remote.content


def test_wrong_bytes_leave_nothing_behind_for_the_next_file(published):
    remote = published(12 * PIECE)
    remote.hub.faults.add(Fault("corrupt", where="content", times=3))
    assert remote.fetch() == b""
    assert remote.fetch() == remote.content


def test_an_answer_that_announces_the_end_of_its_connection_is_its_last(published, monkeypatch):
    misanswering(monkeypatch, ALWAYS, closing_answers)
    remote = published(6 * PIECE)
    assert remote.fetch() == remote.content
    assert remote.hub.content_connections == 6
    assert sockets(remote.source.client) == []


def test_a_body_that_was_not_read_to_its_end_is_its_connections_last(published):
    remote = published(PIECE)
    url, headers = remote.source.client.address(REPO, remote.source.commit, remote.source.file.path)
    pool = Connections()
    with get(url, headers, TIMEOUTS, set(), pool) as answer:
        assert answer.read_into(memoryview(bytearray(100))) == 100
    assert pool.take(host_of(urlsplit(url))) is None


def test_a_reader_is_told_of_the_end_at_once_though_the_connection_stays_open(published):
    remote = published(PIECE)
    url, headers = remote.source.client.address(REPO, remote.source.commit, remote.source.file.path)
    pool = Connections()
    buffer = memoryview(bytearray(2 * PIECE))
    with get(url, headers, TIMEOUTS, set(), pool) as answer:
        received = 0
        while count := answer.read_into(buffer[received:]):
            received += count
    assert (received, bytes(buffer[:PIECE])) == (PIECE, remote.content)
    pool.close()


# Bytes that nobody asked for


@contextmanager
def saying(*answers):
    """A server whose n-th connection answers its requests with the n-th of these lists of bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        requests = []

        def serve_connections():
            # Clients that leave before they have read everything are part of the game.
            with suppress(OSError):
                for number, said in enumerate(answers):
                    serve_one(number, said, listening.accept()[0])

        def serve_one(number, said, connection):
            with connection, suppress(ConnectionError):
                for text in said:
                    if not connection.recv(65536):
                        return
                    requests.append(number)
                    for part in text if isinstance(text, list) else [text]:
                        part() if callable(part) else connection.sendall(part)
                connection.recv(65536)

        thread = threading.Thread(target=serve_connections, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/file", requests
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def answer_of(body, length=None):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body) if length is None else length,
        body,
    )


def body_of(url, pool):
    buffer, received = memoryview(bytearray(1000)), 0
    with get(url, {}, TIMEOUTS, set(), pool) as answer:
        while count := answer.read_into(buffer[received:]):
            received += count
    return bytes(buffer[:received])


def test_what_is_left_of_an_answer_is_never_read_as_the_next(online):
    false = answer_of(b"false")
    pool = Connections()
    with saying([answer_of(b"first" + false, length=5)], [answer_of(b"second")]) as (url, requests):
        assert body_of(url, pool) == b"first"
        assert body_of(url, pool) == b"second"
        assert requests == [0, 1]
        pool.close()


def test_nor_is_what_arrives_after_it(online):
    pool, late, has_come = Connections(), threading.Event(), threading.Event()
    said = [answer_of(b"first"), late.wait, answer_of(b"false"), has_come.set]
    with saying([said], [answer_of(b"second")]) as (url, requests):
        assert body_of(url, pool) == b"first"
        late.set()
        assert has_come.wait(5)
        assert body_of(url, pool) == b"second"
        assert requests == [0, 1]
        pool.close()


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nfirst",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nfirst",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 5\r\n\r\nfirst",
    ],
    ids=["chunked", "of version 1.0", "closing", "an error"],
)
def test_only_an_answer_whose_end_is_known_leaves_its_connection_for_another(online, said):
    pool = Connections()
    with saying([said], [answer_of(b"second")]) as (url, _):
        assert body_of(url, pool) == b"first"
        kept = pool.take(host_of(urlsplit(url)))
        assert (kept is not None) == (b"500" in said)
        if kept is not None:
            kept.close()


# Encrypted


class Numbered(BaseHTTPRequestHandler):
    """Answers with the number of the request on its connection."""

    protocol_version = "HTTP/1.1"
    number = 0

    def do_GET(self):
        self.number += 1
        body = b"%d" % self.number * 500
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/more":
            self.wfile.write(b"more")

    def log_message(self, *_):
        pass


@pytest.fixture
def encrypted(online, monkeypatch, tmp_path):
    """The address of a server with its own certificate, which is trusted until the test ends."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command makes a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
    made += ["-keyout", str(key), "-out", str(certificate)]
    made += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(made, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Numbered) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://localhost:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_an_encrypted_connection_is_used_again_and_not_where_more_has_come_than_was_promised(
    encrypted,
):
    pool = Connections()
    try:
        assert body_of(f"{encrypted}/file", pool) == b"1" * 500
        assert body_of(f"{encrypted}/file", pool) == b"2" * 500
        assert body_of(f"{encrypted}/more", pool) == b"3" * 500
        assert body_of(f"{encrypted}/file", pool) == b"1" * 500
    finally:
        pool.close()


# None left open


def test_no_more_are_kept_than_are_used_at_once_and_none_for_long(published, monkeypatch):
    remote = published(PIECE)
    host = host_of(urlsplit(remote.hub.content_endpoint))
    pool = Connections()
    opened = [new_connection(host, 1.0) for _ in range(CONNECTIONS + 2)]
    for connection in opened:
        connection.connect()
        pool.give_back(host, connection)
    assert sum(connection.sock is not None for connection in opened) == CONNECTIONS
    monkeypatch.setattr(connections_module, "_IDLE", -1.0)
    assert pool.take(host) is None
    assert all(connection.sock is None for connection in opened)


def test_a_forked_process_leaves_its_parents_connections_alone(published):
    remote = published(PIECE)
    host = host_of(urlsplit(remote.hub.content_endpoint))
    pool = Connections()
    connection = new_connection(host, 1.0)
    connection.connect()
    pool.give_back(host, connection)
    child = os.fork()
    if child == 0:
        os._exit(0 if pool.take(host) is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pool.take(host) is connection
    connection.request("GET", "/")
    assert connection.getresponse().status == 403
    connection.close()


def test_connections_are_closed_with_their_client(published):
    remote = published(4 * PIECE)
    client = Client(QUICK)
    source = Source(client, REPO, remote.source.commit, remote.source.file)
    assert Transfer(source, memoryview(bytearray(4 * PIECE))).complete([(0, 4 * PIECE)])
    waiting = sockets(client)
    assert waiting
    assert all(sock.fileno() >= 0 for sock in waiting)
    del client, source
    gc.collect()
    assert all(sock.fileno() < 0 for sock in waiting)


# Ended from elsewhere


def test_a_request_that_waits_on_a_connection_used_before_can_be_ended_and_is_not_sent_again(
    online,
):
    pool, aborts, raised, over = Connections(), set(), [], threading.Event()
    with saying([answer_of(b"first"), [over.wait]], [answer_of(b"second")]) as (url, requests):
        assert body_of(url, pool) == b"first"

        def ask():
            try:
                with get(url, {}, httpx2.Timeout(30.0), aborts, pool):
                    pass
            except httpx2.ReadError as error:
                raised.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        eventually(lambda: requests == [0, 0])
        for abort in list(aborts):
            abort()
        asking.join(5)
        over.set()
        assert len(raised) == 1
        assert aborts == set()
        assert requests == [0, 0]
        assert re.search("closed|reset", str(raised[0]))
