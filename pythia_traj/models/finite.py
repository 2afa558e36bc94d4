"""Weights that are no numbers: named when they are read, before anything is computed from them."""

from collections.abc import Iterable

import torch
from torch import Tensor


def non_finite(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, str]:
    """The tensors that hold NaN or infinity, each with how many.

    Args:
        tensors: floating tensors by name, where they lie in the checkpoint's files: they are read once and not copied.
    """
    return {name: _count(tensor) for name, tensor in tensors if not _is_finite(tensor)}


def _is_finite(tensor: Tensor) -> bool:
    if tensor.numel() == 0:
        return True
    # Least and greatest pass NaN on; both together are one pass over memory.
    least, greatest = tensor.aminmax()
    return bool(torch.isfinite(least) & torch.isfinite(greatest))


def _count(tensor: Tensor) -> str:
    counts = {"NaN": int(tensor.isnan().sum()), "infinite": int(tensor.isinf().sum())}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
