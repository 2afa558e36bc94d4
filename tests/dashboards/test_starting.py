"""Starting and ending the server, from Python and from the command line."""

import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from importlib import util

import pytest

import pythia_traj as pt
from pythia_traj.dashboards.serving import dashboard
from pythia_traj.dashboards.warming import Warming
from pythia_traj.dashboards.watching import Watching
from pythia_traj.errors import AnalysisError, ConfigError, MissingExtraError, StoreError
from pythia_traj.live.view import Views
from pythia_traj.live.watched import Watched
from tests.dashboards.client import Client


@pytest.fixture
def taken():
    """A port at which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_page_ends_with_its_block_and_leaves_no_thread(small_run):
    before = {thread.name for thread in threading.enumerate()}
    with dashboard(small_run, port=0) as page:
        assert Client(page.port).get().status == 200
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", page.port), timeout=1)
    own = {thread.name for thread in threading.enumerate()} - before
    assert not [name for name in own if name.startswith(("pythia-traj", "waitress"))]


def test_the_public_name_is_the_function_however_often_it_is_asked_for():
    assert pt.dashboard is dashboard
    assert pt.dashboard is dashboard


def test_several_runs_are_one_page(small_run, rows_of, tmp_path):
    from tests.live.made import made_run

    other = made_run(tmp_path / "other", rows_of(models=("pythia-14m",), steps=(0,))).path
    with dashboard([small_run, str(other)], port=0) as page:
        text = Client(page.port).get().text
    assert "<title>run, other</title>" in text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_name_of_this_machine_is_one_address(small_run, host):
    with dashboard(small_run, port=0, host=host) as page:
        assert page.url.startswith(f"http://{host}:{page.port}/")
        assert Client(page.port).get().status == 200


def test_a_port_that_is_taken_is_one_sentence(small_run, taken, cli):
    words = f"cannot listen on 127.0.0.1, port {taken} (Address already in use): give --port 0"
    with pytest.raises(ConfigError) as refused, dashboard(small_run, port=taken):
        pass
    assert str(refused.value).startswith(words)
    status, out, err = cli("dashboard", small_run, "--port", taken)
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {words}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("port", [-1, 65536, 10**9])
def test_a_number_that_is_no_port_is_refused(small_run, port):
    words = "give a number from 0, which takes a free one, to 65535"
    with pytest.raises(ConfigError, match=words), dashboard(small_run, port=port):
        pass


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "", "<b>"], ids=ascii)
def test_an_address_of_another_machine_is_refused(small_run, host):
    words = "give --port 0 .* as --host an address of this machine"
    with pytest.raises(ConfigError, match=words), dashboard(small_run, port=0, host=host):
        pass


def test_what_is_not_a_run_is_refused_before_anything_listens(tmp_path, small_run, cli):
    with pytest.raises(StoreError, match="is not a run directory"), dashboard(tmp_path, port=0):
        pass
    twice = [small_run, small_run]
    with pytest.raises(AnalysisError, match="given twice"), dashboard(twice, port=0):
        pass
    status, _, err = cli("dashboard", tmp_path / "nowhere")
    assert (status, err.count("\n")) == (1, 1)
    assert "it has no run.json" in err


@pytest.mark.parametrize("missing", ["dash", "waitress"])
def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(
    small_run, cli, monkeypatch, missing
):
    find = util.find_spec
    monkeypatch.setattr(
        "pythia_traj.extras.find_spec", lambda name: None if name == missing else find(name)
    )
    words = f"the dashboard needs {missing}: pip install 'pythia-traj[dashboard]'"
    with pytest.raises(MissingExtraError) as refused, dashboard(small_run, port=0):
        pass
    assert str(refused.value) == words
    assert cli("dashboard", small_run) == (1, "", f"error: {words}\n")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"]
)
def test_the_command_prints_the_address_and_ends_at_a_signal(small_run, number, status):
    command = [sys.executable, "-m", "pythia_traj.cli", "dashboard", str(small_run), "--port", "0"]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = worker.stdout.readline().removeprefix("dashboard: ").strip()
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert b"<title>run</title>" in answer.read()
        # A reader who waits for an answer does not hold it up.
        with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1].strip("/")))):
            began = time.monotonic()
            worker.send_signal(number)
            out, err = worker.communicate(timeout=30)
        assert time.monotonic() - began < 4
    finally:
        worker.kill()
        worker.wait()
    assert worker.returncode == status
    assert (out, err) == ("", "")


def test_an_open_server_says_that_its_address_holds_a_token(small_run):
    command = [sys.executable, "-m", "pythia_traj.cli", "dashboard", str(small_run)]
    command += ["--port", "0", "--host", "0.0.0.0", "--prefix", "/node/x"]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = worker.stdout.readline()
        assert "/node/x/?token=" in line
        assert worker.stderr.readline() == (
            "whoever has this address sees the runs: it holds a token\n"
        )
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=30)


def test_an_error_that_ends_the_looking_is_said(made, monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda found: seen.append(found.exc_type))
    watched = Watched([made.path])

    def between(_):
        raise ZeroDivisionError

    watching = Watching(watched, between)
    monkeypatch.setattr("pythia_traj.dashboards.watching.SECONDS", 0.01)
    with watching.running():
        end = time.monotonic() + 20
        while not seen and time.monotonic() < end:
            time.sleep(0.01)
    assert seen == [ZeroDivisionError]
    assert "start the dashboard again" in watching.error


def test_what_is_drawn_ahead_is_drawn_once_for_each_change(small_run):
    watched, views = Watched([small_run]), Views()
    watched.look()
    warming = Warming(views)
    assert [warming.one(watched.state) for _ in range(3)] == [True, True, False]
    assert {what for what, _ in views._kept} >= {"rows", "charts", "drawing 0", "sent 0"}
    watched.look()
    assert not warming.one(watched.state)
