"""What scores of roles are made of, measured of every head on repeated tokens, as arrays."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pythia_traj.engines import heads, roles
from pythia_traj.engines.ablation import Head, Means
from pythia_traj.engines.kept import keep_pass
from pythia_traj.engines.role_scores import UNIFORM, Arrays, sets_of, suppresses

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

ITEMS_AT_ONCE = 64


class Collected:
    """Values of heads, gathered batch by batch."""

    def __init__(self) -> None:
        """Nothing so far."""
        self._parts: dict[str, list[Tensor]] = {}

    def add(self, metric: str, values: Float[Tensor, "item layer head_index"]) -> None:
        """Adds the values of a batch."""
        self._parts.setdefault(metric, []).append(values)

    def arrays(self, order: np.ndarray | slice = slice(None)) -> Arrays:
        """All values, the items in an order; from the device once each."""
        return {
            metric: torch.cat(parts).float().cpu().numpy()[order]
            for metric, parts in self._parts.items()
        }


def _parts(model: "HookedTransformer", tokens: np.ndarray) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, len(tokens), ITEMS_AT_ONCE):
        part = slice(start, start + ITEMS_AT_ONCE)
        yield part, torch.from_numpy(tokens[part]).to(model.W_E.device)


@torch.inference_mode()
def attention_roles(
    model: "HookedTransformer",
    tokens: np.ndarray,
    length: int,
    start: int,
    random_keys: np.ndarray | None = None,
) -> Arrays:
    """Attention to the token before, to the previous occurrence, and to the token after that.

    Means over the second half of tokens that repeat.

    Args:
        model: the model.
        tokens: [item, pos].
        length: tokens of one half.
        start: position of the first token of the first half.
        random_keys: where the token before is taken to stand, for each query of the second half
            [item, query].
    """
    second = start + length
    offsets = {"previous_token": 1, "duplicate_token": length, "induction": length - 1}
    collected = Collected()
    for part, batch in _parts(model, tokens):
        patterns = keep_pass(model, batch, patterns=True).pattern
        for role, offset in offsets.items():
            if random_keys is not None and role == "previous_token":
                keys = torch.from_numpy(random_keys[part]).to(batch.device)
                values = [roles.attention_to_keys(pattern, keys, second) for pattern in patterns]
            else:
                values = [
                    heads.attention_at_offset(pattern, offset, second) for pattern in patterns
                ]
            collected.add(role, torch.stack(values, 1))
    return collected.arrays()


def copy_suppression(
    model: "HookedTransformer",
    tokens: np.ndarray,
    reads: Int[Tensor, " read"],
    size: int,
    sets_at_once: int,
) -> Arrays:
    """The three conditions of copy suppression.

    Heads are replaced by their means over the items of so many sets.

    Args:
        model: the model.
        tokens: [item, pos].
        reads: queries, as for `roles.suppression`.
        size: items of a set.
        sets_at_once: so many sets are measured together, whatever the number of all.
    """
    many = size * sets_at_once
    found = [
        _suppression(model, tokens[start : start + many], reads, size)
        for start in range(0, len(tokens), many)
    ]
    return {name: np.concatenate([arrays[name] for arrays in found]) for name in found[0]}


def _suppression(
    model: "HookedTransformer", tokens: np.ndarray, reads: Tensor, size: int
) -> Arrays:
    """Only heads that pass the first two conditions, in a set or in all items, are ablated.

    The others have no rise.
    """
    bases = [keep_pass(model, part, patterns=True) for _, part in _parts(model, tokens)]
    found = [roles.suppression(model, base, reads) for base in bases]
    collected, means = Collected(), Means(by_position=False)
    for base, parts_of_it in zip(bases, found, strict=True):
        means.add(base)
        collected.add("suppression_attention", parts_of_it.attention)
        collected.add("suppression_direct", parts_of_it.direct)
        collected.add(UNIFORM, parts_of_it.uniform[:, None, None])
    arrays = collected.arrays()
    passing = [suppresses(arrays, items) for items in (slice(None), *sets_of(arrays, size))]
    ablated: list[Head] = [
        (int(layer), int(head)) for layer, head in np.argwhere(np.any(passing, axis=0))
    ]
    arrays["suppression_rise"] = np.full_like(arrays["suppression_direct"], np.nan)
    if ablated:
        rises = [
            roles.ablation_rise(model, base, reads, parts_of_it.favoured, ablated, means)
            for base, parts_of_it in zip(bases, found, strict=True)
        ]
        by_head = torch.cat(rises, 1).float().cpu().numpy()
        for (layer, head), rise in zip(ablated, by_head, strict=True):
            arrays["suppression_rise"][:, layer, head] = rise
    return arrays
