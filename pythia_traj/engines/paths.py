"""Path patching (Wang et al. 2023): what senders do through the inputs of chosen receivers alone.

Two passes beside the base pass and the donor pass:

1. The senders' outputs are the donor pass's. What is `frozen` between senders and receivers keeps
   its output of the base pass, the rest is recomputed. What the receivers then read is kept.
2. In the base pass the receivers read that instead, and everything above them is recomputed.

Wang et al. freeze attention and let MLPs be recomputed, `frozen=("attn",)`; with both frozen only
the direct paths count, those through the residual stream alone, and the first pass is a sum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pythia_traj.engines.ablation import Components, Head
from pythia_traj.engines.kept import (
    Batches,
    Hooks,
    KeptPass,
    Question,
    finish,
    in_order,
    keeping,
    score,
)

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

Frozen = tuple[Literal["attn", "mlp"], ...]
Streams = Float[Tensor, "sender item pos d_model"]

READS = ("q", "k", "v")
"""What a head reads the residual stream for."""


@dataclass(frozen=True)
class Receivers:
    """What reads the senders' outputs.

    Attributes:
        q, k, v: heads as (layer, head), by what they read for.
        mlps: MLPs by layer.
        logits: the last LayerNorm and the unembedding; only without other receivers, since nothing
            comes after them.
    """

    q: frozenset[Head] = frozenset()
    k: frozenset[Head] = frozenset()
    v: frozenset[Head] = frozenset()
    mlps: frozenset[int] = frozenset()
    logits: bool = False

    def __post_init__(self) -> None:
        if self.logits and self.layers:
            raise ValueError(
                "the logits must be the only receiver: their input would hide what the others do"
            )

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that any of them is in."""
        return tuple(
            sorted({layer for heads in (self.q, self.k, self.v) for layer, _ in heads} | self.mlps)
        )

    def above(self, layer: int, parallel: bool) -> "Receivers":
        """Those that can read what a layer's attention writes.

        In a sequential model the layer's own MLP is among them.
        """
        q, k, v = (
            frozenset(head for head in heads if head[0] > layer)
            for heads in (self.q, self.k, self.v)
        )
        return replace(
            self,
            q=q,
            k=k,
            v=v,
            mlps=frozenset(mlp for mlp in self.mlps if mlp > layer - (not parallel)),
        )


@dataclass(frozen=True)
class Received:
    """What receivers make of what they read in the first pass, for each sender.

    It holds only receivers that a sender can reach.

    Attributes:
        q, k, v: by head, before rotation [sender, item, pos, d_head].
        mlp_out: by layer, what the MLP makes of its input [sender, item, pos, d_model].
        final: the stream after the last layer [sender, item, pos, d_model]; None unless the logits
            are the receiver.
    """

    q: dict[Head, Tensor] = field(default_factory=dict)
    k: dict[Head, Tensor] = field(default_factory=dict)
    v: dict[Head, Tensor] = field(default_factory=dict)
    mlp_out: dict[int, Tensor] = field(default_factory=dict)
    final: Streams | None = None


@torch.inference_mode()
def path_patch(
    model: "HookedTransformer",
    base: KeptPass,
    donor: KeptPass,
    question: Question,
    senders: Sequence[Components],
    receivers: Receivers,
    *,
    frozen: Frozen = ("attn", "mlp"),
    positions: Bool[Tensor, "item pos"] | None = None,
    budget: int | None = None,
) -> dict[str, Float[Tensor, "sender item"]]:
    """Scores of the base pass whose receivers read senders' outputs of the donor pass, by metric.

    Args:
        model: the model of both passes.
        base: the pass that is patched.
        donor: the pass that the senders' outputs come from, over prompts of the same length.
        question: what is asked of the logits.
        senders: components that send together, sender by sender.
        receivers: what reads them.
        frozen: what keeps its output of the base pass in between: attention, MLPs, both or nothing.
        positions: where the senders' outputs are the donor's; None means everywhere.
        budget: bytes for the activations of a batch; None means the default of `Batches`.
    """
    batches = Batches(model, base.tokens, question, budget)
    shapes: dict[Any, list[int]] = {}
    for i, sender in enumerate(senders):
        shapes.setdefault(sender.shape, []).append(i)
    parts = []
    for members in shapes.values():
        together = [senders[i] for i in members]
        work = partial(
            _patched, model, base, donor, question, together, receivers, frozen, positions
        )
        parts.append(batches.over(len(members), work))
    return in_order(parts, [i for members in shapes.values() for i in members])


