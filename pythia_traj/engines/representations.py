"""What is measured on activations.

How alike two models' activations are, how many dimensions they fill, and how alike those of
unrelated tokens are.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pythia_traj.engines.kept import CPU_BUDGET, bytes_per_row

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

Features = Float[Tensor, "token feature"]

OtherFeatures = Float[Tensor, "token other_feature"]
"""Of the same tokens, in a space that need not be the same."""


def collect(
    model: "HookedTransformer",
    tokens: Int[Tensor, "item pos"],
    names: Sequence[str],
    *,
    make: Callable[[Tensor], Tensor] = lambda activation: activation.float(),
) -> dict[str, Tensor]:
    """Activations by hook name [item, pos, ...], of all sequences in their order, batch by batch.

    Layers above the last that is read are not run.

    Args:
        names: TransformerLens's names of hooks, such as `blocks.3.hook_resid_post`.
        make: turns a batch's activation into what is kept: of another type, or elsewhere.
    """
    found: dict[str, Tensor] = {}
    last = max(int(name.split(".")[1]) for name in names)
    size = max(1, CPU_BUDGET // bytes_per_row(model, tokens.shape[1], 0))
    for start in range(0, len(tokens), size):

        def keep(activation: Tensor, hook: Any, *, name: str, start: int = start) -> None:
            made = make(activation)
            if name not in found:
                found[name] = made.new_empty((len(tokens), *made.shape[1:]))
            found[name][start : start + len(made)] = made

        hooks = [(name, partial(keep, name=name)) for name in names]
        model.run_with_hooks(
            tokens[start : start + size], fwd_hooks=hooks, stop_at_layer=last + 1, return_type=None
        )
    return found


def standardised(x: Features) -> Features:
    """Features centred and scaled.

    Both estimators of HSIC allow centring. Scaling keeps fourth powers within fp32, and the
    summands of one size.
    """
    x = x - x.mean(0)
    norm: Tensor = torch.linalg.vector_norm(x)
    return x / norm * math.sqrt(len(x))


def hsic(x: Features, y: OtherFeatures) -> Float[Tensor, " 2"]:
    """Linear HSIC, unbiased and biased, of standardised features.

    Each is up to a factor that is the same for all. Unbiased: Song et al. 2012, equation 5. With K
    and L the kernel matrices, their diagonals put to 0, tr(KL) + sum(K) sum(L) / ((n - 1)(n - 2)) -
    2 / (n - 2) sum(KL); all from features, so that no matrix has the size tokens x tokens.
    """
    n = len(x)
    product = (x.mT @ y).square().sum()
    x_squares, y_squares = x.square().sum(1), y.square().sum(1)
    # Each row's sum without its diagonal.
    x_sums, y_sums = x @ x.sum(0) - x_squares, y @ y.sum(0) - y_squares
    trace = product - (x_squares * y_squares).sum()
    unbiased = (
        trace
        + x_sums.sum() * y_sums.sum() / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (x_sums * y_sums).sum()
    )
    return torch.stack([unbiased, product])


def cka(
    cross: Float[Tensor, "*what"], own: Float[Tensor, "*what"], other: Float[Tensor, "*what"]
) -> Float[Tensor, "*what"]:
    """Alignment from the HSIC of two representations with each other and of each with itself."""
    return cross / own.clamp(min=0).sqrt() / other.clamp(min=0).sqrt()


def cosine(
    x: Float[Tensor, "*token feature"], y: Float[Tensor, "*token feature"]
) -> Float[Tensor, "*token"]:
    """Cosine between the representations of each token.

    Exactly 1 for equal ones, 0 where one of them is 0.
    """
    x, y = _unit(x), _unit(y)
    return 1 - (x - y).square().sum(-1) / 2


def shifts(items: int, at_most: int) -> list[int]:
    """By how many places items are moved on, to pair each with others: at most half of them.

    Beyond half of them the same two items meet again. Spread evenly; where every item is as good a
    partner as any other, nothing need be drawn.
    """
    most = items // 2
    numbers = min(at_most, most)
    return [(number + 1) * most // numbers for number in range(numbers)]


def participation_ratio(x: Features, *, centred: bool = True) -> Float[Tensor, ""]:
    """How many dimensions the variance fills, 1 to the number of features.

    That is (sum l)^2 / sum l^2 over the eigenvalues of the covariance. Uncentred, over those of the
    second moments, where a mean that all tokens share counts as one large dimension. The number of
    tokens limits both.
    """
    x = x - x.mean(0) if centred else x
    x = x / torch.linalg.vector_norm(x)
    # The traces of the covariance and of its square, by the smaller of the two Gram matrices.
    gram = x.mT @ x if x.shape[0] >= x.shape[1] else x @ x.mT
    return 1 / gram.square().sum()


def anisotropy(x: Float[Tensor, "document token feature"]) -> Float[Tensor, " document"]:
    """Mean cosine between each document's tokens and all other documents' (Ethayarajh 2019).

    It is 0 where directions are spread evenly. Its mean over documents is the mean over all pairs
    of tokens of different documents.
    """
    sums = _unit(x).sum(1)
    others = sums.sum(0) - sums
    return (sums * others).sum(-1) / (x.shape[1] ** 2 * (len(x) - 1))


def _unit(x: Float[Tensor, "*token feature"]) -> Float[Tensor, "*token feature"]:
    return torch.nn.functional.normalize(x, dim=-1, eps=1e-30)
