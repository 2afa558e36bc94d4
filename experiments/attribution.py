"""Which edges carry a task, how many of them are enough, and are they those of another step?

Edges are scored on one half of the items, circuits are measured on the other: half of every kind of
item a task has in turn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le, MinLen
from torch import Tensor
from transformer_lens import HookedTransformer

from pythia_traj.bench import TaskBench, add_effect
from pythia_traj.data.prompts import BoundTaskPrompts, HalvedTaskPrompts
from pythia_traj.data.tasks.prompt import EVALUATION, SELECTION, PromptKind, TaskBatch
from pythia_traj.engines.circuits import (
    CircuitEvaluator,
    Size,
    at_random,
    expected_jaccard,
    first,
    grid_of,
    jaccard,
    normalised,
    pruned,
    ranked,
    ratio,
    smallest_size,
)
from pythia_traj.engines.edges import Attribution, Graph, Twins, attribute, fractions
from pythia_traj.engines.ratios import Ratio
from pythia_traj.errors import DataError
from pythia_traj.experiment import (
    COMMA_SEPARATED,
    Count,
    Passes,
    ReferenceModels,
    Shape,
    experiment,
)
from pythia_traj.schema import Column
from pythia_traj.values import Key, Rows

RANDOM = "random"
"""The control that circuits have: others of the same size, whose edges are drawn at random."""

EDGES = (
    Column("method", "dictionary", False, "how it was scored: the variant of the unit's rows"),
    Column("sender", "dictionary", False, "where the edge begins: embed, head or mlp"),
    Column("sender_layer", "int16", True, "layer of the sender; null for embed"),
    Column("sender_head", "int16", True, "head of the sender, where it is one"),
    Column("reader", "dictionary", False, "where it ends: q, k or v of a head, mlp, logits"),
    Column("layer", "int16", True, "layer of the reader; null for logits"),
    Column("head", "int16", True, "head of the reader, where it is of one"),
    Column(
        "score",
        "float32",
        False,
        "approximate change of the metric where what the sender adds to what the reader reads is"
        " taken from the other prompt; the mean over the items of selection",
    ),
    Column("rank", "int32", False, "place by absolute score among all edges, from 1"),
)
"""Columns of `tables/edges/`: a row for each edge, the largest absolute scores first."""

SEED = 0
"""Seed of the random order of edges for the control's circuits: the same order at all steps."""


def passes(
    shape: Shape,
    prompts: BoundTaskPrompts,
    *,
    method: str,
    points: int,
    sizes: Sequence[int],
    references: Sequence[str],
    **_: object,
) -> Passes:
    """Two kept passes and one with gradients a point for each attribution.

    A circuit counts as a pass; there are six more of them in the bisection.
    """
    attributions = Passes(2 + 3 * (points if method == "eap_ig" else 1), 3) * (2 + len(references))
    circuits = Passes(1, 1) * (2 * (len(sizes) + 1 + 6) + len(references))
    return (attributions + circuits + Passes(3, 2)) * ((prompts.n + 1) / 2)


@experiment(
    version=2,
    cites="Hanna et al. 2024",
    data=HalvedTaskPrompts(n=32),
    items=True,
    softmax=True,
    tables={"edges": EDGES},
    passes=passes,
)
def attribution(
    model: HookedTransformer,
    prompts: BoundTaskPrompts,
    reference_models: ReferenceModels,
    *,
    method: Literal["eap", "eap_denoising", "eap_ig"] = "eap_ig",
    points: Count = 5,
    grid: Literal["midpoint", "endpoint"] = "midpoint",
    metric: Literal["task", "logit_diff", "prob_diff", "nll"] = "task",
    sizes: Annotated[tuple[Count, ...], MinLen(1), COMMA_SEPARATED] = (
        10,
        20,
        50,
        100,
        200,
        500,
        1000,
        2000,
        5000,
    ),
    threshold: Annotated[float, Ge(0), Le(1)] = 0.8,
    circuit: Count = 200,
    edges: Count = 5000,
    references: Annotated[tuple[str, ...], COMMA_SEPARATED] = (),
) -> Rows:
    """Attribution patching of nodes and edges, and the circuit they make, here and at other steps.

    A circuit is judged by how faithful it is, and by how it fares at other steps. `attribution` is
    the approximate effect of replacing a node's output, `tables/edges` has the same for edges;
    `faithfulness_normalised` and `faithfulness_ratio` are what circuits of `size` edges keep of the
    metric, `circuit_size` is how many it takes. Rows with a `reference` are of that step's circuit
    at this one. The control `shuffled` attributes the prompts' tokens in random order, `random` are
    circuits of random edges; all of these have the method as `variant`. The metric without one is
    that of the whole model, with the control `corrupted` on the corrupted prompts. Edges are chosen
    on half of the prompts, circuits measured on the other half.

    Args:
        method: eap_ig averages gradients between the prompts' embeddings, eap takes that of the
            clean, eap_denoising of the corrupted ones.
        points: of eap_ig.
        grid: midpoint, or endpoint as published.
        metric: what circuits are judged by; task is the task's own.
        sizes: the grid of circuit sizes, in edges; it ends with all edges where there are fewer.
        threshold: the normalised faithfulness that is enough for circuit_size.
        circuit: edges of the circuit that is compared with those of references.
        edges: how many go into the table, from the largest absolute score down.
        references: steps whose circuits are evaluated at this one: init, final, previous, step:512.
    """
    plan = _Plan(
        prompts,
        prompts.metric if metric == "task" else metric,
        method,
        fractions(method, points, grid),
    )
    rows, graph = Rows(), Graph.of(model)
    found = plan.attribution(model)
    ranking = ranked(found.edges, graph.exists())
    shuffled = plan.attribution(model, "shuffled")
    for control, scores in ((None, found), ("shuffled", shuffled)):
        key = Key("attribution", method, control=control)
        _add_attribution(rows, key, scores, graph, plan.bench(model, SELECTION).order)
    _add_table(rows, method, found, graph, ranking[:edges])
    measured = _Circuits(
        rows, plan, model, {None: ranking, RANDOM: at_random(graph.exists(), SEED)}
    )
    for control in measured.rankings:
        measured.add_sizes(control, sizes, threshold, also=circuit)
    for name in references:
        other = reference_models.once(name, plan.attribution) if name in reference_models else None
        measured.add_transfer(name, circuit, other)
    return rows


