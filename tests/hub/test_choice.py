"""The weights that are measured are the step's own, whatever else its branch holds."""

import json
import re
import shutil

import pandas as pd
import pytest
from huggingface_hub import constants, snapshot_download

import pythia_traj as pt
from pythia_traj.cli import main
from pythia_traj.errors import CheckpointError
from pythia_traj.hub.choice import choose, of_main, whose
from pythia_traj.hub.inventory import Holders
from pythia_traj.hub.listed import RemoteFile
from pythia_traj.hub.model import HubModel
from pythia_traj.hub.retry import RetryPolicy
from pythia_traj.store.layout import Run
from pythia_traj.store.unit import read_footer
from tests.hub.faults import Fault
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import publish_steps
from tests.hub.pythia_28b import ALONE, LAST, LOST, NAME, SHARDED, STEPS, Stale
from tests.hub.repository import Repository
from tests.hub.test_sweep import API, SMALL, asked, request

INDUCTION = {"induction": SMALL["induction"]}


@pytest.fixture(scope="module")
def stale(tmp_path_factory):
    return Stale(tmp_path_factory.mktemp("pythia-2.8b"))


def values(run):
    return pt.load(run, controls=True).drop(columns=["model", "suite", "commit", "tokens"])


def footer(run, step, model="pythia-2.8b", label="induction"):
    return read_footer(Run(run).unit_path(model, label, step))


@pytest.mark.slow
def test_a_suite_full_of_stale_files_gives_the_rows_of_a_clean_one(serve, stale, tmp_path):
    assert (len(SHARDED), len(SHARDED) + len(ALONE), len(LOST)) == (36, 76, 12)
    hub = serve(stale.repository)
    result = pt.sweep(request("pythia-2.8b", tmp_path / "run", experiments=INDUCTION))
    assert {unit.step for unit, _ in result.defective} == set(LOST)
    assert not result.failed
    assert len(result.done) == 142

    fetched = {record.path for record in hub.requests if record.kind == "resolve"}
    fetched_content = [record.path for record in hub.requests if record.kind == "content"]
    of_main = {stale.digest("main", "model.safetensors"), stale.digest("main", "pytorch_model.bin")}
    commits = {commit: branch for branch, commit in stale.repository.branches.items()}
    named = {(commits[path.split("/")[4]], path.split("/")[5]) for path in fetched}
    # In place of the last step's file, which nine others hold too.
    own = {("main", "model.safetensors")}
    assert {pair for pair in named if stale.digest(*pair) in of_main} == own
    assert not any(
        branch == f"step{step}" and "model" in name for branch, name in named for step in LOST
    )
    assert not any(
        stale.digest(f"step{LAST}", "model.safetensors") in path for path in fetched_content
    )
    calls, kinds = asked(hub)
    assert kinds["refs"] == 1
    assert calls <= 3 + 154

    usable = [step for step in STEPS if step not in LOST]
    steps = ",".join(map(str, usable))
    pt.sweep(request(str(stale.clean), tmp_path / "clean", experiments=INDUCTION, steps=steps))
    pd.testing.assert_frame_equal(
        values(tmp_path / "run"), values(tmp_path / "clean"), check_exact=True
    )

    # Again: nothing is asked, nothing is measured, the lost steps are still named.
    hub.reset_log()
    again = pt.sweep(request("pythia-2.8b", tmp_path / "run", experiments=INDUCTION))
    assert (len(again.skipped), len(again.defective), len(again.done)) == (142, 12, 0)
    assert not [record for record in hub.requests if record.kind in API or record.kind == "content"]


