"""The position of training steps on an axis, and a selection of steps to show."""

import math
from collections.abc import Iterable


def step_position(step: float) -> float:
    """The position of a step on a step axis: log2(step + 1).

    It spreads the early steps and has a place for step 0.
    """
    return math.log2(step + 1)


def steps_to_show(steps: Iterable[int], most: int) -> list[int]:
    """A few of the measured steps, to show in place of all.

    Both ends, then round ones, then others, as long as they fit.

    Args:
        steps: the measured steps.
        most: about how many steps fit.
    """
    measured = sorted(set(steps))
    if len(measured) < 3:
        return measured
    first, last = step_position(measured[0]), step_position(measured[-1])
    gap = (last - first) / most
    kept = [measured[0], measured[-1]]
    for step in sorted(measured, key=lambda step: (not _is_round(step), step)):
        if all(abs(step_position(step) - step_position(other)) >= gap for other in kept):
            kept.append(step)
    return sorted(kept)


def _is_round(step: int) -> bool:
    """Whether a step is a power of two, or one of thousands.

    Those are the steps that Pythia's readers know by heart.
    """
    thousands, rest = divmod(step, 1000)
    return (step & (step - 1)) == 0 or (rest == 0 and (thousands & (thousands - 1)) == 0)
