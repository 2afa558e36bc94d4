"""Weight files -> named tensors in the files' own bytes.

Nothing is copied, and nothing is unpickled unsafely.

The names are those of the architecture's language model, even if it was wrapped when it was saved.
Quantised weights and parts of an adapter are refused by name: otherwise a model would be built from
the rest.
"""

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from pythia_traj.architectures.tables import Architecture
from pythia_traj.architectures.tensors import base_names
from pythia_traj.checkpoint import WeightFile
from pythia_traj.errors import CheckpointError
from pythia_traj.models.pickled import Bytes, check_claims
from pythia_traj.suites.files import what_it_is_instead
from pythia_traj.suites.tensors import tensor_entries

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Floating types of safetensors.

Tensors of other types (causal masks of early Pythia files) are never wanted.
"""

_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""What DistributedDataParallel, torch.compile, FSDP and activation checkpointing add to names."""

_QUANTISED = (
    "they are quantised: use the unquantised checkpoint, or save `model.dequantize()` in float16 or"
    " float32"
)
_ADAPTER = (
    "they hold an adapter that is not merged: save `model.merge_and_unload()` with save_pretrained"
    " and give that"
)

_REFUSED_NAMES = (
    (re.compile(r"\.lora_|\.base_layer\.|\.modules_to_save\.|^base_model\.model\."), _ADAPTER),
    (
        re.compile(
            r"\.(SCB|\w*absmax|\w*quant_map|quant_state\.\S+|qweight|qzeros|g_idx|weight_packed)$"
        ),
        _QUANTISED,
    ),
    (re.compile(r"\.(weight_scale\w*|\w+_scale_inv|input_scale|weight_zero_point)$"), _QUANTISED),
)
"""Names of tensors that change what the others mean, each with what to do."""


@dataclass(frozen=True)
class _Found:
    """What a file holds.

    Attributes:
        tensors: the floating tensors by name.
        types: the name of every tensor; also its type, unless that is floating numbers of 16 bits
            or more.
    """

    tensors: dict[str, Tensor]
    types: dict[str, str | None]


def read_tensors(files: Sequence[WeightFile], architecture: Architecture) -> dict[str, Tensor]:
    """All floating tensors of a checkpoint's weight files, by their names in the language model.

    With an index, each tensor is taken from the shard that the index names.

    Args:
        files: the whole files of one format, sharded or not; the tensors keep them alive.

    Raises:
        CheckpointError: a file is truncated, is not what its ending says, or is a pickle that holds
            more than tensors; or its tensors are not plain weights of the model, or not those that
            the index names.
    """
    named = frozenset().union(*(file.tensors or () for file in files))
    tensors: dict[str, Tensor] = {}
    for file in files:
        if found := what_it_is_instead(file.data):
            raise CheckpointError(f"{file.name} is {found}")
        is_safe = file.name.endswith(".safetensors")
        read = _read_safetensors(file) if is_safe else _read_bin(file)
        for name, other_type in read.types.items():
            _refuse(file.name, name, other_type, architecture)
        _add(tensors, file, read, named, architecture)
    return _plain_names(tensors, architecture)


def _add(
    tensors: dict[str, Tensor],
    file: WeightFile,
    found: _Found,
    named: frozenset[str],
    architecture: Architecture,
) -> None:
    """Adds the tensors of a file: all, or those that the index takes from it.

    Args:
        named: the tensors that the index takes from all files together.
    """
    if file.tensors is None:
        tensors.update(found.tensors)
        return
    for name in sorted(file.tensors - found.types.keys()):
        if not architecture.constant.search(name):
            raise CheckpointError(
                f"tensor {name} is not in {file.name}, where the index says it is: fetch both again"
            )
    for name, tensor in found.tensors.items():
        if name in file.tensors:
            tensors[name] = tensor
        elif name not in named and not architecture.constant.search(name):
            raise CheckpointError(
                f"{file.name} holds {name}, which the index does not name: they are not of one"
                " checkpoint, save both again"
            )


def _read_safetensors(file: WeightFile) -> _Found:
    entries = tensor_entries(file.data, len(file.data), file.name)
    wanted = [entry for entry in entries if entry.dtype in _DTYPES]
    tensors = {
        entry.name: _view(file.data, entry.start, _DTYPES[entry.dtype], entry.shape)
        for entry in wanted
    }
    types = {entry.name: None if entry.dtype in _DTYPES else entry.dtype for entry in entries}
    return _Found(tensors, types)


