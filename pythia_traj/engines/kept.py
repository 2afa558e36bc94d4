"""One forward pass, kept, so that others can begin in the middle of it.

A change at a layer leaves everything below it as it was; where attention and MLP are parallel, it
also leaves the other one of its own layer as it was. So an intervention adds a difference to the
kept residual stream and runs only the layers above.

`model` is a HookedTransformer; only what TransformerLens promises of it is used (its blocks, hook
names, `start_at_layer`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pythia_traj.engines.answers import answer_scores
from pythia_traj.engines.last_block import last_block

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

Stream = Float[Tensor, "item pos d_model"]
Hooks = list[tuple[str, Callable[..., Tensor]]]


@dataclass(frozen=True)
class Question:
    """What is asked of the logits of a batch (see engines.answers).

    Attributes:
        reads: the positions that are read [read].
        candidates, is_right: continuations at each of them [item, read, candidate].
    """

    reads: Int[Tensor, " read"]
    candidates: Int[Tensor, "item read candidate"]
    is_right: Bool[Tensor, "item read candidate"]

    @classmethod
    def of(cls, batch: Any, device: torch.device) -> "Question":
        """The question that a batch of a task asks.

        A batch is any object with `reads`, `candidates` and `is_right` as NumPy arrays.
        """
        reads, candidates, is_right = (
            torch.from_numpy(array).to(device, non_blocking=True)
            for array in (batch.reads, batch.candidates, batch.is_right)
        )
        return cls(reads, candidates, is_right)


@dataclass(frozen=True)
class KeptPass:
    """A forward pass over a batch with what restarting it needs.

    Attributes:
        tokens: [item, pos].
        resid_pre: the stream before each layer, and after the last one as the last entry
            [item, pos, d_model].
        resid_mid: between attention and MLP of each layer; empty where they are parallel.
        z: each layer's heads before W_O [item, pos, head_index, d_head].
        mlp_out: each layer's MLP [item, pos, d_model].
        pattern: each layer's attention [item, head_index, query_pos, key_pos]; empty unless it was
            asked for.
    """

    tokens: Int[Tensor, "item pos"]
    resid_pre: list[Tensor]
    resid_mid: list[Tensor]
    z: list[Tensor]
    mlp_out: list[Tensor]
    pattern: list[Tensor]

    @property
    def final(self) -> Stream:
        """The stream after the last layer."""
        return self.resid_pre[-1]


def keep_pass(
    model: "HookedTransformer", tokens: Int[Tensor, "item pos"], *, patterns: bool = False
) -> KeptPass:
    """Runs the tokens to the end of the model's last layer, and keeps what `KeptPass` lists."""
    parallel = model.cfg.parallel_attn_mlp
    wanted = ["hook_resid_pre", "hook_z", "hook_mlp_out"]
    wanted += [] if parallel else ["hook_resid_mid"]
    wanted += ["hook_pattern"] if patterns else []
    final, kept = model.run_with_cache(
        tokens,
        stop_at_layer=model.cfg.n_layers,
        names_filter=lambda name: name.endswith(tuple(wanted)),
    )
    layers = range(model.cfg.n_layers)
    return KeptPass(
        tokens=tokens,
        resid_pre=[*(kept["resid_pre", layer] for layer in layers), final],
        resid_mid=[] if parallel else [kept["resid_mid", layer] for layer in layers],
        z=[kept["z", layer] for layer in layers],
        mlp_out=[kept["mlp_out", layer] for layer in layers],
        pattern=[kept["pattern", layer] for layer in layers] if patterns else [],
    )


def leave_layer(
    model: "HookedTransformer",
    base: KeptPass,
    layer: int,
    attn_change: Float[Tensor, "*#row item pos d_model"] | None = None,
    mlp_out: Float[Tensor, "*#row item pos d_model"] | None = None,
) -> Float[Tensor, "*row item pos d_model"]:
    """The stream after a layer of a kept pass when its attention's or its MLP's output is changed.

    Args:
        attn_change: what is added to the attention's output.
        mlp_out: the replacement for the MLP's output; None means what the MLP makes of its input,
            which `attn_change` also changes in a sequential model.
    """
    if not base.resid_mid:
        stream = base.resid_pre[layer + 1]
        stream = stream if attn_change is None else stream + attn_change
        return stream if mlp_out is None else stream + (mlp_out - base.mlp_out[layer])
    if attn_change is None and mlp_out is None:
        return base.resid_pre[layer + 1]
    middle = base.resid_mid[layer] if attn_change is None else base.resid_mid[layer] + attn_change
    if mlp_out is not None:
        return middle + mlp_out
    block = model.blocks[layer]
    flat = middle.flatten(0, -3)
    made: Tensor = block.apply_mlp(block.ln2(flat))
    return middle + made.view_as(middle)


