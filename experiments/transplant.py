"""Is a component of another step as good here?

It replaces this step's own component, and the task is measured again. If a late head fails in an
early model, the parts around it were not learnt yet. If an early one works in a late model, it was
learnt by then.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from torch import Tensor
from transformer_lens import HookedTransformer

from pythia_traj.bench import CONTROLS, Part, TaskBench, add_effect
from pythia_traj.data.prompts import BoundTaskPrompts, TaskPrompts
from pythia_traj.data.tasks.prompt import PromptKind, TaskBatch
from pythia_traj.engines.ablation import Named
from pythia_traj.engines.patching import transplanted
from pythia_traj.experiment import (
    COMMA_SEPARATED,
    Passes,
    ReferenceModels,
    Shape,
    experiment,
)
from pythia_traj.processing import RAW
from pythia_traj.values import Key, Rows

KINDS: tuple[PromptKind, ...] = ("clean", "shuffled")
"""Of prompts that the task is asked on."""

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
    return (Passes(1, 1) + each * len(references)) * (len(KINDS) * prompts.n)


@experiment(
    version=2,
    cites="Wang et al. 2023",
    data=TaskPrompts(),
    processing=RAW,
    items=True,
    softmax=True,
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
    bench = TaskBench(model, prompts.batches, _ITEMS_AT_ONCE)
    for kind in KINDS:
        own = bench.add_baseline(rows, kind, metric).astype(np.float64)
        for reference in references:
            # The first step has no `previous`.
            if reference not in reference_models:
                continue
            donor = TaskBench(reference_models[reference], prompts.batches, _ITEMS_AT_ONCE)
            key = Key("transplant", control=CONTROLS[kind], target=metric, reference=reference)
            rows.add_items(key, donor.baseline(kind)[metric] - own, bench.design)
            for (component, layer, head), values in _transplanted(
                bench, donor, kind, metric
            ).items():
                tested = replace(key, component=component, layer=layer, head=head)
                add_effect(rows, tested, values - own, bench.design)
    return rows


def _transplanted(
    bench: TaskBench[TaskBatch], donor: TaskBench[TaskBatch], kind: PromptKind, metric: str
) -> dict[Named, np.ndarray]:
    """The metric with each of the donor's components in place [item]."""

    def measured(part: Part[TaskBatch]) -> dict[Named, Tensor]:
        base = bench.keep(part, kind)
        found = transplanted(bench.model, donor.model, base, part.question)
        return {what: scores[metric] for what, scores in found.items()}

    return bench.over(measured)
