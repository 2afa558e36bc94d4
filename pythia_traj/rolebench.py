"""What roles of heads are measured to be: a model and prompts in, arrays by role out.

Every role is measured on the items of the folds as they are, on the same shuffled, which is its
control, and on those of selection shuffled, which is its null; at the first step on those of
selection as they are, too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pythia_traj.bench import TaskBench
from pythia_traj.data.roles import FOLDS, ON_NAMES, ON_REPEATED, BoundRolePrompts
from pythia_traj.engines import heads, roles
from pythia_traj.engines.ablation import Head, Means
from pythia_traj.engines.kept import keep_pass
from pythia_traj.engines.role_scores import COPYING, UNIFORM, Arrays, Role, sets_of, suppresses

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

SUPPRESSION_READS = 4
"""Queries of a sequence for copy suppression: the last ones whose continuation is still in it."""

ITEMS_AT_ONCE = 64


class Collected:
    """Values of heads, gathered batch by batch."""

    def __init__(self) -> None:
        """Nothing so far."""
        self._parts: dict[str, list[Tensor]] = {}

    def add(self, metric: str, values: Tensor) -> None:
        """Adds the values of a batch [item, layer, head]."""
        self._parts.setdefault(metric, []).append(values)

    def arrays(self, order: np.ndarray | slice = slice(None)) -> Arrays:
        """All values, the items in an order; from the device once each."""
        return {
            metric: torch.cat(parts).float().cpu().numpy()[order]
            for metric, parts in self._parts.items()
        }


@dataclass(frozen=True)
class Measured:
    """What roles that are measured together were measured to be.

    Attributes:
        clean: the measurements, on the items of the folds.
        shuffled: the same where there is nothing to find, for the control.
        null: the same on the items of selection, set by set.
        init: the measurements on the items of selection, set by set; empty but at the first step.
    """

    clean: Arrays
    shuffled: Arrays
    null: Arrays
    init: Arrays


Undefined = str
"""In the place of what was measured, or of heads that were chosen: why there is nothing."""


def measure_roles(
    model: "HookedTransformer",
    prompts: BoundRolePrompts,
    receivers: list[Head] | Undefined,
    *,
    b_V: bool,
    is_first: bool,
) -> dict[Role, Measured | Undefined]:
    """All roles that are asked for.

    Args:
        model, prompts: of this step, and what it is measured on.
        receivers: heads whose attention S-inhibition is measured on.
        b_V: whether OV has its value bias.
        is_first: whether this is the first step.
    """
    found: dict[Role, Measured | Undefined] = {}
    if prompts.has(*ON_REPEATED):
        measured = _on_items(prompts, partial(_attention, model, prompts), is_first)
        found |= dict.fromkeys(ON_REPEATED, measured)
    if prompts.has(*ON_NAMES):
        found |= _on_names(model, prompts, receivers, b_V, is_first)
    if prompts.has("successor"):
        found["successor"] = _successor(model, prompts, b_V, is_first)
    if prompts.has("copy_suppression"):
        measure = partial(_suppression, model, prompts)
        found["copy_suppression"] = _on_items(prompts, measure, is_first)
    return {role: found[role] for role in prompts.roles}


def _on_items(
    prompts: BoundRolePrompts, measure: Callable[[bool, slice], Arrays], is_first: bool
) -> Measured:
    """Measures the items of the folds, then those of selection; shuffled or not."""
    n = prompts.parameters.n
    folds, selection = slice(n), slice(n, n + prompts.parameters.draws * prompts.fold)
    return Measured(
        measure(False, folds),
        measure(True, folds),
        measure(True, selection),
        measure(False, selection) if is_first else {},
    )


def _parts(model: "HookedTransformer", tokens: np.ndarray) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, len(tokens), ITEMS_AT_ONCE):
        part = slice(start, start + ITEMS_AT_ONCE)
        yield part, torch.from_numpy(tokens[part]).to(model.W_E.device)


def _group(shuffled: bool) -> str:
    return "two_halves/shuffled" if shuffled else "two_halves"


@torch.inference_mode()
def _attention(
    model: "HookedTransformer", prompts: BoundRolePrompts, shuffled: bool, items: slice
) -> Arrays:
    """The roles that attention shows.

    Tokens mean nothing to a previous-token head: in its control the targets are random.
    """
    length = prompts.repeated.length
    second = prompts.repeated.start + length
    offsets = {"previous_token": 1, "duplicate_token": length, "induction": length - 1}
    random_keys, collected = prompts.random_keys[items], Collected()
    for part, tokens in _parts(model, prompts.repeated.groups[_group(shuffled)][items]):
        patterns = keep_pass(model, tokens, patterns=True).pattern
        keys = torch.from_numpy(random_keys[part]).to(tokens.device)
        for role, offset in offsets.items():
            values = [
                roles.attention_to_keys(pattern, keys, second)
                if shuffled and role == "previous_token"
                else heads.attention_at_offset(pattern, offset, second)
                for pattern in patterns
            ]
            collected.add(role, torch.stack(values, 1))
    return collected.arrays()


def _suppression(
    model: "HookedTransformer", prompts: BoundRolePrompts, shuffled: bool, items: slice
) -> Arrays:
    """Copy suppression on repeated tokens; always n items together, with means of their own."""
    tokens, n = prompts.short.groups[_group(shuffled)][items], prompts.parameters.n
    found = [
        _suppressed(model, prompts, tokens[start : start + n]) for start in range(0, len(tokens), n)
    ]
    return {name: np.concatenate([arrays[name] for arrays in found]) for name in found[0]}


@torch.inference_mode()
def _suppressed(
    model: "HookedTransformer", prompts: BoundRolePrompts, tokens: np.ndarray
) -> Arrays:
    """Only heads that pass the first two conditions, in a set or in all items, are ablated.

    The others have no rise.
    """
    last = prompts.short.start + 2 * prompts.short.length - 1
    reads = torch.arange(last - SUPPRESSION_READS, last, device=model.W_E.device)
    bases = [keep_pass(model, part, patterns=True) for _, part in _parts(model, tokens)]
    found = [roles.suppression(model, base, reads) for base in bases]
    collected, means = Collected(), Means(by_position=False)
    for base, parts_of_it in zip(bases, found, strict=True):
        means.add(base)
        collected.add("suppression_attention", parts_of_it.attention)
        collected.add("suppression_direct", parts_of_it.direct)
        collected.add(UNIFORM, parts_of_it.uniform[:, None, None])
    arrays = collected.arrays()
    passing = [suppresses(arrays, items) for items in (slice(None), *sets_of(arrays, prompts.fold))]
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


def _on_names(
    model: "HookedTransformer",
    prompts: BoundRolePrompts,
    receivers: list[Head] | Undefined,
    b_V: bool,
    is_first: bool,
) -> dict[Role, Measured | Undefined]:
    """Name movers and S-inhibition, on prompts with names.

    In the control they are measured at the same positions of the shuffled prompts.

    What a head copies is a matter of its weights, which shuffling leaves: the control of a name
    mover is what it copies, and where it attends to in shuffled prompts. That of copying by itself
    asks for the names of the twin. Copying is dear, so all shuffled sets of selection have that of
    the first set.
    """
    if not prompts.names:
        return dict.fromkeys(ON_NAMES, prompts.no_names)
    chosen = [] if isinstance(receivers, Undefined) else receivers
    measured = _on_items(prompts, partial(_names, model, prompts, chosen), is_first)
    if prompts.has("name_mover"):
        n, fold, draws = prompts.parameters.n, prompts.fold, prompts.parameters.draws
        own, other = _copying(model, prompts, b_V, n + fold * (draws if is_first else 1))
        measured.clean["name_copying"] = own[:n]
        measured.shuffled["name_copying"], measured.shuffled[COPYING] = other[:n], own[:n]
        measured.null[COPYING] = np.tile(own[n : n + fold], (draws, 1, 1))
        if is_first:
            measured.init["name_copying"] = own[n:]
    return {
        "name_mover": measured,
        "s_inhibition": receivers if isinstance(receivers, Undefined) else measured,
    }


def _bench(model: "HookedTransformer", prompts: BoundRolePrompts, items: slice) -> TaskBench[Any]:
    """The prompts with these numbers."""
    numbered = [
        batch.part((batch.item >= (items.start or 0)) & (batch.item < items.stop))
        for batch in prompts.names
    ]
    return TaskBench(model, numbered, ITEMS_AT_ONCE)


@torch.inference_mode()
def _names(
    model: "HookedTransformer",
    prompts: BoundRolePrompts,
    receivers: list[Head],
    shuffled: bool,
    items: slice,
) -> Arrays:
    """Attention from END to the names, and what every head changes of the receivers'."""
    bench, collected = _bench(model, prompts, items), Collected()
    for part in bench.parts:
        of_part = part.items
        both = (
            (of_part.shuffled, of_part.shuffled_twin)
            if shuffled
            else (of_part.clean, of_part.corrupted)
        )
        tokens, twin = (part.on_device(array) for array in both)
        places = part.on_device(np.stack([of_part.io, of_part.s1, of_part.s2]))
        base = keep_pass(model, tokens, patterns=True)
        for name, place in zip(("io", "s1", "s2"), places, strict=True):
            collected.add(f"attention_to_{name}", roles.attention_from_last(base.pattern, place))
        if receivers:
            rises = roles.inhibition(
                model, base, keep_pass(model, twin), part.question, receivers, places[[2, 0]]
            )
            collected.add("s_inhibition", rises)
    return collected.arrays(bench.order)


