"""Which components does a task need?

Every head, attention layer and MLP is removed in turn, and named sets of heads together. Each
effect is the change of the task's metric and of its loss, paired item by item. Beside it stands
what removing other heads of the same layers does: the matched control. Zero ablation gives
activations that a model never has, so it is not a default kind.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge
from pydantic import AfterValidator
from torch import Tensor
from transformer_lens import HookedTransformer

from pythia_traj.bench import CONTROLS, Part, TaskBench, add_effect
from pythia_traj.data.prompts import BoundTaskPrompts, TaskPrompts
from pythia_traj.data.tasks.prompt import EVALUATION, SELECTION, TaskBatch
from pythia_traj.engines import ablations
from pythia_traj.engines.ablation import (
    Components,
    Means,
    checked_name,
    disjoint_sets,
    named_heads,
    one_by_one,
    replaced,
)
from pythia_traj.engines.ablations.kind import AblationKind
from pythia_traj.engines.kept import KeptPass
from pythia_traj.engines.means import Design
from pythia_traj.errors import DataError, nearest
from pythia_traj.experiment import COMMA_SEPARATED, Count, Passes, Shape, experiment
from pythia_traj.folder import defined_in
from pythia_traj.schema import Column
from pythia_traj.values import Key, Rows

_Means = dict[tuple[bool, int], Means]
"""Means of outputs, by whether they are by position, and by batch."""


@cache
def kinds_of_ablation() -> dict[str, AblationKind]:
    """All kinds by name: those that the files of engines.ablations define."""
    return {kind.name: kind for kind in defined_in(ablations, "KIND", AblationKind)}


def _known(kind: str) -> str:
    if kind not in kinds_of_ablation():
        raise ValueError(f"unknown kind {kind!r}: {nearest(kind, kinds_of_ablation())}")
    return kind


Kind = Annotated[str, AfterValidator(_known)]
Component = Literal["head", "attn", "mlp"]

HeadSet = Annotated[str, AfterValidator(checked_name)]

SETS = (
    Column("kind", "dictionary", False, "of removal: the variant of the set's rows"),
    Column("set", "dictionary", False, "the set's name, which is the part of its rows: top3"),
    Column("layer", "int16", False, "layer of one of its heads"),
    Column("head", "int16", False, "that head"),
)
"""Columns of `tables/sets/`: a row for each head of the sets that were chosen here."""

_ITEMS_AT_ONCE = 16


def passes(
    shape: Shape,
    prompts: BoundTaskPrompts,
    *,
    kinds: Sequence[Kind],
    components: Sequence[Component],
    sets: Sequence[str],
    top: int,
    controls: int,
    **_: object,
) -> Passes:
    """Kept passes, and for each target those of the layers above it.

    A set that is chosen later counts as if it had a head in layer 0.
    """
    in_layer = {"head": shape.n_heads, "attn": 1, "mlp": 1}
    targets = sum(in_layer[component] for component in set(components))
    replaced_once = Passes((shape.n_layers - 1) / 2, shape.n_layers) * targets
    whole = len(sets)
    for target in map(named_heads, sets):
        others = disjoint_sets(target, shape.n_heads, controls, seed=0)
        above = (shape.n_layers - 1 - target.layers[0]) / shape.n_layers
        replaced_once += Passes(above, 1) * (1 + len(others))
    if top and "head" in components:
        whole += 1
        replaced_once += Passes((shape.n_layers - 1) / shape.n_layers, 1) * (1 + controls)
    found = Passes(3, 3)
    for kind in kinds:
        found += Passes(kinds_of_ablation()[kind].passes * (1 + whole), 0)
        is_direct = kinds_of_ablation()[kind].direct
        found += Passes(0, replaced_once.reads) if is_direct else replaced_once
    return found * prompts.n


def check(shape: Shape, _prompts: BoundTaskPrompts, *, sets: Sequence[str], **_: object) -> None:
    """Refuses sets with heads that the model lacks."""
    for name in sets:
        heads = named_heads(name).heads
        if any(layer >= shape.n_layers or head >= shape.n_heads for layer, head in heads):
            raise DataError(
                f"set {name}: the model has {shape.n_layers} layers of {shape.n_heads} heads: leave"
                " it out of sets"
            )


@experiment(
    version=2,
    cites="Wang et al. 2023",
    data=TaskPrompts(),
    items=True,
    softmax=True,
    tables={"sets": SETS},
    passes=passes,
    check=check,
)
def ablation(
    model: HookedTransformer,
    prompts: BoundTaskPrompts,
    *,
    kinds: Annotated[tuple[Kind, ...], COMMA_SEPARATED] = ("mean", "resample"),
    components: Annotated[tuple[Component, ...], COMMA_SEPARATED] = ("head", "attn", "mlp"),
    sets: Annotated[tuple[HeadSet, ...], COMMA_SEPARATED] = (),
    top: Annotated[int, Ge(0)] = 3,
    controls: Count = 20,
) -> Rows:
    """Effect on a task of removing heads, attention layers and MLPs, beside matched controls.

    Each head, attention layer and MLP is removed by itself, and sets of heads together. `effect` is
    the metric with the component removed minus the metric as it is, by kind of removal (`variant`),
    for the task's own metric and its `nll` (`target`). Its control `matched` is the same for other
    heads: the mean over sets that have as many heads in each layer and none in common, `n` of them;
    with it their `effect_sd`. `effect_rank` is the real effect's place among them, 1 where it harms
    more than each. An attention layer or MLP has no other of its layer to be matched with. Sets
    have the `component` `set` and their name as `part`; `top3` are the heads that harm most on one
    half of the items, measured on the other; which they are is in the table `sets`. The metrics as
    they are stand under their own names, with the controls `corrupted` and `shuffled` after the
    corrupted and after shuffled prompts.

    Args:
        kinds: of ablation: zero (without b_V and W_V times the LayerNorm's bias, which folding has
            moved out of the head), mean (over items and positions), positional_mean, resample (from
            the corrupted prompt), pattern_preserving (zero, later attention frozen), direct
            (resample, along the path to the logits alone).
        components: what is removed one by one: head, attn (all heads of a layer), mlp.
        sets: heads to be removed together, such as L4H6+L5H1.
        top: so many of the most harmful heads are removed together; 0 for none, or where no head is
            removed alone.
        controls: at most so many sets stand beside a tested one.
    """
    rows = Rows()
    removal = _Removal(model, prompts, rows, controls)
    single = one_by_one(model.cfg.n_layers, model.cfg.n_heads, components)
    named = {name: named_heads(name) for name in sets}
    chosen: dict[str, list[object]] = {"kind": [], "set": [], "layer": [], "head": []}
    for kind in kinds:
        effects = removal.effects(kind, list(single.values()))
        for i, tested in enumerate(single):
            same_layer = [j for j, other in enumerate(single) if other[:2] == tested[:2] and j != i]
            removal.write(Key("effect", kind, *tested), effects[:, i], effects[:, same_layer])
        for name, target in named.items():
            removal.write_set(kind, name, target)
        heads = [i for i, tested in enumerate(single) if tested[0] == "head"]
        if top and heads and (removal.half == EVALUATION).any():
            harm = removal.harm(effects[:, heads][:, :, removal.half == SELECTION].mean(-1))[0]
            most = [
                tuple(single.values())[heads[i]] for i in np.argsort(-harm, kind="stable")[:top]
            ]
            target = Components(frozenset[tuple[int, int]]().union(*(one.heads for one in most)))
            removal.write_set(kind, f"top{top}", target, items=removal.half == EVALUATION)
            for layer, head in sorted(target.heads):
                for column, value in zip(
                    chosen.values(), (kind, f"top{top}", layer, head), strict=True
                ):
                    column.append(value)
    if chosen["kind"]:
        rows.table("sets", chosen)
    return rows


class _Removal:
    """What removing components from a model changes in a task, as rows."""

    def __init__(
        self, model: HookedTransformer, prompts: BoundTaskPrompts, rows: Rows, controls: int
    ) -> None:
        self._bench = TaskBench(model, prompts.batches, _ITEMS_AT_ONCE)
        self._rows, self._controls = rows, controls
        self._metrics = list(dict.fromkeys((prompts.metric, "nll")))
        for prompt in CONTROLS:
            for metric in self._metrics:
                self._bench.add_baseline(rows, prompt, metric)
        clean = self._bench.baseline("clean")
        self._clean = np.stack([clean[metric] for metric in self._metrics])
        self.half = self._bench.half

    def effects(self, kind: Kind, targets: Sequence[Components]) -> np.ndarray:
        """Changes of the metrics with each target removed [metric, target, item]."""
        if not targets:
            return np.empty((len(self._metrics), 0, len(self.half)))
        chosen = kinds_of_ablation()[kind]
        means: _Means = {}

        def removed(part: Part[TaskBatch]) -> dict[Kind, Tensor]:
            base = self._bench.keep(part, "clean", patterns=chosen.frozen_patterns)
            scores = replaced(
                self._bench.model,
                base,
                part.question,
                targets,
                chosen.replacement(_Sources(self._bench, part, base, means)),
                direct=chosen.direct,
                frozen_patterns=chosen.frozen_patterns,
            )
            return {kind: torch.stack([scores[metric] for metric in self._metrics])}

        effects = self._bench.over(removed)[kind]
        effects -= self._clean[:, None]
        return effects

    def harm(self, effects: np.ndarray) -> np.ndarray:
        """Effects [metric, ...] as what grows with harm: a loss does, the other metrics fall."""
        signs = np.array([1.0 if metric == "nll" else -1.0 for metric in self._metrics])
        harm: np.ndarray = effects * signs.reshape(-1, *(1,) * (effects.ndim - 1))
        return harm

    def write_set(
        self, kind: Kind, name: str, target: Components, items: np.ndarray | slice = slice(None)
    ) -> None:
        """Measures a set of heads and its controls, and writes their rows for some of the items."""
        n_heads = self._bench.model.cfg.n_heads
        others = disjoint_sets(target, n_heads, self._controls, seed=0)
        effects = self.effects(kind, [target, *others])[..., items]
        key = Key("effect", kind, "set", part=name)
        self.write(key, effects[:, 0], effects[:, 1:], self._bench.design.part(items))

    def write(
        self, tested: Key, real: np.ndarray, controls: np.ndarray, design: Design | None = None
    ) -> None:
        """The rows of one tested target, under its key and others made of it.

        Its effects [metric, item] stand beside those of its controls [metric, set, item]. `design`
        is that of the items, all of them if not given.
        """
        design = design or self._bench.design
        means = controls.mean(-1)
        worse = (self.harm(means) >= self.harm(real.mean(-1))[:, None]).sum(-1)
        for i, metric in enumerate(self._metrics):
            key = replace(tested, target=metric)
            matched, n = replace(key, control="matched"), means.shape[1]
            add_effect(self._rows, key, real[i], design)
            if n:
                self._rows.add_draws(matched, means[i])
                self._rows.add_rank(key, int(worse[i]), n)
            elif tested.component not in ("attn", "mlp"):
                self._rows.undefined(
                    matched, "there is no other set of as many heads in these layers"
                )


class _Sources:
    """What the outputs of a part's items are replaced by can be made of.

    Args:
        means: of all parts, filled when they are first asked for.
    """

    def __init__(
        self, bench: TaskBench[TaskBatch], part: Part[TaskBatch], clean: KeptPass, means: _Means
    ) -> None:
        self._bench, self._part, self._means = bench, part, means
        self.clean = clean

    def corrupted(self) -> KeptPass:
        return self._bench.keep(self._part, "corrupted")

    def means(self, *, by_position: bool) -> Means:
        wanted = by_position, self._part.batch
        if wanted not in self._means:
            overall = Means(by_position=False)
            for part in self._bench.parts:
                own = Means(by_position) if by_position else overall
                kept = self._bench.keep(part, "clean")
                self._means.setdefault((by_position, part.batch), own).add(kept)
        return self._means[wanted]
