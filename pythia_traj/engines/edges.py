"""Attribution patching: from one gradient, what replacing a node's or edge's output would change.

What is replaced is the output of a node, or what passes along one edge. A node that writes to the
residual stream is a sender: the embedding, each head, each MLP. A reader is a place where the
stream is read: query, key and value of each head, each MLP, the logits. An edge is one sender's
part in what one reader reads. To first order its score is the change of M when only that part comes
from the other prompt (edge attribution patching, Syed et al. 2023):

    score(u -> v) = sum over positions of (z_u other - z_u own) . dM/d(input of v)

With the gradient averaged over points between the two prompts' embeddings it is EAP-IG (Hanna et
al. 2024), and the scores of the edges that leave the embedding then add up to the whole change of
M.

Nodes are in the order in which they write, so a reader always reads the first few of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pythia_traj.engines.answers import at_least_single
from pythia_traj.engines.kept import (
    Batches,
    KeptPass,
    Question,
    Stream,
    bytes_per_row,
    free_cuda_memory,
    keep_pass,
    score,
)

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

EdgeScores = Float[Tensor, "sender reader"]
EdgeSet = Bool[Tensor, "sender reader"]

Method = Literal["eap", "eap_denoising", "eap_ig"]
Grid = Literal["midpoint", "endpoint"]


class Place(NamedTuple):
    """A sender or a reader by name.

    `embed`, `head` and `mlp` write; `q`, `k`, `v`, `mlp` and `logits` read.
    """

    name: str
    layer: int | None = None
    head: int | None = None


@dataclass(frozen=True)
class Graph:
    """Which reader can read which sender; both by number, in the order of writing and reading.

    Attributes:
        parallel: attention and MLP of one layer read the same stream, so neither reads the other.
    """

    n_layers: int
    n_heads: int
    parallel: bool

    @classmethod
    def of(cls, model: "HookedTransformer") -> "Graph":
        """The graph of a model."""
        return cls(model.cfg.n_layers, model.cfg.n_heads, bool(model.cfg.parallel_attn_mlp))

    @property
    def n_senders(self) -> int:
        """The embedding, the heads, the MLPs."""
        return 1 + self.n_layers * (self.n_heads + 1)

    @property
    def n_readers(self) -> int:
        """Three for each head, one for each MLP, the logits as the last."""
        return self.n_layers * (3 * self.n_heads + 1) + 1

    def heads(self, layer: int) -> slice:
        """The senders that are a layer's heads."""
        return slice(self.written_before(layer), self.written_before(layer) + self.n_heads)

    def mlp(self, layer: int) -> int:
        """The sender that is a layer's MLP."""
        return self.written_before(layer) + self.n_heads

    def written_before(self, layer: int) -> int:
        """How many senders a layer's attention reads."""
        return 1 + layer * (self.n_heads + 1)

    def written_before_mlp(self, layer: int) -> int:
        """How many senders a layer's MLP reads.

        Where it comes after attention, the heads of its own layer are among them.
        """
        return self.written_before(layer) + (0 if self.parallel else self.n_heads)

    def attn_readers(self, layer: int) -> slice:
        """A layer's readers of all heads: their queries, then their keys, then their values."""
        start = layer * (3 * self.n_heads + 1)
        return slice(start, start + 3 * self.n_heads)

    def mlp_reader(self, layer: int) -> int:
        """The reader that is a layer's MLP."""
        return layer * (3 * self.n_heads + 1) + 3 * self.n_heads

    def exists(self) -> EdgeSet:
        """Which edges exist, on the CPU."""
        edges = torch.ones(self.n_senders, self.n_readers, dtype=torch.bool)
        for layer in range(self.n_layers):
            edges[self.written_before(layer) :, self.attn_readers(layer)] = False
            edges[self.written_before_mlp(layer) :, self.mlp_reader(layer)] = False
        return edges

    def owners(self) -> Int[Tensor, " reader"]:
        """The sender that each reader belongs to.

        The logits belong to none and get the number after the last.
        """
        return torch.tensor([self._owner(place) for place in self.readers()])

    def _owner(self, place: Place) -> int:
        if place.layer is None:
            return self.n_senders
        return (
            self.mlp(place.layer)
            if place.head is None
            else self.written_before(place.layer) + place.head
        )

    def senders(self) -> list[Place]:
        """Every sender by name, in order."""
        places = [Place("embed")]
        for layer in range(self.n_layers):
            places += [
                *(Place("head", layer, head) for head in range(self.n_heads)),
                Place("mlp", layer),
            ]
        return places

    def readers(self) -> list[Place]:
        """Every reader by name, in order."""
        places: list[Place] = []
        for layer in range(self.n_layers):
            places += [Place(name, layer, head) for name in "qkv" for head in range(self.n_heads)]
            places.append(Place("mlp", layer))
        return [*places, Place("logits")]


