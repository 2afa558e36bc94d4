"""What is measured where a prompt has right and wrong continuations: on the logits of its last position.

`candidates` are the continuations' tokens, `is_right` says which are right for an item; every item has at least one of each. A difference
of logits is blind to a shift of all of them; a probability is over the whole vocabulary, rows that pad it included.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Logits = Float[Tensor, "item d_vocab"]
Candidates = Int[Tensor, "item candidate"]
IsRight = Bool[Tensor, "item candidate"]
PerItem = Float[Tensor, " item"]


@dataclass(frozen=True)
class AnswerScores:
    """What a model makes of each item.

    Attributes:
        logit_diff: logit of the right continuations minus that of the wrong ones, each the mean over its kind; with one of each the
            logit difference of Wang et al. 2023, which equals the log of the ratio of their probabilities.
        prob_diff: sum of the right ones' probabilities minus the sum of the wrong ones', -1..1 (Hanna et al. 2023).
        correct: 1 where `prob_diff` is positive (with one of each: where the right one has the larger logit), else 0.
        rank0: 1 where the model's first choice of all tokens is a right one, else 0.
        nll: -log of the sum of the right ones' probabilities, nats.
    """

    logit_diff: PerItem
    prob_diff: PerItem
    correct: PerItem
    rank0: PerItem
    nll: PerItem


def answer_scores(logits: Logits, candidates: Candidates, is_right: IsRight) -> AnswerScores:
    """Scores of items from their last position's logits, in fp32."""
    logits = logits.float()
    chosen = logits.gather(-1, candidates)
    right = is_right.to(chosen.dtype)
    log_probs = chosen - logits.logsumexp(-1, keepdim=True)
    probs = log_probs.exp()
    prob_diff = (probs * (2 * right - 1)).sum(-1)
    first = logits.argmax(-1, keepdim=True)
    return AnswerScores(
        logit_diff=_mean_where(chosen, right) - _mean_where(chosen, 1 - right),
        prob_diff=prob_diff,
        correct=(prob_diff > 0).float(),
        rank0=((candidates == first) & is_right).any(-1).float(),
        nll=-log_probs.masked_fill(~is_right, -torch.inf).logsumexp(-1),
    )


def _mean_where(values: Float[Tensor, "item candidate"], weights: Float[Tensor, "item candidate"]) -> PerItem:
    return (values * weights).sum(-1) / weights.sum(-1)
