"""Nothing that a server says becomes a path: digests, commits and names are checked by form before
anything is written.
"""

import os
import re
from hashlib import sha1

import pytest
from huggingface_hub import constants

from pythia_traj.errors import CheckpointError, PythiaTrajError, StoreError, SuiteError
from pythia_traj.hub.client import Client
from pythia_traj.hub.inventory import Inventory
from pythia_traj.hub.listed import LARGEST, RemoteFile
from pythia_traj.hub.model import HubModel
from pythia_traj.hub.repository import Repository
from tests.hub.fixtures import online as online
from tests.hub.hostile import COMMIT, CONTENT, FILE, LISTED, REPO, WEIGHTS, answer
from tests.hub.hostile import alone as alone
from tests.hub.hostile import serve as serve

pytestmark = pytest.mark.usefixtures("alone")

UP = "../../../../victim"

OURS = re.compile(
    rf"hf-cache/models--me--tiny/(blobs/{LISTED}|snapshots/{COMMIT}/config\.json)"
    rf"|cache/(pythia-traj-cache|hub/http-127\.0\.0\.1-\d+/me--tiny/(branches\.json|files/{COMMIT}\.json))"
)
"""All that may be written."""


def written(folder):
    """What was written, links not followed; a victim beside it is as it was."""
    assert (folder / "victim").read_text() == "mine"
    found = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    ]
    return sorted(path for path in found if path != "victim")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "victim").write_text("mine")
    yield tmp_path
    assert [path for path in written(tmp_path) if not OURS.fullmatch(path)] == []


def measure():
    """Whatever is asked and written for a step, but its weights."""
    model = HubModel.open(REPO)
    model.expect([1])
    checkpoint = model.checkpoint(1)
    return checkpoint.config(), checkpoint.weights()


def head(**headers):
    return {"head": answer(length=len(CONTENT), **headers)}


def branch(name="step1", commit=COMMIT):
    return {"refs": answer({"branches": [{"name": name, "targetCommit": commit}]})}


def file(*others, **changes):
    return {"tree": answer([{**FILE, **changes}, WEIGHTS, *others])}


def another(path):
    return file({**FILE, "path": path, "oid": "f" * 40})


NOT_LISTED = (PythiaTrajError, "does not answer like a Hub: it does not send the")

PATHS = [
    ("etag", head(etag=f'"{UP}"'), None),
    ("etag, absolute", head(etag='"/etc/passwd"'), None),
    ("etag of a large file", head(x_linked_etag=f'"{UP}"'), None),
    ("etag, bare", head(etag=UP), None),
    ("etag of a dot", head(etag="."), None),
    ("etag of another file", head(etag=f'"{"f" * 40}"'), None),
    ("no etag", head(), None),
    ("commit", head(x_repo_commit=UP), None),
    (
        "file name of the answer",
        {"get": answer(CONTENT, content_disposition=f"attachment; filename={UP}")},
        None,
    ),
    ("commit of a branch", branch(commit=UP), NOT_LISTED),
    ("commit, 39 digits", branch(commit="c" * 39), NOT_LISTED),
    ("commit with a line", branch(commit="c" * 40 + "\n"), NOT_LISTED),
    ("commit of capitals", branch(commit="C" * 40), NOT_LISTED),
    ("commit of other digits", branch(commit="\u0661" * 40), NOT_LISTED),
    ("digest", file(oid=UP), NOT_LISTED),
    ("digest with a NUL", file(oid="f" * 39 + "\0"), NOT_LISTED),
    ("digest of a large file", file(lfs={"oid": UP}), NOT_LISTED),
    ("digest of a large file, 40", file(lfs={"oid": "f" * 40}), NOT_LISTED),
    ("name upwards", another("../config.json"), None),
    ("name upwards within", another("a/../../config.json"), None),
    ("name, absolute", another("/etc/passwd"), None),
    ("name with backslashes", another("..\\..\\config.json"), None),
    ("name with a NUL", another("config.json\0"), None),
    ("name with a line", another("config\n.json"), None),
    ("name with an escape", another("\x1b[2Jconfig.json"), None),
    ("name of a dot", another("."), None),
    ("no name", another(""), None),
    ("long name", another("a/" * 10**4 + "config.json"), None),
    ("folder's name", another("config.json/"), None),
    (
        "only hostile names",
        {"tree": answer([{**FILE, "path": "../config.json"}])},
        (CheckpointError, "has no config.json"),
    ),
    ("branch upwards", branch(name="../step1"), (SuiteError, "has no branches step0")),
    ("branch with a control", branch(name="step1\x1b"), (SuiteError, "has no branches step0")),
    ("branch with a NUL", branch(name="step1\0"), (SuiteError, "has no branches step0")),
    ("branch with a line", branch(name="step1\n"), (SuiteError, "has no branches step0")),
]


