"""From counts to distributions, and how far they are from a model's."""

import math

import pytest
import torch

from pythia_traj.engines.ngrams import divergences, interpolated


def test_an_order_is_what_it_adds_to_the_one_below():
    lower = torch.tensor([[0.5, 0.25, 0.25]])
    found = interpolated(
        lower,
        torch.tensor([0.4, 1.0]),
        torch.tensor([0, 0]),
        torch.tensor([0, 2]),
        torch.tensor([0.2, 0.4]),
    )
    torch.testing.assert_close(found, torch.tensor([[0.4, 0.1, 0.5], [0.5, 0.25, 0.25]]))
    torch.testing.assert_close(found.sum(-1), torch.ones(2))
    assert lower.tolist() == [[0.5, 0.25, 0.25]]


def test_equal_distributions_are_not_apart_and_disjoint_ones_by_ln_2():
    p = torch.rand(4, 9).softmax(-1)
    for values in divergences(p.log(), p).values():
        torch.testing.assert_close(values, torch.zeros(4), atol=1e-6, rtol=0)
    eps = 1e-9
    one, other = torch.tensor([[1 - eps, eps]]), torch.tensor([[eps, 1 - eps]])
    assert divergences(one.log(), other)["js"].item() == pytest.approx(math.log(2), abs=1e-6)


def test_divergences_have_the_n_gram_first():
    model, ngram = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([[0.1, 0.3, 0.6]])
    found = divergences(model.log(), ngram)
    assert found["kl"].item() == pytest.approx(
        (ngram * (ngram / model).log()).sum().item(), abs=1e-6
    )
    mean = (model + ngram) / 2
    halves = (ngram * (ngram / mean).log()).sum() + (model * (model / mean).log()).sum()
    assert found["js"].item() == pytest.approx(halves.item() / 2, abs=1e-6)
