"""Fixtures for tests that talk to a loopback hub; import them into a test file by name."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from pythia_traj.hub import retry
from pythia_traj.suites.catalog import catalog
from tests.hub.publish import publish_steps
from tests.hub.repository import Repository
from tests.hub.server import Hub
from tests.support import write_distinct


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Lets the real client speak to this machine until the test ends.

    It has no token, no proxy and no cache of its own.
    """
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf-cache"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    silent = are_progress_bars_disabled()
    disable_progress_bars()
    # The session that is shared by all calls has read the proxies when it was made.
    huggingface_hub.close_session()
    yield
    huggingface_hub.close_session()
    if not silent:
        enable_progress_bars()


@pytest.fixture(scope="module")
def pythia_14m(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """154 tiny revisions under the name of a known model, each with weights of its own.

    `main` is the last.
    """
    folder = tmp_path_factory.mktemp("pythia-14m")
    write_distinct(folder, catalog()["pythia-14m"].steps)
    repository = Repository("EleutherAI/pythia-14m")
    publish_steps(repository, folder)
    return repository


def point_to(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """As HF_ENDPOINT does for a new process."""
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)


@pytest.fixture
def serve(
    online: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., Hub]]:
    """Starts hubs, `serve(*repositories, **options)`, and points the client to the latest.

    The client's caches are the test's own.
    """
    monkeypatch.setenv("PYTHIA_TRAJ_CACHE", str(tmp_path / "cache"))
    with ExitStack() as running:

        def start(*repositories: Repository, **options: Any) -> Hub:
            hub = running.enter_context(Hub(*repositories, **options))
            point_to(monkeypatch, hub.endpoint)
            return hub

        yield start


class Clock:
    """Time that passes only where something waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(retry.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(retry.time, "sleep", self.wait)
        monkeypatch.setattr(retry.random, "uniform", lambda low, high: high)

    def wait(self, seconds: float) -> None:
        """Lets so much time pass."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that waiting for the Hub goes by."""
    return Clock(monkeypatch)
