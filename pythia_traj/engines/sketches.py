"""Random projections of matrices, small enough to be stored.

From two of them the distance of any two steps can be estimated later. The projection is a count
sketch (Charikar, Chen and Farach-Colton 2002) whose entries are laid out in blocks of the sketch's
size: each entry has a random sign, each block is turned by a random number of places, and all
blocks are added up. Two entries of different blocks meet with probability 1 / size, two of one
block never: so the squared norm of a sketch has the matrix's as its mean, and a variance of at most
2 / size of its square. It uses no scatter-add: on a GPU the order of that varies, and so does its
result.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from pythia_traj.engines.streams import stream
from pythia_traj.engines.weights import Factors

_CHUNK = 1 << 20
"""Entries that are projected at once."""

_HEAD_BYTES = 8 << 20
"""The memory for heads' products while they are projected.

Larger temporaries leave holes in a C library's memory, a gigabyte in all.
"""


def project(
    flat: Float[Tensor, "*batch entry"], size: int, seed: int
) -> Float[Tensor, "*batch size"]:
    """Projects vectors of one length, each in the same way.

    The way depends on their length, the size and the seed alone. So matrices of one shape can be
    compared across steps, layers and models.
    """
    entries = flat.shape[-1]
    bits, turns = _pattern(entries, size, seed)
    places = np.arange(size)
    found = flat.new_zeros((*flat.shape[:-1], size))
    blocks_at_once = max(8, _CHUNK // size // 8 * 8)
    for first in range(0, len(turns), blocks_at_once):
        start, stop = first * size, min((first + blocks_at_once) * size, entries)
        signs = (
            np.unpackbits(bits[start // 8 : -(-stop // 8)])[: stop - start].astype(np.float32) * 2
            - 1
        )
        signed = flat[..., start:stop] * torch.from_numpy(signs).to(flat.device, non_blocking=True)
        signed = torch.nn.functional.pad(signed, (0, -(stop - start) % size))
        blocks = signed.view(*flat.shape[:-1], -1, size)
        index = (places - turns[first : first + blocks_at_once, None]) % size
        on_device = torch.from_numpy(index).to(flat.device, non_blocking=True)
        turned = blocks.gather(-1, on_device.expand(blocks.shape))
        found += turned.sum(-2)
    return found


def project_product(factors: Factors, size: int, seed: int) -> Float[Tensor, "head size"]:
    """Sketches of heads' products, as of any matrix of their shape.

    The products are made for a few heads at a time.
    """
    left, right = factors
    each = 4 * left.shape[-2] * right.shape[-1]
    at_once = max(1, _HEAD_BYTES // each)
    parts = [
        project((some @ others).flatten(-2), size, seed)
        for some, others in zip(
            torch.split(left, at_once), torch.split(right, at_once), strict=True
        )
    ]
    return torch.cat(parts)


@lru_cache(maxsize=8)
def _pattern(entries: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Signs as packed bits, and by how many places each block is turned."""
    rng = stream(seed, f"sketch of {entries} entries", size)
    turns = rng.integers(0, size, -(-entries // size))
    return np.frombuffer(rng.bytes(-(-entries // 8)), np.uint8), turns


@dataclass(frozen=True)
class SketchedDistance:
    """How far two matrices are apart, estimated from their sketches.

    Attributes:
        relative_distance: Frobenius norm of the difference as a share of the reference's norm.
        relative_distance_stderr: its standard error, relative_distance / sqrt(2 size).
        cosine: between the two, as vectors.
        cosine_stderr: its standard error, distance^2 / (product of the norms) / sqrt(2 size): small
            where the two are near.
    """

    relative_distance: Float[np.ndarray, "*matrix"]
    relative_distance_stderr: Float[np.ndarray, "*matrix"]
    cosine: Float[np.ndarray, "*matrix"]
    cosine_stderr: Float[np.ndarray, "*matrix"]


def compare_sketches(
    one: np.ndarray,
    reference: np.ndarray,
    *,
    norm: ArrayLike,
    reference_norm: ArrayLike,
) -> SketchedDistance:
    """The distance and cosine of two matrices, from sketches of one size and seed and their norms.

    Args:
        one, reference: sketches [..., size]; of several matrices, several distances.
        norm, reference_norm: their Frobenius norms [...], exact: they stand beside the sketches. 0
            gives NaN.

    Raises:
        ValueError: the sketches have different sizes.
    """
    one, reference = np.asarray(one, np.float32), np.asarray(reference, np.float32)
    if one.shape[-1] != reference.shape[-1]:
        raise ValueError(
            f"sketches of {one.shape[-1]} and {reference.shape[-1]} numbers cannot be compared"
        )
    own, other = np.asarray(norm, np.float32), np.asarray(reference_norm, np.float32)
    apart = np.linalg.norm(one - reference, axis=-1)
    share = 1 / np.sqrt(np.float32(2 * one.shape[-1]))
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = 1 - (apart - (own - other)) * (apart + (own - other)) / (2 * own * other)
        return SketchedDistance(
            # Of two single matrices numpy makes numbers, which are no arrays.
            relative_distance=np.asarray(apart / other),
            relative_distance_stderr=np.asarray(apart / other * share),
            cosine=np.asarray(cosine),
            cosine_stderr=np.asarray(apart**2 / (own * other) * share),
        )
