"""A second architecture is one file: with it in the folder, its checkpoints are loaded as any."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

import pythia_traj as pt
from pythia_traj import architectures
from pythia_traj.architectures import gpt_neox
from pythia_traj.architectures.finding import architecture_of, every, is_constant
from pythia_traj.errors import CheckpointError
from tests.adding import Write, added_files
from tests.support import byte_tokenizer, publish, random_model

RENAMED = {
    "gpt_neox.": "twin.",
    "embed_in": "words_in",
    "embed_out": "words_out",
    "lm_head": "words_of_old",
    ".layers.": ".floors.",
    "attention.query_key_value": "look.all_three",
    "attention.dense": "look.back",
    "mlp.dense_h_to_4h": "think.up",
    "mlp.dense_4h_to_h": "think.down",
    "input_layernorm": "norm_a",
    "post_attention_layernorm": "norm_b",
    "final_layer_norm": "norm_z",
}
"""Tensors of GPT-NeoX and of an architecture that is the same in other words."""

IDENTITY = {"GPTNeoX": "Twin", '"gpt_neox"': '"twin"', "hidden_size": "width"}


def renamed(text: str, words: dict[str, str]) -> str:
    for word, other in words.items():
        text = text.replace(word, other)
    return text


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Puts a file of tables into the folder of architectures."""
    with added_files(architectures, tmp_path / "more", every, monkeypatch) as write:
        yield write


