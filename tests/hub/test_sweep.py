"""Sweeps of models that a hub publishes: right rows with the commit of each, few requests, and none
when repeated.
"""

import shutil
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest
import torch
from huggingface_hub import constants

import pythia_traj as pt
from pythia_traj.cli import main
from pythia_traj.errors import HubError, SuiteError
from pythia_traj.hub.model import HubModel
from pythia_traj.store.layout import Run
from pythia_traj.store.unit import read_footer
from tests.hub.faults import Fault
from tests.hub.fixtures import online as online
from tests.hub.fixtures import point_to
from tests.hub.fixtures import pythia_14m as pythia_14m
from tests.hub.fixtures import serve as serve
from tests.hub.publish import publish_steps
from tests.hub.repository import Repository
from tests.support import publish, random_model

SMALL = {"induction": {"length": 20, "n": 4}, "loss": {"length": 64, "n": 4, "null_n": 2}}
API = {"refs", "revision", "tree", "paths-info", "commits", "models", "whoami"}


@pytest.fixture
def tiny(suite):
    """The tiny suite as a repository that belongs to no known suite."""
    repository = Repository("me/tiny")
    publish_steps(repository, suite)
    return repository


def request(model, out, **settings):
    return pt.SweepConfig(
        **{
            "model": model,
            "steps": "all",
            "experiments": SMALL,
            "out": out,
            "device": "cpu",
            **settings,
        }
    )


def asked(hub):
    kinds = Counter(record.kind for record in hub.requests)
    return sum(count for kind, count in kinds.items() if kind in API), kinds


def values(run):
    return pt.load(run, controls=True).drop(columns=["model", "label", "suite", "commit", "tokens"])


def test_the_rows_are_those_of_the_directory_with_the_commit_of_each(serve, tiny, suite, tmp_path):
    serve(tiny)
    result = pt.sweep(request("me/tiny", tmp_path / "run"))
    assert (len(result.done), len(result.failed)) == (8, 0)
    pt.sweep(request(str(suite), tmp_path / "local"))
    pd.testing.assert_frame_equal(
        values(tmp_path / "run"), values(tmp_path / "local"), check_exact=True
    )
    rows = pt.load(tmp_path / "run")
    commits = rows.groupby("step").commit.unique()
    assert {step: list(commit) for step, commit in commits.items()} == {
        step: [tiny.branches[f"step{step}"]] for step in (0, 1, 2, 4)
    }
    footer = read_footer(Run(tmp_path / "run").unit_path("tiny", "loss", 4))
    listed = {path: blob for path, _, blob in footer["source"]["files"]}
    assert set(listed) == {"config.json", "tokenizer.json", "model.safetensors"}
    assert len(listed["model.safetensors"]) == 64
    (model,) = pt.load(tmp_path / "run", table="models").to_dict("records")
    assert (model["repo"], model["suite"]) == ("me/tiny", "me")


def test_154_revisions_cost_three_calls_and_one_each_and_none_when_repeated(
    serve, pythia_14m, tmp_path
):
    hub = serve(pythia_14m)
    settings = {"experiments": {"induction": SMALL["induction"]}}
    result = pt.sweep(request("pythia-14m", tmp_path / "run", **settings))
    assert (len(result.done), len(result.failed)) == (154, 0)
    calls, kinds = asked(hub)
    assert kinds["refs"] == 1
    assert calls <= 3 + 154
    rows = pt.load(tmp_path / "run")
    assert rows.groupby("step").commit.first().to_dict() == {
        int(branch.removeprefix("step")): commit
        for branch, commit in pythia_14m.branches.items()
        if branch != "main"
    }
    assert len({record.path for record in hub.requests if record.path.endswith("config.json")}) == 1
    hub.reset_log()
    assert len(pt.sweep(request("pythia-14m", tmp_path / "run", **settings)).skipped) == 154
    pt.sweep(request("pythia-14m", tmp_path / "run", **settings, steps="log:5"))
    assert hub.requests == []
    # More of the same model asks for weights alone: branches and files are remembered.
    assert (
        len(
            pt.sweep(request("pythia-14m", tmp_path / "run", experiments=SMALL, steps="0,512")).done
        )
        == 2
    )
    assert {
        record.path.rpartition("/")[2] for record in hub.requests if record.origin == "hub"
    } == {"model.safetensors"}
    assert asked(hub)[0] == 0


