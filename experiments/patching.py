"""Which activations decide a task?

Activations of one prompt are put into the pass on its twin, one at a time.

Denoising puts what the clean prompt has into the pass on the corrupted one and asks what is
restored: is it enough? Noising is the other way round: is it needed? Neither answers the other's
question.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor
from transformer_lens import HookedTransformer

from pythia_traj.bench import CONTROLS, Part, TaskBench, add_effect
from pythia_traj.data.prompts import BoundTaskPrompts, TaskPrompts
from pythia_traj.data.tasks.prompt import PromptKind, TaskBatch
from pythia_traj.engines.ablation import one_by_one, outputs, replaced
from pythia_traj.engines.kept import KeptPass, Question
from pythia_traj.engines.means import Design
from pythia_traj.engines.patching import patched_positions
from pythia_traj.engines.ratios import guarded_ratio
from pythia_traj.experiment import COMMA_SEPARATED, Passes, Shape, experiment
from pythia_traj.values import Key, Rows

Component = Literal["resid_pre", "head", "attn", "mlp"]
Direction = Literal["denoising", "noising"]
Patched = tuple[str, int | None, int | None, int | None]
"""Component, layer, head, position."""

BASE_AND_DONOR: dict[Direction, tuple[PromptKind, PromptKind]] = {
    "denoising": ("corrupted", "clean"),
    "noising": ("clean", "corrupted"),
}
"""The prompts of the pass that is patched, and of the pass that the activation comes from."""

_ITEMS_AT_ONCE = 16


def passes(
    shape: Shape,
    prompts: BoundTaskPrompts,
    *,
    directions: Sequence[Direction],
    components: Sequence[Component],
    **_: object,
) -> Passes:
    """Kept passes, and for each activation those of the layers above it.

    The latter are in both directions, and with the control's.
    """
    layers = shape.n_layers
    in_layer = {"head": shape.n_heads, "attn": 1, "mlp": 1}
    targets = sum(in_layer.get(component, 0) for component in set(components))
    patched = Passes((layers - 1) / 2, layers) * (targets * prompts.n)
    patched = patched * (2 * len(directions))
    for batch in prompts.batches if "resid_pre" in components else ():
        for direction in directions:
            kind, donor = BASE_AND_DONOR[direction]
            base = getattr(batch, kind)
            for other in (getattr(batch, donor), batch.shuffled):
                changed = base.shape[1] - _first_difference(base, other)
                patched += Passes((layers + 1) / 2, layers) * (changed * len(base))
    return Passes(3, 3) * prompts.n + patched


@experiment(
    version=2,
    cites="Zhang and Nanda 2024",
    data=TaskPrompts(),
    items=True,
    softmax=True,
    passes=passes,
)
def patching(
    model: HookedTransformer,
    prompts: BoundTaskPrompts,
    *,
    directions: Annotated[tuple[Direction, ...], COMMA_SEPARATED] = ("denoising", "noising"),
    components: Annotated[tuple[Component, ...], COMMA_SEPARATED] = (
        "resid_pre",
        "head",
        "attn",
        "mlp",
    ),
) -> Rows:
    """Share of a task that patching one activation restores or destroys, by position or by head.

    `patching` is (patched - corrupted) / (clean - corrupted) for the `variant` `denoising`, 1 where
    all is restored, and (patched - clean) / (clean - corrupted) for `noising`, -1 where all is
    destroyed: of means over prompts of the task's own metric (`target`), and undefined where the
    denominator is within 3 of its standard errors of 0. `patched` is the metric itself. `resid_pre`
    is patched by layer, at one `position`, which counts from the end, -1 being the last; `head`,
    `attn` and `mlp` at all positions. The control `shuffled` patches in what the shuffled prompt
    has. The metric under its own name is that of whole passes, on the corrupted and shuffled
    prompts with the controls `corrupted` and `shuffled`.

    Args:
        directions: denoising, noising.
        components: what is patched: resid_pre, head, attn (all heads of a layer), mlp.
    """
    rows, metric = Rows(), prompts.metric
    bench = TaskBench(model, prompts.batches, _ITEMS_AT_ONCE)

    def measured(part: Part[TaskBatch]) -> dict[Key, Tensor]:
        """The metric of whole passes [item], and of patched ones beside that of whole ones."""
        kept = {kind: bench.keep(part, kind) for kind in CONTROLS}
        whole = {kind: bench.scores(part, one.final)[metric].cpu() for kind, one in kept.items()}
        found = {Key(metric, control=CONTROLS[kind]): values for kind, values in whole.items()}
        for direction in directions:
            base, donor = BASE_AND_DONOR[direction]
            donors: dict[str | None, PromptKind] = {None: donor, "shuffled": "shuffled"}
            for control, other in donors.items():
                for what, values in _patched(
                    model, kept[base], kept[other], part.question, components, metric, whole[base]
                ):
                    key = Key("patched", direction, *what, control=control, target=metric)
                    found[key] = torch.stack([values, whole["clean"], whole["corrupted"]])
        return found

    for key, (values, design) in bench.over_some(measured).items():
        if key.metric == "patched":
            _write(rows, key, values, design)
        else:
            rows.add_items(key, values, design)
    return rows


def _patched(
    model: HookedTransformer,
    base: KeptPass,
    donor: KeptPass,
    question: Question,
    components: Sequence[Component],
    metric: str,
    unpatched: Tensor,
) -> Iterator[tuple[Patched, Tensor]]:
    """The metric with each activation of the donor in the base pass [item].

    `unpatched` is that of the base pass.
    """
    targets = one_by_one(model.cfg.n_layers, model.cfg.n_heads, components)
    if targets:
        chosen = list(targets.values())
        scores = replaced(model, base, question, chosen, outputs(donor))[metric].cpu()
        yield from (((*name, None), values) for name, values in zip(targets, scores, strict=True))
    length, first = (
        base.tokens.shape[1],
        _first_difference(base.tokens.cpu().numpy(), donor.tokens.cpu().numpy()),
    )
    for layer in range(model.cfg.n_layers) if "resid_pre" in components else ():
        scores = patched_positions(model, base, donor, question, layer, first)[metric].cpu()
        for position in range(length):
            yield (
                ("resid_pre", layer, None, position - length),
                unpatched if position < first else scores[position - first],
            )


def _first_difference(one: np.ndarray, other: np.ndarray) -> int:
    """The first position at which any item's tokens differ: before it two passes are one.

    It is at most the last position.
    """
    differs = (one != other).any(0)
    return int(differs.argmax()) if differs.any() else len(differs) - 1


def _write(rows: Rows, key: Key, values: np.ndarray, design: Design) -> None:
    """The metric as it is patched [item], and what share of the task that is.

    Args:
        values: as it is patched, of the clean and of the corrupted pass [3, item].
        design: of these items.
    """
    patched, clean, corrupted = values
    if key.position is None:
        add_effect(rows, key, patched, design)
    else:
        rows.add_mean(key, patched, design)
    before = corrupted if key.variant == "denoising" else clean
    share = guarded_ratio(patched - before, clean - corrupted, "clean - corrupted", design=design)
    rows.add_found(replace(key, metric="patching"), share)