def _patched(
    model: "HookedTransformer",
    base: KeptPass,
    donor: KeptPass,
    question: Question,
    senders: Sequence[Components],
    receivers: Receivers,
    frozen: Frozen,
    positions: Tensor | None,
    part: slice,
) -> dict[str, Tensor]:
    """Both passes for some senders of one shape."""
    senders = senders[part]
    received = receive(model, base, donor, senders, receivers, frozen=frozen, positions=positions)
    if received.final is not None:
        return score(model, received.final.flatten(0, 1)[:, question.reads], question)
    hooks: Hooks = []
    for name in READS:
        by_layer: dict[int, dict[int, Tensor]] = {}
        for (layer, head), values in getattr(received, name).items():
            by_layer.setdefault(layer, {})[head] = values.flatten(0, 1)
        hooks += [
            (f"blocks.{layer}.attn.hook_{name}", partial(_set_heads, by_head=by))
            for layer, by in by_layer.items()
        ]
    for layer, values in received.mlp_out.items():
        hooks.append((f"blocks.{layer}.hook_mlp_out", partial(_set, values=values.flatten(0, 1))))
    first = min((int(name.split(".")[1]) for name, _ in hooks), default=model.cfg.n_layers)
    stream = base.resid_pre[first].repeat(len(senders), 1, 1)
    return score(model, finish(model, stream, first, question.reads, hooks), question)


def _set_heads(activation: Tensor, hook: Any, by_head: Mapping[int, Tensor]) -> Tensor:
    activation = activation.clone()
    for head, values in by_head.items():
        activation[:, :, head] = values
    return activation


def _set(activation: Tensor, hook: Any, values: Tensor) -> Tensor:
    return values


@torch.inference_mode()
def receive(
    model: "HookedTransformer",
    base: KeptPass,
    donor: KeptPass,
    senders: Sequence[Components],
    receivers: Receivers,
    *,
    frozen: Frozen = ("attn", "mlp"),
    positions: Bool[Tensor, "item pos"] | None = None,
) -> Received:
    """The first pass alone: what the receivers make of what they read.

    It is for senders of one shape, all at once.

    Args:
        model, base, donor, frozen, positions: as for `path_patch`.
        senders: components that send together; the layers they are in are the same for all.
        receivers: what reads them; those that no sender reaches are left out.
    """
    if len({sender.shape for sender in senders}) > 1:
        raise ValueError(
            "senders of different layers cannot share a pass: call once for each shape"
        )
    pass_ = _FirstPass(model, base, donor, senders, frozen, positions)
    first, parallel = senders[0].layers[0], not base.resid_mid
    wanted = receivers.above(first, parallel)
    if senders[0].head_layers[:1] != (first,):
        # An MLP that sends from the first layer is not read by itself.
        wanted = replace(wanted, mlps=wanted.mlps - {first})
    received = Received()
    last = model.cfg.n_layers - 1 if wanted.logits else max(wanted.layers, default=first - 1)
    stream = base.resid_pre[first].expand(len(senders), *base.resid_pre[first].shape)
    for layer in range(first, last + 1):
        for name in READS:
            heads = sorted(head for at, head in getattr(wanted, name) if at == layer)
            if heads:
                made = _read(model, layer, name, heads, stream)
                getattr(received, name).update(
                    {(layer, head): made[..., i, :] for i, head in enumerate(heads)}
                )
        if layer == last and layer not in wanted.mlps and not wanted.logits:
            break
        mlp_out, stream = pass_.layer(
            layer, stream, unchanged=layer == first, read_by_mlp=layer in wanted.mlps
        )
        if mlp_out is not None:
            received.mlp_out[layer] = mlp_out
    return replace(received, final=stream) if wanted.logits else received


