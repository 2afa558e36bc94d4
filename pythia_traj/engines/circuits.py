"""Circuits: what a model does when only some of its edges carry the clean prompt.

All other edges carry the corrupted one. Layer by layer, each reader reads the corrupted pass's
stream. The senders that the circuit connects it with add to that stream what they write now minus
what they wrote in the corrupted pass. With all edges this is the clean pass, with none the
corrupted one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from pythia_traj.engines.answers import at_least_single
from pythia_traj.engines.edges import (
    EdgeScores,
    EdgeSet,
    Graph,
    Twins,
    items_at_once,
    memory_budget,
)
from pythia_traj.engines.kept import Batches, Hooks, KeptPass, Stream, keep_pass, keeping, score
from pythia_traj.engines.means import Design, Mean
from pythia_traj.engines.ratios import guarded_ratio
from pythia_traj.engines.streams import stream

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

PerItem = Float[Tensor, " item"]


def ranked(scores: EdgeScores, exists: EdgeSet) -> Tensor:
    """The edges by falling absolute score, as numbers in the flattened table [edge].

    They are on the CPU; of equal scores the smaller number comes first.
    """
    numbers = exists.flatten().nonzero().squeeze(-1)
    order = scores.detach().cpu().abs().flatten()[numbers].argsort(descending=True, stable=True)
    return numbers[order]


def at_random(exists: EdgeSet, seed: int, number: int = 0) -> Tensor:
    """The edges in one of several random orders, numbered as in `ranked`.

    The order is the same for every model of this shape.
    """
    numbers = exists.flatten().nonzero().squeeze(-1)
    order = stream(seed, "random circuits", number).permutation(len(numbers))
    return numbers[torch.from_numpy(order)]


def first(ranking: Tensor, size: int, graph: Graph) -> EdgeSet:
    """The first edges of a ranking."""
    edges = torch.zeros(graph.n_senders * graph.n_readers, dtype=torch.bool)
    edges[ranking[:size]] = True
    return edges.view(graph.n_senders, graph.n_readers)


def pruned(edges: EdgeSet, graph: Graph) -> EdgeSet:
    """The edges on a path from the embedding to the logits.

    No other edge of a circuit can make a difference.
    """
    owners, n = graph.owners(), graph.n_senders
    between = torch.zeros(n, n + 1).index_add_(1, owners, edges.float()) > 0
    reached, reaches = torch.zeros(n, dtype=torch.bool), torch.zeros(n + 1, dtype=torch.bool)
    reached[0] = reaches[n] = True
    for node in range(1, n):
        reached[node] = (between[:node, node] & reached[:node]).any()
    for node in reversed(range(n)):
        reaches[node] = (between[node] & reaches).any()
    return edges & reached[:, None] & reaches[owners]


def jaccard(one: EdgeSet, other: EdgeSet) -> float:
    """Edges in both over edges in either, 0..1."""
    return float((one & other).sum() / (one | other).sum())


def expected_jaccard(size: int, n_edges: int) -> float:
    """The Jaccard index of sets of a size that share as many edges as random ones on average."""
    return size / (2 * n_edges - size)


@dataclass
class CircuitEvaluator:
    """Items on which circuits of one model are evaluated.

    The corrupted passes are kept from one circuit to the next as far as the budget reaches, and
    made again beyond it.

    Attributes:
        metric: what M is: a key of `kept.score`.
        budget: bytes for a batch's activations, and as many for kept passes; None means the default
            of `items_at_once`.
    """

    model: "HookedTransformer"
    twins: Sequence[Twins]
    metric: str
    budget: int | None = None
    _kept: dict[tuple[int, int, int], "_Start"] = field(default_factory=dict)

    def clean(self) -> PerItem:
        """M of the whole model on the clean prompts."""
        return self._over(lambda number, items: self._final(self.twins[number].clean[items]))

    def corrupted(self) -> PerItem:
        """M of the whole model on the corrupted prompts."""
        return self._over(lambda number, items: self._final(self.twins[number].corrupted[items]))

    def circuit(self, edges: EdgeSet) -> PerItem:
        """M of a circuit.

        `edges` is on the CPU: it says what has to be run without waiting for the device.
        """
        live = pruned(edges, Graph.of(self.model))
        return self._over(
            lambda number, items: run_circuit(self.model, live, *self._start(number, items))
        )

    def _final(self, tokens: Tensor) -> Stream:
        final: Tensor = self.model(tokens, stop_at_layer=self.model.cfg.n_layers)
        return final

    def _start(self, number: int, items: slice) -> "_Start":
        key = (number, items.start, items.stop)
        if key in self._kept:
            return self._kept[key]
        pair = self.twins[number]
        corrupted = keep_pass(self.model, pair.corrupted[items])
        embed: Tensor = self.model(pair.clean[items], stop_at_layer=0)
        start = (embed, corrupted)
        budget = memory_budget(embed.device, self.budget)
        if sum(_size(kept) for kept in self._kept.values()) + _size(start) <= budget:
            self._kept[key] = start
        return start

    def _over(self, final: Callable[[int, slice], Stream]) -> PerItem:
        """M of the last streams that `final` makes of the items of one twin, batch by batch."""
        parts: list[Tensor] = []
        for number, pair in enumerate(self.twins):

            def work(items: slice, number: int = number, pair: Twins = pair) -> dict[str, Tensor]:
                asked = pair.part(items).question
                try:
                    return {
                        "M": score(self.model, final(number, items)[:, asked.reads], asked)[
                            self.metric
                        ][0]
                    }
                except torch.OutOfMemoryError:
                    self._kept.clear()
                    raise

            batches = Batches(self.model, pair.clean[:1], pair.question)
            batches.size = items_at_once(self.model, pair, self.budget, with_gradients=False)
            with torch.inference_mode():
                parts.append(batches.over(len(pair.clean), work)["M"])
        return torch.cat(parts)


_Start = tuple[Tensor, KeptPass]
"""The clean prompts' first stream, and the corrupted pass."""


