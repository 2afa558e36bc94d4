"""What does each head attend to on a few prompts? Whole patterns, to be looked at.

Queries attend to positions up to their own, so a pattern is a triangle, and it is kept as one. The
prompts are read side by side: what fills the rest of a shorter one's row is after all of its
queries, and never attended to.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from pythia_traj.data.short_prompts import BoundShortPrompts, ShortPrompts
from pythia_traj.engines.heads import attention_entropy, even_entropy
from pythia_traj.experiment import Activations, Passes, Shape, experiment
from pythia_traj.schema import Column
from pythia_traj.values import ItemValues, Key

PATTERNS = (
    Column("prompt_number", "int32", False, "which prompt, from 0"),
    Column("prompt", "dictionary", False, "its text, whole"),
    Column("token_texts", "list<string>", False, "each token that was read, as text"),
    Column("layer", "int16", False, "layer of the head"),
    Column("head", "int16", False, "which head of it"),
    Column(
        "pattern",
        "list<float32>",
        False,
        "its attention: the row of each query, from the first, with the weights of the keys up to"
        " it; T (T + 1) / 2 of T tokens",
    ),
)
"""Columns of `tables/patterns/`: a row a prompt, layer and head."""


def passes(shape: Shape, data: BoundShortPrompts, **_: object) -> Passes:
    """One pass over each prompt; nothing is unembedded, and all patterns are held."""
    weights = int((data.lengths * (data.lengths + 1) // 2).sum())
    return Passes(len(data.prompts), 0, held=4 * weights * shape.n_layers * shape.n_heads)


@experiment(
    version=1,
    cites="Clark et al. 2019; Vig and Belinkov 2019",
    data=ShortPrompts(),
    reads=("pattern",),
    items=True,
    tables={"patterns": PATTERNS},
    passes=passes,
)
def attention(acts: Activations[BoundShortPrompts]) -> ItemValues:
    """Attention patterns of every head on a few prompts, and how spread out they are.

    The table `patterns`, to be looked at, has a row for each prompt, layer and head: the prompt,
    its tokens as text and the head's attention. `attention_entropy` is the entropy of what a query
    attends to, in nats, mean over the queries of a prompt: by `head`, and by `attn` the mean of a
    layer's heads. It grows with the length of prompts. Its control `uniform`, which is the same
    for all heads, is that of attention to all positions alike.
    """
    values = ItemValues()
    lengths = torch.from_numpy(acts.data.lengths[acts.items]).to(acts.tokens.device)
    patterns = acts.layers("pattern")
    for layer, pattern in enumerate(patterns):
        entropy = attention_entropy(pattern, lengths)
        values.add(Key("attention_entropy", component="head", layer=layer), entropy, axes=("head",))
        values.add(Key("attention_entropy", component="attn", layer=layer), entropy.mean(1))
    uniform = Key("attention_entropy", component="attn", control="uniform")
    values.add(uniform, even_entropy(lengths))
    values.add_table("patterns", _table(acts.data, acts.items, patterns))
    return values


def _table(
    data: BoundShortPrompts, items: slice, patterns: Sequence[Tensor]
) -> dict[str, list[object]]:
    """The columns of PATTERNS for the prompts of a batch."""
    table: dict[str, list[object]] = {column.name: [] for column in PATTERNS}
    for place, number in enumerate(range(len(data.prompts))[items]):
        texts = data.token_texts[number]
        of_prompt = number, data.prompts[number], texts
        for layer, pattern in enumerate(patterns):
            for head, weights in enumerate(_triangles(pattern[place], len(texts))):
                row = *of_prompt, layer, head, weights
                for column, value in zip(table.values(), row, strict=True):
                    column.append(value)
    return table


def _triangles(pattern: Tensor, length: int) -> Iterator[np.ndarray]:
    """The lower triangle of each head's pattern [query, key], row by row: float32 [weight]."""
    queries, keys = torch.tril_indices(length, length, device=pattern.device)
    yield from pattern[:, queries, keys].float().cpu().numpy()