def test_what_was_chosen_and_why_stands_in_the_footer(serve, stale, tmp_path):
    serve(stale.repository)
    pt.sweep(
        request(
            "pythia-2.8b",
            tmp_path / "run",
            experiments=INDUCTION,
            steps=f"0,27000,54000,66000,{LAST}",
        )
    )
    found = {
        step: footer(tmp_path / "run", step)["integrity"] for step in (0, 27_000, 66_000, LAST)
    }
    assert {one["verdict"] for one in found.values()} == {"verified"}
    assert found[0]["chosen"] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert found[27_000]["chosen"] == ["pytorch_model.bin"]
    assert (
        found[27_000]["why"]
        == "pytorch_model.bin is this step's own; passed over: model.safetensors is main's"
    )
    assert found[66_000]["why"] == "model.safetensors is this step's own"
    assert found[LAST]["why"] == (
        "main's model.safetensors: none of its files are its own:"
        " model.safetensors is also step 54000's"
    )
    source = footer(tmp_path / "run", LAST)["source"]
    assert source["commit"] == stale.repository.branches[f"step{LAST}"]
    assert source["weights_commit"] == stale.repository.branches["main"]


def command(tmp_path, *arguments):
    words = ["sweep", "--model", "pythia-2.8b", "--experiment", "induction"]
    words += ["--set", "induction.length=20", "--set", "induction.n=4", "--device", "cpu"]
    words += ["--out", str(tmp_path / "run"), *arguments]
    with pytest.raises(SystemExit) as end:
        main(words)
    return end.value.code


def test_the_first_and_the_last_step_cost_four_calls(serve, stale, tmp_path):
    hub = serve(stale.repository)
    assert command(tmp_path, "--steps", "0,last") == 0
    assert asked(hub)[0] == 4


@pytest.mark.parametrize(("policy", "code"), [(None, 3), ("skip", 3), ("fail", 3), ("measure", 0)])
def test_a_defect_is_skipped_measured_or_a_failure(serve, stale, tmp_path, capsys, policy, code):
    serve(stale.repository)
    options = [] if policy is None else ["--on-defect", policy]
    assert command(tmp_path, "--steps", "25000,26000,27000", *options) == code
    printed = capsys.readouterr()
    reason = "EleutherAI/pythia-2.8b at step26000 .*: model.safetensors is main's"
    what = {"fail": "failed", "measure": "warning: measured in spite of a defect"}.get(
        policy, r"skipped \(defect\)"
    )
    assert re.search(
        f"^{what}: pythia-2.8b/induction/step26000: {reason}", printed.err, re.MULTILINE
    )
    assert (", 1 skipped (defect)" in printed.out) == (policy in (None, "skip"))
    assert ("1 failed" in printed.out) == (policy == "fail")
    rows = pt.load(tmp_path / "run")
    assert set(rows.step) == {25_000, 27_000} | ({26_000} if policy == "measure" else set())
    assert ("--on-defect measure" in printed.err) == (policy in (None, "skip"))
    with pytest.raises(SystemExit):
        main(["status", str(tmp_path / "run")])
    listed = capsys.readouterr().out
    assert ("1 skipped (defect), 0 left" in listed) == (policy in (None, "skip"))
    assert ("skipped (defect): pythia-2.8b/induction/step26000: " in listed) == (
        policy in (None, "skip")
    )
    states = pt.status(tmp_path / "run").units
    state = {"fail": "failed", "measure": "done"}.get(policy, "defective")
    assert states["pythia-2.8b/induction/step26000"] == state
    if policy == "measure":
        integrity = footer(tmp_path / "run", 26_000)["integrity"]
        assert integrity["verdict"] == "known-defect"
        assert "model.safetensors is main's" in integrity["why"]
        # It stays done, also for who would not have measured it.
        assert command(tmp_path, "--steps", "25000,26000,27000") == 0


def test_an_unknown_policy_is_refused_with_those_there_are(serve, stale, tmp_path, capsys):
    serve(stale.repository)
    assert command(tmp_path, "--steps", "0", "--on-defect", "ignore") == 1
    assert (
        "on_defect: 'ignore': input should be 'skip', 'measure' or 'fail'"
        in capsys.readouterr().err
    )


def test_json_tells_defects_from_failures(serve, stale, tmp_path, capsys):
    serve(stale.repository)
    assert command(tmp_path, "--steps", "26000,27000", "--json") == 3
    document = json.loads(capsys.readouterr().out)
    assert list(document["defective"]) == ["pythia-2.8b/induction/step26000"]
    assert document["failed"] == {}


