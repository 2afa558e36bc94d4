"""What makes a head a name mover, an S-inhibition head, a successor head, a copy-suppression head.

Roles that are read off attention patterns alone are in heads.py. A head's OV here is W_V W_O of
what its LayerNorm makes of the input, with b_V only on request; its direct effect never includes
b_V, which is the same everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pythia_traj.engines.ablation import Components, Head, Means, replaced
from pythia_traj.engines.direct import answer_direction, head_terms, layer_norm_scale
from pythia_traj.engines.kept import Batches, KeptPass, Question, score
from pythia_traj.engines.paths import Receivers, receive

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

PerHead = Float[Tensor, "item layer head_index"]

SuccessorKind = Literal["mlp", "with_embed", "cot"]

SUCCESSOR_KINDS: dict[SuccessorKind, str] = {
    "mlp": "successor",
    "with_embed": "successor/with_embed",
    "cot": "successor/cot",
}

COPIED_AMONG = 5
"""A head copies a token that is among the first so many of what it writes (Wang et al. 2023)."""


@torch.inference_mode()
def copied_share(
    model: "HookedTransformer",
    base: KeptPass,
    positions: Int[Tensor, "item place"],
    others: Int[Tensor, "item place"],
    *,
    b_V: bool,
) -> tuple[PerHead, PerHead]:
    """Share of positions whose own token every head copies, 0..1 (Wang et al. 2023).

    The stream after layer 0 goes through the head's OV and the last LayerNorm to the unembedding;
    the token is copied where it is among the first COPIED_AMONG of the whole vocabulary.

    Args:
        model, base: the model, and a pass of it.
        positions: where the tokens stand.
        others: tokens that are not at these positions.
        b_V: whether OV has it.

    Returns:
        the share, and the same for the other tokens in place of the own ones.
    """
    stream = base.resid_pre[1].gather(1, positions[..., None].expand(-1, -1, base.final.shape[-1]))
    own = base.tokens.gather(1, positions)
    asked = torch.stack([own, others], -1).repeat_interleave(model.cfg.n_heads, 0)
    shares = []
    for layer in range(model.cfg.n_layers):
        written = _through_ov(model, layer, model.blocks[layer].ln1(stream), b_V)
        logits: Tensor = model.unembed(model.ln_final(written.flatten(0, 1)))
        of_asked = logits.gather(-1, asked)
        ranks = torch.stack([(logits > of_asked[..., i, None]).sum(-1) for i in range(2)])
        shares.append((ranks < COPIED_AMONG).float().mean(-1).view(2, len(own), model.cfg.n_heads))
    of_own, of_other = torch.stack(shares, 2)
    return of_own, of_other


def _through_ov(
    model: "HookedTransformer",
    layer: int,
    normalised: Float[Tensor, "item place d_model"],
    b_V: bool,
) -> Float[Tensor, "item head_index place d_model"]:
    """What each head of a layer writes where it attends to one place alone."""
    v = torch.einsum("ipd,hde->ihpe", normalised, model.W_V[layer])
    if b_V:
        v = v + model.b_V[layer][:, None]
    # A product that broadcasts over items would copy W_O for each item.
    return torch.einsum("ihpe,hed->ihpd", v, model.W_O[layer])


@torch.inference_mode()
def is_succeeded(
    model: "HookedTransformer",
    words: Int[Tensor, " item"],
    targets: Int[Tensor, " item"],
    orders: Sequence[Int[Tensor, " item"]],
    kind: SuccessorKind,
    *,
    b_V: bool,
) -> list[PerHead]:
    """Whether heads prefer a word's right target to all other words', 1 or 0 (Gould et al. 2024).

    Args:
        model: the model.
        words: tokens of one ordered vocabulary.
        targets: the token that follows each.
        orders: which target is right for each word; every order has an answer of its own.
        kind: what goes through the heads' OV to the unembedding. `mlp`: MLP_0 of the LayerNormed
            embedding, strictly larger than all others; `with_embed`: the embedding added to it;
            `cot`: `mlp` without any LayerNorm on the way and without b_U, where an equal logit
            counts too.
        b_V: whether OV has it.
    """
    block, embedded = model.blocks[0], model.W_E[words][:, None]
    stream = block.apply_mlp(embedded if kind == "cot" else block.ln2(embedded))
    stream = stream + embedded if kind == "with_embed" else stream
    W_U, b_U = model.W_U[:, targets], model.b_U[targets]
    answers: list[list[Tensor]] = [[] for _ in orders]
    for layer in range(model.cfg.n_layers):
        normalised = stream if kind == "cot" else model.blocks[layer].ln1(stream)
        written = _through_ov(model, layer, normalised, b_V)[:, :, 0]
        logits = written @ W_U if kind == "cot" else model.ln_final(written) @ W_U + b_U
        for found, order in zip(answers, orders, strict=True):
            index = order[:, None, None].expand(-1, model.cfg.n_heads, 1)
            right, best = (
                logits.gather(-1, index),
                logits.scatter(-1, index, -torch.inf).amax(-1, keepdim=True),
            )
            found.append((right >= best if kind == "cot" else right > best)[..., 0].float())
    return [torch.stack(found, 1) for found in answers]


@torch.inference_mode()
def direct_effects(
    model: "HookedTransformer",
    base: KeptPass,
    reads: Int[Tensor, " read"],
    direction: Float[Tensor, "item read d_model"],
) -> Float[Tensor, "item read layer head_index"]:
    """What every head, without its b_V, writes along a direction, in logits.

    It is taken over the scale of the last LayerNorm.
    """
    directions = direction.flatten(0, 1)
    scale = layer_norm_scale(base.final[:, reads].flatten(0, 1), model.cfg.eps)
    effects = [
        head_terms(
            base.z[layer][:, reads].flatten(0, 1) - model.b_V[layer],
            model.W_O[layer],
            scale,
            directions,
        )
        for layer in range(model.cfg.n_layers)
    ]
    by_layer = torch.stack(effects, 1)
    return by_layer.view(*direction.shape[:2], *by_layer.shape[1:])


def answer_effects(model: "HookedTransformer", base: KeptPass, question: Question) -> PerHead:
    """Every head's direct effect on right minus wrong, mean over the positions read, in logits."""
    candidates, is_right = question.candidates.flatten(0, 1), question.is_right.flatten(0, 1)
    direction = answer_direction(model.W_U, candidates, is_right).view(
        *question.candidates.shape[:2], -1
    )
    effects: Tensor = direct_effects(model, base, question.reads, direction)
    return effects.mean(1)


