"""Weights that hold NaN or infinity, in words."""

from collections.abc import Mapping

_NAMED = 4
"""Tensors that a message names; the footer lists all."""


def say_non_finite(step: int, tensors: Mapping[str, str]) -> str:
    """Which tensors of a step are not finite, in a sentence that names the first few."""
    named = [f"{name} ({count})" for name, count in list(tensors.items())[:_NAMED]]
    more = f" and {len(tensors) - _NAMED} more tensors" if len(tensors) > _NAMED else ""
    return f"the weights of step {step} are not finite: {', '.join(named)}{more}"