@dataclass(frozen=True)
class Twins:
    """Prompts and their twins of the same length, item by item, with what is asked after both."""

    clean: Int[Tensor, "item pos"]
    corrupted: Int[Tensor, "item pos"]
    question: Question

    def part(self, items: slice | Tensor) -> "Twins":
        """Some of the items."""
        asked = self.question
        question = Question(asked.reads, asked.candidates[items], asked.is_right[items])
        return Twins(self.clean[items], self.corrupted[items], question)

    def turned(self) -> "Twins":
        """The same with the two kinds of prompts exchanged."""
        return Twins(self.corrupted, self.clean, self.question)


@dataclass(frozen=True)
class Attribution:
    """First-order approximations of M(replaced) - M(own).

    Attributes:
        edges: the mean over items; 0 without an edge.
        nodes: the change from replacing a sender's output for all readers at once [item, sender].
        own, other: M at the prompts and at those that replace them [item].
    """

    edges: EdgeScores
    nodes: Float[Tensor, "item sender"]
    own: Float[Tensor, " item"]
    other: Float[Tensor, " item"]


def fractions(method: Method, points: int, grid: Grid) -> tuple[float, ...]:
    """Where gradients are taken, as fractions of the way between two prompts' embeddings.

    The way leads from the own prompt to the other one. `midpoint` are the middles of equal parts of
    the way. `endpoint` are ends of those parts, k/m of the way back from the other prompt with k =
    1..m: the own prompt is one of the points, the other one is not. So has it the code that Hanna
    et al. 2024 used; the same repository (hannamw/EAP-IG) has had k = 0..m-1 since February 2025,
    with the other prompt and without the own one.
    """
    if method != "eap_ig":
        return (0.0,)
    return tuple((k + 0.5 * (grid == "midpoint")) / points for k in range(points))


def attribute(
    model: "HookedTransformer",
    twins: Sequence[Twins],
    metric: str,
    at: Sequence[float] = (0.0,),
    budget: int | None = None,
) -> Attribution:
    """Scores of all nodes and edges for replacing clean activations by corrupted ones.

    Args:
        twins: items of one length each.
        metric: what M is: a key of `kept.score`.
        at: fractions of the way between the embeddings at which gradients are taken and averaged.
        budget: bytes for what is held of a batch of items; None means 512 MiB on the CPU, half of
            what is free on CUDA.
    """
    graph = Graph.of(model)
    dtype = torch.promote_types(model.W_E.dtype, torch.float32)
    edges = torch.zeros(graph.n_senders, graph.n_readers, dtype=dtype, device=model.W_E.device)
    parts: list[dict[str, Tensor]] = []
    for pair in twins:

        def work(items: slice, pair: Twins = pair) -> dict[str, Tensor]:
            return _attribute_batch(model, graph, pair.part(items), metric, at, edges)

        batches = Batches(model, pair.clean[:1], pair.question)
        batches.size = items_at_once(model, pair, budget, with_gradients=True)
        parts.append(batches.over(len(pair.clean), work))
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return Attribution(edges / len(joined["own"]), joined["nodes"], joined["own"], joined["other"])


CPU_BUDGET = 512 << 20
"""Bytes held of a batch of items."""


