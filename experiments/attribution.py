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
from pythia_traj.engines.means import Mean
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

Ranking = int | None
"""Which order of the edges: None by their scores, or the number of a random one."""

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
"""Seed of the random orders of edges for the control's circuits: the same orders at all steps."""


def passes(
    shape: Shape,
    prompts: BoundTaskPrompts,
    *,
    method: str,
    points: int,
    sizes: Sequence[int],
    controls: int,
    references: Sequence[str],
    **_: object,
) -> Passes:
    """Two kept passes and one with gradients a point for each attribution.

    A circuit counts as a pass; of each ranking there are six more of them in the bisection.
    """
    attributions = Passes(2 + 3 * (points if method == "eap_ig" else 1), 3) * (2 + len(references))
    circuits = Passes(1, 1) * ((1 + controls) * (len(sizes) + 1 + 6) + len(references))
    half = max(
        sum((batch.half == which).sum() for batch in prompts.batches)
        for which in (SELECTION, EVALUATION)
    )
    return (attributions + circuits + Passes(3, 2)) * float(half)


def check(_shape: Shape, prompts: BoundTaskPrompts, **_: object) -> None:
    """Refuses prompts of which one half would be empty."""
    halves = {int(half) for batch in prompts.batches for half in batch.half}
    if halves != {SELECTION, EVALUATION}:
        raise DataError(
            f"edges are chosen on one half of the items: {prompts.n} cannot be halved: set n"
            " higher, or give a task with more items"
        )


