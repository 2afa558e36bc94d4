"""Weight files -> named tensors that lie in the files' own bytes: nothing is copied, and nothing is unpickled unsafely."""

import io
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from math import prod

import torch
from torch import Tensor

from pythia_traj.checkpoint import WeightFile
from pythia_traj.errors import CheckpointError
from pythia_traj.suites.tensors import tensor_entries

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Floating types of safetensors. Tensors of other types (causal masks of early Pythia files) are never wanted."""


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
    entries = tensor_entries(file.data, len(file.data), file.name)
    wanted = [entry for entry in entries if entry.dtype in _DTYPES]
    return {entry.name: _view(file.data, entry.start, _DTYPES[entry.dtype], entry.shape) for entry in wanted}


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


def buffers_for(device: torch.device) -> Callable[[int], memoryview] | None:
    """How buffers are made from which weights reach a device; None is ordinary memory.

    For CUDA they are pinned, so that a copy from them goes on while the processor does something else.
    """
    if device.type != "cuda":
        return None
    return lambda size: memoryview(torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy().data)