def _size(start: _Start) -> int:
    embed, base = start
    return sum(
        tensor.nbytes
        for tensor in (embed, *base.resid_pre, *base.resid_mid, *base.z, *base.mlp_out)
    )


@torch.inference_mode()
def run_circuit(
    model: "HookedTransformer",
    edges: EdgeSet,
    embed: Float[Tensor, "item pos d_model"],
    corrupted: KeptPass,
) -> Stream:
    """The stream after the last layer, where only the circuit carries the clean prompts' effects.

    Args:
        edges: the circuit, pruned, on the CPU.
        embed: the clean prompts' first stream.
        corrupted: the pass on their twins.
    """
    changes = _Changes(Graph.of(model), edges, at_least_single(embed))
    changes.set(0, at_least_single(embed) - at_least_single(corrupted.resid_pre[0]))
    for layer in range(model.cfg.n_layers):
        attn_change = _run_heads(model, changes, corrupted, layer)
        for head, change in attn_change.items():
            changes.set(changes.graph.written_before(layer) + head, change)
        _run_mlp(model, changes, corrupted, layer)
    final = corrupted.final[None]
    return changes.read(torch.tensor([changes.graph.n_readers - 1]), final)[0]


class _Changes:
    """What each sender of a circuit writes now, minus what it wrote in the corrupted pass.

    It is filled in the order of writing.
    """

    def __init__(self, graph: Graph, edges: EdgeSet, like: Stream) -> None:
        self.graph, self._edges = graph, edges
        self._senders = edges.any(1).nonzero().squeeze(-1)
        self._row = {sender: row for row, sender in enumerate(self._senders.tolist())}
        self._written = like.new_zeros(len(self._row), *like.shape)

    def set(self, sender: int, change: Stream) -> None:
        """Enters a sender, if the circuit uses it."""
        if sender in self._row:
            self._written[self._row[sender]] = change

    def read_by(self, readers: slice) -> Tensor:
        """The readers that the circuit connects with anything, counted from their first."""
        return self._edges[:, readers].any(0).nonzero().squeeze(-1)

    def read(
        self, readers: Tensor, stream: Float[Tensor, "1 item pos d_model"]
    ) -> Float[Tensor, "reader item pos d_model"]:
        """The corrupted stream, with what the circuit brings to each reader added."""
        edges = self._edges[self._senders][:, readers]
        n = int(edges.any(1).nonzero().max()) + 1 if edges.any() else 0
        written = self._written[:n]
        weights = edges[:n].T.to(written.dtype).to(written.device, non_blocking=True)
        change = (weights @ written.flatten(1)).view(len(readers), *written.shape[1:])
        return change.add_(stream).to(stream.dtype)


