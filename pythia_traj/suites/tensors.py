"""Where each tensor of a safetensors file lies.

Only the header is read; the rest of the file may not have arrived yet.

The format: 8 bytes with the header's length, a JSON object of tensors, then the tensors, one after
the other without a gap (https://github.com/huggingface/safetensors). What its own reader refuses is
refused here too: tensors that overlap, or bytes that belong to none, mean that the header does not
describe what was written.
"""

import json
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from pythia_traj import outside
from pythia_traj.errors import CheckpointError

_HEADER_LIMIT = 100_000_000
"""safetensors' own limit for a header, in bytes."""

_VALUES_LIMIT = 1_000_000
"""Values in a header: those of 120,000 tensors, fifty times as many as the largest models have.

Fifty million would fit its length, and take gigabytes once they are parsed.
"""

_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(
        ("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8", "U8", "BOOL"), 8
    ),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
"""Bits of an element, by the format's names of types."""


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file.

    Its type is as the header names it; `start` is its first byte in the file, `end` one after its
    last.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


_Natural = Annotated[int, Field(ge=0, lt=2**63)]


class _Facts(BaseModel):
    """What a header says of one tensor."""

    model_config = ConfigDict(frozen=True, strict=True)

    dtype: str
    shape: list[_Natural]
    data_offsets: Annotated[list[_Natural], Field(min_length=2, max_length=2)]


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    metadata: dict[str, str] | None
    tensors: dict[str, _Facts]


def header_end(data: memoryview, size: int, name: str) -> int:
    """The byte at which the tensors begin.

    Args:
        data: the file's beginning, 8 bytes at least.
        size: of the whole file.
        name: of the file, for messages.

    Raises:
        CheckpointError: it is not a safetensors file.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > _HEADER_LIMIT or 8 + length > size:
        raise CheckpointError(
            f"{name} is truncated or not a safetensors file ({size} bytes): fetch it again"
        )
    return 8 + length


def tensor_entries(data: memoryview, size: int, name: str) -> list[TensorEntry]:
    """All tensors of a file, in the header's order.

    Args:
        data: the file's beginning, up to `header_end` at least.

    Raises:
        CheckpointError: the header is malformed, or the file holds less or more than it says.
    """
    start = header_end(data, size, name)
    header = _parsed(bytes(data[8:start]), f"{name}: its header")
    entries = [_entry(tensor, facts, start, name) for tensor, facts in header.tensors.items()]
    _check_cover(entries, start, size, name)
    return entries


def _parsed(raw: bytes, what: str) -> _Header:
    if raw[:1] != b"{":
        raise CheckpointError(
            f"{what} is not a JSON object, so it is not a safetensors file: fetch it again"
        )
    if raw.count(b",") > _VALUES_LIMIT:
        raise CheckpointError(
            f"{what} holds more than {_VALUES_LIMIT} values: no model has so many tensors"
        )
    parsed: dict[str, Any] = outside.parse_json(raw, what, error=CheckpointError)
    if b"-0" in raw:
        # Python reads -0 as the whole number 0; the format's own reader refuses it.
        json.loads(raw, parse_int=lambda text: _refuse_sign(text, what))
    found = {"metadata": parsed.pop("__metadata__", None), "tensors": parsed}
    return outside.checked(_Header, found, what, error=CheckpointError)


def _refuse_sign(text: str, what: str) -> int:
    if text == "-0":
        raise CheckpointError(f"{what} holds -0 where a size is expected: fetch it again")
    return 0


def _entry(tensor: str, facts: _Facts, start: int, name: str) -> TensorEntry:
    what = f"{name}: the header's entry of {outside.shown(tensor)}"
    bits, (low, high) = _BITS.get(facts.dtype), facts.data_offsets
    if bits is None:
        raise CheckpointError(
            f"{what} has the type {outside.shown(facts.dtype)}, which no safetensors file has"
        )
    # Sizes of 0 count as 1: neither the format's reader nor torch can count more elements than this
    # along any axes.
    if prod(max(size, 1) for size in facts.shape) * bits >= 2**63:
        raise CheckpointError(
            f"{what} has a shape that no memory could hold: {outside.shown(facts.shape)}"
        )
    if (high - low) * 8 != prod(facts.shape) * bits:
        raise CheckpointError(
            f"{what} gives it {high - low} bytes for shape {outside.shown(facts.shape)} of"
            f" {facts.dtype}"
        )
    return TensorEntry(tensor, facts.dtype, tuple(facts.shape), start + low, start + high)


def _check_cover(entries: list[TensorEntry], start: int, size: int, name: str) -> None:
    """Checks that every byte after the header belongs to exactly one tensor."""
    end = start
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.end)):
        if entry.start != end:
            what = (
                "overlaps another tensor"
                if entry.start < end
                else f"follows {entry.start - end} bytes of no tensor"
            )
            raise CheckpointError(
                f"{name}: {outside.shown(entry.name)} {what}: the file is damaged, fetch it again"
            )
        end = entry.end
        if end > size:
            raise CheckpointError(
                f"{name} is truncated: {entry.name} ends at byte {end}, the file at {size}: fetch"
                " it again"
            )
    if end != size:
        raise CheckpointError(
            f"{name} has {size - end} bytes after its last tensor: it is damaged, fetch it again"
        )
