"""The swapped model is the one that HookedTransformer.from_pretrained builds: parameters,
log-probabilities, for every option.

The reference reads a Hub cache that the test lays out, under an official Pythia name and with the
shape's own config.
"""

import itertools
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformer_lens import HookedTransformer

import pythia_traj as pt
from pythia_traj.models.swap import SwappableModel
from pythia_traj.processing import FOLDED
from pythia_traj.suites.local import LocalModel
from tests.support import publish, random_model

STEP = 512
OPTIONS = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")
COMBINATIONS = [
    dict(zip(OPTIONS, values, strict=True)) for values in itertools.product([False, True], repeat=4)
]

SHAPES = {
    "quarter rotary": {"rotary_pct": 0.25},
    "0.34 rotary": {"rotary_pct": 0.34, "hidden_size": 96},
    "full rotary, eight heads": {"rotary_pct": 1.0, "num_attention_heads": 8},
    "one head, wide mlp": {
        "num_attention_heads": 1,
        "intermediate_size": 200,
        "num_hidden_layers": 1,
    },
    "sequential": {"use_parallel_residual": False, "num_hidden_layers": 3},
}


@pytest.fixture
def reference(tmp_path, monkeypatch):
    """Publishes a model for both: a Hub cache for the reference, a directory for us; returns the
    loader and the directory.
    """

    def build(model, **layout):
        run = tmp_path / "run"
        publish(run / f"step{STEP}", model, **layout)
        cache = tmp_path / "hub" / "models--EleutherAI--pythia-70m"
        commit = "a" * 40
        snapshot = cache / "snapshots" / commit
        shutil.copytree(run / f"step{STEP}", snapshot)
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|endoftext|>",
            "bos_token": "<|endoftext|>",
        }
        (snapshot / "tokenizer_config.json").write_text(json.dumps(settings))
        (cache / "refs").mkdir()
        for ref in (f"step{STEP}", "main"):
            (cache / "refs" / ref).write_text(commit)
        # transformer-lens 3.9 sends an empty header without one
        monkeypatch.setenv("HF_TOKEN", "unused")

        def load(**options):
            return HookedTransformer.from_pretrained(
                "EleutherAI/pythia-70m",
                checkpoint_value=STEP,
                device="cpu",
                cache_dir=str(tmp_path / "hub"),
                **options,
            )

        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        return load, run

    return build


def compare(load, run, options, tokens):
    expected = load(**options)
    (ours,) = pt.checkpoints(run, steps=str(STEP), device="cpu", **options)
    theirs, mine = dict(expected.named_parameters()), dict(ours.model.named_parameters())
    assert theirs.keys() == mine.keys()
    for name, parameter in theirs.items():
        assert parameter.shape == mine[name].shape
        torch.testing.assert_close(
            mine[name], parameter, atol=1e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
        )
    with torch.no_grad():
        difference = (
            (ours.model(tokens).log_softmax(-1) - expected(tokens).log_softmax(-1)).abs().max()
        )
    assert difference < 1e-4
    return ours.model


quiet = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"
)


@quiet
@pytest.mark.parametrize("shape", SHAPES)
def test_every_combination_of_options_equals_from_pretrained(reference, shape):
    model = random_model(**SHAPES[shape])
    load, run = reference(model)
    tokens = torch.randint(0, 300, (2, 60))
    for options in COMBINATIONS:
        compare(load, run, options, tokens)


@quiet
@pytest.mark.parametrize(("sharded", "binary"), [*itertools.product([False, True], repeat=2)])
def test_single_and_sharded_files_of_both_formats_equal_from_pretrained(reference, sharded, binary):
    load, run = reference(random_model(), sharded=sharded, binary=binary)
    files = sorted(path.name for path in (run / f"step{STEP}").iterdir())
    assert any(".index.json" in name for name in files) == sharded
    assert any(name.endswith(".bin") for name in files) == binary
    compare(load, run, dict.fromkeys(OPTIONS, True), torch.randint(0, 300, (2, 60)))


@quiet
def test_the_full_shape_of_pythia_70m_equals_from_pretrained(reference):
    model = random_model(
        vocab_size=50304,
        hidden_size=512,
        num_hidden_layers=6,
        num_attention_heads=8,
        intermediate_size=2048,
        max_position_embeddings=2048,
        rotary_pct=0.25,
    )
    load, run = reference(model)
    compare(load, run, dict.fromkeys(OPTIONS, True), torch.randint(0, 50000, (1, 200)))


@pytest.mark.parametrize("shape", [*SHAPES, "odd rotary"])
def test_log_probabilities_equal_hugging_faces_own(tmp_path, shape):
    # A rotary_pct that gives an odd number of dimensions is read differently by TransformerLens:
    # Hugging Face's reading is the model's.
    model = random_model(
        **SHAPES.get(shape, {"rotary_pct": 0.34, "hidden_size": 128, "num_attention_heads": 2})
    )
    publish(tmp_path / "run" / "step0", model, dtype=torch.float32)
    tokens = torch.randint(0, 300, (2, 60))
    (ours,) = pt.checkpoints(tmp_path / "run", device="cpu")
    with torch.no_grad():
        expected = model(tokens).logits.log_softmax(-1)
        assert (ours.model(tokens).log_softmax(-1) - expected).abs().max() < 1e-3


@pytest.mark.parametrize("file_dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("options", [dict.fromkeys(OPTIONS, True), dict.fromkeys(OPTIONS, False)])
def test_a_lower_precision_is_the_fp32_result_cast_once(tmp_path, file_dtype, dtype, options):
    publish(tmp_path / "run" / "step4", random_model(4), dtype=file_dtype)
    (full,) = pt.checkpoints(tmp_path / "run", device="cpu", **options)
    (low,) = pt.checkpoints(tmp_path / "run", device="cpu", dtype=dtype, **options)
    lower = dict(low.model.named_parameters())
    for name, parameter in full.model.named_parameters():
        assert lower[name].dtype == getattr(torch, dtype)
        assert torch.equal(lower[name], parameter.to(lower[name].dtype)), name


@pytest.mark.parametrize("file_dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_swap_leaves_the_checkpoints_tensors_as_they_are(tmp_path, file_dtype, dtype):
    """Both processings of a step are made from the same open files."""
    publish(tmp_path / "run" / "step0", random_model(0), dtype=file_dtype)
    checkpoint = LocalModel.open(tmp_path / "run").checkpoint(0)
    swappable = SwappableModel(checkpoint, device=torch.device("cpu"), dtype=dtype)
    tensors = {
        name: tensor.clone()
        for name, tensor in load_file(tmp_path / "run" / "step0" / "model.safetensors").items()
    }
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    swappable.swap(tensors, FOLDED)
    assert all(tensor.equal(before[name]) for name, tensor in tensors.items())
