"""Activations of chosen tokens, of as many layers at a time as fit in memory.

The pass goes on from where it stopped, so the model is run once, however many pieces it takes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

Where = tuple[str, int]
"""A site, such as resid_post, and its layer."""


@dataclass(frozen=True)
class Batch:
    """Sequences, and which of their tokens are read.

    Attributes:
        ids: token ids.
        rows, positions: where to find the tokens that are read.
        numbers: theirs, among those of all batches.
    """

    ids: Int[Tensor, "item pos"]
    rows: Int[Tensor, " read"]
    positions: Int[Tensor, " read"]
    numbers: Int[Tensor, " read"]


def layers_at_once(counts: Sequence[int], most: int) -> list[range]:
    """Consecutive layers in pieces, each with at most so many activations.

    Args:
        counts: of the activations that are read of each layer.
        most: activations that a piece may have; at least those of the largest layer.
    """
    pieces, start, count = [], 0, 0
    for layer, more in enumerate(counts):
        if count + more > most:
            pieces.append(range(start, layer))
            start, count = layer, 0
        count += more
    return [*pieces, range(start, len(counts))]


def gather(
    model: "HookedTransformer",
    batches: Sequence[Batch],
    pieces: Sequence[range],
    read: Sequence[Sequence[Where]],
) -> Iterator[tuple[list[Where], Float[Tensor, "where read d_model"]]]:
    """Site and layer, and float32 activations, piece by piece.

    The next piece overwrites the activations.

    Args:
        pieces: consecutive layers.
        read: the sites of each layer.
    """
    tokens = sum(len(batch.numbers) for batch in batches)
    most = max(sum(len(read[layer]) for layer in piece) for piece in pieces)
    buffer = torch.empty(most, tokens, model.cfg.d_model, device=model.W_E.device)
    streams = [batch.ids for batch in batches]
    for number, piece in enumerate(pieces):
        where = [one for layer in piece for one in read[layer]]
        for i, batch in enumerate(batches):
            left = _run(model, streams[i], piece, where, batch, buffer)
            if number + 1 < len(pieces):
                streams[i] = left
        yield where, buffer[: len(where)]


@torch.inference_mode()
def _run(
    model: "HookedTransformer",
    stream: Tensor,
    layers: range,
    where: list[Where],
    batch: Batch,
    buffer: Tensor,
) -> Tensor:
    """Runs some layers, and puts what is read into the buffer.

    Returns the stream after the last of them.
    """

    def keep(activation: Tensor, hook: object, number: int) -> None:
        buffer[number, batch.numbers] = activation[batch.rows, batch.positions].to(buffer.dtype)

    hooks = [
        (f"blocks.{layer}.hook_{site}", partial(keep, number=i))
        for i, (site, layer) in enumerate(where)
    ]
    begin = {"start_at_layer": layers.start} if layers.start else {}
    left: Tensor = model.run_with_hooks(stream, fwd_hooks=hooks, stop_at_layer=layers.stop, **begin)
    return left