@pytest.mark.parametrize(
    ("says", "end"), [case[1:] for case in PATHS], ids=[case[0] for case in PATHS]
)
def test_what_a_server_says_becomes_no_path(serve, folder, says, end):
    serve(**says)
    if end is None:
        config, weights = measure()
        assert config == {"model_type": "gpt_neox"}
        assert [file.path for file in weights] == ["model.safetensors"]
        assert [file.path for file in Client().files(REPO, COMMIT)] == [
            "config.json",
            "model.safetensors",
        ]
        assert f"hf-cache/models--me--tiny/blobs/{LISTED}" in written(folder)
        return
    with pytest.raises(end[0]) as refused:
        measure()
    assert end[1] in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("links", [True, False])
def test_a_link_in_the_cache_is_replaced_and_what_it_leads_to_stays(
    serve, folder, monkeypatch, links
):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", not links)
    serve()
    repository, file = (
        Repository(REPO, refresh=False),
        RemoteFile("config.json", len(CONTENT), LISTED),
    )
    pointer = repository.fetch(COMMIT, file)
    blob = pointer.parents[2] / "blobs" / LISTED
    for path in (blob, pointer):
        path.unlink()
        path.symlink_to(folder / "victim")
    assert repository.fetch(COMMIT, file).read_bytes() == CONTENT
    assert not blob.is_symlink()
    assert written(folder)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "sparse"])
def test_what_lies_in_the_cache_and_is_no_file_is_not_read(serve, folder, kind):
    serve()
    repository, file = (
        Repository(REPO, refresh=False),
        RemoteFile("config.json", len(CONTENT), LISTED),
    )
    blob = repository.fetch(COMMIT, file).parents[2] / "blobs" / LISTED
    blob.unlink()
    if kind == "pipe":
        os.mkfifo(blob)
    elif kind == "folder":
        blob.mkdir()
    elif kind == "device":
        blob.symlink_to("/dev/zero")
    else:
        with blob.open("wb") as sparse:
            sparse.truncate(3 << 30)
    if kind == "folder":
        with pytest.raises(
            StoreError, match="cannot write to the Hub's cache in .*: Is a directory; set HF_HOME"
        ):
            repository.fetch(COMMIT, file)
    else:
        assert repository.fetch(COMMIT, file).read_bytes() == CONTENT


STEPS = [
    ("padded", ["step00008", "step00016"], {8: "step00008", 16: "step00016"}),
    ("padded zero", ["step000"], {0: "step000"}),
    ("both, alike", ["step00008", "step8"], {8: "step8"}),
    (
        "others",
        ["main", "step", "step-1", "step1x", "xstep1", "Step1", "step1.5", "step 1", "step2"],
        {2: "step2"},
    ),
    ("other digits", ["step\u0661", "step\uff11", "step1"], {1: "step1"}),
    ("the last", [f"step{LARGEST}", "step1"], {1: "step1", LARGEST: f"step{LARGEST}"}),
    (
        "beyond the last",
        [f"step{LARGEST + 1}", "step" + "9" * 20, "step" + "9" * 900, "step1"],
        {1: "step1"},
    ),
    ("many zeros", ["step" + "0" * 900 + "7"], {7: "step" + "0" * 900 + "7"}),
]