def _read(
    model: "HookedTransformer", layer: int, name: str, heads: list[int], stream: Streams
) -> Tensor:
    """q, k or v of some heads of a layer [sender, item, pos, head, d_head]."""
    attn = model.blocks[layer].attn
    # A list as index would wait for the device.
    index = torch.tensor(heads).to(stream.device, non_blocking=True)
    W, b = getattr(attn, f"W_{name.upper()}")[index], getattr(attn, f"b_{name.upper()}")[index]
    normalised = model.blocks[layer].ln1(stream.flatten(0, 1)).reshape(stream.shape)
    made: Tensor = torch.einsum("...d,hde->...he", normalised, W) + b
    return made


@dataclass(frozen=True)
class _FirstPass:
    """The pass in which senders' outputs are the donor's, layer by layer."""

    model: "HookedTransformer"
    base: KeptPass
    donor: KeptPass
    senders: Sequence[Components]
    frozen: Frozen
    positions: Tensor | None

    def layer(
        self, layer: int, stream: Streams, *, unchanged: bool, read_by_mlp: bool
    ) -> tuple[Tensor | None, Streams]:
        """What the MLP makes of its input, where it is read, and the stream after the layer.

        Args:
            unchanged: the stream that enters is still the base pass's, so attention need not be
                recomputed.
        """
        block, parallel = self.model.blocks[layer], not self.base.resid_mid
        z, attn_out = (
            self._kept_attention(layer)
            if unchanged or "attn" in self.frozen
            else _attention(block, stream)
        )
        middle = stream + attn_out
        if layer in self.senders[0].head_layers:
            change = (self.donor.z[layer] - z) * self._where(layer)
            middle = middle + change.flatten(-2) @ self.model.W_O[layer].flatten(0, 1)
        made = None
        recomputed = "mlp" not in self.frozen and not (unchanged and parallel)
        if recomputed or read_by_mlp:
            mlp_in = stream if parallel else middle
            made = block.apply_mlp(block.ln2(mlp_in.flatten(0, 1))).reshape(mlp_in.shape)
        mlp_out = made if recomputed and made is not None else self.base.mlp_out[layer]
        if layer in self.senders[0].mlps:
            mlp_out = (
                mlp_out + (self.donor.mlp_out[layer] - mlp_out) * self._at(mlp_out.dtype)[..., None]
            )
        return made if read_by_mlp else None, middle + mlp_out

    def _kept_attention(self, layer: int) -> tuple[Tensor, Tensor]:
        """A layer's z and output of the base pass.

        The output comes from z: a difference of large streams would lose digits.
        """
        z = self.base.z[layer]
        return z, z.flatten(-2) @ self.model.W_O[layer].flatten(0, 1) + self.model.b_O[layer]

    def _at(self, dtype: torch.dtype) -> Tensor:
        """1 where senders' outputs are the donor's [item, pos]."""
        return (
            torch.ones_like(self.base.tokens, dtype=dtype)
            if self.positions is None
            else self.positions.to(dtype)
        )

    def _where(self, layer: int) -> Tensor:
        """The same by sender and head [sender, item, pos, head_index, 1]."""
        n_heads = self.model.cfg.n_heads
        of_sender = torch.tensor(
            [[(layer, head) in sender.heads for head in range(n_heads)] for sender in self.senders]
        )
        at = self._at(self.base.final.dtype)
        of_sender = of_sender.to(at.device, at.dtype, non_blocking=True)
        return of_sender[:, None, None, :, None] * at[None, :, :, None, None]


def _attention(block: Any, stream: Streams) -> tuple[Tensor, Tensor]:
    """A layer's z and output [sender, item, pos, ...] recomputed from what enters it."""
    normalised = block.ln1(stream.flatten(0, 1))
    with keeping([block.attn.hook_z]) as kept:
        attn_out = block.attn(query_input=normalised, key_input=normalised, value_input=normalised)
    return kept[0].view(*stream.shape[:2], *kept[0].shape[1:]), attn_out.view(stream.shape)
