"""`pythia-traj fetch` and `cache`: checkpoints that stay here, for nodes without network."""

import fcntl
import json

import pytest
from huggingface_hub import constants
from rich.filesize import decimal

import pythia_traj as pt
from pythia_traj.errors import ConfigError
from pythia_traj.hub.disk import OnDisk
from pythia_traj.hub.fetch import fetch, kept
from pythia_traj.stream.published import open_model
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import publish_steps
from tests.hub.repository import Repository

pytestmark = pytest.mark.usefixtures("online")


@pytest.fixture
def repository(suite):
    repository = Repository("me/tiny")
    publish_steps(repository, suite)
    return repository


def sweep(out, **settings):
    experiments = {"induction": {"length": 20, "n": 4}}
    return pt.sweep(
        pt.SweepConfig(
            model="me/tiny", steps="all", experiments=experiments, out=out, device="cpu", **settings
        )
    )


def test_what_was_fetched_is_swept_without_network(
    serve, repository, cli, tmp_path, monkeypatch, suite
):
    hub = serve(repository)
    size = (suite / "step0" / "model.safetensors").stat().st_size
    code, out, _ = cli("fetch", "me/tiny")
    assert code == 0
    assert f"4 steps of {decimal(size)}, 0 of them here: {decimal(4 * size)} to fetch" in out
    assert out.endswith("4 steps are here, 0 failed\n")
    hub.reset_log()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert len(sweep(tmp_path / "run").done) == 4
    assert hub.requests == []


def test_a_dry_run_says_the_cost_and_fetches_nothing(serve, repository, cli, suite):
    serve(repository)
    size = (suite / "step0" / "model.safetensors").stat().st_size
    code, out, _ = cli("fetch", "me/tiny", "--steps", "0,1", "--dry-run", "--json")
    plan = json.loads(out)
    assert code == 0
    assert (plan["steps"], plan["here"], plan["checkpoint_bytes"], plan["bytes"]) == (
        2,
        0,
        size,
        2 * size,
    )
    assert plan["bytes_per_second"] > 0
    assert kept() == []
    cli("fetch", "me/tiny", "--steps", "0")
    plan = json.loads(cli("fetch", "me/tiny", "--steps", "0,1", "--dry-run", "--json")[1])
    assert (plan["here"], plan["bytes"]) == (1, size)


def test_a_budget_that_is_too_small_is_refused(serve, repository, cli):
    hub = serve(repository)
    code, _, err = cli("fetch", "me/tiny", "--disk-budget", "100KB")
    assert code == 1
    assert "a disk budget of 100.0 kB cannot hold all the checkpoints to be kept, of" in err
    assert sum(record.sent for record in hub.requests if record.kind == "content") < 100_000
    assert kept() == []


def test_a_budget_that_is_not_a_size_is_refused_before_the_hub_is_asked_for_files(
    serve, repository, cli
):
    hub = serve(repository)
    code, _, err = cli("fetch", "me/tiny", "--disk-budget", "20XB")
    assert (code, err) == (
        1,
        "error: disk_budget: '20XB': give a number of bytes from 0 to 2**63 - 1,"
        " such as 500MB, 20GB, 20GiB or 20000000000\n",
    )
    assert [record for record in hub.requests if record.kind == "content"] == []


def test_a_budget_with_a_unit_is_taken_from_python_too(serve, repository, suite):
    serve(repository)
    with pytest.raises(ConfigError, match="disk budget of .* cannot hold all the checkpoints"):
        fetch(open_model("me/tiny"), [0, 1], disk_budget="100kb")
    assert fetch(open_model("me/tiny"), [0, 1], disk_budget="1GB").steps == [0, 1]


def test_a_step_that_is_not_there_fails_alone(serve, repository, cli, suite):
    known = Repository("EleutherAI/pythia-14m")
    publish_steps(known, suite)
    serve(known)
    code, out, err = cli("fetch", "pythia-14m", "--steps", "0:8")
    assert code == 3
    assert "failed: step 8: EleutherAI/pythia-14m has no branch step8" in err
    assert "4 steps are here, 1 failed" in out


def test_the_cache_is_listed_and_emptied_but_for_what_is_in_use(serve, repository, cli, suite):
    serve(repository)
    cli("fetch", "me/tiny")
    size = sum(
        (suite / f"step{step}" / "model.safetensors").stat().st_size for step in (0, 1, 2, 4)
    )
    (entry,) = json.loads(cli("cache", "--json")[1])
    assert (entry["repo"], entry["files"], entry["size"]) == ("me/tiny", 4, size)
    assert f"me/tiny     4      {decimal(size)}" in cli("cache")[1]
    code, _, err = cli("cache", "--remove", "me/other")
    assert (code, err) == (1, "error: nothing is kept of 'me/other'; kept: me/tiny\n")
    store = OnDisk()
    oldest = store.files()[0]
    with oldest.path.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert "in use and stay: 1 file\n" in cli("cache", "--remove", "me/tiny")[1]
    assert [entry.files for entry in kept()] == [1]
    cli("cache", "--remove", "all")
    assert kept() == []


def test_a_directory_needs_no_fetching(cli, suite):
    code, _, err = cli("fetch", suite)
    assert code == 1
    assert "is a directory: nothing has to be fetched" in err


def test_kept_checkpoints_are_used_and_others_go_through_memory(serve, repository, tmp_path):
    hub = serve(repository)
    sweep(tmp_path / "kept", keep=True)
    hub.reset_log()
    sweep(tmp_path / "again")
    assert [record for record in hub.requests if record.kind == "content"] == []


def test_what_was_fetched_to_stay_is_not_evicted_by_a_sweep_with_a_budget(
    serve, repository, cli, tmp_path, suite
):
    serve(repository)
    cli("fetch", "me/tiny", "--steps", "0,1")
    size = (suite / "step0" / "model.safetensors").stat().st_size
    assert len(sweep(tmp_path / "run", disk_budget=int(1.5 * size)).done) == 4
    stays = [stored.stays for stored in OnDisk().files()]
    assert stays.count(True) == 2
    assert stays.count(False) == 1