@pytest.fixture
def twins(add: Write, tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint of GPT-NeoX, and the same of the architecture in other words."""
    source = Path(gpt_neox.__file__).read_text()
    add("twin", renamed(source.replace("\\.attention\\.", "\\.look\\."), {**RENAMED, **IDENTITY}))
    own, other = tmp_path / "neox" / "step0", tmp_path / "twin" / "step0"
    publish(own, random_model(5))
    publish(other, random_model(5))
    config = json.loads((other / "config.json").read_text())
    config["width"] = config.pop("hidden_size")
    config |= {"architectures": ["TwinForCausalLM"], "model_type": "twin"}
    (other / "config.json").write_text(json.dumps(config))
    tensors = load_file(other / "model.safetensors")
    tensors = {renamed(name, RENAMED): tensor for name, tensor in tensors.items()}
    tensors["twin.floors.0.look.masked_bias"] = torch.tensor(-1e9)
    save_file(tensors, other / "model.safetensors")
    return own.parent, other.parent


@pytest.mark.parametrize("is_folded", [True, False])
def test_a_checkpoint_in_other_words_becomes_the_same_model_to_the_bit(twins, is_folded):
    loaded = []
    for run in twins:
        for checkpoint in pt.checkpoints(run, device="cpu", fold_ln=is_folded):
            parameters = checkpoint.model.named_parameters()
            loaded.append({name: parameter.clone() for name, parameter in parameters})
    own, other = loaded
    assert own.keys() == other.keys()
    assert own["blocks.1.attn.W_V"].abs().sum() > 0
    for name, parameter in own.items():
        assert torch.equal(parameter, other[name]), name


def test_its_own_words_are_in_what_is_said_of_its_files(twins):
    _, run = twins
    tensors = load_file(run / "step0" / "model.safetensors")
    del tensors["twin.floors.1.think.up.weight"]
    save_file(tensors, run / "step0" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"tensor twin\.floors\.1\.think\.up\.weight is miss"):
        list(pt.checkpoints(run, device="cpu"))
    config = json.loads((run / "step0" / "config.json").read_text())
    (run / "step0" / "config.json").write_text(json.dumps({**config, "width": -32}))
    with pytest.raises(CheckpointError, match="width is -32: it must be a whole number above 0"):
        list(pt.checkpoints(run, device="cpu"))


def test_its_masks_are_known_while_it_is_there(twins):
    assert is_constant("twin.floors.0.look.masked_bias")
    assert is_constant("gpt_neox.layers.0.attention.masked_bias")
    assert not is_constant("twin.floors.0.look.back.bias")


def test_steps_of_two_architectures_are_not_one_model(twins, tmp_path):
    for folder, run in zip(
        (tmp_path / "both" / "step0", tmp_path / "both" / "step1"), twins, strict=True
    ):
        folder.parent.mkdir(exist_ok=True)
        (run / "step0").rename(folder)
    with pytest.raises(CheckpointError, match="architecture 'GPTNeoXForCausalLM' instead of 'Twin"):
        list(pt.checkpoints(tmp_path / "both", device="cpu"))


def test_a_config_that_names_two_architectures_is_refused(twins):
    with pytest.raises(
        CheckpointError,
        match="is of architecture twin: supported is GPTNeoXForCausalLM or TwinForCausalLM",
    ):
        architecture_of({"architectures": ["GPTNeoXForCausalLM"], "model_type": "twin"})


GPT2 = '''
"""GPT-2: matrices as [in, out], query, key and value one after the other, positions learnt."""

import re

from pythia_traj.architectures.tables import Architecture, Key, Norm, Reading, Writing

ARCHITECTURE = Architecture(
    model_type="gpt2",
    classes=("GPT2LMHeadModel", "GPT2Model"),
    settings={
        "d_model": Key("n_embd"),
        "n_heads": Key("n_head"),
        "d_mlp": Key("n_inner"),
        "n_layers": Key("n_layer"),
        "n_ctx": Key("n_positions"),
        "d_vocab": Key("vocab_size"),
        "act_fn": Key("activation_function", "gelu_new"),
        "eps": Key("layer_norm_epsilon", 1e-5),
        "tied": Key("tie_word_embeddings", True),
    },
    fixed={"normalization_type": "LN", "positional_embedding_type": "standard"},
    rotary=None,
    applied={},
    refused={},
    harmless={},
    embed="transformer.wte.weight",
    unembed=("lm_head.weight",),
    positions="transformer.wpe.weight",
    layer="transformer.h.{layer}.",
    block=(
        Norm("ln1", "ln_1"),
        Reading(
            "attn.c_attn",
            "d_model (part head_index d_head)",
            norm="ln1",
            weights=("attn.W_Q", "attn.W_K", "attn.W_V"),
            biases=("attn.b_Q", "attn.b_K", "attn.b_V"),
        ),
        Writing(
            "attn.c_proj",
            "(head_index d_head) d_model",
            weight="attn.W_O",
            bias="attn.b_O",
            values="attn.b_V",
        ),
        Norm("ln2", "ln_2"),
        Reading("mlp.c_fc", "d_model d_mlp", "ln2", ("mlp.W_in",), ("mlp.b_in",)),
        Writing("mlp.c_proj", "d_mlp d_model", weight="mlp.W_out", bias="mlp.b_out"),
    ),
    last_norm=Norm("ln_final", "transformer.ln_f"),
    base="transformer.",
    constant=re.compile(r"\\.attn\\.(?:bias|masked_bias)$"),
)
'''


@pytest.mark.parametrize("is_folded", [True, False])
def test_gpt_2_is_one_file(add, tmp_path, is_folded):
    """Its logits are transformers', whatever is folded."""
    add("gpt2", GPT2)
    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 64}
    model = GPT2LMHeadModel(GPT2Config(**sizes, n_inner=48, bos_token_id=0, eos_token_id=0)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(tmp_path / "run" / "step0")
    byte_tokenizer().save(str(tmp_path / "run" / "step0" / "tokenizer.json"))
    tokens = torch.arange(40)[None] * 7 % 300
    options = dict.fromkeys(("fold_ln", "center_writing_weights", "fold_value_biases"), is_folded)
    (checkpoint,) = pt.checkpoints(tmp_path / "run", device="cpu", **options)
    with torch.no_grad():
        ours = checkpoint.model(tokens).log_softmax(-1)
        theirs = model(tokens).logits.log_softmax(-1)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
