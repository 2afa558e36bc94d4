"""What head roles claim of models that have learnt nothing: benchmarks/claims.py on a few."""

import pytest

from benchmarks import claims_of_roles

pytestmark = pytest.mark.slow


def test_at_most_two_of_twenty_random_models_have_a_head_with_a_role(tmp_path):
    with_any = [
        len(claims_of_roles.called(model, seed)) > 0
        for seed, model in claims_of_roles.random_models(tmp_path / "random", range(20))
    ]
    assert len(with_any) == 20
    assert sum(with_any) <= 2


def test_with_shuffled_input_alone_half_of_them_would(tmp_path):
    """The null of the experiment is the one with all draws of the first step."""
    found = [
        (len(claims_of_roles.called(model, seed)) > 0, claims_of_roles.called_by_null(model, seed))
        for seed, model in claims_of_roles.random_models(tmp_path / "random", range(6))
    ]
    assert [any_head for any_head, _ in found] == [by_null[20] for _, by_null in found]
    assert sum(by_null[0] for _, by_null in found) >= 2
