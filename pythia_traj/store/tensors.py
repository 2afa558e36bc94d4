"""Tensors -> a safetensors file, part by part.

The format's own writer takes whole arrays: tensors that were gathered in parts would be in memory
twice. A file is 8 bytes with the length of its header, the header as JSON, then all tensors.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pythia_traj.rows import Parts

_NAMES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "float16": "F16",
    "int32": "I32", "uint32": "U32", "float32": "F32", "float64": "F64", "int64": "I64",
    "uint64": "U64",
}  # fmt: skip
"""NumPy's names of types -> the format's."""

_ALIGNED = 8
"""Bytes: the tensors begin at a multiple of so many."""


def write_tensors(path: Path, tensors: Mapping[str, Parts], metadata: Mapping[str, str]) -> None:
    """Writes tensors, the parts of each one after the other along the first axis.

    Raises:
        ValueError: a type that the format does not have, or parts that do not fit each other.
    """
    # The widest types first, so that each tensor is aligned.
    order = sorted(tensors, key=lambda name: (-tensors[name][0].dtype.itemsize, name))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    start = 0
    for name in order:
        parts = tensors[name]
        _check(name, parts)
        end = start + sum(part.nbytes for part in parts)
        header[name] = {
            "dtype": _NAMES[parts[0].dtype.name],
            "shape": _shape(parts),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in order:
            for part in tensors[name]:
                file.write(np.ascontiguousarray(part, part.dtype.newbyteorder("<")).data)


def _shape(parts: Parts) -> list[int]:
    if parts[0].ndim == 0:
        return []
    return [sum(len(part) for part in parts), *parts[0].shape[1:]]


def _check(name: str, parts: Parts) -> None:
    kinds = {(part.dtype.name, part.shape[1:]) for part in parts}
    if len(kinds) > 1:
        raise ValueError(f"tensor {name!r}: parts of different types or shapes: {sorted(kinds)}")
    if parts[0].dtype.name not in _NAMES:
        raise ValueError(f"tensor {name!r}: safetensors has no type {parts[0].dtype.name}")
