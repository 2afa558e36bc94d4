"""What is measured on logits where a prompt has right and wrong continuations.

The logits are those of the positions that are read. `candidates` are the continuations' tokens,
`is_right` says which are right; every item has at least one right one at each position it is read
at. Where several positions are read, an item's score is their mean. A shift of all logits does not
change their difference; a probability is over the whole vocabulary, padding rows included.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Logits = Float[Tensor, "item read d_vocab"]
Candidates = Int[Tensor, "item read candidate"]
IsRight = Bool[Tensor, "item read candidate"]
PerItem = Float[Tensor, " item"]


@dataclass(frozen=True)
class AnswerScores:
    """A model's scores on each item.

    Attributes:
        logit_diff: logit of the right continuations minus that of the wrong ones, each the mean
            over its kind; with one of each the logit difference of Wang et al. 2023, which equals
            the log of the ratio of their probabilities. Without a wrong one, the right one's logit
            minus the mean over the vocabulary.
        prob_diff: sum of the right ones' probabilities minus the sum of the wrong ones', -1..1
            (Hanna et al. 2023).
        correct: 1 where `prob_diff` is positive (with one of each: where the right one has the
            larger logit), else 0; without a wrong one, as `rank0`.
        rank0: 1 where the model's first choice of all tokens is a right one, else 0.
        nll: -log of the sum of the right ones' probabilities, nats.
    """

    logit_diff: PerItem
    prob_diff: PerItem
    correct: PerItem
    rank0: PerItem
    nll: PerItem


def answer_scores(logits: Logits, candidates: Candidates, is_right: IsRight) -> AnswerScores:
    """Scores of items, in fp32 at least."""
    logits = at_least_single(logits)
    chosen = logits.gather(-1, candidates)
    right = is_right.to(chosen.dtype)
    log_probs = chosen - logits.logsumexp(-1, keepdim=True)
    prob_diff = (log_probs.exp() * (2 * right - 1)).sum(-1)
    rank0 = ((candidates == logits.argmax(-1, keepdim=True)) & is_right).any(-1)
    has_wrong = (right < 1).any(-1)
    wrong_logit = torch.where(has_wrong, _mean_where(chosen, 1 - right), logits.mean(-1))
    return AnswerScores(
        logit_diff=(_mean_where(chosen, right) - wrong_logit).mean(-1),
        prob_diff=prob_diff.mean(-1),
        correct=torch.where(has_wrong, prob_diff > 0, rank0).to(logits.dtype).mean(-1),
        rank0=rank0.to(logits.dtype).mean(-1),
        nll=-log_probs.masked_fill(~is_right, -torch.inf).logsumexp(-1).mean(-1),
    )


def at_least_single(tensor: Tensor) -> Tensor:
    """Half precision as fp32; anything else as it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _mean_where(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum(-1) / weights.sum(-1).clamp(min=1)
