"""What head roles claim of models that have learnt nothing: benchmarks/claims.py on a few."""

import pytest

from benchmarks import claims_of_roles

pytestmark = pytest.mark.slow


def test_at_most_two_of_twenty_random_models_have_a_head_with_a_role(tmp_path):
    models = claims_of_roles.random_models(tmp_path / "random", range(20))
    with_any, by_null = [], []
    for seed, model in models:
        with_any.append(len(claims_of_roles.called(model, seed)) > 0)
        by_null.append(claims_of_roles.called_by_null(model, seed))
    assert len(with_any) == 20
    assert sum(with_any) <= 2
    # The null of the experiment has all draws; with shuffled ones alone this test would fail.
    assert with_any == [found[20] for found in by_null]
    assert sum(found[0] for found in by_null) > 2
