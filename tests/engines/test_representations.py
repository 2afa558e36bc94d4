"""Likeness and shape of activations against their definitions."""

import pytest
import torch

from pythia_traj.engines.representations import (
    anisotropy,
    cka,
    cosine,
    hsic,
    participation_ratio,
    shifts,
    standardised,
)

RNG = torch.Generator().manual_seed(0)


def randn(*shape):
    return torch.randn(*shape, generator=RNG)


def linear_cka(x, y, *, debiased=True):
    x, y = standardised(x), standardised(y)
    return cka(hsic(x, y), hsic(x, x), hsic(y, y))[0 if debiased else 1]


def test_what_is_equal_up_to_rotation_shift_and_scale_has_cka_1():
    x = randn(50, 8)
    rotation = torch.linalg.qr(randn(8, 8))[0]
    for debiased in (True, False):
        assert linear_cka(x, x, debiased=debiased).item() == pytest.approx(1, abs=1e-6)
        assert linear_cka(x, 1e4 * x @ rotation + 7, debiased=debiased).item() == pytest.approx(
            1, abs=1e-4
        )


def hsic_by_kernels(x, y):
    """Song et al. 2012, equation 5, as it is printed."""
    n = len(x)
    k, kernel = x @ x.T, y @ y.T
    k, kernel = k - k.diag().diag(), kernel - kernel.diag().diag()
    ones = torch.ones(n, dtype=x.dtype)
    trace = (k @ kernel).trace()
    product = ones @ k @ ones * (ones @ kernel @ ones) / ((n - 1) * (n - 2))
    return (trace + product - 2 / (n - 2) * (ones @ k @ kernel @ ones)) / (n * (n - 3))


def test_cka_is_that_of_the_kernel_matrices():
    x = randn(30, 6) + 5
    y = x[:, :3] + randn(30, 3)
    a, b = x.double(), y.double()
    expected = hsic_by_kernels(a, b) / (hsic_by_kernels(a, a) * hsic_by_kernels(b, b)).sqrt()
    assert linear_cka(x, y).item() == pytest.approx(expected.item(), abs=1e-4)
    centred = [one - one.mean(0) for one in (a, b)]
    gram = [one @ one.T for one in centred]
    expected = (gram[0] * gram[1]).sum() / (gram[0].norm() * gram[1].norm())
    assert linear_cka(x, y, debiased=False).item() == pytest.approx(expected.item(), abs=1e-4)


def test_unrelated_representations_have_a_debiased_cka_of_0_and_a_biased_one_that_is_not():
    debiased = torch.stack([linear_cka(randn(60, 40), randn(60, 40)) for _ in range(100)])
    assert abs(debiased.mean().item()) < 3 * debiased.std().item() / 10
    assert linear_cka(randn(60, 40), randn(60, 40), debiased=False).item() > 0.3


def test_cosine_is_exactly_1_for_what_is_equal_and_minus_1_for_opposites():
    x = randn(5, 4, 8)
    assert (cosine(x, x) == 1).all()
    torch.testing.assert_close(cosine(x, -x), torch.full((5, 4), -1.0))
    y = randn(5, 4, 8)
    torch.testing.assert_close(
        cosine(x, y), torch.nn.functional.cosine_similarity(x, y, dim=-1), atol=1e-5, rtol=0
    )


def test_the_participation_ratio_counts_the_dimensions_that_vary():
    # Two opposite points on each of 6 axes.
    x = torch.cat([torch.eye(6, 10), -torch.eye(6, 10)])
    assert participation_ratio(x).item() == pytest.approx(6, rel=1e-5)
    assert participation_ratio(x, centred=False).item() == pytest.approx(6, rel=1e-5)
    shifted = x + 100
    assert participation_ratio(shifted).item() == pytest.approx(6, rel=1e-2)
    assert participation_ratio(shifted, centred=False).item() == pytest.approx(1, rel=1e-2)


@pytest.mark.parametrize("shape", [(40, 7), (7, 40)])
def test_the_participation_ratio_is_that_of_the_eigenvalues(shape):
    x = randn(*shape)
    values = torch.linalg.svdvals(x - x.mean(0)) ** 2
    assert participation_ratio(x).item() == pytest.approx(
        (values.sum() ** 2 / values.square().sum()).item(), rel=1e-4
    )


def test_anisotropy_is_the_mean_cosine_over_pairs_from_different_documents():
    x = randn(4, 3, 5) + 1
    pairs = [
        torch.nn.functional.cosine_similarity(x[i, p], x[j, q], dim=0)
        for i in range(4)
        for j in range(4)
        for p in range(3)
        for q in range(3)
        if i != j
    ]
    assert anisotropy(x).mean().item() == pytest.approx(torch.stack(pairs).mean().item(), abs=1e-5)
    assert anisotropy(torch.ones(3, 2, 4)).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("items", range(2, 40))
def test_no_two_shifts_pair_the_same_items(items):
    found = shifts(items, 5)
    assert len(found) == min(5, items // 2)
    pairs = [{frozenset((one, (one + by) % items)) for one in range(items)} for by in found]
    for i, some in enumerate(pairs):
        assert all(len(pair) == 2 for pair in some)
        assert not any(some & others for others in pairs[:i])
