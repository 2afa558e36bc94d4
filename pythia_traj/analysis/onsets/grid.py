"""Where steps lie, and the kernel that smooths over them."""

import numpy as np
from numpy.typing import NDArray


def kernel(steps: NDArray[np.int64], octaves: float = 0.5) -> NDArray[np.float64]:
    """Weights [T, T] that smooth a curve over log step.

    In x = log2(step + 1) they fall linearly from a step's own to 0 at the half-width, and those of
    each step sum to 1. Where steps are further apart than that, they change nothing.

    Args:
        steps: measured steps [T].
        octaves: the half-width.
    """
    x = np.log2(np.asarray(steps, dtype=np.float64) + 1)
    weights = np.maximum(0.0, 1 - np.abs(x[:, None] - x[None, :]) / octaves)
    scaled: NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return scaled
