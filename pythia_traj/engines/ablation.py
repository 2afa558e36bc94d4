"""Ablation: what changes where the output of some components is replaced.

A head's output is its z, before W_O; an attention layer is all its heads; an MLP's output is what
it adds to the stream. What it is replaced by engines.ablations says.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from math import comb, prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pythia_traj.engines.kept import (
    Batches,
    Hooks,
    KeptPass,
    Question,
    finish,
    in_order,
    leave_layer,
    score,
)
from pythia_traj.engines.streams import stream

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

Head = tuple[int, int]
"""Layer and head."""


@dataclass(frozen=True)
class Components:
    """Components that are replaced together: heads as (layer, head), and MLPs by layer."""

    heads: frozenset[Head] = frozenset()
    mlps: frozenset[int] = frozenset()

    @property
    def head_layers(self) -> tuple[int, ...]:
        """The layers that have a head among them."""
        return tuple(sorted({layer for layer, _ in self.heads}))

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that any of them is in."""
        return tuple(sorted({*self.head_layers, *self.mlps}))

    @property
    def shape(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The layers, attention and MLPs apart.

        Components of one shape can be replaced in one batch.
        """
        return self.head_layers, tuple(sorted(self.mlps))


Named = tuple[str, int | None, int | None]
"""Component, layer and head."""


def one_by_one(n_layers: int, n_heads: int, components: Collection[str]) -> dict[Named, Components]:
    """Every component of the requested kinds, each by itself.

    Kinds are `head`, `attn` (all heads of a layer) and `mlp`.
    """
    layers, heads = range(n_layers), range(n_heads)
    found: dict[Named, Components] = {}
    if "head" in components:
        found |= {
            ("head", layer, head): Components(frozenset({(layer, head)}))
            for layer in layers
            for head in heads
        }
    if "attn" in components:
        found |= {
            ("attn", layer, None): Components(frozenset((layer, head) for head in heads))
            for layer in layers
        }
    if "mlp" in components:
        found |= {("mlp", layer, None): Components(mlps=frozenset({layer})) for layer in layers}
    return found


_HEAD = re.compile(r"L(\d+)H(\d+)")


def named_heads(name: str) -> Components:
    """Heads by name, such as L4H6+L5H1.

    Raises:
        ValueError: it names something else.
    """
    matches = [_HEAD.fullmatch(word.strip()) for word in name.split("+")]
    if not all(matches):
        raise ValueError("heads are written as L4H6+L5H1")
    return Components(frozenset((int(match[1]), int(match[2])) for match in matches if match))


def checked_name(name: str) -> str:
    """The name, if `named_heads` knows it."""
    named_heads(name)
    return name


@dataclass(frozen=True)
class Replacement:
    """The replacement for the components' outputs by layer, broadcast over items and positions.

    Attributes:
        z: [item or 1, pos or 1, head_index, d_head].
        mlp_out: [item or 1, pos or 1, d_model].
    """

    z: list[Tensor]
    mlp_out: list[Tensor]


@dataclass
class Means:
    """Means of outputs over items, gathered batch by batch.

    Where they are by position, all prompts have one length.
    """

    by_position: bool
    _sums: list[Tensor] = field(default_factory=list)
    _count: int = 0

    def add(self, base: KeptPass) -> None:
        """Adds a batch to the means."""
        axes = (0,) if self.by_position else (0, 1)
        sums = [
            activation.float().sum(axes, keepdim=True) for activation in (*base.z, *base.mlp_out)
        ]
        self._sums = [a + b for a, b in zip(self._sums, sums, strict=True)] if self._sums else sums
        items, length = base.tokens.shape
        self._count += items if self.by_position else items * length

    def replacement(self, like: KeptPass) -> Replacement:
        """The means in the precision of a pass."""
        means = [(total / self._count).to(like.final.dtype) for total in self._sums]
        return Replacement(means[: len(like.z)], means[len(like.z) :])


def zeros(base: KeptPass) -> Replacement:
    """Nothing in place of everything."""
    return Replacement(
        [torch.zeros_like(z[:1, :1]) for z in base.z],
        [torch.zeros_like(m[:1, :1]) for m in base.mlp_out],
    )


def outputs(base: KeptPass) -> Replacement:
    """The outputs of another pass over prompts of the same length, item by item."""
    return Replacement(base.z, base.mlp_out)


@torch.inference_mode()
def replaced(
    model: "HookedTransformer",
    base: KeptPass,
    question: Question,
    targets: Sequence[Components],
    replacement: Replacement,
    *,
    direct: bool = False,
    frozen_patterns: bool = False,
    budget: int | None = None,
) -> dict[str, Tensor]:
    """Scores with each target's outputs replaced, all above recomputed: by metric [target, item].

    Args:
        base: the pass that is intervened upon.
        targets: components replaced together, target by target.
        direct: only what the targets write to the logits is replaced.
        frozen_patterns: attention of later layers is that of `base`, which must have kept it.
        budget: bytes for the activations of a batch; None means the default of `Batches`.
    """
    batches = Batches(model, base.tokens, question, budget)
    shapes: dict[Any, list[int]] = {}
    for i, target in enumerate(targets):
        shapes.setdefault(target.shape, []).append(i)
    parts: list[dict[str, Tensor]] = []
    for members in shapes.values():
        together = [targets[i] for i in members]
        if direct:
            work = partial(_direct, model, base, question, together, replacement)
        else:
            work = partial(
                _recomputed, model, base, question, together, replacement, frozen_patterns
            )
        parts.append(batches.over(len(members), work))
    return in_order(parts, [i for members in shapes.values() for i in members])


def _recomputed(
    model: "HookedTransformer",
    base: KeptPass,
    question: Question,
    targets: list[Components],
    replacement: Replacement,
    frozen_patterns: bool,
    part: slice,
) -> dict[str, Tensor]:
    """Scores of some targets of one shape, everything above recomputed.

    The first layer is replaced by its difference, later ones by hooks.
    """
    targets = targets[part]
    first, *later = targets[0].layers
    change = _attn_change(model, base, targets, replacement, first)
    stream = leave_layer(model, base, first, change, _mlp_out(base, targets[0], replacement, first))
    stream = stream.expand(len(targets), *base.final.shape).flatten(0, 1)
    hooks: Hooks = []
    for layer in later:
        if layer in targets[0].head_layers:
            mask = _mask(targets, layer, model.cfg.n_heads, stream.device)
            hook = partial(
                _replace_heads, mask=mask, values=replacement.z[layer], items=len(base.tokens)
            )
            hooks.append((f"blocks.{layer}.attn.hook_z", hook))
        if layer in targets[0].mlps:
            hooks.append(
                (
                    f"blocks.{layer}.hook_mlp_out",
                    partial(_replace, values=replacement.mlp_out[layer]),
                )
            )
    if frozen_patterns:
        for layer in range(first + 1, model.cfg.n_layers):
            hooks.append(
                (f"blocks.{layer}.attn.hook_pattern", partial(_replace, values=base.pattern[layer]))
            )
    return score(model, finish(model, stream, first + 1, question.reads, hooks), question)


def _direct(
    model: "HookedTransformer",
    base: KeptPass,
    question: Question,
    targets: list[Components],
    replacement: Replacement,
    part: slice,
) -> dict[str, Tensor]:
    """Scores with the targets' difference added to the last stream alone."""
    targets = targets[part]
    final = base.final.expand(len(targets), *base.final.shape)
    for layer in targets[0].layers:
        change = _attn_change(model, base, targets, replacement, layer)
        final = final if change is None else final + change
        if layer in targets[0].mlps:
            final = final + (replacement.mlp_out[layer] - base.mlp_out[layer])
    return score(model, final.flatten(0, 1)[:, question.reads], question)


def _attn_change(
    model: "HookedTransformer",
    base: KeptPass,
    targets: list[Components],
    replacement: Replacement,
    layer: int,
) -> Tensor | None:
    """What replacing each target's heads of a layer adds to the attention's output.

    [target, item, pos, d_model]; None without heads.
    """
    # All targets have one shape; a look at the mask would wait for the device.
    if layer not in targets[0].head_layers:
        return None
    mask = _mask(targets, layer, model.cfg.n_heads, base.tokens.device)
    difference = replacement.z[layer] - base.z[layer]
    masked = difference * mask[:, None, None, :, None].to(difference.dtype)
    W_O: Tensor = model.W_O[layer].flatten(0, 1)
    return masked.flatten(-2) @ W_O


def _mlp_out(
    base: KeptPass, target: Components, replacement: Replacement, layer: int
) -> Tensor | None:
    return (
        replacement.mlp_out[layer].expand_as(base.mlp_out[layer]) if layer in target.mlps else None
    )


def _mask(targets: list[Components], layer: int, n_heads: int, device: torch.device) -> Tensor:
    """Which heads of a layer each target replaces [target, head_index]."""
    mask = torch.tensor(
        [[(layer, head) in target.heads for head in range(n_heads)] for target in targets]
    )
    return mask.to(device, non_blocking=True)


def _replace_heads(z: Tensor, hook: Any, mask: Tensor, values: Tensor, items: int) -> Tensor:
    by_target = z.view(-1, items, *z.shape[1:])
    return torch.where(mask[:, None, None, :, None], values, by_target).flatten(0, 1)


def _replace(activation: Tensor, hook: Any, values: Tensor) -> Tensor:
    """The values for every row; they have one item, or one for each item of the batch."""
    times = len(activation) // len(values)
    return values.repeat(times, *(1,) * (values.ndim - 1)).expand_as(activation)


def disjoint_sets(target: Components, n_heads: int, at_most: int, seed: int) -> list[Components]:
    """Sets of heads with as many in each layer as the target has, none of them in it.

    All of them, or `at_most` drawn at random where there are more.
    """
    sizes = {
        layer: sum(other == layer for other, _ in target.heads) for layer in target.head_layers
    }
    others = {
        layer: [head for head in range(n_heads) if (layer, head) not in target.heads]
        for layer in target.head_layers
    }
    there_are = prod(comb(len(others[layer]), size) for layer, size in sizes.items())
    if target.mlps or not sizes or not there_are:
        return []
    if there_are <= at_most:
        choices: list[list[frozenset[Head]]] = [
            [
                frozenset((layer, head) for head in chosen)
                for chosen in combinations(others[layer], size)
            ]
            for layer, size in sizes.items()
        ]
        found = {frozenset[Head]()}
        for choice in choices:
            found = {one | other for one in found for other in choice}
        return [Components(heads) for heads in sorted(found, key=sorted)]
    rng = stream(seed, f"matched {sorted(target.heads)}")
    drawn: dict[frozenset[Head], None] = {}
    while len(drawn) < at_most:
        heads = (
            (layer, head)
            for layer, size in sizes.items()
            for head in sorted(rng.choice(others[layer], size, replace=False).tolist())
        )
        drawn[frozenset(heads)] = None
    return [Components(heads) for heads in drawn]
