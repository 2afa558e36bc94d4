"""At which layer is the prediction made? Every layer's residual stream, read as if it were the last.

The logit lens is the model's own final LayerNorm and unembedding. The tuned lens moves the residual stream by a translator first,
trained at each step from nothing, so that a step's numbers depend on no other step.
"""

from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor
from transformer_lens import HookedTransformer

from pythia_traj.data.text import LensText
from pythia_traj.engines import lens
from pythia_traj.experiment import Count, Passes, Shape, experiment
from pythia_traj.values import Key, Rows

_AT_ONCE = 16
"""Sequences of a forward pass."""


def passes(
    shape: Shape, text: LensText, *, length: int, positions: int, updates: int, batch: int, **_: object
) -> Passes:
    """One pass over every sequence; each layer is unembedded for each lens, and thrice as dear where there are gradients."""
    measured = sum(len(group) for name, group in text.groups.items() if name != "train")
    lenses = measured * (1 + shape.n_layers) * (2 if updates else 1)
    trained = updates * batch * (1 + 3 * (shape.n_layers - 1))
    return Passes(measured + updates * batch, (lenses + trained) * positions / length)


@experiment(
    version=1, cites="nostalgebraist 2020; Belrose et al. 2023", data=LensText, items=True, passes=passes
)  # fmt: skip
def logit_lens(
    model: HookedTransformer,
    text: LensText,
    *,
    n: Count = 16,
    length: Count = 128,
    null_n: Count = 4,
    positions: Count = 16,
    updates: Annotated[int, Ge(0)] = 0,
    batch: Count = 16,
    source: str = "stdlib",
    column: str = "text",
    bos: bool = False,
) -> Rows:
    """What each layer's residual stream predicts, by the logit lens and by a tuned lens, beside the model's own output.

    After each layer: `cross_entropy` of the next token; `kl` from the model's own distribution to the lens, KL(final || lens), 0 at the
    last layer; `agreement`, the share of positions where both have the same first choice; `entropy` of the lens. The variant is `logit`,
    and where translators are trained `tuned`: h + A h + b, from 0, on documents that are not measured, at this step alone. The null is
    the same after shuffled tokens.

    Args:
        n: sequences of text.
        length: tokens of a sequence, BOS included.
        null_n: sequences whose tokens are shuffled.
        positions: of each sequence that are read, drawn at random; the unembedding of every layer at each is the cost.
        updates: of the tuned lens; 0 for none. Published: 250.
        batch: sequences of an update, each read at as many positions. Published: 2^18 tokens an update.
        source: what text: stdlib, a .txt, .jsonl or .parquet file, hf:org/name@commit, hf:DIR.
        column: the column of a table that holds it.
        bos: whether BOS is prepended.
    """
    rows = Rows()
    translators = {"logit": lens.identity(model)}
    if updates:
        translators["tuned"] = lens.train(model, (read for read, _ in _read(model, text, "train", batch)), updates)
    for group, null in (("text", ""), ("shuffled", "null:shuffled:")):
        parts = list(_read(model, text, group, _AT_ONCE))
        residual = torch.cat([part for part, _ in parts], 1)
        targets = torch.cat([next_tokens for _, next_tokens in parts])
        for variant, translator in translators.items():
            for metric, values in lens.measure(model, residual, targets, translator).items():
                per_item = values.unflatten(1, (len(text.groups[group]), positions)).mean(-1).cpu().numpy()
                for layer, of_items in enumerate(per_item):
                    key = Key(metric, variant=null + variant, component="resid_post", layer=layer)
                    rows.add_items(key, of_items)
    return rows


def _read(model: HookedTransformer, text: LensText, group: str, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Of so many sequences at a time: the residual streams [layer, item x read, d_model] and the next tokens [item x read]."""
    device = model.W_U.device
    tokens, positions = text.groups[group], text.positions[group]
    for start in range(0, len(tokens), size):
        some = torch.from_numpy(tokens[start : start + size]).to(device)
        at = torch.from_numpy(positions[start : start + size]).to(device)
        yield lens.residuals(model, some, at).flatten(1, 2), some.gather(1, at + 1).flatten()
