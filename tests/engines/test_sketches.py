"""Sketches: the distances that are had from them, with the error that is stated."""

import numpy as np
import pytest
import torch

from pythia_traj.engines.sketches import compare_sketches, project, project_product

RNG = torch.Generator().manual_seed(5)


def randn(*shape):
    return torch.randn(*shape, generator=RNG)


def test_the_distance_and_cosine_of_two_matrices_lie_within_their_stated_errors():
    for near in (0.01, 0.3, 3.0):
        one = randn(40, 25_000)
        other = one + near * randn(40, 25_000)
        norms = [matrix.norm(dim=1).numpy() for matrix in (one, other)]
        sketches = [project(matrix, 256, seed=1).numpy() for matrix in (one, other)]
        found = compare_sketches(*sketches, norm=norms[0], reference_norm=norms[1])
        true = ((one - other).norm(dim=1) / other.norm(dim=1)).numpy()
        errors = (found.relative_distance - true) / found.relative_distance_stderr
        assert 0.6 < errors.std() < 1.4
        assert abs(errors.mean()) < 0.7
        cosine = torch.nn.functional.cosine_similarity(one.double(), other.double(), dim=1).numpy()
        errors = (found.cosine - cosine) / found.cosine_stderr
        assert 0.6 < errors.std() < 1.4
        assert found.relative_distance_stderr == pytest.approx(
            found.relative_distance / np.sqrt(512), rel=1e-5
        )


def test_weights_that_lie_in_few_entries_are_no_exception():
    sparse = torch.zeros(200, 20_000)
    sparse[:, :3] = randn(200, 3)
    sparse[:, 9_000:9_003] = randn(200, 3)
    # One projection for all rows: what meets in it meets in every row, so over seeds, not over
    # rows, it is right on average.
    shares = [
        (project(sparse[:1], 64, seed=seed).norm() / sparse[0].norm()).square().item()
        for seed in range(300)
    ]
    assert np.mean(shares) == pytest.approx(1, abs=0.05)
    assert np.std(shares) < np.sqrt(2 / 64) * 1.3


def test_entries_of_one_sign_do_not_add_up():
    """What a step moves need not have a mean of 0: each entry has a random sign."""
    shifted = 1 + 0.1 * randn(20_000)
    shares = [
        (project(shifted, 64, seed=seed).norm() / shifted.norm()).square().item()
        for seed in range(300)
    ]
    assert np.mean(shares) == pytest.approx(1, abs=0.05)
    assert np.std(shares) < np.sqrt(2 / 64) * 1.3


def test_what_is_equal_is_at_distance_0_and_cosine_1():
    sketched = project(randn(5_000), 64, seed=0).numpy()
    found = compare_sketches(sketched, sketched, norm=3.0, reference_norm=3.0)
    assert (found.relative_distance, found.cosine, found.cosine_stderr) == (0, 1, 0)


def test_a_sketch_depends_on_nothing_but_the_vector_size_and_seed():
    vectors = randn(3, 2_100_000)
    together = project(vectors, 512, seed=7)
    torch.testing.assert_close(project(vectors[1], 512, seed=7), together[1], rtol=1e-5, atol=1e-3)
    assert torch.equal(together, project(vectors, 512, seed=7))
    assert not torch.allclose(project(vectors, 512, seed=8), together)
    assert project(vectors, 1000, seed=7).shape == (3, 1000)


def test_a_sketch_is_linear():
    one, other = randn(3_000), randn(3_000)
    torch.testing.assert_close(
        project(one - 2 * other, 100, 0),
        project(one, 100, 0) - 2 * project(other, 100, 0),
        rtol=1e-4,
        atol=1e-4,
    )


def test_heads_are_sketched_as_the_matrices_that_they_are():
    factors = randn(3, 30, 4), randn(3, 4, 20)
    whole = project((factors[0] @ factors[1]).flatten(-2), 64, seed=2)
    torch.testing.assert_close(project_product(factors, 64, seed=2), whole, rtol=1e-4, atol=1e-4)


def test_a_norm_of_0_gives_no_number_and_sizes_must_agree():
    sketched = project(randn(100), 16, seed=0).numpy()
    assert np.isnan(compare_sketches(sketched, sketched, norm=0.0, reference_norm=0.0).cosine)
    with pytest.raises(ValueError, match="sketches of 16 and 8 numbers cannot be compared"):
        compare_sketches(sketched, sketched[:8], norm=1.0, reference_norm=1.0)
