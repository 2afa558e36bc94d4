"""What is measured on weights alone: spectra, distances between two sets of weights, and sketches.

From sketches, distances can be estimated later. A head's W_QK = W_Q W_K^T and W_OV = W_V W_O are
d_model x d_model matrices of rank d_head; every measure follows from their factors, so the products
are never made.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from pythia_traj.engines.streams import stream

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

Left = Float[Tensor, "*head d_in d_head"]
Right = Float[Tensor, "*head d_head d_out"]
Factors = tuple[Left, Right]

_TALL = 8
"""From so many times more rows than columns on, singular values come from the Gram matrix.

That is several times faster than a QR. It loses values below 3e-4 of the largest one to rounding;
embeddings are not that degenerate, and the statistics here do not depend on the smallest values.
"""


def matrices(
    model: "HookedTransformer",
) -> Iterator[tuple[str, int | None, Float[Tensor, "row col"]]]:
    """Name, layer and fp32 values of every matrix.

    One at a time, so that a half-precision model is never copied whole.
    """
    for layer, block in enumerate(model.blocks):
        attn, mlp = block.attn, block.mlp
        for name in ("W_Q", "W_K", "W_V"):
            yield (
                name,
                layer,
                rearrange(
                    getattr(attn, name), "head d_model d_head -> d_model (head d_head)"
                ).float(),
            )
        yield (
            "W_O",
            layer,
            rearrange(attn.W_O, "head d_head d_model -> (head d_head) d_model").float(),
        )
        yield "W_in", layer, mlp.W_in.float()
        yield "W_out", layer, mlp.W_out.float()
    yield "W_E", None, model.W_E.float()
    yield "W_U", None, model.W_U.float()


def circuits(model: "HookedTransformer") -> Iterator[tuple[str, int, Factors]]:
    """Name, layer and fp32 factors of every layer's head products, all heads at once.

    W_QK is taken without the rotation of positions that comes between its factors, and without the
    division by sqrt(d_head).
    """
    for layer, block in enumerate(model.blocks):
        attn = block.attn
        yield "W_QK", layer, (attn.W_Q.float(), attn.W_K.float().mT)
        yield "W_OV", layer, (attn.W_V.float(), attn.W_O.float())


def singular_values(matrix: Float[Tensor, "*batch row col"]) -> Float[Tensor, "*batch rank"]:
    """All singular values, largest first."""
    rows, columns = matrix.shape[-2:]
    if rows < columns:
        return singular_values(matrix.mT)
    if rows >= _TALL * columns:
        squares: Tensor = torch.linalg.eigvalsh(matrix.mT @ matrix)
        return squares.flip(-1).clamp(min=0).sqrt()
    if rows > columns:
        matrix = torch.linalg.qr(matrix, mode="r")[1]
    values: Tensor = torch.linalg.svdvals(matrix)
    return values


def product_singular_values(factors: Factors) -> Float[Tensor, "*head d_head"]:
    """The d_head singular values of a product that can differ from 0, largest first."""
    left, right = factors
    product = torch.linalg.qr(left, mode="r")[1] @ torch.linalg.qr(right.mT, mode="r")[1].mT
    values: Tensor = torch.linalg.svdvals(product)
    return values


STATISTICS = (
    "frobenius", "spectral", "nuclear", "singular_mean", "singular_variance", "stable_rank",
    "effective_rank", "effective_rank_sq", "participation_ratio", "gini",
)  # fmt: skip
"""What `spectral_statistics` measures, in its order; the first three are norms."""


def spectral_statistics(s: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch statistic"]:
    """Functions of the singular values alone.

    frobenius, spectral, nuclear: sqrt(sum s^2), max s, sum s. singular_mean, singular_variance:
    over the values (divided by their number). stable_rank = sum s^2 / max s^2;
    effective_rank = exp H(s / sum s) (Roy and Vetterli 2007); effective_rank_sq the same of s^2;
    participation_ratio = (sum s^2)^2 / sum s^4, uncentred: all 1 to the number of values. gini: 0
    where all are equal, towards 1 where one is everything. Of a matrix of zeros all but the norms
    are NaN.
    """
    # Fourth powers of small weights would leave fp32.
    scale = s.amax(-1, keepdim=True)
    unit = s / scale
    squares = unit.square()
    total, energy = unit.sum(-1), squares.sum(-1)
    size = s.shape[-1]
    rising = torch.arange(size, 0, -1, device=s.device, dtype=s.dtype)
    gini = 2 * (rising * unit).sum(-1) / (size * total) - (size + 1) / size
    largest = scale.squeeze(-1)
    found = (
        torch.linalg.vector_norm(s, dim=-1),
        largest,
        s.sum(-1),
        s.mean(-1),
        s.var(-1, correction=0),
        energy,
        _entropy(unit / total.unsqueeze(-1)).exp(),
        _entropy(squares / energy.unsqueeze(-1)).exp(),
        energy.square() / squares.square().sum(-1),
        gini,
    )
    return torch.stack(found, -1)


def _entropy(shares: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    terms: Tensor = torch.special.entr(shares)
    return terms.sum(-1)


@lru_cache(maxsize=1024)
def gaussian_spectrum(rows: int, columns: int, seed: int, number: int) -> Float[Tensor, " rank"]:
    """Singular values of one of several Gaussian matrices, with Frobenius norm 1.

    This is the spectrum of that shape where nothing was learnt. It is drawn on the CPU, so that
    every device has the same; and once, because every step has the same.
    """
    rng = stream(seed, f"gaussian {rows} x {columns}", number)
    return _with_norm_1(singular_values(_gaussian(rng, rows, columns)))


@lru_cache(maxsize=1024)
def gaussian_product_spectrum(
    d_in: int, d_head: int, d_out: int, seed: int, number: int
) -> Float[Tensor, " d_head"]:
    """The same of a product of two Gaussian factors."""
    rng = stream(seed, f"gaussian {d_in} x {d_head} x {d_out}", number)
    factors = _gaussian(rng, d_in, d_head), _gaussian(rng, d_head, d_out)
    return _with_norm_1(product_singular_values(factors))


def _with_norm_1(values: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(values)
    return values / norm


def _gaussian(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


Distance = Float[Tensor, "*batch 3"]
"""Distance and both norms: the inputs of `relative`."""


def distance(matrix: Tensor, reference: Tensor) -> Distance:
    """Frobenius norms of the difference, the matrix and the reference."""
    return torch.stack(
        [torch.linalg.vector_norm(one) for one in (matrix - reference, matrix, reference)]
    )


def product_distance(factors: Factors, reference: Factors) -> Distance:
    """The same of products, head by head.

    The difference of two products is itself a product of factors twice as wide, each small where
    the steps are near: nothing large cancels, and two equal heads have a distance of exactly 0.
    """
    (left, right), (left_0, right_0) = factors, reference
    between = torch.cat([left - left_0, left_0], -1), torch.cat([right, right - right_0], -2)
    return torch.stack([product_norm(one) for one in (between, factors, reference)], -1)


def product_norm(factors: Factors) -> Float[Tensor, "*head"]:
    """Frobenius norm of each head's product, from the Gram matrices of its factors."""
    left, right = factors
    return ((left.mT @ left) * (right @ right.mT)).sum((-1, -2)).clamp(min=0).sqrt()


