"""Is a component of another step as good here?

It replaces this step's own component, and the task is measured again. If a late head fails in an
early model, the parts around it were not learnt yet. If an early one works in a late model, it was
learnt by then.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
from transformer_lens import HookedTransformer

from pythia_traj.data.prompts import BoundTaskPrompts, TaskPrompts
from pythia_traj.data.tasks.prompt import TaskBatch
from pythia_traj.engines.ablation import Named
from pythia_traj.engines.kept import Question, keep_pass, score
from pythia_traj.engines.patching import transplanted
from pythia_traj.experiment import (
    COMMA_SEPARATED,
    Passes,
    ReferenceModels,
    Shape,
    experiment,
)
from pythia_traj.processing import RAW
from pythia_traj.values import HEAD_BLOCKS, Key, Rows

PROMPTS = {None: "clean", "shuffled": "shuffled"}
"""Which prompts stand behind a control, and behind what is measured."""

_ITEMS_AT_ONCE = 16


def passes(
    shape: Shape, prompts: BoundTaskPrompts, *, references: Sequence[str], **_: object
) -> Passes:
    """Whole passes of both models, and for each component those of the layers above it.

    A component's own attention and MLP count as a layer.
    """
    layers = shape.n_layers
    in_layer = shape.n_heads + 5
    each = Passes(in_layer * (layers - 1) / 2 + 3 + 1, in_layer * layers + 3) + Passes(2, 1)
    return (Passes(1, 1) + each * len(references)) * (len(PROMPTS) * prompts.n)


@experiment(
    version=1,
    cites="Wang et al. 2023",
    data=TaskPrompts(n=16),
    processing=RAW,
    items=True,
    passes=passes,
)
def transplant(
    model: HookedTransformer,
    prompts: BoundTaskPrompts,
    reference_models: ReferenceModels,
    *,
    references: Annotated[tuple[str, ...], COMMA_SEPARATED] = ("final",),
) -> Rows:
    """Effect on a task of putting another step's component in the place of this step's.

    `transplant` is the task's metric (`target`) with the component in place minus the metric as it
    is, paired; `reference` says whose component, as `final`. Components are `head` (its four
    matrices and their biases), `attn`, `mlp`, `ln1`, `ln2`, `layer` (all of those), `embed`,
    `ln_final` and `unembed`; weights are as trained, so that LayerNorms are there. The other step's
    whole model is the row without a component. The metric as it is stands under its own name. The
    control `shuffled` is the same after shuffled prompts.

    Args:
        references: whose components: init, final, previous, step:512.
    """
    rows, metric = Rows(), prompts.metric
    for control, name in PROMPTS.items():
        own = _in_order(
            prompts, ((part, _whole(model, part, name, metric)) for part in _parts(prompts))
        )
        rows.add_items(Key(metric, control=control), own)
        for reference in references:
            # The first step has no `previous`.
            if reference not in reference_models:
                continue
            donor = reference_models[reference]
            whole = _in_order(
                prompts, ((part, _whole(donor, part, name, metric)) for part in _parts(prompts))
            )
            key = Key("transplant", control=control, target=metric, reference=reference)
            rows.add_items(key, whole - own)
            pieces: dict[Named, list[tuple[TaskBatch, np.ndarray]]] = {}
            for part in _parts(prompts):
                for what, values in _transplanted(model, donor, part, name, metric).items():
                    pieces.setdefault(what, []).append((part, values))
            for (component, layer, head), found in pieces.items():
                values = _in_order(prompts, iter(found)) - own
                tested = replace(key, component=component, layer=layer, head=head)
                blocks = HEAD_BLOCKS if head is not None else None
                rows.add_items(tested, values, blocks=blocks)
    return rows


def _parts(prompts: BoundTaskPrompts) -> Iterator[TaskBatch]:
    for batch in prompts.batches:
        yield from batch.parts(_ITEMS_AT_ONCE)


def _in_order(
    prompts: BoundTaskPrompts, pieces: Iterator[tuple[TaskBatch, np.ndarray]]
) -> np.ndarray:
    """Values of all items in their order."""
    values = np.empty(prompts.n)
    for part, found in pieces:
        values[part.item] = found
    return values


@torch.inference_mode()
def _whole(model: HookedTransformer, part: TaskBatch, name: str, metric: str) -> np.ndarray:
    """The metric of a model as it is [item]."""
    question = Question.of(part, model.W_E.device)
    tokens = torch.from_numpy(getattr(part, name)).to(model.W_E.device)
    final = model(tokens, stop_at_layer=model.cfg.n_layers)[:, question.reads]
    return score(model, final, question)[metric][0].cpu().numpy()


@torch.inference_mode()
def _transplanted(
    model: HookedTransformer, donor: HookedTransformer, part: TaskBatch, name: str, metric: str
) -> dict[Named, np.ndarray]:
    """The metric with each of the donor's components in place [item]."""
    base = keep_pass(model, torch.from_numpy(getattr(part, name)).to(model.W_E.device))
    found = transplanted(model, donor, base, Question.of(part, model.W_E.device))
    return {what: scores[metric].cpu().numpy() for what, scores in found.items()}
