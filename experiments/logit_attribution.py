"""Which parts of the model write the answer? Direct logit attribution on a task, at every step.

Only the direct path is counted, from a part's output through the last LayerNorm to the logits; what
a head does to later layers is not.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from transformer_lens import HookedTransformer

from pythia_traj.bench import CONTROLS, Part, TaskBench, add_effect
from pythia_traj.data.prompts import BoundTaskPrompts, TaskPrompts
from pythia_traj.data.tasks.prompt import PromptKind, TaskBatch
from pythia_traj.engines.direct import (
    answer_direction,
    answer_weights,
    head_terms,
    layer_norm_scale,
    term,
)
from pythia_traj.experiment import Passes, Shape, experiment
from pythia_traj.values import Key, Rows

_ITEMS_AT_ONCE = 64


def passes(shape: Shape, prompts: BoundTaskPrompts, **_: object) -> Passes:
    """One for each kind of prompts."""
    return Passes(1, 1) * (len(CONTROLS) * prompts.n)


@experiment(version=2, cites="Elhage et al. 2021", data=TaskPrompts(), items=True, passes=passes)
def logit_attribution(
    model: HookedTransformer,
    prompts: BoundTaskPrompts,
) -> Rows:
    """Direct contributions of embedding, heads, MLPs and biases to a task's logit difference.

    Rows are in logits, by `component`: `embed`, `head` (layer, head), `attn_bias` (layer), `mlp`
    (layer) and `unembed_bias`; they add up to the row without a component, which is the logit
    difference. Weights are folded and centred, as is customary: without that, single terms mean
    something else. The controls are the same continuations after the corrupted prompts
    (`corrupted`) and after the prompts' tokens in random order (`shuffled`).
    """
    rows = Rows()
    bench = TaskBench(model, prompts.batches, _ITEMS_AT_ONCE)
    for kind in CONTROLS:
        for key, values in bench.over(partial(_by_item, model, kind)).items():
            add_effect(rows, key, values, bench.design)
    return rows


def _by_item(
    model: HookedTransformer, kind: PromptKind, part: Part[TaskBatch]
) -> dict[Key, Tensor]:
    """The terms of a part by key [item], means over the positions that are read."""
    return {
        key: values.reshape(-1, len(part.question.reads)).mean(1)
        for key, values in _terms(model, kind, part)
    }


@torch.inference_mode()
def _terms(
    model: HookedTransformer, kind: PromptKind, part: Part[TaskBatch]
) -> Iterator[tuple[Key, Tensor]]:
    """The terms of a part by key, [item x read] each, and their sum as the model itself has it."""

    def key(component: str | None, layer: int | None = None, head: int | None = None) -> Key:
        return Key(
            "logit_attribution",
            component=component,
            layer=layer,
            head=head,
            control=CONTROLS[kind],
        )

    def read(activation: Tensor) -> Tensor:
        return activation[:, asked.reads].flatten(0, 1)

    asked = part.question
    residual, cache = model.run_with_cache(
        part.tokens(kind),
        stop_at_layer=model.cfg.n_layers,
        names_filter=lambda name: name.endswith(("hook_embed", "hook_z", "hook_mlp_out")),
    )
    final = read(residual)
    candidates, is_right = asked.candidates.flatten(0, 1), asked.is_right.flatten(0, 1)
    logits = model.unembed(model.ln_final(final[:, None]))[:, 0].float()
    direction, scale = (
        answer_direction(model.W_U, candidates, is_right),
        layer_norm_scale(final, model.cfg.eps),
    )
    yield key("embed"), term(read(cache["hook_embed"]), scale, direction)
    for layer in range(model.cfg.n_layers):
        heads = head_terms(read(cache["z", layer]), model.W_O[layer], scale, direction)
        for head in range(model.cfg.n_heads):
            yield key("head", layer, head), heads[:, head]
        yield (
            key("attn_bias", layer),
            term(model.b_O[layer].expand(len(final), -1), scale, direction),
        )
        yield key("mlp", layer), term(read(cache["mlp_out", layer]), scale, direction)
    weights = answer_weights(is_right)
    yield key("unembed_bias"), (model.b_U.float()[candidates] * weights).sum(-1)
    yield key(None), (logits.gather(-1, candidates) * weights).sum(-1)
