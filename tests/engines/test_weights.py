"""Statistics of weights against their definitions on matrices that are written out."""

import pytest
import torch

from pythia_traj.engines import weights as engine

RNG = torch.Generator().manual_seed(3)


def randn(*shape):
    return torch.randn(*shape, generator=RNG)


@pytest.mark.parametrize("shape", [(6, 6), (5, 20), (20, 5), (400, 7), (7, 400)])
def test_singular_values_are_those_of_lapack_whatever_the_shape(shape):
    matrix = randn(*shape)
    torch.testing.assert_close(
        engine.singular_values(matrix), torch.linalg.svdvals(matrix), rtol=1e-4, atol=1e-4
    )


def test_a_products_spectrum_norm_and_distance_are_those_of_the_matrix_multiplied_out():
    one, two = [(randn(3, 20, 4), randn(3, 4, 15)) for _ in range(2)]
    product, other = one[0] @ one[1], two[0] @ two[1]
    torch.testing.assert_close(
        engine.product_singular_values(one),
        torch.linalg.svdvals(product)[:, :4],
        rtol=1e-4,
        atol=1e-4,
    )
    norms = torch.linalg.matrix_norm(torch.stack([product - other, product, other], 1))
    torch.testing.assert_close(engine.product_distance(one, two), norms, rtol=1e-4, atol=1e-4)


def test_statistics_of_equal_and_of_single_singular_values_are_their_extremes():
    flat = dict(
        zip(
            engine.STATISTICS,
            engine.spectral_statistics(torch.full((8,), 3.0)).tolist(),
            strict=True,
        )
    )
    assert flat["frobenius"] == pytest.approx(3 * 8**0.5)
    assert flat["spectral"] == 3
    assert flat["nuclear"] == 24
    assert flat["singular_mean"] == 3
    assert flat["singular_variance"] == 0
    for name in ("stable_rank", "effective_rank", "effective_rank_sq", "participation_ratio"):
        assert flat[name] == pytest.approx(8, rel=1e-5)
    assert flat["gini"] == pytest.approx(0, abs=1e-6)
    single = dict(
        zip(
            engine.STATISTICS,
            engine.spectral_statistics(torch.tensor([5.0, 0, 0, 0])).tolist(),
            strict=True,
        )
    )
    for name in ("stable_rank", "effective_rank", "effective_rank_sq", "participation_ratio"):
        assert single[name] == pytest.approx(1)
    assert single["gini"] == pytest.approx(0.75)


def test_statistics_are_their_definitions():
    s = torch.linalg.svdvals(randn(9, 9))
    found = dict(zip(engine.STATISTICS, engine.spectral_statistics(s).tolist(), strict=True))
    share, energy = s / s.sum(), s**2 / (s**2).sum()
    assert found["stable_rank"] == pytest.approx(((s**2).sum() / s[0] ** 2).item(), rel=1e-5)
    assert found["effective_rank"] == pytest.approx(
        torch.exp(-(share * share.log()).sum()).item(), rel=1e-5
    )
    assert found["effective_rank_sq"] == pytest.approx(
        torch.exp(-(energy * energy.log()).sum()).item(), rel=1e-5
    )
    assert found["participation_ratio"] == pytest.approx(
        ((s**2).sum() ** 2 / (s**4).sum()).item(), rel=1e-5
    )
    pairs = (s[:, None] - s[None]).abs().sum() / (2 * 9 * s.sum())
    assert found["gini"] == pytest.approx(pairs.item(), rel=1e-4)


def test_small_weights_do_not_leave_fp32():
    tiny = engine.spectral_statistics(torch.tensor([3e-12, 2e-12, 1e-12]))
    large = engine.spectral_statistics(torch.tensor([3.0, 2.0, 1.0]))
    torch.testing.assert_close(tiny[5:], large[5:])


def test_a_matrix_is_at_distance_0_and_cosine_1_from_itself():
    matrix = randn(30, 20)
    assert engine.relative(engine.distance(matrix, matrix)).tolist() == [0, 1]
    factors = randn(2, 20, 4), randn(2, 4, 20)
    assert engine.relative(engine.product_distance(factors, factors)).tolist() == [[0, 1], [0, 1]]


def test_distance_and_cosine_are_their_definitions_also_where_they_are_small():
    matrix = randn(30, 20)
    for size in (1.0, 1e-2):
        other = matrix + size * randn(30, 20)
        share, cosine = engine.relative(engine.distance(matrix, other)).tolist()
        assert share == pytest.approx(((matrix - other).norm() / other.norm()).item(), rel=1e-5)
        expected = torch.nn.functional.cosine_similarity(
            matrix.flatten().double(), other.flatten().double(), dim=0
        )
        assert 1 - cosine == pytest.approx(1 - expected.item(), rel=1e-2)


def test_what_is_rolled_has_the_same_norm_and_no_likeness():
    matrix = randn(100, 100)
    moved = engine.rolled(matrix, 1234)
    assert sorted(moved.flatten().tolist()) == sorted(matrix.flatten().tolist())
    assert abs(engine.relative(engine.distance(matrix, moved))[1].item()) < 0.05


def test_a_gaussian_matrix_is_its_own_null():
    own = torch.linalg.svdvals(randn(60, 40))
    null = engine.gaussian_spectrum(60, 40, 0, 0)
    assert torch.linalg.vector_norm(null).item() == pytest.approx(1)
    ranks = [engine.spectral_statistics(values)[6].item() for values in (own, null)]
    assert ranks[0] == pytest.approx(ranks[1], rel=0.05)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_head_that_copies_has_eigenvalue_ratio_1_and_one_that_suppresses_minus_1(sign):
    w_v = randn(2, 12, 4)
    w_o = sign * w_v.mT
    assert engine.copying_eigenvalue(w_v, w_o).tolist() == pytest.approx([sign, sign])


def test_copying_is_that_of_the_whole_product():
    w_v, w_o, w_e, w_u = randn(1, 12, 4), randn(1, 4, 12), randn(30, 12), randn(12, 30)
    for whole, loop in ((w_v @ w_o, None), (w_e @ w_v @ w_o @ w_u, w_u @ w_e)):
        values = torch.linalg.eigvals(whole[0].double())
        expected = values.real.sum() / values.abs().sum()
        assert engine.copying_eigenvalue(w_v, w_o, loop).item() == pytest.approx(
            expected.item(), abs=1e-4
        )
