"""Weight files -> named tensors that lie in the files' own bytes: nothing is copied, and nothing is unpickled unsafely.

The names are those of a GPTNeoXForCausalLM, whatever the model was wrapped in when it was saved. Weights that stand
for others, be they quantised or half of an adapter, are refused by name: without them a model would be built from
what is left.
"""

import io
import json
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod

import torch
from torch import Tensor

from pythia_traj.checkpoint import WeightFile
from pythia_traj.errors import CheckpointError
from pythia_traj.suites.gpt_neox import CONSTANT
from pythia_traj.suites.tensors import header_end, tensor_entries

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Floating types of safetensors. Tensors of other types (causal masks of early Pythia files) are never wanted."""

_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""What DistributedDataParallel, torch.compile, FSDP and activation checkpointing put into names."""

_BASE = ("embed_in.", "layers.", "final_layer_norm.")
"""How names begin where a GPTNeoXModel was saved without its language model's head."""

EMBED, UNEMBED = "gpt_neox.embed_in.weight", ("embed_out.weight", "lm_head.weight")
"""transformers 5.14 renamed the unembedding; files of both ages exist."""

_QUANTISED = "they are quantised: use the unquantised checkpoint, or save `model.dequantize()` in float16 or float32"
_ADAPTER = "they hold an adapter that is not merged: save `model.merge_and_unload()` with save_pretrained and give that"
_NOT_CONVERTED = "they are GPT-NeoX's own: convert them with its tools/ckpts/convert_neox_to_hf.py"

_REFUSED_NAMES = (
    (re.compile(r"\.lora_|\.base_layer\.|\.modules_to_save\.|^base_model\.model\."), _ADAPTER),
    (re.compile(r"\.(SCB|\w*absmax|\w*quant_map|quant_state\.\S+|qweight|qzeros|g_idx|weight_packed)$"), _QUANTISED),
    (re.compile(r"\.(weight_scale\w*|\w+_scale_inv|input_scale|weight_zero_point)$"), _QUANTISED),
    (re.compile(r"^sequential\.\d+\.|(^|\.)word_embeddings\.weight$"), _NOT_CONVERTED),
)
"""Names of tensors that change what the others mean, or that are not of a transformers model; and what to do."""


def read_tensors(files: Sequence[WeightFile]) -> dict[str, Tensor]:
    """All floating tensors of a checkpoint's weight files, by their names in a GPTNeoXForCausalLM.

    Args:
        files: the whole files of one format, sharded or not; the tensors keep them alive.

    Raises:
        CheckpointError: a file is truncated, is not what its ending says, or is a pickle that holds more than
            tensors; or its tensors are not the model's weights as they are.
    """
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors.update(_read_safetensors(file) if file.name.endswith(".safetensors") else _read_bin(file))
    return _plain_names(tensors)


def _read_safetensors(file: WeightFile) -> dict[str, Tensor]:
    entries = tensor_entries(file.data, len(file.data), file.name)
    for name, dtype in _header_types(file):
        _refuse(file.name, name, None if dtype in _DTYPES else dtype)
    wanted = [entry for entry in entries if entry.dtype in _DTYPES]
    return {entry.name: _view(file.data, entry.start, _DTYPES[entry.dtype], entry.shape) for entry in wanted}


def _header_types(file: WeightFile) -> Iterator[tuple[str, str]]:
    """Every tensor's name and type, also of types that `tensor_entries` passes over; to be called after it."""
    header = json.loads(bytes(file.data[8 : header_end(file.data, len(file.data), file.name)]))
    return ((name, facts["dtype"]) for name, facts in header.items() if name != "__metadata__")


