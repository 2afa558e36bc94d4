"""Weights that are not numbers: named when they are read, or when processing made them so.

Weights are checked before anything is computed from them. A finite weight can be too large for the
dtype that it is cast to, or become too large through a LayerNorm's gain.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_HARMLESS = 1e9
"""Three numbers up to this may be multiplied, and summed over any axis of a model, within fp32."""


def look(tensors: Iterable[tuple[str, Tensor]]) -> tuple[dict[str, str], float]:
    """The tensors with NaN or infinity, each with how many, and the others' largest absolute value.

    Args:
        tensors: floating tensors by name, in the checkpoint's files: they are read once and not
            copied.
    """
    found: dict[str, str] = {}
    greatest = 0.0
    for name, tensor in tensors:
        if tensor.numel() == 0:
            continue
        # NaN shows in the least and the greatest value; finding both is one pass over memory.
        ends = [float(end) for end in tensor.detach().aminmax()]
        if all(math.isfinite(end) for end in ends):
            greatest = max(greatest, *(abs(end) for end in ends))
        else:
            found[name] = _count(tensor)
    return found, greatest


def non_finite(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, str]:
    """The tensors that hold NaN or infinity, each with how many."""
    return look(tensors)[0]


def overflowed(parameters: Mapping[str, Tensor], greatest: float) -> dict[str, str]:
    """The parameters that hold NaN or infinity although all weights they were made of are finite.

    Args:
        greatest: the largest absolute value of those. If it is small enough, the parameters are not
            read.
    """
    is_narrow = any(parameter.dtype == torch.float16 for parameter in parameters.values())
    if greatest <= _HARMLESS and not is_narrow:
        return {}
    found = non_finite(parameters.items())
    return {
        f"{name} in {str(parameters[name].dtype).removeprefix('torch.')}": count
        for name, count in found.items()
    }


class Watch:
    """Watches the output of the LayerNorm after the last layer.

    NaN and infinity in any layer reach it.
    """

    def __init__(self) -> None:
        self._bad: Tensor | None = None

    def on(self, last_norm: nn.Module) -> None:
        """Watches the output of a module from now on."""
        last_norm.register_forward_hook(self._look)

    def begin(self) -> None:
        """Forgets what was seen."""
        self._bad = None

    @property
    def has_seen(self) -> bool:
        """Whether one of the passes since then was not finite."""
        return self._bad is not None and bool(self._bad)

    def _look(self, module: nn.Module, given: Any, output: Tensor) -> None:
        # The value is read only at the end: reading it now would wait for the GPU.
        bad = ~torch.isfinite(output.detach()).all()
        self._bad = bad if self._bad is None else self._bad | bad


def _count(tensor: Tensor) -> str:
    counts = {"NaN": int(tensor.isnan().sum()), "infinite": int(tensor.isinf().sum())}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