def test_a_moved_branch_is_noticed_with_refresh_only_and_redoes_exactly_its_units(
    serve, tiny, suite, tmp_path
):
    hub = serve(tiny)
    pt.sweep(request("me/tiny", tmp_path / "run"))
    publish(tmp_path / "new", random_model(99))
    tiny.publish("step2", tmp_path / "new")
    hub.reset_log()
    assert not pt.sweep(request("me/tiny", tmp_path / "run")).done
    assert hub.requests == []
    redone = pt.sweep(request("me/tiny", tmp_path / "run", refresh=True))
    assert {unit.name for unit in redone.done} == {"tiny/induction/step2", "tiny/loss/step2"}
    rows = pt.load(tmp_path / "run", step=2)
    assert set(rows.commit) == {tiny.branches["step2"]}
    assert not pt.sweep(request("me/tiny", tmp_path / "run", refresh=True)).done


@pytest.mark.parametrize(("sharded", "binary"), [(True, False), (True, True), (False, True)])
def test_every_layout_gives_the_same_rows(serve, suite, tmp_path, sharded, binary):
    for step in (0, 4):
        publish(
            tmp_path / "steps" / f"step{step}", random_model(step), sharded=sharded, binary=binary
        )
    repository = Repository("me/other")
    publish_steps(repository, tmp_path / "steps")
    serve(repository)
    assert not pt.sweep(request("me/other", tmp_path / "run")).failed
    pt.sweep(request(str(suite), tmp_path / "local", steps="0,4"))
    pd.testing.assert_frame_equal(
        values(tmp_path / "run"), values(tmp_path / "local"), check_exact=True
    )


def test_of_both_formats_only_safetensors_is_fetched_and_of_other_files_none(
    serve, suite, tmp_path
):
    folder = tmp_path / "steps" / "step4"
    shutil.copytree(suite / "step4", folder)
    torch.save({"gpt_neox.embed_in.weight": torch.zeros(1)}, folder / "pytorch_model.bin")
    (folder / "optimizer.bin").write_bytes(b"x" * 10_000)
    (folder / "README.md").write_text("extra")
    repository = Repository("me/both")
    publish_steps(repository, tmp_path / "steps")
    hub = serve(repository)
    assert not pt.sweep(request("me/both", tmp_path / "run")).failed
    asked_for = {
        record.path.rpartition("/")[2] for record in hub.requests if record.kind == "resolve"
    }
    assert asked_for == {"config.json", "tokenizer.json", "model.safetensors"}


