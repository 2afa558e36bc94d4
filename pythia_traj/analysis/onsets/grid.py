"""Measured steps as positions on a logarithmic axis, and what is linear in a curve over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

OCTAVES = 0.5
"""Half-width of the smoothing kernel, and the least distance of steps that are thinned."""

BASE_UNTIL = 16
"""The base of a curve is its mean over the measured steps up to this one."""


def positions(steps: Sequence[int] | np.ndarray) -> np.ndarray:
    """Steps in octaves: x = log2(step + 1), so that step 0 is at 0."""
    return np.asarray(np.log2(np.asarray(steps, float) + 1))


def step_at(x: float) -> float:
    """The step at a position: the inverse of `positions`, to a millionth of a step."""
    return round(float(2.0**x - 1), 6)


def kernel(steps: Sequence[int] | np.ndarray, octaves: float = OCTAVES) -> np.ndarray:
    """The weights of triangular smoothing over log step.

    A curve y is smoothed as `kernel(steps) @ y`. Where steps are at least `octaves` apart this is y
    itself.

    Args:
        steps: the measured steps.
        octaves: half-width of the triangle.

    Returns:
        float64 [T, T]: max(0, 1 - |x_t - x_u| / octaves), rows scaled to sum 1.
    """
    x = positions(steps)
    weights = np.clip(1 - np.abs(x[:, None] - x[None]) / octaves, 0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True))


def thinned(steps: Sequence[int] | np.ndarray, octaves: float = OCTAVES) -> np.ndarray:
    """Indices of the steps that are at least so far apart, taken greedily from the first.

    Args:
        steps: the measured steps, ascending.
        octaves: the least distance in log2(step + 1).

    Returns:
        int64, ascending.
    """
    x, kept = positions(steps), [0] if len(steps) else []
    for t in range(1, len(x)):
        # 1024 steps after 512 are an octave, whatever the rounding.
        if x[t] - x[kept[-1]] >= octaves - 1e-9:
            kept.append(t)
    return np.array(kept, dtype=np.int64)


@dataclass(frozen=True)
class Grid:
    """The measured steps of curves, ascending."""

    steps: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.steps)

    @cached_property
    def x(self) -> np.ndarray:
        """Their positions, float64 [T]."""
        return positions(self.steps)

    @cached_property
    def kernel(self) -> np.ndarray:
        """Their smoothing, float64 [T, T]."""
        return kernel(self.steps)

    @cached_property
    def base(self) -> np.ndarray:
        """The weights of the base, float64 [T]: equal over steps until BASE_UNTIL.

        The first step always counts.
        """
        early = np.asarray(self.steps) <= BASE_UNTIL
        early[0] = True
        return np.asarray(early / early.sum())

    @cached_property
    def thinned(self) -> np.ndarray:
        """Indices of steps at least OCTAVES apart."""
        return thinned(self.steps)

    @cached_property
    def octave_earlier(self) -> int:
        """Index of the step nearest to an octave before the last one."""
        return int(np.abs(self.x[:-1] - (self.x[-1] - 1)).argmin())