def relative(distances: Distance) -> Float[Tensor, "*batch 2"]:
    """Distance as a share of the reference's norm, and cosine.

    They are NaN where a norm they are divided by is 0. The cosine comes from the distance: it is
    exactly 1 for what is equal, and does not lose small angles to rounding.
    """
    apart, own, other = distances.unbind(-1)
    cosine = 1 - (apart - (own - other)) * (apart + (own - other)) / (2 * own * other)
    return torch.stack([apart / other, cosine], -1)


def rolled(matrix: Float[Tensor, "row col"], places: int) -> Float[Tensor, "row col"]:
    """The same entries, each moved on by so many places, from 1 to one less than there are.

    That is a matrix of the same distribution and norm, unrelated to the given one.
    """
    return matrix.flatten().roll(places).view_as(matrix)


def rolled_factors(factors: Factors, places: int) -> Factors:
    """The same for the left factor of each head: its product is then unrelated to the old one."""
    left, right = factors
    return left.flatten(-2).roll(places, -1).view_as(left), right


def vocabulary_loop(model: "HookedTransformer") -> Float[Tensor, "d_model d_model"]:
    """W_U W_E, the last LayerNorm's gain and centring and the vocabulary's centring folded in."""
    w_e, w_u = model.W_E.float(), model.W_U.float()
    loop = w_u @ w_e - torch.outer(w_u.mean(1), w_e.sum(0))
    return _centred(_gain(model.ln_final, loop) * loop)


def copying_eigenvalue(
    w_v: Left, w_o: Right, loop: Float[Tensor, "d_model d_model"] | None = None
) -> Float[Tensor, "*head"]:
    """Re(sum lambda) / sum |lambda|, -1..1 (Elhage et al. 2021).

    It is positive where a head, on the whole, raises what it attends to. The lambda are the
    eigenvalues of W_V W_O, or with `loop` (see vocabulary_loop) those of W_E W_V W_O W_U; both are
    those of a cyclic product of size d_head. They are computed on the CPU: a GPU would do matrices
    of that size one after another.
    """
    cyclic = w_o @ w_v if loop is None else w_o @ (loop @ w_v)
    values: Tensor = torch.linalg.eigvals(cyclic.cpu())
    return values.real.sum(-1) / values.abs().sum(-1)


def folded_values(block: Any) -> Left:
    """A layer's W_V with the gain and centring of the LayerNorm that it reads through folded in."""
    w_v = block.attn.W_V.float()
    return _centred(_gain(block.ln1, w_v) * w_v)


def gaussian_values(rng: np.random.Generator, like: Sequence[int]) -> Factors:
    """Gaussian W_V and W_O of a layer: heads that have learnt nothing.

    `like` is their [head_index, d_model, d_head].
    """
    heads, d_model, d_head = like
    return _gaussian(rng, heads, d_model, d_head), _gaussian(rng, heads, d_head, d_model)


def _centred(matrix: Float[Tensor, "*head d_model col"]) -> Float[Tensor, "*head d_model col"]:
    return matrix - matrix.mean(-2, keepdim=True)


def _gain(norm: Any, like: Tensor) -> Tensor:
    """A LayerNorm's gain as a column; 1 where it is folded already."""
    gain = getattr(norm, "w", None)
    return torch.ones(1, device=like.device) if gain is None else gain.float().unsqueeze(-1)