def _run_heads(
    model: "HookedTransformer", changes: _Changes, corrupted: KeptPass, layer: int
) -> dict[int, Tensor]:
    """What the heads that the circuit changes write now minus what they wrote, by head.

    Queries, keys and values that the circuit reaches are put in the place of the corrupted pass's;
    rotation, mask and softmax are TransformerLens's own.
    """
    block, graph = model.blocks[layer], changes.graph
    hooks: Hooks = []
    heads: set[int] = set()
    for i, (name, W, b) in enumerate(zip("qkv", *_projections(block), strict=True)):
        first_reader = graph.attn_readers(layer).start + i * graph.n_heads
        reached = changes.read_by(slice(first_reader, first_reader + graph.n_heads))
        if not len(reached):
            continue
        read = block.ln1(changes.read(first_reader + reached, corrupted.resid_pre[layer][None]))
        on_device = reached.to(read.device, non_blocking=True)
        made = torch.einsum("hipd,hde->iphe", read, W[on_device]) + b[on_device]
        hooks.append(
            (f"blocks.{layer}.attn.hook_{name}", partial(_put, heads=on_device, made=made))
        )
        heads |= set(reached.tolist())
    if not heads:
        return {}
    own = block.ln1(corrupted.resid_pre[layer])
    with model.hooks(fwd_hooks=hooks), keeping([block.attn.hook_z]) as kept:
        block.attn(own, own, own)
    change = at_least_single(kept[0]) - at_least_single(corrupted.z[layer])
    return {
        head: change[:, :, head] @ at_least_single(block.attn.W_O[head]) for head in sorted(heads)
    }


def _projections(block: Any) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    attn = block.attn
    return (attn.W_Q, attn.W_K, attn.W_V), (attn.b_Q, attn.b_K, attn.b_V)


def _put(activation: Tensor, hook: Any, heads: Tensor, made: Tensor) -> Tensor:
    return activation.index_copy(2, heads, made)


def _run_mlp(
    model: "HookedTransformer", changes: _Changes, corrupted: KeptPass, layer: int
) -> None:
    """Enters what the MLP writes now minus what it wrote, if the circuit changes what it reads."""
    block, reader = model.blocks[layer], changes.graph.mlp_reader(layer)
    reached = changes.read_by(slice(reader, reader + 1))
    if not len(reached):
        return
    before = corrupted.resid_mid[layer] if corrupted.resid_mid else corrupted.resid_pre[layer]
    made = block.apply_mlp(block.ln2(changes.read(reader + reached, before[None])[0]))
    changes.set(
        changes.graph.mlp(layer), at_least_single(made) - at_least_single(corrupted.mlp_out[layer])
    )


def normalised(
    circuit: PerItem, full: PerItem, corrupted: PerItem, design: Design | None = None
) -> Mean:
    """(M(circuit) - M(corrupted)) / (M(full) - M(corrupted)).

    It is 1 for the whole model, 0 for none of it.
    """
    return guarded_ratio(
        (circuit - corrupted).cpu().numpy(),
        (full - corrupted).cpu().numpy(),
        "M(full) - M(corrupted)",
        design=design,
    )


def ratio(circuit: PerItem, full: PerItem, metric: str, design: Design | None = None) -> Mean:
    """M(circuit) / M(full).

    It is not defined where M(full) is not positive, nor for a loss, because a circuit's loss does
    not start from 0.
    """
    if metric == "nll":
        return Mean(None, reason="a ratio of losses means nothing")
    return guarded_ratio(
        circuit.cpu().numpy(), full.cpu().numpy(), "M(full)", positive=True, design=design
    )


PRECISION = 0.02
"""The relative precision to which a circuit's size is found."""


@dataclass(frozen=True)
class Size:
    """How many edges of a ranking are needed.

    Attributes:
        edges: the first size that is faithful enough; None where no size of the grid is, and
            `reason` says so.
        falls: how often the curve over the grid falls below the threshold again after its first
            crossing.
    """

    edges: int | None
    falls: int | None = None
    reason: str | None = None


def grid_of(sizes: Sequence[int], n_edges: int) -> list[int]:
    """The sizes that have enough edges, ascending.

    A grid that goes beyond them ends with all edges.
    """
    return sorted({min(size, n_edges) for size in sizes})


def smallest_size(
    faithfulness: Callable[[int], float], grid: Sequence[int], threshold: float
) -> Size:
    """The first size of an ascending grid that reaches the threshold, refined by bisection.

    The bisection is between it and the one before it. The curve need not rise everywhere: what is
    found is a crossing inside the first bracket that has one.
    """
    values = [faithfulness(size) for size in grid]
    enough = [value >= threshold for value in values]
    if not any(enough):
        return Size(None, reason=f"censored: no size up to {grid[-1]} edges reaches {threshold:g}")
    start = enough.index(True)
    falls = sum(before and not after for before, after in pairwise(enough[start:]))
    low, high = (grid[start - 1] if start else 0), grid[start]
    while high - low > max(1, PRECISION * high):
        middle = (low + high) // 2
        low, high = (low, middle) if faithfulness(middle) >= threshold else (middle, high)
    return Size(high, falls)
