"""Weight files -> named tensors that lie in the files' own bytes: nothing is copied, and nothing is unpickled unsafely."""

import io
import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from pythia_traj.checkpoint import WeightFile
from pythia_traj.errors import CheckpointError

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Floating types of safetensors. Tensors of other types (causal masks of early Pythia files) are never wanted."""

_HEADER_LIMIT = 100_000_000
"""safetensors' own limit for a header, in bytes."""


def read_tensors(files: Sequence[WeightFile]) -> dict[str, Tensor]:
    """All floating tensors of a checkpoint's weight files, by name.

    Args:
        files: the whole files of one format, sharded or not; the tensors keep them alive.

    Raises:
        CheckpointError: a file is truncated, is not what its ending says, or is a pickle that holds more than tensors.
    """
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors.update(_read_safetensors(file) if file.name.endswith(".safetensors") else _read_bin(file))
    return tensors


def _read_safetensors(file: WeightFile) -> dict[str, Tensor]:
    header, start = _header(file)
    available = len(file.data) - start
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            dtype, shape, (low, high) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        except (KeyError, TypeError, ValueError):
            raise CheckpointError(
                f"{file.name}: the header's entry of {name} is malformed: fetch the file again"
            ) from None
        if high > available:
            raise CheckpointError(
                f"{file.name} is truncated: {name} ends at byte {start + high}, the file at {len(file.data)}: fetch it again"
            )
        if dtype not in _DTYPES:
            continue
        size = _DTYPES[dtype].itemsize
        if low < 0 or high - low != prod(shape) * size:
            raise CheckpointError(
                f"{file.name}: the header gives {name} {high - low} bytes for shape {list(shape)} of {dtype}"
            )
        tensors[name] = _view(file.data, start + low, _DTYPES[dtype], shape)
    return tensors


def _header(file: WeightFile) -> tuple[dict[str, Any], int]:
    """The parsed header of a safetensors file, and the byte at which the tensors begin."""
    length = int.from_bytes(file.data[:8], "little")
    if len(file.data) < 8 or length > _HEADER_LIMIT or 8 + length > len(file.data):
        raise CheckpointError(
            f"{file.name} is truncated or no safetensors file ({len(file.data)} bytes): fetch it again"
        )
    try:
        header = json.loads(bytes(file.data[8 : 8 + length]))
    except ValueError:
        raise CheckpointError(
            f"{file.name}: its header is not JSON, so it is no safetensors file: fetch it again"
        ) from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{file.name}: its header is not an object, so it is no safetensors file: fetch it again")
    return header, 8 + length


def _view(data: memoryview, offset: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    count = prod(shape)
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    if offset % dtype.itemsize:
        # Only files whose header was not padded to 8 bytes; torch cannot view unaligned memory.
        aligned = bytearray(data[offset : offset + count * dtype.itemsize])
        return torch.frombuffer(aligned, dtype=dtype).view(shape)
    return torch.frombuffer(data, dtype=dtype, count=count, offset=offset).view(shape)


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
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        first_line = str(error).partition("\n")[0]
        raise CheckpointError(f"{file.name} is truncated or damaged ({first_line}): fetch it again") from None
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{file.name} holds {type(state).__name__} where a state dict of tensors was expected")
    return {
        str(name): value for name, value in state.items() if isinstance(value, Tensor) and value.is_floating_point()
    }
