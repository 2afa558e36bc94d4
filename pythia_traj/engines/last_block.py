"""The last layer of a model, only at the positions that are read.

Its outputs at other positions would be thrown away. Keys and values are needed at every position,
queries and the MLP at few: for a short prompt read at its end, a tenth of the layer.
"""

from typing import Any

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor


def last_block(
    block: Any, stream: Float[Tensor, "row pos d_model"], reads: Int[Tensor, " read"]
) -> Float[Tensor, "row read d_model"]:
    """What a block of a rotary HookedTransformer (GPT-NeoX) makes of a stream, at some positions.

    Its hooks are not called.
    """
    read = stream[:, reads]
    with_attention = read + _attention(block.attn, block.ln1(stream), reads)
    middle = read if block.cfg.parallel_attn_mlp else with_attention
    mlp_out: Tensor = block.apply_mlp(block.ln2(middle))
    return with_attention + mlp_out


def _attention(
    attn: Any, normed: Float[Tensor, "row pos d_model"], reads: Int[Tensor, " read"]
) -> Float[Tensor, "row read d_model"]:
    rows, length, _ = normed.shape
    project = "row pos d_model, head_index d_model d_head -> row pos head_index d_head"
    key, value = (
        einsum(normed, W, project) + b for W, b in ((attn.W_K, attn.b_K), (attn.W_V, attn.b_V))
    )
    # TransformerLens rotates position i by the i-th angle, so the queries are put where they
    # belong.
    query = normed.new_zeros(rows, length, *attn.b_Q.shape)
    query[:, reads] = einsum(normed[:, reads], attn.W_Q, project) + attn.b_Q
    query, key = attn.apply_rotary(query)[:, reads], attn.apply_rotary(key)
    scores = (
        einsum(query, key, "row read head d_head, row pos head d_head -> row head read pos")
        / attn.attn_scale
    )
    future = torch.arange(length, device=reads.device) > reads[:, None]
    pattern = scores.masked_fill(future, -torch.inf).softmax(-1)
    z = einsum(pattern, value, "row head read pos, row pos head d_head -> row read head d_head")
    W_O: Tensor = attn.W_O.flatten(0, 1)
    b_O: Tensor = attn.b_O
    out: Tensor = z.flatten(-2) @ W_O + b_O
    return out