def test_a_missing_revision_and_one_without_weights_fail_their_own_units(
    serve, suite, tmp_path, monkeypatch
):
    repository = Repository("EleutherAI/pythia-31m")
    publish_steps(repository, suite)
    shutil.copytree(suite / "step4", tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").unlink()
    (tmp_path / "bare" / "training_args.bin").write_bytes(b"no weights")
    repository.publish("step8", tmp_path / "bare")
    serve(repository)
    result = pt.sweep(
        request("pythia-31m", tmp_path / "run", steps="0:16", experiments={"loss": SMALL["loss"]})
    )
    assert {unit.step for unit in result.done} == {0, 1, 2, 4}
    failed = {unit.step: error for unit, error in result.failed}
    assert set(failed) == {8, 16}
    assert "pythia-31m at step8" in failed[8]
    assert "holds the state of a training and no weights (training_args.bin)" in failed[8]
    assert failed[16].startswith("EleutherAI/pythia-31m has no branch step16")


def test_a_gated_repository_without_a_token_is_one_line(serve, tiny, tmp_path, capsys, monkeypatch):
    tiny.gated = True
    serve(tiny, token="hf_right")
    arguments = [
        "sweep",
        "--model",
        "me/tiny",
        "--steps",
        "0",
        "--experiment",
        "induction",
        "--out",
        str(tmp_path / "r"),
    ]
    arguments += ["--set", "induction.length=20"]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    error = capsys.readouterr().err
    assert end.value.code == 1
    assert (
        "me/tiny is gated: accept its terms on its page, "
        "then set HF_TOKEN to a token that has access" in error
    )
    assert error.count("\n") == 1
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    tiny.gated = False


@pytest.mark.parametrize("token", ["", "   ", None])
def test_a_private_repository_needs_a_token_and_an_empty_one_is_harmless(
    serve, suite, tmp_path, monkeypatch, token
):
    private, public = Repository("me/secret", private=True), Repository("me/open")
    for repository in (private, public):
        publish_steps(repository, suite)
    hub = serve(private, public, token="hf_right")
    if token is None:
        monkeypatch.delenv("HF_TOKEN", raising=False)
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(
        HubError, match=r"http://\S+ has no repository me/secret; if it is private, set HF_TOKEN"
    ):
        pt.sweep(request("me/secret", tmp_path / "a"))
    assert not pt.sweep(request("me/open", tmp_path / "b", steps="0")).failed
    assert not any(record.authorized for record in hub.requests)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert not pt.sweep(request("me/secret", tmp_path / "a", steps="0")).failed
    assert not any(record.authorized for record in hub.requests if record.origin == "content")


def test_offline_works_from_what_is_here_and_names_what_is_not(serve, tiny, tmp_path, monkeypatch):
    hub = serve(tiny)
    pt.sweep(request("me/tiny", tmp_path / "warm", steps="0,2", keep=True))
    hub.reset_log()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    result = pt.sweep(request("me/tiny", tmp_path / "run", experiments={"loss": SMALL["loss"]}))
    assert {unit.step for unit in result.done} == {0, 2}
    assert all("HF_HUB_OFFLINE is set" in error for _, error in result.failed)
    # What another tool downloaded by branch name will do too.
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(
        HubError, match="HF_HUB_OFFLINE is set and this part of me/tiny is not on this machine"
    ):
        HubModel.open("me/tiny")
    assert hub.requests == []


def test_offline_uses_what_another_tool_downloaded_by_branch(
    serve, pythia_14m, tmp_path, monkeypatch
):
    from huggingface_hub import snapshot_download

    hub = serve(pythia_14m)
    snapshot_download("EleutherAI/pythia-14m", revision="step512", endpoint=hub.endpoint)
    hub.reset_log()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    result = pt.sweep(request("pythia-14m", tmp_path / "run", steps="512"))
    assert len(result.done) == 2
    assert set(pt.load(tmp_path / "run").commit) == {pythia_14m.branches["step512"]}
    assert hub.requests == []


@pytest.mark.slow
def test_an_endpoint_that_is_down_is_one_line(serve, tiny, tmp_path, monkeypatch):
    serve(tiny)
    point_to(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(
        HubError,
        match=(
            r"http://127\.0\.0\.1:9 cannot be reached \(.*\): check the network, proxies and"
            r" HF_ENDPOINT"
        ),
    ):
        pt.sweep(request("pythia-14m", tmp_path / "run"))
    with pytest.raises(HubError, match="cannot be reached"):
        pt.sweep(request("me/tiny", tmp_path / "run"))


def test_unknown_models_are_answered_with_the_nearest(serve, tiny, tmp_path):
    serve(tiny)
    with pytest.raises(
        SuiteError,
        match="unknown model 'pythia-1b-dedupd', and no such directory: did you mean"
        " pythia-1b-deduped",
    ):
        pt.sweep(request("pythia-1b-dedupd", tmp_path / "run"))
    with pytest.raises(
        HubError, match=r"http://\S+ has no repository me/nothing; if it is private"
    ):
        pt.sweep(request("me/nothing", tmp_path / "run"))
    with pytest.raises(SuiteError, match="unknown model 'a/b/c'"):
        pt.sweep(request("a/b/c", tmp_path / "run"))


def test_a_hostile_file_name_is_never_followed(serve, suite, tmp_path):
    repository = Repository("me/hostile")
    publish_steps(repository, suite)
    for name in ("../x", "/etc/passwd", "..\\y", "sub/../../z"):
        repository.add("step0", name, suite / "step0" / "config.json")
    serve(repository)
    result = pt.sweep(request("me/hostile", tmp_path / "run", steps="0"))
    assert len(result.done) == 2
    assert not list(tmp_path.rglob("x"))
    index = tmp_path / "index" / "step1"
    index.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(suite / "step0" / name, index)
    (index / "model.safetensors.index.json").write_text(
        '{"weight_map": {"gpt_neox.embed_in.weight": "../../x"}}'
    )
    repository.publish("step1", index)
    result = pt.sweep(request("me/hostile", tmp_path / "run", steps="1", refresh=True))
    assert all(
        "names a shard '../../x', which is not a plain file name" in error
        for _, error in result.failed
    )
    assert len(result.failed) == 2


def test_pages_of_a_listing_are_followed(serve, tiny, tmp_path):
    hub = serve(tiny, page_size=1)
    assert not pt.sweep(request("me/tiny", tmp_path / "run", steps="0")).failed
    assert len([record for record in hub.requests if record.kind == "tree"]) > 1


def test_checkpoints_streams_from_the_hub_too(serve, tiny, suite):
    serve(tiny)
    tokens = torch.randint(0, 300, (2, 20))
    here = {ckpt.step: ckpt.model(tokens).detach() for ckpt in pt.checkpoints(suite, device="cpu")}
    for ckpt in pt.checkpoints("me/tiny", steps="all", device="cpu"):
        assert torch.equal(ckpt.model(tokens), here[ckpt.step])
        assert ckpt.commit == tiny.branches[f"step{ckpt.step}"]


def test_a_listing_whose_digests_are_paths_is_refused_and_touches_no_file(serve, tiny, tmp_path):
    victim = tmp_path / "precious"
    victim.write_text("mine")
    files = dict(tiny.commits[tiny.branches["step0"]])
    files["model.safetensors"] = replace(files["model.safetensors"], sha256=str(victim), size=4)
    tiny.commits[tiny.branches["step0"]] = files
    serve(tiny)
    result = pt.sweep(request("me/tiny", tmp_path / "run"))
    assert {unit.step for unit, _ in result.failed} == {0}
    assert all("it does not send the files of me/tiny" in error for _, error in result.failed)
    assert victim.read_text() == "mine"


def test_a_step_that_cannot_be_listed_fails_alone_wherever_it_stands(
    serve, tiny, tmp_path, monkeypatch
):
    serve(tiny)
    pt.sweep(request("me/tiny", tmp_path / "warm", steps="2,4", keep=True))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    result = pt.sweep(request("me/tiny", tmp_path / "run"))
    assert {unit.step for unit in result.done} == {2, 4}
    assert {unit.step for unit, _ in result.failed} == {0, 1}


def test_a_file_that_cannot_be_had_is_asked_for_once_for_all_units_of_its_step(
    serve, tiny, tmp_path
):
    hub = serve(tiny)
    weights = next(
        blob
        for path, blob in tiny.commits[tiny.branches["step2"]].items()
        if path == "model.safetensors"
    )
    hub.faults.add(Fault("corrupt", where=weights.sha256, times=100))
    experiments = {**SMALL, "other": {"use": "induction", "length": 10, "n": 2}}
    result = pt.sweep(request("me/tiny", tmp_path / "run", experiments=experiments))
    assert {unit.name for unit, _ in result.failed} == {
        f"tiny/{label}/step2" for label in experiments
    }
    assert all("is corrupt: fetched twice" in error for _, error in result.failed)
    fetched = [
        record
        for record in hub.requests
        if record.kind == "content" and weights.sha256 in record.path
    ]
    assert len(fetched) == 2