@torch.inference_mode()
def _copying(
    model: "HookedTransformer", prompts: BoundRolePrompts, b_V: bool, items: int
) -> tuple[np.ndarray, np.ndarray]:
    """The share of its names, and of its twin's, that every head copies in the first prompts."""
    bench, collected = _bench(model, prompts, slice(items)), Collected()
    for part in bench.parts:
        places = part.on_device(np.stack([part.items.io, part.items.s1, part.items.s2], 1))
        twin = part.tokens("corrupted").gather(1, places)
        own, other = roles.copied_share(model, bench.keep(part, "clean"), places, twin, b_V=b_V)
        collected.add("own", own)
        collected.add("other", other)
    arrays = collected.arrays(bench.order)
    return arrays["own"], arrays["other"]


@torch.inference_mode()
def strongest_heads(
    model: "HookedTransformer", prompts: BoundRolePrompts, heads: int
) -> list[Head]:
    """The heads that write most towards the right name, by the first set of selection."""
    n = prompts.parameters.n
    bench, collected = _bench(model, prompts, slice(n, n + prompts.fold)), Collected()
    for part in bench.parts:
        base = bench.keep(part, "clean")
        collected.add("effect", roles.answer_effects(model, base, part.question))
    mean = collected.arrays(bench.order)["effect"].mean(0)
    best = np.argsort(-mean, axis=None, kind="stable")[:heads]
    return [(int(i) // mean.shape[1], int(i) % mean.shape[1]) for i in best]


def _successor(
    model: "HookedTransformer", prompts: BoundRolePrompts, b_V: bool, is_first: bool
) -> Measured | Undefined:
    """Successors of ordered words; in the control each word's right target is another one's."""
    if not prompts.ordered:
        return prompts.no_ordered
    folds, selection = prompts.words[:FOLDS].ravel(), prompts.words[FOLDS]
    found = Measured({}, {}, {}, {})
    for kind, metric in roles.SUCCESSOR_KINDS.items():
        # Only the score itself has a null.
        draws = len(prompts.ordered[0].shuffled) - 1 if metric == "successor" else 0
        by_order: list[list[Tensor]] = [[] for _ in range(2 + draws)]
        for task in prompts.ordered:
            arrays = (task.words, task.targets, np.arange(len(task.words)), *task.shuffled)
            words, targets, *orders = (
                torch.from_numpy(array).to(model.W_E.device) for array in arrays
            )
            answers = roles.is_succeeded(model, words, targets, orders[: 2 + draws], kind, b_V=b_V)
            for of_order, answer in zip(by_order, answers, strict=True):
                of_order.append(answer)
        right, control, *null = (torch.cat(of_order).cpu().numpy() for of_order in by_order)
        found.clean[metric], found.shuffled[metric] = right[folds], control[folds]
        if null:
            found.null[metric] = np.concatenate([draw[selection] for draw in null])
        if null and is_first:
            found.init[metric] = right[selection]
    return found
