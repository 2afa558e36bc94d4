"""Measures on logits."""

import math

import pytest
import torch
from torch.nn import functional

from pythia_traj.engines import measures


def test_nll_is_cross_entropy_and_ln_of_the_vocabulary_when_nothing_is_known():
    logits, targets = torch.randn(3, 7, 11), torch.randint(0, 11, (3, 7))
    expected = functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction="none"
    ).view(3, 7)
    torch.testing.assert_close(measures.next_token_nll(logits, targets), expected)
    assert measures.next_token_nll(
        torch.zeros(1, 1, 50304), torch.zeros(1, 1, dtype=torch.long)
    ).item() == pytest.approx(math.log(50304))


def test_half_precision_logits_are_measured_in_fp32():
    logits = torch.randn(1, 4, 9).half()
    assert (
        measures.next_token_nll(logits, torch.zeros(1, 4, dtype=torch.long)).dtype == torch.float32
    )


def test_top1_is_the_largest_logit():
    logits = torch.tensor([[[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]]])
    assert measures.is_top1(logits, torch.tensor([[1, 2]])).tolist() == [[True, False]]


def test_window_difference_counts_predicted_tokens_from_zero():
    nll = torch.arange(1, 600).float()[None]  # the loss of predicted token i is i
    assert measures.window_difference(nll, (50, 50), (500, 500)).item() == 450
    assert measures.window_difference(nll, (40, 59), (450, 549)).item() == 499.5 - 49.5


def test_divergences_and_entropy_by_hand():
    p, q = torch.tensor([0.5, 0.5, 0.0 + 1e-30]), torch.tensor([0.25, 0.5, 0.25])
    assert measures.entropy(q.log()).item() == pytest.approx(1.5 * math.log(2))
    assert measures.kl_divergence(p.log(), q.log()).item() == pytest.approx(0.5 * math.log(2))
    assert measures.kl_divergence(q.log(), q.log()).item() == 0
    one, other = (
        measures.jensen_shannon(p.log(), q.log()),
        measures.jensen_shannon(q.log(), p.log()),
    )
    assert one.item() == pytest.approx(other.item())
    assert 0 < one.item() < math.log(2)
