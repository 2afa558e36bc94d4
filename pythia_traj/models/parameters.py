"""The parameters of a HookedTransformer as buffers in the memory layout of the checkpoint's files.

A GPT-NeoX file stores every matrix as [out, in]; HookedTransformer's parameters are [in, out], with
heads split off. Each parameter here is a transposed view of a contiguous buffer in the file's
layout, so that a swap copies rows in order and transposes nothing. The forward pass gains too:
HookedTransformer turns its weights back into [out, in] for every matrix product, which costs a copy
of a contiguous parameter, and nothing for such a view.

Names on the left are HookedTransformer's. The buffer's shape is the file's, except for parameters
that a file stores together as one matrix and that are separate here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformer_lens import HookedTransformer


@dataclass(frozen=True)
class Layout:
    """One kind of parameter: its buffer's shape in axis words, and how the parameter views it."""

    buffer: str
    view: Callable[[Tensor], Tensor] = lambda buffer: buffer


LAYOUTS = {
    "embed.W_E": Layout("d_vocab d_model"),
    "pos_embed.W_pos": Layout("n_ctx d_model"),
    "attn.W_Q": Layout("head_index d_head d_model", lambda buffer: buffer.mT),
    "attn.W_K": Layout("head_index d_head d_model", lambda buffer: buffer.mT),
    "attn.W_V": Layout("head_index d_head d_model", lambda buffer: buffer.mT),
    "attn.W_O": Layout("d_model head_index d_head", lambda buffer: buffer.permute(1, 2, 0)),
    "attn.b_Q": Layout("head_index d_head"),
    "attn.b_K": Layout("head_index d_head"),
    "attn.b_V": Layout("head_index d_head"),
    "attn.b_O": Layout("d_model"),
    "mlp.W_in": Layout("d_mlp d_model", lambda buffer: buffer.mT),
    "mlp.b_in": Layout("d_mlp"),
    "mlp.W_out": Layout("d_model d_mlp", lambda buffer: buffer.mT),
    "mlp.b_out": Layout("d_model"),
    "unembed.W_U": Layout("d_vocab d_model", lambda buffer: buffer.mT),
    "unembed.b_U": Layout("d_vocab"),
}


def parts_of(
    stored: Tensor, axes: str, names: Sequence[str], sizes: Mapping[str, int]
) -> tuple[Tensor, ...]:
    """Views of one tensor of a file, one for the buffer of each parameter that it holds.

    Args:
        axes: its axis words; words in parentheses share an axis.
        names: the parameters, in the order of the axis `part` if there is one.
        sizes: of the axis words.
    """
    words = axes.replace("(", " ").replace(")", " ").split()
    known = {**sizes, "part": len(names)}
    target = LAYOUTS[names[0]].buffer.split()
    if "part" in words:
        target = ["part", *target]
    view = stored.view([known[word] for word in words]).permute([words.index(it) for it in target])
    return view.unbind() if "part" in words else (view,)


def bind_buffers(
    model: HookedTransformer, device: torch.device, sizes: Mapping[str, int]
) -> dict[str, Tensor]:
    """Replaces the model's matrices and biases by views of new buffers on `device`.

    Args:
        sizes: of the axis words of `LAYOUTS`.

    Returns:
        The buffers by parameter name. LayerNorm's parameters stay the modules' own. The parameters'
        values are undefined until the first swap.
    """
    buffers: dict[str, Tensor] = {}
    for name, _ in list(model.named_parameters()):
        kind = ".".join(name.split(".")[-2:])
        if kind not in LAYOUTS:
            continue
        layout = LAYOUTS[kind]
        shape = [sizes[axis] for axis in layout.buffer.split()]
        buffer = torch.zeros(shape, dtype=model.cfg.dtype, device=device)
        module_name, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(module_name), attribute, nn.Parameter(layout.view(buffer)))
        buffers[name] = buffer
    return buffers
