"""A directory as a suite."""

import json

import pytest

from pythia_traj.errors import CheckpointError, SuiteError
from pythia_traj.suites.files import what_it_holds
from pythia_traj.suites.local import LocalCheckpoint, LocalModel


def folders(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "config.json").write_text("{}")
    return root


def test_step_folders_are_the_steps(tmp_path):
    found = LocalModel.open(folders(tmp_path / "run", "step0", "step512", "step16", "notes"))
    assert found.steps == (0, 16, 512)
    assert found.revision(512) == "step512"
    assert found.model == "run"
    assert found.checkpoint(16).commit is None


def test_trainer_folders_are_steps_too(tmp_path):
    found = LocalModel.open(
        folders(tmp_path / "run", "checkpoint-500", "checkpoint-1000", "tmp-checkpoint-1500")
    )
    assert found.steps == (500, 1000)
    assert found.revision(1000) == "checkpoint-1000"


def test_suite_json_gives_tokens(tmp_path):
    root = folders(tmp_path / "run", "step3")
    (root / "suite.json").write_text(json.dumps({"suite": "mine", "tokens_per_step": 2048}))
    checkpoint = LocalModel.open(root).checkpoint(3)
    assert (checkpoint.suite, checkpoint.tokens) == ("mine", 6144)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a b(c)", "a-b-c"), ("2024-01-01", "model-2024-01-01"), ("pythia-70m", "pythia-70m")],
)
def test_a_models_name_can_be_a_partition(tmp_path, name, expected):
    assert LocalModel.open(folders(tmp_path / name, "step0")).model == expected


def test_what_is_no_suite_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(SuiteError, match="is not a directory of checkpoints"):
        LocalModel.open(tmp_path / "nowhere")
    with pytest.raises(SuiteError, match="holds no step0/"):
        LocalModel.open(folders(tmp_path / "empty", "notes"))
    with pytest.raises(SuiteError, match="looks like one checkpoint: give its parent"):
        LocalModel.open(folders(tmp_path / "one", "step5") / "step5")
    with pytest.raises(SuiteError, match="has step 5 twice, as checkpoint-5 and step5"):
        LocalModel.open(folders(tmp_path / "twice", "step5", "checkpoint-5"))
    root = folders(tmp_path / "bad", "step0")
    (root / "suite.json").write_text('{"tokens_per_step": "many"}')
    with pytest.raises(SuiteError, match="tokens_per_step is 'many'"):
        LocalModel.open(root)


def test_one_format_only_is_read_safetensors_first(tmp_path):
    folder = folders(tmp_path / "run", "step0") / "step0"
    (folder / "pytorch_model.bin").write_bytes(b"stale")
    (folder / "model.safetensors").write_bytes(b"right")
    with LocalModel.open(tmp_path / "run").checkpoint(0).open() as files:
        assert [(file.name, bytes(file.data)) for file in files] == [
            ("model.safetensors", b"right")
        ]


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ("../../etc/passwd", "not a plain file name"),
        ("..", "not a plain file name"),
        ("model-1.safetensors", "is missing: fetch it again"),
    ],
)
def test_an_index_cannot_name_what_is_not_beside_it(tmp_path, shard, message):
    folder = folders(tmp_path / "run", "step0") / "step0"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with (
        pytest.raises(CheckpointError, match=message),
        LocalModel.open(tmp_path / "run").checkpoint(0).open(),
    ):
        pass


def test_missing_and_damaged_files_are_named(tmp_path):
    root = folders(tmp_path / "run", "step0")
    checkpoint = LocalModel.open(root).checkpoint(0)
    with (
        pytest.raises(
            CheckpointError, match="step0 holds no weights: expected one of model.safetensors"
        ),
        checkpoint.open(),
    ):
        pass
    (root / "step0" / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match="is empty: fetch it again"), checkpoint.open():
        pass
    (root / "step0" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not JSON"):
        checkpoint.config()
    (root / "step0" / "config.json").unlink()
    with pytest.raises(CheckpointError, match="config.json is missing"):
        checkpoint.config()


def test_the_source_changes_when_a_file_does(own_suite):
    model = LocalModel.open(own_suite)
    before = model.source(1)
    assert model.source(1) == before
    weights = own_suite / "step1" / "model.safetensors"
    weights.write_bytes(weights.read_bytes())
    assert model.source(1) != before
    assert model.what_changed(1, before) == "changed since (model.safetensors)"


def test_of_many_files_that_change_some_are_named(own_suite):
    model = LocalModel.open(own_suite)
    before = model.source(1)
    before["files"] += [[f"model-{i}.safetensors", 1, 1] for i in range(4)]
    assert model.what_changed(1, before) == (
        "changed since (model-0.safetensors, model-1.safetensors, model-2.safetensors and 1 more)"
    )


def test_a_file_that_goes_away_meanwhile_is_a_change(own_suite, monkeypatch):
    model = LocalModel.open(own_suite)
    before = model.source(1)
    monkeypatch.setattr(LocalCheckpoint, "files", lambda checkpoint: [own_suite / "gone"])
    assert model.what_changed(1, before) == "they cannot be looked at"


def test_config_and_tokenizer_beside_the_steps_are_files_of_every_step_without_its_own(own_suite):
    model = LocalModel.open(own_suite)
    (own_suite / "step1" / "config.json").rename(own_suite / "config.json")
    (own_suite / "step1" / "tokenizer.json").rename(own_suite / "tokenizer.json")
    checkpoint = model.checkpoint(1)
    assert checkpoint.config() == model.checkpoint(2).config()
    assert checkpoint.tokenizer() == own_suite / "tokenizer.json"
    assert {path.parent.name for path in checkpoint.files()} == {"own", "step1"}
    before, others = model.source(1), model.source(2)
    (own_suite / "config.json").write_text((own_suite / "config.json").read_text() + "\n")
    assert model.source(1) != before
    assert model.source(2) == others


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["adapter_config.json"], "a PEFT adapter, not a model (adapter_config.json): merge it"),
        (["config.json", "adapter_model.bin"], "a PEFT adapter"),
        (["layer_00-model_00-model_states.pt", "zero_to_fp32.py"], "GPT-NeoX's own checkpoint"),
        (
            ["global_step500/mp_rank_00_model_states.pt", "zero_to_fp32.py"],
            "DeepSpeed ZeRO's parts",
        ),
        (
            ["global_step500/bf16_zero_pp_rank_3_mp_rank_00_optim_states.pt"],
            "DeepSpeed ZeRO's parts",
        ),
        (
            ["global_step500/mp_rank_00_model_states.pt"],
            "a checkpoint of DeepSpeed or of GPT-NeoX itself",
        ),
        (["pytorch_model_fsdp_0/__0_0.distcp"], "FSDP's parts of a model"),
        (["model.Q4_K.gguf"], "weights of another format"),
        (
            ["optimizer.pt", "scheduler.pt", "rng_state_0.pth"],
            "the state of a training and no weights",
        ),
    ],
)
def test_what_is_no_checkpoint_is_named_for_what_it_is(names, said):
    assert said in what_it_holds(names)


def test_a_folder_of_nothing_known_is_not_named():
    assert what_it_holds(["README.md", "notes/adapter.txt", "config.json"]) is None
    assert what_it_holds([]) is None