@torch.inference_mode()
def inhibition(
    model: "HookedTransformer",
    base: KeptPass,
    twin: KeptPass,
    question: Question,
    receivers: Sequence[Head],
    places: Int[Tensor, "2 item"],
    budget: int | None = None,
) -> PerHead:
    """How much every head keeps receivers at END from attending to S2 rather than IO.

    After Wang et al. 2023; positive inhibits. The head's output at END is that of the twin,
    attention and MLPs in between stay as they are; of the receivers only the query at END sees it.
    The rise of their attention to S2 less that to IO, mean over receivers, -2..2. Heads without a
    receiver above them have 0.

    Args:
        model, base, twin: the passes over the prompts and their twins with three other names.
        question: read at END alone.
        receivers: heads.
        places: positions of S2 and of IO.
        budget: bytes of a batch, as for `path_patch`.
    """
    end = int(base.tokens.shape[1] - 1)
    at_end = torch.zeros_like(base.tokens, dtype=torch.bool)
    at_end[:, end] = True
    readers = Receivers(q=frozenset(receivers))
    keys = {head: _rotated_keys(model, base, head) for head in readers.q}
    own = {
        head: _margin(model, base, head, base.resid_pre[head[0]][None], keys[head], places)
        for head in readers.q
    }
    batches = Batches(model, base.tokens, question, budget)

    def rises(layer: int, part: slice) -> dict[str, Tensor]:
        senders = [
            Components(frozenset({(layer, head)})) for head in range(model.cfg.n_heads)[part]
        ]
        received = receive(model, base, twin, senders, readers, positions=at_end)
        total = torch.zeros(len(senders), len(base.tokens), device=base.tokens.device)
        for head, q in received.q.items():
            total = total + _margin_of_queries(model, head[0], q, keys[head], places) - own[head]
        return {"rise": total / len(readers.q)}

    by_layer = []
    for layer in range(model.cfg.n_layers):
        by_layer.append(
            batches.over(model.cfg.n_heads, lambda part, layer=layer: rises(layer, part))["rise"]  # type: ignore[misc]
        )
    return torch.stack(by_layer).permute(2, 0, 1)


def _rotated_keys(
    model: "HookedTransformer", base: KeptPass, head: Head
) -> Float[Tensor, "item pos d_head"]:
    layer, index = head
    attn = model.blocks[layer].attn
    keys = model.blocks[layer].ln1(base.resid_pre[layer]) @ attn.W_K[index] + attn.b_K[index]
    rotated: Tensor = attn.apply_rotary(keys[:, :, None])[:, :, 0]
    return rotated


def _margin(
    model: "HookedTransformer",
    base: KeptPass,
    head: Head,
    stream: Tensor,
    keys: Tensor,
    places: Tensor,
) -> Float[Tensor, "sender item"]:
    layer, index = head
    attn = model.blocks[layer].attn
    q = model.blocks[layer].ln1(stream.flatten(0, 1)) @ attn.W_Q[index] + attn.b_Q[index]
    return _margin_of_queries(model, layer, q.view(*stream.shape[:2], *q.shape[1:]), keys, places)