def finish(
    model: "HookedTransformer",
    stream: Float[Tensor, "row pos d_model"],
    layer: int,
    reads: Int[Tensor, " read"],
    hooks: Hooks = [],  # noqa: B006 - never changed
) -> Float[Tensor, "row read d_model"]:
    """Runs a stream that enters `layer` through the layers from there on.

    Returns what comes out at the positions that are read.
    """
    last = model.cfg.n_layers - 1
    if layer > last:
        return stream[:, reads]
    hooked = any(name.startswith(f"blocks.{last}.") for name, _ in hooks)
    stop = last + 1 if hooked else last
    if layer < stop:
        stream = model.run_with_hooks(
            stream, start_at_layer=layer, stop_at_layer=stop, fwd_hooks=hooks, return_type=None
        )
    return stream[:, reads] if hooked else last_block(model.blocks[last], stream, reads)


def score(
    model: "HookedTransformer", final: Float[Tensor, "row read d_model"], question: Question
) -> dict[str, Float[Tensor, "intervention item"]]:
    """The scores of rows that are interventions times items, by metric.

    Metrics are `logit_diff`, `prob_diff` and `nll`.
    """
    return score_logits(model.unembed(model.ln_final(final)), question)


def score_logits(
    logits: Float[Tensor, "row read d_vocab"], question: Question
) -> dict[str, Float[Tensor, "intervention item"]]:
    """The same of logits at the positions that are read."""
    items = len(question.candidates)
    times = len(logits) // items
    scores = answer_scores(
        logits, question.candidates.repeat(times, 1, 1), question.is_right.repeat(times, 1, 1)
    )
    return {name: getattr(scores, name).view(times, items) for name in METRICS}


METRICS = ("logit_diff", "prob_diff", "nll")
"""What `score` measures."""


class Batches:
    """How many interventions are run at once: as many as a memory budget holds.

    They are fewer once memory has run out. On the CPU the budget is fixed, so that the same request
    has the same batches, and the same bits, everywhere; on CUDA it is half of the memory that is
    free at the call.
    """

    def __init__(
        self,
        model: "HookedTransformer",
        tokens: Tensor,
        question: Question,
        budget: int | None = None,
    ) -> None:
        self._bytes = len(tokens) * bytes_per_row(model, tokens.shape[1], len(question.reads))
        device = tokens.device
        self._budget = budget or (
            free_cuda_memory(device) // 2 if device.type == "cuda" else CPU_BUDGET
        )
        self.size = max(1, self._budget // self._bytes)

    def over(self, count: int, work: Callable[[slice], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Calls `work` for consecutive slices of `count` interventions and joins what it returns.

        It is joined along the first axis. Where memory runs out, the slice is halved for good.

        Raises:
            torch.OutOfMemoryError: not even one intervention at a time fits.
        """
        parts: list[dict[str, Tensor]] = []
        start = 0
        while start < count:
            part = slice(start, min(start + self.size, count))
            try:
                parts.append(work(part))
            except torch.OutOfMemoryError:
                if part.stop - part.start == 1:
                    raise
                self.size = (part.stop - part.start) // 2
                continue
            start = part.stop
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def in_order(parts: Sequence[dict[str, Tensor]], numbers: Sequence[int]) -> dict[str, Tensor]:
    """Joins parts along the first axis, their rows put in the order of their numbers."""
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    device = next(iter(joined.values())).device
    # As everywhere here, Python's numbers are sent without waiting for the device's earlier work.
    order = torch.tensor(sorted(range(len(numbers)), key=numbers.__getitem__)).to(
        device, non_blocking=True
    )
    return {name: rows[order] for name, rows in joined.items()}


CPU_BUDGET = 256 << 20
"""Bytes of activations of one batch of interventions."""


def bytes_per_row(model: "HookedTransformer", length: int, reads: int) -> int:
    """The peak memory of one sequence's activations in a forward pass without gradients.

    That is one layer's, and the logits read.
    """
    cfg = model.cfg
    layer = length * (8 * cfg.d_model + 2 * (cfg.d_mlp or 0)) + 3 * cfg.n_heads * length * length
    return int(4 * max(layer, 3 * reads * cfg.d_vocab_out))


def free_cuda_memory(device: torch.device) -> int:
    """Bytes that torch can still allocate, those it holds in reserve included."""
    reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0] + reserved)


@contextmanager
def keeping(points: Sequence[Any]) -> Iterator[list[Tensor]]:
    """Within the context, what passes through hook points is kept, in their order of passing.

    Used on blocks that are called by hand.
    """
    kept: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Tensor) -> None:
        kept.append(output)

    handles = [point.register_forward_hook(keep) for point in points]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()
