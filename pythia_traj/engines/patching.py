"""Activation patching: a pass in which one activation is that of another pass.

Heads, attention layers and MLPs are patched by engines.ablation. Transplants are the same with
another model's component in place: it reads the pass's own stream, and its output goes into the
pass.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from pythia_traj.engines.ablation import Named
from pythia_traj.engines.kept import (
    Batches,
    KeptPass,
    Question,
    Stream,
    finish,
    keeping,
    leave_layer,
    score,
    score_logits,
)

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

Scores = dict[str, Float[Tensor, "intervention item"]]


@torch.inference_mode()
def patched_positions(
    model: "HookedTransformer",
    base: KeptPass,
    donor: KeptPass,
    question: Question,
    layer: int,
    first: int = 0,
    budget: int | None = None,
) -> Scores:
    """Scores with the stream before a layer replaced at one position by that of another pass.

    They are by metric [pos, item].

    Args:
        first: the position to begin with; before the first token that differs, both streams are
            equal.
    """

    def at(part: slice) -> Scores:
        positions = torch.arange(first, length, device=base.tokens.device)[part]
        here = torch.arange(length, device=positions.device) == positions[:, None]
        stream = torch.where(here[:, None, :, None], donor.resid_pre[layer], base.resid_pre[layer])
        return score(model, finish(model, stream.flatten(0, 1), layer, question.reads), question)

    length = base.tokens.shape[1]
    return Batches(model, base.tokens, question, budget).over(length - first, at)


@torch.inference_mode()
def transplanted(
    model: "HookedTransformer",
    donor: "HookedTransformer",
    base: KeptPass,
    question: Question,
    budget: int | None = None,
) -> dict[Named, dict[str, Float[Tensor, " item"]]]:
    """Scores with one component of another model in place of the model's own.

    It reads the stream that its place has. A head is its W_Q, W_K, W_V, W_O and their biases but
    b_O, which is the attention layer's; a `layer` is attention, MLP and both LayerNorms. LayerNorms
    can be transplanted only where they are not folded into weights.

    Returns:
        by component (`embed`, `head`, `attn`, `mlp`, `ln1`, `ln2`, `layer`, `ln_final`, `unembed`),
        layer and head, the scores by metric.
    """
    batches = Batches(model, base.tokens, question, budget)
    found: dict[Named, dict[str, Tensor]] = {}
    embedded = finish(model, donor.embed(base.tokens), 0, question.reads)
    found["embed", None, None] = _first(score(model, embedded, question))
    for layer in range(model.cfg.n_layers):
        streams = dict(_streams(model, donor, base, layer))

        def above(
            part: slice, streams: dict[Named, Stream] = streams, layer: int = layer
        ) -> Scores:
            stacked = torch.cat(list(streams.values())[part])
            return score(model, finish(model, stacked, layer + 1, question.reads), question)

        scores = batches.over(len(streams), above)
        for i, name in enumerate(streams):
            found[name] = {metric: values[i] for metric, values in scores.items()}
    final = base.final[:, question.reads]
    found["ln_final", None, None] = _first(
        score_logits(model.unembed(donor.ln_final(final)), question)
    )
    found["unembed", None, None] = _first(
        score_logits(donor.unembed(model.ln_final(final)), question)
    )
    return found


def _streams(
    model: "HookedTransformer", donor: "HookedTransformer", base: KeptPass, layer: int
) -> Iterator[tuple[Named, Stream]]:
    """The stream after a layer, with each of the donor's components there [item, pos, d_model]."""
    own, other = model.blocks[layer], donor.blocks[layer]
    stream = base.resid_pre[layer]
    normed = own.ln1(stream)
    attn_out = own.attn(normed, normed, normed)
    with keeping([other.attn.hook_z]) as kept:
        from_other = other.attn(normed, normed, normed)
    for head in range(model.cfg.n_heads):
        change = (
            kept[0][:, :, head] @ other.attn.W_O[head]
            - base.z[layer][:, :, head] @ own.attn.W_O[head]
        )
        yield ("head", layer, head), leave_layer(model, base, layer, change[None])[0]
    yield ("attn", layer, None), leave_layer(model, base, layer, (from_other - attn_out)[None])[0]
    renormed = other.ln1(stream)
    change = own.attn(renormed, renormed, renormed) - attn_out
    yield ("ln1", layer, None), leave_layer(model, base, layer, change[None])[0]
    middle = base.resid_mid[layer] if base.resid_mid else stream
    yield (
        ("mlp", layer, None),
        leave_layer(model, base, layer, mlp_out=other.apply_mlp(own.ln2(middle))),
    )
    yield (
        ("ln2", layer, None),
        leave_layer(model, base, layer, mlp_out=own.apply_mlp(other.ln2(middle))),
    )
    yield ("layer", layer, None), other(stream)


def _first(scores: Scores) -> dict[str, Tensor]:
    return {name: values[0] for name, values in scores.items()}
