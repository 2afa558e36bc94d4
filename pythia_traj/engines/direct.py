"""Direct effects on a difference of logits: what each part of the model writes towards it.

Only the last LayerNorm comes in between. The residual stream is a sum, and so is the logit
difference: every term of the stream, divided by the scale that the last LayerNorm has at that
position, times the direction of the difference in the residual stream (Elhage et al. 2021).
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Direction = Float[Tensor, "item d_model"]


def answer_weights(is_right: Bool[Tensor, "item candidate"]) -> Float[Tensor, "item candidate"]:
    """Weights of the candidates' logits whose sum is the logit difference.

    That is the mean over the right minus the mean over the wrong ones. Without a wrong one, the
    right one's logit stands alone: with a centred unembedding that is the logit above the mean of
    all.
    """
    right = is_right.float()
    return right / right.sum(-1, keepdim=True) - (1 - right) / (1 - right).sum(
        -1, keepdim=True
    ).clamp(min=1)


def answer_direction(
    W_U: Float[Tensor, "d_model d_vocab"],
    candidates: Int[Tensor, "item candidate"],
    is_right: Bool[Tensor, "item candidate"],
) -> Direction:
    """The direction of the residual stream along which the logit difference grows, for each item.

    `item` is an item's position that is read, here and below.
    """
    columns = W_U.T[candidates].float()
    return torch.einsum("icd,ic->id", columns, answer_weights(is_right))


def layer_norm_scale(
    residual: Float[Tensor, "item d_model"], eps: float
) -> Float[Tensor, "item 1"]:
    """What a LayerNorm divides by: the root of the sum of the variance over d_model and eps."""
    return (residual.float().var(-1, correction=0, keepdim=True) + eps).sqrt()


def term(
    written: Float[Tensor, "item d_model"], scale: Float[Tensor, "item 1"], direction: Direction
) -> Float[Tensor, " item"]:
    """What a vector in the residual stream adds to the logit difference.

    The mean over d_model is taken off, as the LayerNorm does.
    """
    centred = written.float() - written.float().mean(-1, keepdim=True)
    return ((centred / scale.float()) * direction).sum(-1)


def head_terms(
    z: Float[Tensor, "item head_index d_head"],
    W_O: Float[Tensor, "head_index d_head d_model"],
    scale: Float[Tensor, "item 1"],
    direction: Direction,
) -> Float[Tensor, "item head_index"]:
    """The same for what each head of a layer writes.

    It never makes the heads' outputs, which would take head_index times the memory.
    """
    centred = direction - direction.mean(-1, keepdim=True)
    reader = torch.einsum("hed,id->ihe", W_O.float(), centred / scale.float())
    return (z.float() * reader).sum(-1)