def test_a_unit_whose_reference_is_defective_is_skipped(serve, stale, tmp_path):
    serve(stale.repository)
    compared = {"use": "transplant", "task": "repeats", "n": 2, "references": ["step:26000"]}
    wanted = request(
        "pythia-2.8b",
        tmp_path / "run",
        experiments={"compared": compared, **INDUCTION},
        steps="27000",
    )
    result = pt.sweep(wanted)
    assert [unit.label for unit in result.done] == ["induction"]
    ((unit, reason),) = result.defective
    assert (unit.step, unit.label) == (27_000, "compared")
    assert reason.startswith("its reference step:26000: EleutherAI/pythia-2.8b at step26000")
    result = pt.sweep(wanted.model_copy(update={"on_defect": "measure"}))
    assert [unit.label for unit, _ in result.known_defects] == ["compared"]


def test_fetch_leaves_defective_steps_out(serve, stale, tmp_path, capsys):
    hub = serve(stale.repository)
    with pytest.raises(SystemExit) as end:
        main(["fetch", "pythia-2.8b", "--steps", "26000,27000"])
    assert end.value.code == 3
    assert "model.safetensors is main's" in capsys.readouterr().err
    assert not [r for r in hub.requests if stale.digest("main", "model.safetensors") in r.path]


def test_checkpoints_refuse_a_defective_step(serve, stale):
    serve(stale.repository)
    with pytest.raises(CheckpointError, match=r"step26000 .*: model.safetensors is main's"):
        list(pt.checkpoints("pythia-2.8b", steps="26000", device="cpu"))
    steps = [
        ckpt.step
        for ckpt in pt.checkpoints(
            "pythia-2.8b", "25000,26000,27000", device="cpu", on_error="skip"
        )
    ]
    assert steps == [25_000, 27_000]


def test_rows_of_a_file_that_turns_out_to_be_stale_are_measured_anew(serve, stale, tmp_path):
    """The last step's file seems to be its own until the branches that hold it too are listed."""
    serve(stale.repository)
    pt.sweep(request("pythia-2.8b", tmp_path / "run", experiments=INDUCTION, steps=str(LAST)))
    assert "weights_commit" not in footer(tmp_path / "run", LAST)["source"]
    pt.sweep(request("pythia-2.8b", tmp_path / "run", experiments=INDUCTION, steps="54000"))
    again = pt.sweep(
        request("pythia-2.8b", tmp_path / "run", experiments=INDUCTION, steps=str(LAST))
    )
    assert len(again.done) == 1
    assert (
        footer(tmp_path / "run", LAST)["source"]["weights_commit"]
        == stale.repository.branches["main"]
    )
    assert not pt.sweep(
        request("pythia-2.8b", tmp_path / "run", experiments=INDUCTION, steps=str(LAST))
    ).done


def test_config_and_tokenizer_are_mains_where_they_differ_in_metadata(serve, stale):
    serve(stale.repository)
    model = HubModel.open(NAME)
    own = json.loads((stale.clean / "step0" / "config.json").read_text())
    assert model.checkpoint(0).config()["eos_token_id"] == own["eos_token_id"] != 2
    assert (
        model.checkpoint(0).tokenizer().read_bytes()
        == (stale.clean / "step0" / "tokenizer.json").read_bytes()
    )


@pytest.fixture
def branch(suite, tmp_path):
    """Publishes the tiny suite with one branch changed: `branch(step, change)`, where `change` is
    given its folder.
    """

    def build(step, change):
        copy = shutil.copytree(suite, tmp_path / "steps")
        change(copy / f"step{step}")
        repository = Repository("me/tiny")
        publish_steps(repository, copy)
        return repository

    return build


