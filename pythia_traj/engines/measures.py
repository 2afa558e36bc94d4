"""What is measured on logits: losses, accuracy, in-context learning, divergences."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def next_token_nll(
    logits: Float[Tensor, "batch pos d_vocab"], targets: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos"]:
    """Negative log-likelihood of each target, in nats, in fp32.

    It is ln(d_vocab) for a model that knows nothing. All rows of the logits take part in the
    softmax, padding rows included.
    """
    logits = logits.float()
    chosen = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return logits.logsumexp(-1) - chosen


def is_top1(
    logits: Float[Tensor, "batch pos d_vocab"], targets: Int[Tensor, "batch pos"]
) -> Bool[Tensor, "batch pos"]:
    """Whether the target has the largest logit (of equal ones the first counts)."""
    return logits.argmax(-1) == targets


def window_difference(
    nll: Float[Tensor, "batch pos"], early: tuple[int, int], late: tuple[int, int]
) -> Float[Tensor, " batch"]:
    """Mean NLL over a late window of predicted tokens minus the mean over an early one, in nats.

    Negative is in-context learning.

    Args:
        nll: entry i belongs to the predicted token i + 1.
        early, late: first and last predicted token of a window, counted from 0, both included. One
            token each gives the in-context learning score of Olsson et al. 2022 (L[500] - L[50]).
    """

    def mean_over(window: tuple[int, int]) -> Tensor:
        return nll[:, window[0] - 1 : window[1]].mean(-1)

    return mean_over(late) - mean_over(early)


def entropy(log_p: Float[Tensor, "*batch d_vocab"]) -> Float[Tensor, "*batch"]:
    """Entropy of a distribution given as log-probabilities, in nats; 0 to ln(d_vocab)."""
    return -(log_p.exp() * log_p).sum(-1)


def kl_divergence(
    log_p: Float[Tensor, "*batch d_vocab"], log_q: Float[Tensor, "*batch d_vocab"]
) -> Float[Tensor, "*batch"]:
    """KL(p || q) of log-probabilities, in nats: what is lost by taking p for q.

    It is 0 where they are equal, and has no upper bound.
    """
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def jensen_shannon(
    log_p: Float[Tensor, "*batch d_vocab"], log_q: Float[Tensor, "*batch d_vocab"]
) -> Float[Tensor, "*batch"]:
    """Half the sum of the divergences of p and of q from their mean, in nats.

    It is symmetric, 0 to ln 2 (Lin 1991).
    """
    log_mean = torch.logaddexp(log_p, log_q) - math.log(2)
    return (kl_divergence(log_p, log_mean) + kl_divergence(log_q, log_mean)) / 2
