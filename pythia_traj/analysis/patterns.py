"""Attention of heads on prompts: their patterns as squares, and how spread out they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pythia_traj.analysis.layers import values_of_layers
from pythia_traj.analysis.selection import choose, measured
from pythia_traj.analysis.trajectories import of_some_layers
from pythia_traj.errors import ConfigError, StoreError

ENTROPY = "attention_entropy"
"""The metric of how spread out attention is."""


@dataclass(frozen=True, eq=False)
class Pattern:
    """What a head attends to on one prompt.

    Attributes:
        prompt: its text, whole.
        tokens: each token that was read, as text.
        weights: attention of each query to each key [query, key], from 0 to 1; each row sums to 1.
            NaN above the diagonal, where keys are after the query.
    """

    prompt: str
    tokens: tuple[str, ...]
    weights: NDArray[np.float32]


def patterns_at(table: pd.DataFrame, step: int, layer: int, head: int) -> list[Pattern]:
    """The patterns of one head at one step, in the order of the prompts; none if not measured.

    Args:
        table: rows of one model and one label of `pythia_traj.load(run, table="patterns")`.
        step: a measured step.
        layer: the head's layer.
        head: its number in the layer.

    Raises:
        ConfigError: the rows are of several models or labels.
        StoreError: a pattern does not fit its tokens.
    """
    if table.empty:
        return []
    of_head = (table["step"] == step) & (table["layer"] == layer) & (table["head"] == head)
    at = table[of_head].sort_values("prompt_number")
    if at["prompt_number"].duplicated().any():
        raise ConfigError("these patterns are of several models or labels: select one first")
    columns = (at[name] for name in ("prompt", "token_texts", "pattern"))
    return [
        Pattern(str(prompt), tuple(tokens), _square(pattern, len(tokens)))
        for prompt, tokens, pattern in zip(*columns, strict=True)
    ]


def _square(weights: Sequence[float], length: int) -> NDArray[np.float32]:
    """A triangle that is stored row by row, as [query, key]."""
    if len(weights) != length * (length + 1) // 2:
        raise StoreError(
            f"a pattern of {len(weights)} weights does not fit {length} tokens, which have"
            f" {length * (length + 1) // 2}: remove its unit and sweep again"
        )
    square = np.full((length, length), np.nan, dtype=np.float32)
    square[np.tril_indices(length)] = weights
    return square


def entropy_of_layers(rows: pd.DataFrame) -> pd.DataFrame:
    """Entropy of attention of some layers, means over their heads; `what` names the layer.

    The control of all layers is one line of its own, as even attention is the same in each.
    """
    of_layers = measured(of_some_layers(values_of_layers(rows, ENTROPY, component="attn")))
    even = choose(rows, [ENTROPY], component="attn")
    even = even[even["control"] != ""].assign(what="any head")
    return pd.concat([of_layers, even])