@dataclass(frozen=True)
class _Plan:
    """What is asked of which items, and how edges are scored.

    It is the same for every model it is asked of.
    """

    prompts: BoundTaskPrompts
    metric: str
    method: str
    at: tuple[float, ...]

    def attribution(self, model: HookedTransformer, kind: PromptKind = "clean") -> Attribution:
        """Scores on the items of selection.

        In denoising, the clean prompts' activations are what is put in.
        """
        twins = _twins(self.bench(model, SELECTION), kind)
        twins = [pair.turned() for pair in twins] if self.method == "eap_denoising" else twins
        return attribute(model, twins, self.metric, self.at)

    def bench(self, model: HookedTransformer, half: int) -> TaskBench[TaskBatch]:
        """A half of the items on a model, those of one length together."""
        bench = TaskBench(model, self.prompts.batches, half=half)
        if not bench.parts:
            raise DataError(
                "attribution chooses edges on one half of the items:"
                f" {self.prompts.n} cannot be halved"
            )
        return bench


def _twins(bench: TaskBench[TaskBatch], kind: PromptKind = "clean") -> list[Twins]:
    """Prompts of one kind, each with its corrupted one."""
    return [
        Twins(part.tokens(kind), part.tokens("corrupted"), part.question) for part in bench.parts
    ]


def _add_attribution(
    rows: Rows, key: Key, found: Attribution, graph: Graph, order: np.ndarray
) -> None:
    """Nodes, and how far the edges of the embedding are from adding up to the whole effect."""
    nodes, effect = found.nodes.cpu()[order], (found.other - found.own).cpu()[order]
    for place, values in zip(graph.senders(), nodes.T.numpy(), strict=True):
        node = replace(key, component=place.name, layer=place.layer, head=place.head)
        add_effect(rows, node, values)
    embed_edges = float(found.edges[0].sum())
    rows.add(replace(key, metric="embed_edges"), embed_edges, n=len(effect))
    rows.add_items(replace(key, metric="effect"), effect.numpy())
    rows.add(
        replace(key, metric="completeness_gap"),
        embed_edges - float(effect.double().mean()),
        n=len(effect),
    )


