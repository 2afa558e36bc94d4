"""`pythia-traj doctor --hub`: will network, token and disk do for a sweep?"""

import json
import re

import psutil
import pytest
from rich.filesize import decimal

from pythia_traj.cli import main
from pythia_traj.hub.estimate import estimate
from pythia_traj.hub.model import HubModel
from pythia_traj.suites.catalog import look_up
from tests.hub.fixtures import online as online
from tests.hub.fixtures import point_to
from tests.hub.fixtures import serve as serve
from tests.hub.publish import publish_steps
from tests.hub.repository import Repository

pytestmark = pytest.mark.usefixtures("online")


@pytest.fixture
def repository(suite):
    repository = Repository("EleutherAI/pythia-14m")
    publish_steps(repository, suite)
    return repository


@pytest.fixture
def doctor(capsys):
    """Runs the command: exit status, and what it found by what it looked at."""

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["doctor", "--hub", "--json", *arguments])
        checks = json.loads(capsys.readouterr().out)
        return end.value.code, {check["what"]: check for check in checks}

    return run


def test_a_sweep_is_priced_in_bytes_and_requests(serve, repository, suite, doctor):
    hub = serve(repository)
    code, found = doctor("--model", "pythia-14m", "--steps", "0,1,2,4")
    assert code == 0
    size = (suite / "step0" / "model.safetensors").stat().st_size
    assert found["pythia-14m"]["found"].startswith(
        f"4 steps of {decimal(size)}, 0 of them here; {decimal(4 * size)} to fetch"
    )
    assert found["requests"]["found"].startswith(
        "3 to the API (500 are allowed in 5 minutes), about 8 for files"
    )
    assert found["disk"]["found"].startswith(
        f"none for a sweep; to keep them (fetch, --keep) {decimal(4 * size)} of "
    )
    assert re.fullmatch(r"[\d.]+ [kMG]B/s: about 0 minutes", found["network"]["found"])
    assert found["HF_TOKEN"]["found"].startswith("not set")
    assert estimate(HubModel.of(look_up("pythia-14m")), (0, 1, 2, 4)).bytes == 4 * size
    # It asked for the branches, the files of the first step and of those it is compared with, and
    # the beginning of one file.
    assert [record.kind for record in hub.requests].count("tree") == 3


def test_steps_without_a_branch_are_named(serve, repository, doctor):
    serve(repository)
    code, found = doctor("--model", "pythia-14m", "--steps", "early")
    assert code == 1
    assert (
        found["pythia-14m"]["found"]
        == "no branch for steps 8, 16, 32, 64, 128, 256, 512: their units will fail"
    )


def test_a_token_is_tried(serve, repository, doctor, monkeypatch):
    serve(repository, token="hf_right")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    code, found = doctor()
    assert code == 1
    assert found["HF_TOKEN"]["found"] == "refused (401): make a new one, or unset it"
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    code, found = doctor()
    assert code == 0
    assert found["HF_TOKEN"]["found"].startswith("belongs to ")


def test_a_gated_model_and_a_hub_that_is_down_are_said(serve, repository, doctor, monkeypatch):
    repository.gated = True
    serve(repository)
    code, found = doctor("--model", "pythia-14m", "--steps", "0,1")
    assert code == 1
    assert "is gated: accept its terms" in found["pythia-14m"]["found"]
    point_to(monkeypatch, "http://127.0.0.1:9")
    code, found = doctor("--model", "pythia-14m", "--steps", "0,1")
    assert code == 1
    assert "cannot be reached" in found["hub"]["found"]


def test_too_little_memory_is_said(serve, repository, doctor, monkeypatch):
    serve(repository)
    available = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: available)
    code, found = doctor("--model", "pythia-14m", "--steps", "0,1")
    assert code == 1
    assert not found["memory"]["ok"]
