"""Where each tensor of a safetensors file lies. Only the header is read; it may be all that is there yet.

The format: 8 bytes with the header's length, a JSON object of tensors, then the tensors (https://github.com/huggingface/safetensors).
"""

import json
from dataclasses import dataclass
from math import prod
from typing import Any

from pythia_traj.errors import CheckpointError

_HEADER_LIMIT = 100_000_000
"""safetensors' own limit for a header, in bytes."""

_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Bytes of an element; tensors of other types are not looked at."""


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file: its type as the header names it, and its first byte in the file and one after its last."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def header_end(data: memoryview, size: int, name: str) -> int:
    """The byte at which the tensors begin.

    Args:
        data: the file's beginning, 8 bytes at least.
        size: of the whole file.
        name: of the file, for messages.

    Raises:
        CheckpointError: it is no safetensors file.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > _HEADER_LIMIT or 8 + length > size:
        raise CheckpointError(f"{name} is truncated or no safetensors file ({size} bytes): fetch it again")
    return 8 + length


def tensor_entries(data: memoryview, size: int, name: str) -> list[TensorEntry]:
    """All tensors of a file, in the header's order.

    Args:
        data: the file's beginning, up to `header_end` at least.

    Raises:
        CheckpointError: the header is malformed, or the file ends before its tensors do.
    """
    start = header_end(data, size, name)
    try:
        header = json.loads(bytes(data[8:start]))
    except (ValueError, RecursionError):
        raise CheckpointError(f"{name}: its header is not JSON, so it is no safetensors file: fetch it again") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{name}: its header is not an object, so it is no safetensors file: fetch it again")
    found = (_entry(tensor, facts, start, name) for tensor, facts in header.items() if tensor != "__metadata__")
    entries = [entry for entry in found if entry is not None]
    for entry in entries:
        if entry.end > size:
            raise CheckpointError(
                f"{name} is truncated: {entry.name} ends at byte {entry.end}, the file at {size}: fetch it again"
            )
    return entries


def _entry(tensor: str, facts: Any, start: int, name: str) -> TensorEntry | None:
    try:
        dtype, shape, (low, high) = facts["dtype"], tuple(facts["shape"]), facts["data_offsets"]
        if not all(type(number) is int and number >= 0 for number in (*shape, high)) or type(low) is not int:
            raise ValueError("not whole numbers")
        if dtype not in _SIZES:
            return None
        expected = prod(shape) * _SIZES[dtype]
        is_right = low >= 0 and high - low == expected
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{name}: the header's entry of {tensor} is malformed: fetch the file again") from None
    if not is_right:
        raise CheckpointError(
            f"{name}: the header gives {tensor} {high - low} bytes for shape {list(shape)} of {dtype}"
        )
    return TensorEntry(tensor, dtype, shape, start + low, start + high)