@pytest.mark.parametrize("branch", ["main", f"step{LAST}"])
def test_nothing_is_measured_while_it_cannot_be_told_whose_a_file_is(
    serve, stale, tmp_path, monkeypatch, branch
):
    retry = RetryPolicy(first=0.01, longest=0.02)
    monkeypatch.setattr("pythia_traj.hub.client.RetryPolicy", lambda: retry)
    hub = serve(stale.repository)
    hub.faults.add(Fault("500", where=f"tree/{stale.repository.branches[branch]}", times=1000))
    result = pt.sweep(
        request("pythia-2.8b", tmp_path / "run", experiments=INDUCTION, steps="26000,27000")
    )
    assert not result.done
    assert all(
        f"because those of {branch} cannot be listed: files of commit" in error
        for _, error in result.failed
    )
    hub.faults.clear()
    result = pt.sweep(
        request("pythia-2.8b", tmp_path / "run", experiments=INDUCTION, steps="26000,27000")
    )
    assert ([unit.step for unit in result.done], [unit.step for unit, _ in result.defective]) == (
        [27_000],
        [26_000],
    )


def test_offline_without_mains_listing_the_verdict_is_unchecked(
    serve, stale, tmp_path, monkeypatch
):
    hub = serve(stale.repository)
    snapshot_download(NAME, revision="step66000", endpoint=hub.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    pt.sweep(request("pythia-2.8b", tmp_path / "run", experiments=INDUCTION, steps="66000"))
    integrity = footer(tmp_path / "run", 66_000)["integrity"]
    assert integrity["verdict"] == "unchecked"
    assert integrity["why"].endswith("; not compared with main")


@pytest.mark.parametrize(
    "key", ["rotary_pct", "layer_norm_eps", "use_parallel_residual", "attention_bias"]
)
def test_a_config_that_computes_something_else_fails_its_step_alone(serve, branch, tmp_path, key):
    other = {
        "rotary_pct": 0.25,
        "layer_norm_eps": 1e-3,
        "use_parallel_residual": False,
        "attention_bias": False,
    }

    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        config.pop("rope_parameters", None)
        config = {"rotary_pct": 0.5, "rotary_emb_base": 10000, **config, key: other[key]}
        (folder / "config.json").write_text(json.dumps(config))

    serve(branch(1, change))
    result = pt.sweep(request("me/tiny", tmp_path / "run", experiments=INDUCTION))
    assert {unit.step for unit in result.done} == {0, 2, 4}
    ((unit, error),) = result.failed
    assert unit.step == 1
    assert "config.json of me/tiny at step1" in error
    assert "is not that of the model" in error
    assert "rotary" in error if key == "rotary_pct" else key in error


def test_a_tokenizer_of_other_tokens_fails_its_step_alone(serve, branch, tmp_path):
    def change(folder):
        document = json.loads((folder / "tokenizer.json").read_text())
        document["model"]["merges"].reverse()
        (folder / "tokenizer.json").write_text(json.dumps(document))

    serve(branch(2, change))
    result = pt.sweep(request("me/tiny", tmp_path / "run", experiments=INDUCTION))
    assert {unit.step for unit in result.done} == {0, 1, 4}
    assert ["knows other tokens than main's" in error for _, error in result.failed] == [True]


# One row a case: the digests of the files by name in this step, in main and in other steps; what is
# chosen, or what is wrong.
A, B, C, D, M, N = ("a" * 64, "b" * 64, "c" * 64, "d" * 64, "e" * 64, "f" * 64)
S, X, P, Q = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
B1, B2 = "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"
CASES = {
    "a single file of its own": (8, {S: A}, {S: M}, {16: {S: B}}, [S], None),
    "a single file that is main's": (8, {S: M}, {S: M}, {}, [S], f"{S} is main's"),
    "main's under another name": (8, {S: M}, {P: M}, {}, [S], f"{S} is main's"),
    "stale beside shards": (8, {S: M, X: N, ONE: A, TWO: B}, {S: M}, {}, [ONE, TWO], None),
    "stale beside a .bin": (8, {S: M, P: A}, {S: M}, {}, [P], None),
    "stale beside shards of .bin": (8, {S: M, Q: N, B1: A, B2: B}, {S: M}, {}, [B1, B2], None),
    "shards before a single file": (8, {S: C, X: N, ONE: A, TWO: B}, {S: M}, {}, [ONE, TWO], None),
    "safetensors before .bin": (8, {S: A, P: B}, {}, {}, [S], None),
    "both formats stale": (8, {S: M, P: N}, {S: M, P: N}, {}, [S], f"{S} is main's"),
    "a chimera": (
        8,
        {X: N, ONE: M, TWO: B},
        {ONE: M, TWO: C},
        {},
        [ONE, TWO],
        f"{ONE} is main's, the other 1 shards",
    ),
    "a chimera beside a good .bin": (8, {X: N, ONE: M, TWO: B, P: A}, {ONE: M}, {}, [P], None),
    "a chimera of another step": (
        8,
        {X: N, ONE: A, TWO: B},
        {},
        {16: {TWO: B}},
        [ONE, TWO],
        f"{TWO} is also step 16's",
    ),
    "another step's": (8, {S: A}, {S: M}, {16: {S: A}}, [S], f"{S} is also step 16's"),
    "three steps' alike": (
        8,
        {S: A},
        {S: M},
        {16: {S: A}, 32: {S: A}},
        [S],
        "also step 16's and 1 more's",
    ),
    "steps 0 and 1 alike": (1, {S: A}, {S: M}, {0: {S: A}}, [S], None),
    "steps 0 and 2 alike": (0, {S: A}, {S: M}, {2: {S: A}}, [S], None),
    "steps 2 and 4 alike": (2, {S: A}, {S: M}, {4: {S: A}}, [S], f"{S} is also step 4's"),
    "step 0 that is main's": (0, {S: M}, {S: M}, {}, [S], f"{S} is main's"),
    "the last step that is main's": (64, {S: M}, {S: M}, {8: {S: M}}, [S], None),
    "the last step that another holds too": (
        64,
        {S: A},
        {S: M},
        {8: {S: A}},
        [S],
        f"{S} is also step 8's",
    ),
    "the last step, main without weights": (64, {S: A}, {}, {}, [S], None),
    "no main at all": (8, {S: A}, {}, {16: {S: B}}, [S], None),
    "a shard that is not there, and a single file": (8, {X: N, ONE: A, S: C}, {}, {}, [S], None),
    "an empty single file, and a .bin": (8, {S: "", P: A}, {}, {}, [P], None),
}


def files(digests):
    return {
        name: RemoteFile(name, 10 if digest else 0, digest or "0" * 64)
        for name, digest in digests.items()
    }


def shards(index):
    return [ONE, TWO] if index == X else [B1, B2]


@pytest.mark.parametrize("case", CASES)
def test_choice(case):
    step, own, in_main, others, chosen, defect = CASES[case]
    holders = Holders()
    holders.add("main", None, files(in_main).values())
    for other, digests in {**others, step: own}.items():
        holders.add(f"step{other}", other, files(digests).values())
    choice = choose(step, "0" * 40, files(own), shards, holders, last=64, where="it")
    assert [file.path for file in choice.weights] == chosen
    if defect is None:
        assert choice.defect is None
    else:
        assert defect in choice.defect


def test_mains_files_take_the_place_of_the_last_steps_only_if_they_are_whole():
    holders = Holders()
    for name, step, digests in (
        ("main", None, {S: M}),
        ("step8", 8, {S: A}),
        ("step64", 64, {S: A}),
    ):
        holders.add(name, step, files(digests).values())
    assert whose(64, A, holders, last=64) == "also step 8's"
    own = choose(64, "0" * 40, files({S: A}), shards, holders, last=64, where="it")
    taken = of_main("1" * 40, files({S: M}), shards, own, "main")
    assert (taken.commit, taken.defect, [file.blob for file in taken.weights]) == (
        "1" * 40,
        None,
        [M],
    )
    assert of_main("1" * 40, files({"README.md": N}), shards, own, "main") is own
    assert of_main("1" * 40, files({X: N, ONE: A}), shards, own, "main") is own


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({}, "it holds no weights: expected one of model.safetensors.index.json"),
        ({X: N, ONE: A}, f"shard {TWO} named in {X} of it is missing"),
        ({S: ""}, f"{S} of it is empty: it was published so"),
    ],
)
def test_what_is_not_whole_is_no_choice(own, message):
    with pytest.raises(CheckpointError, match=re.escape(message)):
        choose(8, "0" * 40, files(own), shards, Holders(), last=64, where="it")
