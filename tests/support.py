"""What tests share: tiny random GPT-NeoX suites in Hugging Face layout, published as a user would
find them.
"""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

TINY: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "rotary_pct": 0.5,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "tie_word_embeddings": False,
}


def random_model(seed: int = 0, **config: Any) -> GPTNeoXForCausalLM:
    """A GPT-NeoX whose every parameter is random, LayerNorms and biases included, so that no
    folding is a no-op.
    """
    torch.manual_seed(seed)
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**{**TINY, **config}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def byte_tokenizer() -> Tokenizer:
    """A byte-level BPE of 300 tokens in which <|endoftext|> is token 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["def measure(model, step): return model(step)\n" * 20], trainer)
    return tokenizer


class Noting:
    """A tokenizer that notes the texts it is given."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.texts: list[str] = []

    def encode(self, text: str, **options: Any) -> Any:
        self.texts.append(text)
        return self._tokenizer.encode(text, **options)

    def encode_batch(self, texts: list[str], **options: Any) -> Any:
        self.texts += texts
        return self._tokenizer.encode_batch(texts, **options)


def n_documents(data: Any) -> int:
    """How many documents bound LabelledTokens have, of all splits."""
    return int(data.documents.max()) + 1


def publish(
    folder: Path,
    model: GPTNeoXForCausalLM,
    *,
    sharded: bool = False,
    binary: bool = False,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Writes a checkpoint in Hugging Face layout: single file or shards, safetensors or `.bin`."""
    folder.mkdir(parents=True, exist_ok=True)
    half = GPTNeoXForCausalLM(model.config).to(dtype)
    half.load_state_dict(model.state_dict())
    half.save_pretrained(folder, max_shard_size="40KB" if sharded and not binary else "50GB")
    if binary:
        _as_binary(folder, half, sharded)
    byte_tokenizer().save(str(folder / "tokenizer.json"))


def _as_binary(folder: Path, model: GPTNeoXForCausalLM, sharded: bool) -> None:
    (folder / "model.safetensors").unlink()
    # The names as published: transformers renames the unembedding inside its model, not in files.
    state = {
        name.replace("lm_head.", "embed_out."): tensor
        for name, tensor in model.state_dict().items()
    }
    if not sharded:
        torch.save(state, folder / "pytorch_model.bin")
        return
    names = sorted(state)
    parts = [names[::2], names[1::2]]
    weight_map = {}
    for i, part in enumerate(parts, 1):
        file = f"pytorch_model-{i:05d}-of-00002.bin"
        torch.save({name: state[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )


def write_distinct(root: Path, steps: Iterable[int]) -> None:
    """Checkpoints of the tiny shape, each step with weights of its own, written faster than models
    are built.
    """
    publish(root / ".first", random_model(0))
    tensors = load_file(root / ".first" / "model.safetensors")
    for step in steps:
        folder = root / f"step{step}"
        folder.mkdir()
        for name in ("config.json", "tokenizer.json"):
            shutil.copy(root / ".first" / name, folder)
        generator = torch.Generator().manual_seed(step)
        own = {
            name: tensor + 0.05 * torch.randn(tensor.shape, generator=generator).half()
            for name, tensor in tensors.items()
        }
        save_file(own, folder / "model.safetensors", metadata={"format": "pt"})


def publish_suite(root: Path, steps: tuple[int, ...] = (0, 1, 2, 4), **config: Any) -> Path:
    """A suite of random checkpoints, one seed a step."""
    for step in steps:
        publish(root / f"step{step}", random_model(step, **config))
    (root / "suite.json").write_text(json.dumps({"suite": "random", "tokens_per_step": 2048}))
    return root


TRIVIAL = '''
from pythia_traj.experiment import experiment
from pythia_traj.processing import RAW
from pythia_traj.values import Key, Rows

@experiment(version=1, processing=RAW)
def trivial(model, *, scale: int = 1) -> Rows:
    """A weight, times a number."""
    rows = Rows()
    rows.add(Key("weight"), scale * float(model.W_E[0, 0].detach()))
    return rows
'''
"""A user's file of which a request has as many labels as there are numbers."""