@experiment(
    version=2,
    cites="Hanna et al. 2024",
    data=HalvedTaskPrompts(),
    items=True,
    softmax=True,
    tables={"edges": EDGES},
    passes=passes,
    check=check,
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
    controls: Count = 5,
    references: Annotated[tuple[str, ...], COMMA_SEPARATED] = (),
) -> Rows:
    """Attribution patching of nodes and edges, and the circuit they make, here and at other steps.

    A circuit is judged by how faithful it is, and by how it fares at other steps. `attribution` is
    the approximate effect of replacing a node's output, `tables/edges` has the same for edges;
    `faithfulness_normalised` and `faithfulness_ratio` are what circuits of `size` edges keep of the
    metric, `circuit_size` is how many it takes. Rows with a `reference` are of that step's circuit
    at this one. The control `shuffled` attributes the prompts' tokens in random order. The control
    `random` is the mean over circuits of random edges, `n` of them, with their spread under the
    metric's name and `_sd`; `faithfulness_normalised_rank` and `transfer_faithfulness_rank` are the
    circuit's place among them, 1 where it is more faithful than each. All of these have the method
    as `variant`. The metric without one is that of the whole model, with the control `corrupted` on
    the corrupted prompts. Edges are chosen on half of the prompts, circuits measured on the other
    half.

    Args:
        method: eap_ig averages gradients between the prompts' embeddings, eap takes that of the
            clean, eap_denoising of the corrupted ones.
        points: of eap_ig.
        grid: midpoint, or endpoint: k/m of the way from the corrupted to the clean prompt with k =
            1..m, the clean one among them, as in the code that Hanna et al. 2024 used; since
            February 2025 that code has k = 0..m-1, the corrupted one among them.
        metric: what circuits are judged by; task is the task's own.
        sizes: the grid of circuit sizes, in edges; it ends with all edges where there are fewer.
        threshold: the normalised faithfulness that is enough for circuit_size.
        circuit: edges of the circuit that is compared with those of references.
        edges: how many go into the table, from the largest absolute score down.
        controls: random orders of the edges, each with circuits of all sizes; few, since each takes
            as many passes as the circuits that are tested.
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
        _add_attribution(rows, key, scores, graph, plan.bench(model, SELECTION))
    _add_table(rows, method, found, graph, ranking[:edges])
    drawn = [at_random(graph.exists(), SEED, number) for number in range(controls)]
    measured = _Circuits(rows, plan, model, {None: ranking, **dict(enumerate(drawn))})
    measured.add_sizes(sizes, threshold, also=circuit)
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
        return TaskBench(model, self.prompts.batches, half=half)


def _twins(bench: TaskBench[TaskBatch], kind: PromptKind = "clean") -> list[Twins]:
    """Prompts of one kind, each with its corrupted one."""
    return [
        Twins(part.tokens(kind), part.tokens("corrupted"), part.question) for part in bench.parts
    ]


def _add_attribution(
    rows: Rows, key: Key, found: Attribution, graph: Graph, bench: TaskBench[TaskBatch]
) -> None:
    """Nodes, and how far the edges of the embedding are from adding up to the whole effect."""
    nodes, effect = (one.cpu()[bench.order] for one in (found.nodes, found.other - found.own))
    for place, values in zip(graph.senders(), nodes.T.numpy(), strict=True):
        node = replace(key, component=place.name, layer=place.layer, head=place.head)
        add_effect(rows, node, values, bench.design)
    embed_edges = float(found.edges[0].sum())
    rows.add(replace(key, metric="embed_edges"), embed_edges, n=len(effect))
    rows.add_items(replace(key, metric="effect"), effect.numpy(), bench.design)
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

    They are of the edges' own ranking, beside the mean and the spread of those of random ones. No
    circuit of a ranking is run twice.
    """

    def __init__(
        self,
        rows: Rows,
        plan: _Plan,
        model: HookedTransformer,
        rankings: Mapping[Ranking, Tensor],
    ) -> None:
        self._rankings = rankings
        self._rows, self._metric, self._graph = rows, plan.metric, Graph.of(model)
        self._method = plan.method
        bench = plan.bench(model, EVALUATION)
        self._evaluator = CircuitEvaluator(model, _twins(bench), plan.metric)
        self._order, self._design = bench.order, bench.design
        self._known: dict[tuple[Ranking, int], Tensor] = {}
        self._full, self._corrupted = (
            self._in_order(self._evaluator.clean()),
            self._in_order(self._evaluator.corrupted()),
        )
        for control, values in ((None, self._full), ("corrupted", self._corrupted)):
            rows.add_items(Key(plan.metric, control=control), values.numpy(), self._design)

    def add_sizes(self, sizes: Sequence[int], threshold: float, also: int) -> None:
        """Circuits of the grid's sizes and of one more size, and how many edges are enough."""
        grid = grid_of(sizes, len(self._rankings[None]))
        for size in sorted({*grid, self._cut(also)}):
            key = self._key(size=size)
            values = [self._values(ranking, size) for ranking in self._rankings]
            self._add_faithfulness(key, "faithfulness_normalised", values)
            self._add_ratios(
                replace(key, metric="faithfulness_ratio"),
                [ratio(one, self._full, self._metric, self._design) for one in values],
            )
            own, *drawn = (self._edges_left(ranking, size) for ranking in self._rankings)
            left = replace(key, metric="edges_left")
            self._rows.add(left, own)
            self._rows.add_draws(replace(left, control=RANDOM), drawn)
        self._add_smallest(grid, threshold)

    def add_transfer(self, name: str, size: int, other: Attribution | None) -> None:
        """A reference's circuit of this size here, and how much of it is this model's own."""
        size, key = self._cut(size), self._key(reference=name)
        share = replace(key, metric="jaccard")
        if other is None:
            for one in (share, replace(key, metric="transfer_faithfulness")):
                for control in (None, RANDOM):
                    self._rows.undefined(
                        replace(one, control=control), "there is no such reference at this step"
                    )
            return
        own = self._circuit(None, size)
        theirs = first(ranked(other.edges, self._graph.exists()), size, self._graph)
        drawn = [self._values(ranking, size) for ranking in self._rankings if ranking is not None]
        self._add_faithfulness(key, "transfer_faithfulness", [self._run(theirs), *drawn])
        self._rows.add(share, jaccard(own, theirs))
        at_chance = expected_jaccard(size, len(self._rankings[None]))
        self._rows.add(replace(share, control=RANDOM), at_chance)

    def _add_faithfulness(self, key: Key, name: str, values: Sequence[Tensor]) -> None:
        """The metric of a circuit and of random ones [item], and how faithful they are."""
        self._rows.add_items(key, values[0].numpy(), self._design)
        drawn = np.stack([one.double().numpy() for one in values[1:]])
        self._rows.add_draws(replace(key, control=RANDOM), drawn, self._design)
        key = replace(key, metric=name)
        shares = [self._normalised(one) for one in values]
        self._add_ratios(key, shares)
        own, *others = (share.value for share in shares)
        if own is None:
            self._rows.undefined(replace(key, metric=f"{name}_rank"), shares[0].reason or "")
        else:
            as_good = sum(other is not None and other >= own for other in others)
            self._rows.add_rank(key, as_good, len(others))

    def _add_ratios(self, key: Key, found: Sequence[Mean]) -> None:
        """Those of a circuit, and of random ones.

        Whether they have a value is a matter of the denominator, which all of them share.
        """
        self._rows.add_found(key, found[0])
        control = replace(key, control=RANDOM)
        defined = [one.value for one in found[1:] if one.value is not None]
        if len(defined) < len(found) - 1:
            self._rows.undefined(control, found[1].reason or "")
        else:
            self._rows.add_draws(control, defined)

    def _add_smallest(self, grid: Sequence[int], threshold: float) -> None:
        """How many edges are enough, of this ranking and of random ones."""
        found = {ranking: self._smallest(ranking, grid, threshold) for ranking in self._rankings}
        of_each = {
            ranking: (size.edges, self._edges_left(ranking, size.edges), size.falls or 0)
            for ranking, size in found.items()
            if size.edges is not None
        }
        drawn = [values for ranking, values in of_each.items() if ranking is not None]
        n = len(self._rankings) - 1
        for i, metric in enumerate(("circuit_size", "edges_left", "circuit_falls")):
            key = replace(self._key(), metric=metric)
            if None in of_each:
                self._rows.add(key, of_each[None][i], n=len(self._full))
            else:
                self._rows.undefined(key, found[None].reason or "")
            control = replace(key, control=RANDOM)
            if len(drawn) == n:
                self._rows.add_draws(control, [values[i] for values in drawn])
            else:
                reason = next(one.reason for one in [*found.values()][1:] if one.edges is None)
                which = f"{n - len(drawn)} of {n} random orders: " if drawn else ""
                self._rows.undefined(control, f"{which}{reason}")

    def _smallest(self, ranking: Ranking, grid: Sequence[int], threshold: float) -> Size:
        def faithfulness(size: int) -> float:
            return self._normalised(self._values(ranking, size)).value or 0.0

        # Whether it is defined is a matter of the items, not of the circuit.
        whole = self._normalised(self._full)
        if whole.value is None:
            return Size(None, reason=whole.reason)
        return smallest_size(faithfulness, grid, threshold)

    def _key(self, *, size: int | None = None, reference: str | None = None) -> Key:
        """That of the metric on a circuit, of which those of the other metrics are made."""
        return Key(self._metric, self._method, size=size, reference=reference)

    def _normalised(self, values: Tensor) -> Mean:
        return normalised(values, self._full, self._corrupted, self._design)

    def _values(self, ranking: Ranking, size: int) -> Tensor:
        if (ranking, size) not in self._known:
            self._known[ranking, size] = self._run(self._circuit(ranking, size))
        return self._known[ranking, size]

    def _run(self, edges: Tensor) -> Tensor:
        return self._in_order(self._evaluator.circuit(edges))

    def _circuit(self, ranking: Ranking, size: int) -> Tensor:
        return first(self._rankings[ranking], size, self._graph)

    def _edges_left(self, ranking: Ranking, size: int) -> int:
        return int(pruned(self._circuit(ranking, size), self._graph).sum())

    def _cut(self, size: int) -> int:
        return min(size, len(self._rankings[None]))

    def _in_order(self, values: Tensor) -> Tensor:
        return values.cpu()[self._order]