@pytest.mark.parametrize(
    ("names", "expected"), [case[1:] for case in STEPS], ids=[case[0] for case in STEPS]
)
def test_a_step_is_the_branch_of_its_name(serve, names, expected):
    serve(refs=answer({"branches": [{"name": name, "targetCommit": COMMIT} for name in names]}))
    model = HubModel.open(REPO)
    assert model.steps == tuple(expected)
    assert {step: model.revision(step) for step in model.steps} == expected
    for step in model.steps:
        model.expect([step])
        assert model.checkpoint(step).commit == COMMIT
        assert model.checkpoint(step).revision == expected[step]


def test_two_branches_of_one_step_are_named(serve):
    two = [
        {"name": name, "targetCommit": commit * 40}
        for name, commit in (("step8", "a"), ("step00008", "b"))
    ]
    serve(refs=answer({"branches": two}))
    with pytest.raises(
        SuiteError,
        match=r"^me/tiny has two branches for step 8, step8 and step00008, which are not",
    ):
        HubModel.open(REPO)


SIZES = [
    ("config.json", 10_000_001, "at most 10000000 are read"),
    ("config.json", 2**62, "at most 10000000 are read"),
    ("tokenizer.json", 100_000_001, "at most 100000000 are read"),
    ("model.safetensors.index.json", 2**63 - 1, "at most 100000000 are read"),
    ("pytorch_model.bin.index.json", 10**9, "at most 100000000 are read"),
]


@pytest.mark.parametrize(("name", "size", "end"), SIZES)
def test_a_file_that_is_too_large_for_its_name_is_not_asked_for(serve, name, size, end):
    hub = serve()
    with pytest.raises(
        CheckpointError, match=rf"{name} of me/tiny at c{{12}} is listed with {size} bytes, {end}"
    ):
        Repository(REPO, refresh=False).fetch(COMMIT, RemoteFile(name, size, LISTED))
    assert hub.requests == []


OTHERS = [
    (
        "adapter",
        ["adapter_config.json", "adapter_model.safetensors"],
        "a PEFT adapter, not a model (adapter_config.json)",
    ),
    (
        "adapter beside weights",
        ["adapter_config.json", "model.safetensors"],
        "a PEFT adapter, not a model",
    ),
    (
        "deepspeed",
        ["zero_to_fp32.py", "latest", "global_step1/mp_rank_00_model_states.pt"],
        "DeepSpeed ZeRO's parts",
    ),
    ("gpt-neox", ["layer_00-model_00-model_states.pt"], "GPT-NeoX's own checkpoint"),
    ("gguf", ["model-q4.gguf", "README.md"], "weights of another format (model-q4.gguf)"),
    ("training", ["trainer_state.json", "optimizer.pt"], "the state of a training and no weights"),
    ("nothing", ["README.md"], "no weights: expected one of"),
]


@pytest.mark.parametrize(
    ("names", "end"), [case[1:] for case in OTHERS], ids=[case[0] for case in OTHERS]
)
def test_a_branch_that_holds_something_else_is_named(serve, names, end):
    serve(tree=answer([{**FILE, "path": name} for name in names]))
    model = HubModel.open(REPO)
    model.expect([1])
    with pytest.raises(CheckpointError) as refused:
        model.checkpoint(1).weights()
    assert f"me/tiny at step1 (cccccccccccc) holds {end}" in str(refused.value)


@pytest.mark.parametrize(
    ("content", "end"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 9\n" % (b"a" * 64),
            "a Git LFS pointer",
        ),
        (b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
    ],
    ids=["pointer", "page"],
)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors.index.json"])
def test_what_was_published_in_place_of_a_file_is_named(serve, content, end, name):
    digest = RemoteFile(name, len(content), sha1(b"blob %d\0" % len(content) + content).hexdigest())
    serve(get=answer(content))
    for _ in range(2):  # As it came, and from the cache.
        with pytest.raises(
            CheckpointError,
            match=rf"{name} of me/tiny at c{{12}} was published as {end}, not the file",
        ):
            Repository(REPO, refresh=False).fetch(COMMIT, digest)


def test_names_in_another_tools_cache_are_checked_too(alone, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "hf-cache" / "models--me--tiny"
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "snapshots" / "not-a-commit").mkdir()
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "refs" / "step1").write_text("not-a-commit")
    assert Inventory(Client(), REPO, refresh=False).branches() == {"main": COMMIT}