def _view(data: memoryview, offset: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    count = prod(shape)
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    if offset % dtype.itemsize:
        # Only files whose header was not padded to 8 bytes; torch cannot view unaligned memory.
        aligned = bytearray(data[offset : offset + count * dtype.itemsize])
        return torch.frombuffer(aligned, dtype=dtype).view(shape)
    return torch.frombuffer(data, dtype=dtype, count=count, offset=offset).view(shape)


_DAMAGE = (
    RuntimeError,
    EOFError,
    ValueError,
    OSError,
    LookupError,
    AttributeError,
    TypeError,
    struct.error,
    zipfile.BadZipFile,
    AssertionError,
)
"""What torch raises for files that are not whole."""


def _read_bin(file: WeightFile) -> dict[str, Tensor]:
    try:
        if file.path is not None:
            # The format before torch 1.6 is no zip and cannot be mapped.
            mapped = zipfile.is_zipfile(file.path)
            state = torch.load(file.path, map_location="cpu", weights_only=True, mmap=mapped)
        else:
            state = torch.load(io.BytesIO(file.data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "it holds code, which is never run" if "unsupported" in str(error).lower() else "it is damaged"
        raise CheckpointError(f"{file.name} was refused as a file of weights alone: {reason}") from None
    except _DAMAGE as error:
        first_line = str(error).partition("\n")[0]
        raise CheckpointError(f"{file.name} is truncated or damaged ({first_line}): fetch it again") from None
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{file.name} holds {type(state).__name__} where a state dict of tensors was expected")
    found = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    inner = [str(name) for name, value in state.items() if isinstance(value, Mapping) and value]
    if inner and not found:
        raise CheckpointError(
            f"{file.name} holds {', '.join(inner)} where tensors were expected: save the model's state dict alone"
        )
    for name, tensor in found.items():
        _refuse(file.name, name, None if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch."))
    # A slice of a larger tensor, or a transposed one, is saved as what it is; a swap takes rows as they come.
    return {name: tensor.detach().contiguous() for name, tensor in found.items() if tensor.is_floating_point()}


def _refuse(file: str, name: str, other_type: str | None) -> None:
    """Refuses a tensor without which the others would be read as what they are not.

    Args:
        other_type: its type, where that is none of floating numbers of 16 bits or more.
    """
    for pattern, because in _REFUSED_NAMES:
        if pattern.search(name):
            raise CheckpointError(f"tensor {name} in {file} is not a weight of the model as it is: {because}")
    is_parameter = name.endswith((".weight", ".bias")) and not CONSTANT.search(name)
    if other_type is not None and is_parameter:
        raise CheckpointError(
            f"tensor {name} in {file} is of type {other_type}, so its weights are not plain numbers: {_QUANTISED}"
        )


def _plain_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without what wrappers put into their names; those of a base model get its name in front."""
    plain: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, tensor in tensors.items():
        if CONSTANT.search(name):
            continue
        short = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        if short in plain:
            raise CheckpointError(
                f"the weights hold both {origin[short]} and {name}: remove the one that is not the model's"
            )
        plain[short], origin[short] = tensor, name
    if any(name.startswith("gpt_neox.") for name in plain):
        return plain
    return {f"gpt_neox.{name}" if name.startswith(_BASE) else name: tensor for name, tensor in plain.items()}


def why_missing(name: str, tensors: Mapping[str, Tensor]) -> str:
    """What to do about a tensor that the model needs and the checkpoint has not."""
    if name in UNEMBED:
        return (
            "a base model is saved without its unembedding: save the GPTNeoXForCausalLM, not the GPTNeoXModel within it"
        )
    elsewhere = next((other for other in tensors if other.endswith(f".{name}")), None)
    if elsewhere is not None:
        return f"it is there as {elsewhere}: save the state dict of the GPTNeoXForCausalLM alone"
    there = [other for other in tensors if not other.startswith("gpt_neox.")][:3] or list(tensors)[:3]
    return (
        f"there are {', '.join(there)}, ...: save the whole GPTNeoXForCausalLM anew"
        if there
        else "there are none at all"
    )


def why_shaped(found: Sequence[int]) -> str:
    """What to do about a tensor of another shape than the config promises."""
    if 0 in found:
        return "ZeRO leaves tensors empty: run zero_to_fp32.py, or train with stage3_gather_16bit_weights_on_model_save"
    return "config.json and weights are not of one model: save both anew"


def buffers_for(device: torch.device) -> Callable[[int], memoryview] | None:
    """How buffers are made from which weights reach a device; None is ordinary memory.

    For CUDA they are pinned, so that a copy from them goes on while the processor does something else.
    """
    if device.type != "cuda":
        return None
    return lambda size: memoryview(torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy().data)
