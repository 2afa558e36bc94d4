"""From what was measured of heads to the score of a role.

Conditions are of the mean over the items that are scored, scores item by item.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

Role = Literal[
    "previous_token", "duplicate_token", "induction", "name_mover", "s_inhibition",
    "successor", "copy_suppression",
]  # fmt: skip

Arrays = dict[str, np.ndarray]
"""What was measured of every head, by metric or metric/variant: [item, layer, head]."""

Items = np.ndarray | slice
"""Which items are scored: numbers of them, a slice, or where an array is true."""

COPIES = 0.1
"""The share of names that a name mover copies at least."""

ATTENDS = 2.0
"""A head attends to copies where it does so this many times as much as a uniform head."""

UNIFORM, COPYING = "suppression_uniform", "own_copying"
"""Measurements that scores need and that do not become rows."""


def suppresses(arrays: Arrays, items: Items) -> np.ndarray:
    """Which heads attend to the copies of the favoured token and write against it [layer, head]."""
    attention, uniform, direct = (
        arrays[name][items].mean(0)
        for name in ("suppression_attention", UNIFORM, "suppression_direct")
    )
    found: np.ndarray = (attention > ATTENDS * uniform) & (direct < 0)
    return found


def score_itself(role: str) -> Callable[[Arrays, Items], np.ndarray]:
    """The measurement of that name, as it is."""
    return lambda arrays, items: arrays[role][items]


def score_name_mover(arrays: Arrays, items: Items) -> np.ndarray:
    """The share that is copied in items where END attends to IO most, else 0.

    It is 0 everywhere for heads that do not copy and attend so on average.
    """
    copying = arrays[COPYING if COPYING in arrays else "name_copying"][items]
    io, s1, s2 = (arrays[f"attention_to_{name}"][items] for name in ("io", "s1", "s2"))
    is_mover = (copying.mean(0) > COPIES) & (io.mean(0) > s1.mean(0)) & (io.mean(0) > s2.mean(0))
    scores: np.ndarray = copying * ((io > s1) & (io > s2)) * is_mover
    return scores


def score_suppression(arrays: Arrays, items: Items) -> np.ndarray:
    """The rise of the favoured token's logit where the head is ablated.

    It is 0 unless the first two conditions hold.
    """
    return np.where(suppresses(arrays, items), arrays["suppression_rise"][items], 0.0)


ROLES: dict[Role, tuple[tuple[str, ...], Callable[[Arrays, Items], np.ndarray]]] = {
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

The score is that of the items with these numbers [item, layer, head].
"""


def sets_of(arrays: Arrays, size: int) -> list[slice]:
    """The items set by set."""
    items = len(next(iter(arrays.values()), ()))
    return [slice(start, start + size) for start in range(0, items, size)]


def scores_of_sets(role: Role, arrays: Arrays, size: int) -> np.ndarray:
    """The role's score of each set of items [set, layer, head]; empty without items."""
    _, score = ROLES[role]
    # In the precision of rows: those of another step are compared with these.
    means = [score(arrays, items).mean(0, dtype=np.float64) for items in sets_of(arrays, size)]
    return np.stack(means) if means else np.empty(0)
