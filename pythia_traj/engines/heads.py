"""What is measured on attention patterns: where a head attends, on average over queries that count.

A pattern is one layer's, [batch, head_index, query_pos, key_pos], its rows summing to 1.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Pattern = Float[Tensor, "batch head_index query_pos key_pos"]
PerHead = Float[Tensor, "batch head_index"]


def attention_at_offset(pattern: Pattern, offset: int, first_query: int) -> PerHead:
    """Mean attention from each query p >= first_query to p - offset, in 0..1.

    With the offset length - 1 and the second of two halves as queries this is prefix matching as
    `two_halves` has it; offset 1 is a previous-token head, offset `length` a duplicate-token head,
    0 attention to itself. Exactly uniform causal attention gives the mean of 1 / (p + 1).
    """
    queries = torch.arange(first_query, pattern.shape[-1], device=pattern.device)
    return pattern[:, :, queries, queries - offset].mean(-1)


def attention_to_first(pattern: Pattern, first_query: int) -> PerHead:
    """Mean attention from each query >= first_query to position 0, in 0..1.

    That is BOS if the sequence has one, and an attention sink in any case.
    """
    return pattern[:, :, first_query:, 0].mean(-1)


def attention_in_band(pattern: Pattern, nearest: int, farthest: int, first_query: int) -> PerHead:
    """Mean over queries p of the attention summed over p - farthest .. p - nearest, in 0..1."""
    band = [
        attention_at_offset(pattern, offset, first_query) for offset in range(nearest, farthest + 1)
    ]
    return torch.stack(band).sum(0)


def attention_entropy(pattern: Pattern, lengths: Int[Tensor, " batch"]) -> PerHead:
    """Entropy of what a query attends to, mean over queries, in nats: 0 to `even_entropy`.

    0 is all attention on one position. The first query has no choice, and adds 0 to the mean.

    Args:
        pattern: one layer's.
        lengths: how many queries of each sequence count, from the first.
    """
    of_query: Tensor = torch.special.entr(pattern.float()).sum(-1)
    beyond = torch.arange(pattern.shape[-2], device=pattern.device) >= lengths[:, None]
    return of_query.masked_fill(beyond[:, None], 0).sum(-1) / lengths[:, None]


def even_entropy(lengths: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """The entropy of a head that attends to all positions up to its query alike, in nats.

    Query q, from 0, has ln(q + 1); their mean is ln(length!) / length.
    """
    return torch.lgamma(lengths + 1.0) / lengths


def attention_after_earlier_copies(
    pattern: Pattern, length: int, copies: int, start: int
) -> tuple[PerHead, PerHead]:
    """Prefix matching over all earlier copies of a segment that repeats, in two conventions.

    The score is that of Olsson et al. 2022. A query in copy c attends to the tokens after the
    earlier occurrences of its own token: c of them.

    Args:
        length: tokens of the segment.
        copies: how often it stands there.
        start: position of its first token (1 after BOS).

    Returns:
        `entries`: mean over all (query, earlier copy) pairs; as a query has up to copies - 1
            targets to share 1 between, at most 0.5 with four copies.
        `query`: summed over the earlier copies, then the mean over queries; at most 1.
    """
    sums, pairs = torch.zeros(pattern.shape[:2], device=pattern.device), 0
    for back in range(1, copies):
        queries = torch.arange(
            start + back * length, start + copies * length, device=pattern.device
        )
        sums = sums + pattern[:, :, queries, queries - back * length + 1].float().sum(-1)
        pairs += len(queries)
    return sums / pairs, sums / ((copies - 1) * length)


def induction_targets(tokens: Int[Tensor, "batch pos"]) -> Bool[Tensor, "batch query_pos key_pos"]:
    """Where the token before the key equals the query's own token, and both come before the query.

    It is TransformerLens's detection pattern, `get_induction_head_detection_pattern` of
    transformer_lens.head_detector, for a batch.
    """
    same = tokens.unsqueeze(2) == tokens.unsqueeze(1)
    same = same.tril(-1)
    shifted = torch.zeros_like(same)
    shifted[:, :, 1:] = same[:, :, :-1]
    return shifted.tril()


def detect_head_mul(pattern: Pattern, targets: Bool[Tensor, "batch query_pos key_pos"]) -> PerHead:
    """Share of all attention that lies on the targets, in 0..1.

    It is `detect_head(error_measure="mul")` of TransformerLens.
    """
    return (pattern * targets.unsqueeze(1)).sum((-1, -2)) / pattern.sum((-1, -2))


def detect_head_abs(pattern: Pattern, targets: Bool[Tensor, "batch query_pos key_pos"]) -> PerHead:
    """1 - mean over queries of the summed absolute difference from the targets, at most 1.

    It is `error_measure="abs"` of TransformerLens, which rounds it to three digits; this does not.
    """
    return 1 - (pattern - targets.unsqueeze(1).to(pattern.dtype)).abs().sum(-1).mean(-1)