def _margin_of_queries(
    model: "HookedTransformer",
    layer: int,
    q: Float[Tensor, "sender item pos d_head"],
    keys: Tensor,
    places: Tensor,
) -> Float[Tensor, "sender item"]:
    """Attention from the last position to the first place less that to the second."""
    attn = model.blocks[layer].attn
    last = attn.apply_rotary(q.flatten(0, 1)[:, :, None])[:, -1, 0].view(*q.shape[:2], -1)
    scores = torch.einsum("sie,ipe->sip", last, keys) / attn.attn_scale
    pattern = scores.float().softmax(-1)
    to_s2, to_io = (
        pattern.gather(-1, place[None, :, None].expand(len(pattern), -1, 1))[..., 0]
        for place in places
    )
    margin: Tensor = to_s2 - to_io
    return margin


@dataclass(frozen=True)
class Suppression:
    """The parts of copy suppression that need no ablation.

    Attributes:
        favoured: the token of the context that the model favours at each position that is read
            [item, read].
        attention: every head's attention to its earlier copies, 0..1.
        uniform: what a head that attends to all positions alike would have [item].
        direct: every head's direct effect on its logit, less the mean over the vocabulary.
    """

    favoured: Int[Tensor, "item read"]
    attention: PerHead
    uniform: Float[Tensor, " item"]
    direct: PerHead


@torch.inference_mode()
def suppression(
    model: "HookedTransformer", base: KeptPass, reads: Int[Tensor, " read"]
) -> Suppression:
    """Whether heads attend to what the model favours and write against it, means over the reads.

    After McDougall et al. 2023. The favoured token is that of the largest logit among those that
    stand earlier in the context than the query.

    Args:
        model: the model.
        base: a pass that kept patterns.
        reads: queries, none of them the first position.
    """
    tokens, positions = base.tokens, torch.arange(base.tokens.shape[1], device=base.tokens.device)
    is_earlier = positions < reads[:, None]
    logits = model.unembed(model.ln_final(base.final[:, reads])).float()
    in_context = logits.gather(-1, tokens[:, None].expand(-1, len(reads), -1)).masked_fill(
        ~is_earlier, -torch.inf
    )
    favoured = tokens.gather(1, in_context.argmax(-1))
    is_copy = (tokens[:, None] == favoured[..., None]) & is_earlier
    attention = [
        (pattern[:, :, reads].float() * is_copy[:, None]).sum(-1).mean(-1)
        for pattern in base.pattern
    ]
    is_right = torch.ones_like(favoured.flatten()[:, None], dtype=torch.bool)
    # One right continuation and no wrong one; the mean over the vocabulary is taken off, which only
    # an uncentred W_U needs.
    direction = answer_direction(
        model.W_U, favoured.flatten()[:, None], is_right
    ) - model.W_U.float().mean(-1)
    direct = direct_effects(model, base, reads, direction.view(*favoured.shape, -1))
    uniform = (is_copy.sum(-1) / (reads + 1)).mean(-1)
    return Suppression(favoured, torch.stack(attention, 1), uniform, direct.mean(1))


@torch.inference_mode()
def ablation_rise(
    model: "HookedTransformer",
    base: KeptPass,
    reads: Int[Tensor, " read"],
    favoured: Int[Tensor, "item read"],
    heads: Sequence[Head],
    means: Means,
    budget: int | None = None,
) -> Float[Tensor, "head item"]:
    """How much the favoured token's logit rises where a head is replaced by its mean.

    The logit is taken less the mean over the vocabulary.
    """
    candidates = favoured[..., None]
    question = Question(reads, candidates, torch.ones_like(candidates, dtype=torch.bool))
    targets = [Components(frozenset({head})) for head in heads]
    without = replaced(model, base, question, targets, means.replacement(base), budget=budget)[
        "logit_diff"
    ]
    return without - score(model, base.final[:, reads], question)["logit_diff"]


def attention_to_keys(
    pattern: Float[Tensor, "item head_index query_pos key_pos"],
    keys: Int[Tensor, "item query"],
    first_query: int,
) -> Float[Tensor, "item head_index"]:
    """Mean attention from each query >= first_query to the key that is given for it, in 0..1."""
    index = keys[:, None, :, None].expand(-1, pattern.shape[1], -1, -1)
    return pattern[:, :, first_query:].gather(-1, index)[..., 0].mean(-1)


def attention_from_last(
    pattern: Sequence[Float[Tensor, "item head_index query_pos key_pos"]],
    places: Int[Tensor, " item"],
) -> PerHead:
    """Attention from the last position to one place of each item, in 0..1, layers stacked."""
    index = places[:, None, None]
    return torch.stack(
        [p[:, :, -1].gather(-1, index.expand(-1, p.shape[1], 1))[..., 0] for p in pattern], 1
    )