def items_at_once(
    model: "HookedTransformer", twins: Twins, budget: int | None, *, with_gradients: bool
) -> int:
    """How many items fit the budget, with the outputs of all senders and what else a pass keeps.

    It is at least one.
    """
    cfg, graph, length = model.cfg, Graph.of(model), twins.clean.shape[1]
    size = torch.promote_types(cfg.dtype, torch.float32).itemsize
    stream = size * length * cfg.d_model
    held = stream * (graph.n_senders + 12 * cfg.n_heads) + 2 * bytes_per_row(
        model, length, len(twins.question.reads)
    )
    if with_gradients:
        layer = (
            stream * 12
            + 2 * size * length * (cfg.d_mlp or 0)
            + 4 * size * cfg.n_heads * length * length
        )
        held += cfg.n_layers * layer + bytes_per_row(model, length, len(twins.question.reads))
    return max(1, int(memory_budget(twins.clean.device, budget) // held))


def memory_budget(device: torch.device, budget: int | None) -> int:
    """The bytes that were given, or else what the device can spare.

    That is half of what is free on CUDA, and a fixed number elsewhere, so that batches are the same
    everywhere.
    """
    return budget or (free_cuda_memory(device) // 2 if device.type == "cuda" else CPU_BUDGET)


@torch.no_grad()
def _attribute_batch(
    model: "HookedTransformer",
    graph: Graph,
    twins: Twins,
    metric: str,
    at: Sequence[float],
    edges: EdgeScores,
) -> dict[str, Tensor]:
    """Adds the items' edge scores to `edges` once all is computed.

    Returns what is kept item by item.
    """
    own, other = keep_pass(model, twins.clean), keep_pass(model, twins.corrupted)
    ends = {
        name: score(model, base.final[:, twins.question.reads], twins.question)[metric][0]
        for name, base in (("own", own), ("other", other))
    }
    differences = sender_differences(model, graph, own, other)
    start, way = own.resid_pre[0], other.resid_pre[0] - own.resid_pre[0]
    del own, other
    sums = torch.zeros_like(edges)
    nodes = differences.new_zeros(len(twins.clean), graph.n_senders)
    for fraction in at:
        gradients = _Gradients.at(model, start + fraction * way, twins.question, metric)
        for readers, n_read, gradient in gradients.of_readers(graph):
            sums[:n_read, readers] += differences[:n_read].flatten(1) @ gradient.flatten(1).T
        for senders, gradient in gradients.after_senders(graph):
            nodes[:, senders] += torch.einsum(
                "sipd,ipd->is", differences[senders], at_least_single(gradient)
            )
    edges += sums / len(at)
    return {"nodes": nodes / len(at), **ends}


def sender_differences(
    model: "HookedTransformer", graph: Graph, own: KeptPass, other: KeptPass
) -> Float[Tensor, "sender item pos d_model"]:
    """What each sender writes in the other pass minus what it writes in the own one.

    Biases are in neither.
    """
    embed = at_least_single(other.resid_pre[0]) - at_least_single(own.resid_pre[0])
    differences = embed.new_empty(graph.n_senders, *embed.shape)
    differences[0] = embed
    for layer in range(graph.n_layers):
        z = at_least_single(other.z[layer]) - at_least_single(own.z[layer])
        differences[graph.heads(layer)] = torch.einsum(
            "iphe,hed->hipd", z, at_least_single(model.W_O[layer])
        )
        mlp_out = at_least_single(other.mlp_out[layer]) - at_least_single(own.mlp_out[layer])
        differences[graph.mlp(layer)] = mlp_out
    return differences


class _Gradients:
    """Gradients of M at one point, where TransformerLens has hooks.

    These are at queries, keys and values, and before the MLPs' non-linearity. From there they are
    carried back to the stream by hand. That is the same as splitting the stream by readers in the
    forward pass, which would take three times n_heads streams a layer.
    """

    def __init__(
        self, model: "HookedTransformer", kept: dict[str, Tensor], gradients: dict[str, Tensor]
    ) -> None:
        self._model, self._kept, self._gradients = model, kept, gradients

    @classmethod
    def at(
        cls, model: "HookedTransformer", embed: Stream, question: Question, metric: str
    ) -> "_Gradients":
        """Runs the model from its first stream on, and back."""
        kept: dict[str, Tensor] = {}

        def keep(activation: Tensor, hook: Any) -> None:
            kept[hook.name] = activation

        with torch.enable_grad():
            kept["embed"] = embed.detach().requires_grad_()
            kept["final"] = model.run_with_hooks(
                kept["embed"],
                start_at_layer=0,
                stop_at_layer=model.cfg.n_layers,
                fwd_hooks=[(lambda name: name.endswith(_DIFFERENTIATED + _NORMS), keep)],
            )
            measured = score(model, kept["final"][:, question.reads], question)[metric].sum()
            names = [name for name in kept if not name.endswith(_NORMS)]
            gradients = torch.autograd.grad(measured, [kept[name] for name in names])
        norms = {
            name: activation.detach() for name, activation in kept.items() if name.endswith(_NORMS)
        }
        return cls(model, norms, dict(zip(names, gradients, strict=True)))

    def of_readers(
        self, graph: Graph
    ) -> Iterator[tuple[slice, int, Float[Tensor, "reader item pos d_model"]]]:
        """Readers, how many senders they read, and the gradient at the stream where each reads.

        The next layer's gradients overwrite the last ones: fresh memory for each layer costs more
        than the products in it.
        """
        final = at_least_single(self._gradients["final"])
        at_heads = final.new_empty(3, graph.n_heads, final[..., 0].numel(), final.shape[-1])
        for layer in range(graph.n_layers):
            block, prefix = self._model.blocks[layer], f"blocks.{layer}"
            for out, name, W in zip(
                at_heads, "qkv", (block.attn.W_Q, block.attn.W_K, block.attn.W_V), strict=True
            ):
                gradient = at_least_single(self._gradients[f"{prefix}.attn.hook_{name}"]).flatten(
                    0, 1
                )
                torch.bmm(gradient.transpose(0, 1), at_least_single(W).transpose(1, 2), out=out)
            gradient = self._before_norm(at_heads.view(-1, *final.shape), f"{prefix}.ln1")
            yield graph.attn_readers(layer), graph.written_before(layer), gradient
            at_mlp = at_least_single(self._gradients[f"{prefix}.mlp.hook_pre"]) @ at_least_single(
                block.mlp.W_in.T
            )
            reader, gradient = (
                graph.mlp_reader(layer),
                self._before_norm(at_mlp[None], f"{prefix}.ln2"),
            )
            yield slice(reader, reader + 1), graph.written_before_mlp(layer), gradient
        yield slice(graph.n_readers - 1, graph.n_readers), graph.n_senders, final[None]

    def after_senders(self, graph: Graph) -> Iterator[tuple[slice, Stream]]:
        """Senders, and the gradient at the stream that they write to."""
        yield slice(0, 1), self._gradients["embed"]
        for layer in range(graph.n_layers):
            yield graph.heads(layer), self._gradients[f"blocks.{layer}.hook_attn_out"]
            mlp = graph.mlp(layer)
            yield slice(mlp, mlp + 1), self._gradients[f"blocks.{layer}.hook_mlp_out"]

    def _before_norm(
        self, gradient: Float[Tensor, "reader item pos d_model"], name: str
    ) -> Float[Tensor, "reader item pos d_model"]:
        """Carries gradients, in place, from a LayerNorm's output to its input.

        That is the transpose of its Jacobian, the same for all readers.
        """
        norm = self._model.get_submodule(name)
        normalized = at_least_single(self._kept[f"{name}.hook_normalized"])
        scale = at_least_single(self._kept[f"{name}.hook_scale"])
        if hasattr(norm, "w"):
            gradient *= at_least_single(norm.w)
        gradient -= gradient.mean(-1, keepdim=True)
        along = torch.einsum("ripd,ipd->rip", gradient, normalized) / normalized.shape[-1]
        return gradient.addcmul_(along[..., None], normalized, value=-1).div_(scale)


_DIFFERENTIATED = (
    ".attn.hook_q",
    ".attn.hook_k",
    ".attn.hook_v",
    ".mlp.hook_pre",
    ".hook_attn_out",
    ".hook_mlp_out",
)
_NORMS = (".hook_normalized", ".hook_scale")
