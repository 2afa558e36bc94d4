"""From what was measured of heads to the score of a role.

Conditions are of the mean over a half of the items, scores item by item.
"""

from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]
"""What was measured of every head, by metric or metric/variant: [item, layer, head]."""

COPIES = 0.1
"""The share of names that a name mover copies at least."""

ATTENDS = 2.0
"""A head attends to copies where it does so this many times as much as a uniform head."""

UNIFORM, COPYING = "suppression_uniform", "own_copying"
"""Measurements that scores need and that do not become rows."""


def suppresses(arrays: Arrays, half: np.ndarray) -> np.ndarray:
    """Which heads attend to the copies of the favoured token and write against it [layer, head]."""
    attention, uniform, direct = (
        arrays[name][half].mean(0)
        for name in ("suppression_attention", UNIFORM, "suppression_direct")
    )
    found: np.ndarray = (attention > ATTENDS * uniform) & (direct < 0)
    return found


def score_itself(role: str) -> Callable[[Arrays, np.ndarray], np.ndarray]:
    """The measurement of that name, as it is."""
    return lambda arrays, half: arrays[role][half]


def score_name_mover(arrays: Arrays, half: np.ndarray) -> np.ndarray:
    """The share that is copied in items where END attends to IO most, else 0.

    It is 0 everywhere for heads that do not copy and attend so on average.
    """
    copying = arrays.get(COPYING, arrays["name_copying"])[half]
    io, s1, s2 = (arrays[f"attention_to_{name}"][half] for name in ("io", "s1", "s2"))
    is_mover = (copying.mean(0) > COPIES) & (io.mean(0) > s1.mean(0)) & (io.mean(0) > s2.mean(0))
    scores: np.ndarray = copying * ((io > s1) & (io > s2)) * is_mover
    return scores


def score_suppression(arrays: Arrays, half: np.ndarray) -> np.ndarray:
    """The rise of the favoured token's logit where the head is ablated.

    It is 0 unless the first two conditions hold.
    """
    return np.where(suppresses(arrays, half), arrays["suppression_rise"][half], 0.0)


ROLES: dict[str, tuple[tuple[str, ...], Callable[[Arrays, np.ndarray], np.ndarray]]] = {
    "previous_token": ((), score_itself("previous_token")),
    "duplicate_token": ((), score_itself("duplicate_token")),
    "induction": ((), score_itself("induction")),
    "name_mover": (
        ("name_copying", "attention_to_io", "attention_to_s1", "attention_to_s2"),
        score_name_mover,
    ),
    "s_inhibition": ((), score_itself("s_inhibition")),
    "successor": (("successor/with_embed", "successor/cot"), score_itself("successor")),
    "copy_suppression": (
        ("suppression_attention", "suppression_direct", "suppression_rise"),
        score_suppression,
    ),
}
"""Each role with what its score is made of (metric, or metric/variant), and the score itself.

The score is that of the items of a half [item, layer, head].
"""
