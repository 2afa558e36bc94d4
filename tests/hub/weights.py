"""Random weights in a Pythia shape, straight into files.

No model is built, so big ones take seconds and little more memory.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.hub.shapes import SHAPES
from tests.support import byte_tokenizer

SCALE = 0.02
ROTARY_BASE = 10_000


def write_checkpoint(
    folder: Path, shape: str, seed: int, *, masks: bool, sharded: bool, binary: bool
) -> None:
    """Writes what `tests.hub.publish.random_pythia` promises."""
    if shape not in SHAPES:
        raise ValueError(f"there is no shape {shape!r}: choose one of {', '.join(SHAPES)}")
    folder.mkdir(parents=True, exist_ok=True)
    config = _config(shape)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    tensors = dict(_weights(config, torch.Generator().manual_seed(seed)))
    if masks:
        tensors |= _constants(config)
    stem, suffix = ("pytorch_model", "bin") if binary else ("model", "safetensors")
    if not sharded:
        _save(tensors, folder / f"{stem}.{suffix}")
        return
    names = sorted(tensors)
    shards = {
        f"{stem}-00001-of-00002.{suffix}": names[: len(names) // 2],
        f"{stem}-00002-of-00002.{suffix}": names[len(names) // 2 :],
    }
    for file, part in shards.items():
        _save({name: tensors[name] for name in part}, folder / file)
    size = sum(tensor.nbytes for tensor in tensors.values())
    weight_map = {name: file for file, part in shards.items() for name in part}
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))


def _config(shape: str) -> dict[str, Any]:
    """`config.json` with the keys of the published ones."""
    return {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        **SHAPES[shape],
        "hidden_act": "gelu",
        "initializer_range": SCALE,
        "layer_norm_eps": 1e-5,
        "rotary_emb_base": ROTARY_BASE,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "use_cache": True,
        "use_parallel_residual": True,
    }


def _weights(config: dict[str, Any], generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    def random(*size: int, mean: float = 0.0) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float16).mul_(SCALE).add_(mean)

    def norm(name: str) -> Iterator[tuple[str, Tensor]]:
        yield f"{name}.weight", random(d_model, mean=1.0)
        yield f"{name}.bias", random(d_model)

    def linear(name: str, d_out: int, d_in: int) -> Iterator[tuple[str, Tensor]]:
        yield f"{name}.weight", random(d_out, d_in)
        yield f"{name}.bias", random(d_out)

    d_model, d_mlp, d_vocab = (
        config["hidden_size"],
        config["intermediate_size"],
        config["vocab_size"],
    )
    yield "gpt_neox.embed_in.weight", random(d_vocab, d_model)
    for layer in range(config["num_hidden_layers"]):
        block = f"gpt_neox.layers.{layer}"
        yield from norm(f"{block}.input_layernorm")
        yield from norm(f"{block}.post_attention_layernorm")
        yield from linear(f"{block}.attention.query_key_value", 3 * d_model, d_model)
        yield from linear(f"{block}.attention.dense", d_model, d_model)
        yield from linear(f"{block}.mlp.dense_h_to_4h", d_mlp, d_model)
        yield from linear(f"{block}.mlp.dense_4h_to_h", d_model, d_mlp)
    yield from norm("gpt_neox.final_layer_norm")
    yield "embed_out.weight", random(d_vocab, d_model)


def _constants(config: dict[str, Any]) -> dict[str, Tensor]:
    """The buffers that published files carry beside the weights, the same in every checkpoint."""
    n_ctx = config["max_position_embeddings"]
    d_rotary = int(config["hidden_size"] // config["num_attention_heads"] * config["rotary_pct"])
    causal = torch.ones(n_ctx, n_ctx, dtype=torch.bool).tril_().view(1, 1, n_ctx, n_ctx)
    inv_freq = (ROTARY_BASE ** -(torch.arange(0, d_rotary, 2) / d_rotary)).half()
    buffers = {}
    for layer in range(config["num_hidden_layers"]):
        attention = f"gpt_neox.layers.{layer}.attention"
        # Clones, because safetensors refuses tensors that share memory.
        buffers[f"{attention}.bias"] = causal.clone()
        buffers[f"{attention}.masked_bias"] = torch.tensor(-1e9).half()
        buffers[f"{attention}.rotary_emb.inv_freq"] = inv_freq.clone()
    return buffers


def _save(tensors: dict[str, Tensor], file: Path) -> None:
    if file.suffix == ".bin":
        torch.save(tensors, file)
    else:
        save_file(tensors, file, metadata={"format": "pt"})