def _view(data: memoryview, offset: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    count = prod(shape)
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    if offset % dtype.itemsize:
        # Only if the header was not padded to 8 bytes: torch cannot view unaligned memory.
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
"""The errors of torch for files that are not whole."""

_CODE = re.compile(
    r"[Uu]nsupported (global|class)|unrecognized function|[Cc]an only build|is blocked"
)
"""The words of torch for a pickle that would run code."""


def _read_bin(file: WeightFile) -> _Found:
    check_claims(file.data, file.name)
    try:
        # torch must not map the file: a file that shrinks would kill the process, and torch would
        # take compressed bytes for weights.
        with warnings.catch_warnings(action="ignore"):
            state = torch.load(Bytes(file.data), map_location="cpu", weights_only=True)  # type: ignore[arg-type]
        return _of_state(state, file)
    except pickle.UnpicklingError as error:
        reason = (
            "it holds code, which is never run" if _CODE.search(str(error)) else "it is damaged"
        )
        raise CheckpointError(
            f"{file.name} was refused as a file of weights alone: {reason}"
        ) from None
    except _DAMAGE as error:
        # In this text torch asks for a better message from its users: it is left out.
        first_line = str(error).partition("\n")[0].partition("  (Could this error")[0]
        raise CheckpointError(
            f"{file.name} is truncated or damaged ({first_line}): fetch it again"
        ) from None


def _of_state(state: Any, file: WeightFile) -> _Found:
    """The tensors of a state dict."""
    if not isinstance(state, Mapping):
        raise CheckpointError(
            f"{file.name} holds {type(state).__name__} where a state dict of tensors was expected"
        )
    found = {
        name: value
        for name, value in state.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    inner = [str(name) for name, value in state.items() if isinstance(value, Mapping) and value]
    if inner and not found:
        raise CheckpointError(
            f"{file.name} holds {', '.join(inner)} where tensors were expected: save the model's"
            " state dict alone"
        )
    types = {name: None if _is_plain(tensor) else _type(tensor) for name, tensor in found.items()}
    plain = {name: tensor.detach() for name, tensor in found.items() if _is_plain(tensor)}
    # torch saves a slice or a transposed tensor as a view; a swap needs rows in order. One value
    # that is repeated along all axes would become as large as its shape says.
    copied = sum(
        tensor.numel() * tensor.itemsize for tensor in plain.values() if not tensor.is_contiguous()
    )
    if copied > len(file.data):
        raise CheckpointError(
            f"{file.name} holds tensors that repeat their values: save contiguous ones"
        )
    return _Found({name: tensor.contiguous() for name, tensor in plain.items()}, types)


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is floating numbers in memory.

    It must not be sparse, quantised, complex, or a shape without values.
    """
    in_memory = tensor.layout == torch.strided and tensor.device.type == "cpu"
    return in_memory and not tensor.is_quantized and tensor.dtype in _DTYPES.values()


def _type(tensor: Tensor) -> str:
    kind = "" if tensor.layout == torch.strided else f"{tensor.layout} ".removeprefix("torch.")
    kind += "meta " if tensor.is_meta else ""
    return kind + str(tensor.dtype).removeprefix("torch.")


def _refuse(file: str, name: str, other_type: str | None, architecture: Architecture) -> None:
    """Refuses a tensor that changes what the others mean."""
    for pattern, because in (*_REFUSED_NAMES, *architecture.foreign):
        if pattern.search(name):
            raise CheckpointError(
                f"tensor {name} in {file} is not a weight of the model as it is: {because}"
            )
    is_parameter = name.endswith((".weight", ".bias")) and not architecture.constant.search(name)
    if other_type is not None and is_parameter:
        raise CheckpointError(
            f"tensor {name} in {file} is of type {other_type}, so its weights are not plain"
            f" numbers: {_QUANTISED}"
        )


def _plain_names(tensors: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
    """The weights by names without the additions of wrappers.

    The names of a base model get its prefix.
    """
    plain: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, tensor in tensors.items():
        if architecture.constant.search(name):
            continue
        short = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        if short in plain:
            raise CheckpointError(
                f"the weights hold both {origin[short]} and {name}: remove the one that is not the"
                " model's"
            )
        plain[short], origin[short] = tensor, name
    base, begins = architecture.base, base_names(architecture)
    if any(name.startswith(base) for name in plain):
        return plain
    return {
        f"{base}{name}" if name.startswith(begins) else name: tensor
        for name, tensor in plain.items()
    }


def buffers_for(device: torch.device) -> Callable[[int], memoryview] | None:
    """Makes the buffers from which weights are copied to a device; None is ordinary memory.

    For CUDA they are pinned, so that a copy runs while the processor does other work.
    """
    if device.type != "cuda":
        return None
    return lambda size: memoryview(
        torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy().data
    )
