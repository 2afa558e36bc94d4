"""How far a model's predictions are from those of n-gram models.

From counts to distributions, and their divergences.
"""

from jaxtyping import Float, Int
from torch import Tensor

from pythia_traj.engines.measures import jensen_shannon, kl_divergence


def interpolated(
    lower: Float[Tensor, "#pos entry"],
    below: Float[Tensor, " pos"],
    position: Int[Tensor, " n"],
    token: Int[Tensor, " n"],
    mass: Float[Tensor, " n"],
) -> Float[Tensor, "pos entry"]:
    """Distributions of one order from those of the order below.

    They are made only for the contexts at hand: a whole table would not fit.

    Args:
        lower: probabilities of the order below.
        below: its weight at each position.
        position, token: where counts add something; each pair at most once, because additions in
            another order would round differently.
        mass: how much.
    """
    dense = lower * below.unsqueeze(-1)
    dense.view(-1).index_add_(0, position * dense.shape[1] + token, mass)
    return dense


def divergences(
    log_model: Float[Tensor, "pos entry"], ngram: Float[Tensor, "#pos entry"]
) -> dict[str, Float[Tensor, " pos"]]:
    """`kl`, KL(n-gram || model), and `js`, their Jensen-Shannon divergence, in nats.

    Args:
        log_model: the model's log-probabilities.
        ngram: probabilities of an n-gram model after the same tokens, all above 0.
    """
    log_ngram = ngram.log().expand_as(log_model)
    return {"kl": kl_divergence(log_ngram, log_model), "js": jensen_shannon(log_ngram, log_model)}