def _add_table(rows: Rows, method: str, found: Attribution, graph: Graph, ranking: Tensor) -> None:
    senders, readers = graph.senders(), graph.readers()
    ends = [(senders[i // graph.n_readers], readers[i % graph.n_readers]) for i in ranking.tolist()]
    columns = {
        "method": [method] * len(ends),
        "sender": [sender.name for sender, _ in ends],
        "sender_layer": [sender.layer for sender, _ in ends],
        "sender_head": [sender.head for sender, _ in ends],
        "reader": [reader.name for _, reader in ends],
        "layer": [reader.layer for _, reader in ends],
        "head": [reader.head for _, reader in ends],
        "score": found.edges.cpu().flatten()[ranking].tolist(),
        "rank": list(range(1, len(ends) + 1)),
    }
    rows.table("edges", columns)


class _Circuits:
    """Circuits measured on the items of evaluation, as rows.

    They are of the edges' own ranking, None, and of a control's. No circuit of a ranking is run
    twice.
    """

    def __init__(
        self,
        rows: Rows,
        plan: _Plan,
        model: HookedTransformer,
        rankings: Mapping[str | None, Tensor],
    ) -> None:
        self.rankings = rankings
        self._rows, self._metric, self._graph = rows, plan.metric, Graph.of(model)
        self._method = plan.method
        bench = plan.bench(model, EVALUATION)
        self._evaluator = CircuitEvaluator(model, _twins(bench), plan.metric)
        self._order, self._known = bench.order, dict[tuple[str | None, int], Tensor]()
        self._full, self._corrupted = (
            self._in_order(self._evaluator.clean()),
            self._in_order(self._evaluator.corrupted()),
        )
        for control, values in ((None, self._full), ("corrupted", self._corrupted)):
            rows.add_items(Key(plan.metric, control=control), values.numpy())

    def add_sizes(
        self, control: str | None, sizes: Sequence[int], threshold: float, also: int
    ) -> None:
        """Circuits of the grid's sizes and of one more size, and how many edges are enough."""
        grid = grid_of(sizes, len(self.rankings[control]))
        for size in sorted({*grid, self._cut(also)}):
            values, key = self._values(control, size), self._key(control, size=size)
            self._rows.add_items(key, values.numpy())
            self._rows.add_ratio(
                replace(key, metric="faithfulness_normalised"), self._normalised(values)
            )
            self._rows.add_ratio(
                replace(key, metric="faithfulness_ratio"), ratio(values, self._full, self._metric)
            )
            self._rows.add(replace(key, metric="edges_left"), self._edges_left(control, size))
        self._add_smallest(control, grid, threshold)

    def _add_smallest(self, control: str | None, grid: Sequence[int], threshold: float) -> None:
        def faithfulness(size: int) -> float:
            return self._normalised(self._values(control, size)).value or 0.0

        # Whether it is defined is a matter of the items, not of the circuit.
        reason = self._normalised(self._full).reason
        found = (
            Size(None, reason=reason) if reason else smallest_size(faithfulness, grid, threshold)
        )
        keys = [
            replace(self._key(control), metric=name)
            for name in ("circuit_size", "edges_left", "circuit_falls")
        ]
        if found.edges is None:
            for key in keys:
                self._rows.undefined(key, found.reason or "")
            return
        values = (found.edges, self._edges_left(control, found.edges), found.falls or 0)
        for key, value in zip(keys, values, strict=True):
            self._rows.add(key, value, n=len(self._full))

    def add_transfer(self, name: str, size: int, other: Attribution | None) -> None:
        """A reference's circuit of this size here, and how much of it is this model's own."""
        size = self._cut(size)
        keys = {control: self._key(control, reference=name) for control in (None, RANDOM)}
        if other is None:
            for metric in ("transfer_faithfulness", "jaccard"):
                for key in keys.values():
                    self._rows.undefined(
                        replace(key, metric=metric), "there is no such reference at this step"
                    )
            return
        own = self._circuit(self.rankings[None], size)
        theirs = self._circuit(ranked(other.edges, self._graph.exists()), size)
        for control, values in ((None, self._run(theirs)), (RANDOM, self._values(RANDOM, size))):
            self._rows.add_items(keys[control], values.numpy())
            self._rows.add_ratio(
                replace(keys[control], metric="transfer_faithfulness"), self._normalised(values)
            )
        at_chance = expected_jaccard(size, len(self.rankings[None]))
        for control, value in ((None, jaccard(own, theirs)), (RANDOM, at_chance)):
            self._rows.add(replace(keys[control], metric="jaccard"), value)

    def _key(
        self, control: str | None, *, size: int | None = None, reference: str | None = None
    ) -> Key:
        """That of the metric on a circuit, of which those of the other metrics are made."""
        return Key(self._metric, self._method, control=control, size=size, reference=reference)

    def _normalised(self, values: Tensor) -> Ratio:
        return normalised(values, self._full, self._corrupted)

    def _values(self, control: str | None, size: int) -> Tensor:
        if (control, size) not in self._known:
            self._known[control, size] = self._run(self._circuit(self.rankings[control], size))
        return self._known[control, size]

    def _run(self, edges: Tensor) -> Tensor:
        return self._in_order(self._evaluator.circuit(edges))

    def _circuit(self, ranking: Tensor, size: int) -> Tensor:
        return first(ranking, size, self._graph)

    def _edges_left(self, control: str | None, size: int) -> int:
        return int(pruned(self._circuit(self.rankings[control], size), self._graph).sum())

    def _cut(self, size: int) -> int:
        return min(size, *(len(ranking) for ranking in self.rankings.values()))

    def _in_order(self, values: Tensor) -> Tensor:
        return values.cpu()[self._order]
