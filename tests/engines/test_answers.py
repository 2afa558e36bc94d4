"""Scores of continuations, against their definitions written out."""

import math

import pytest
import torch

from pythia_traj.engines import answers


def answer_scores(logits, candidates, is_right):
    """With one position read."""
    return answers.answer_scores(logits[:, None], candidates[:, None], is_right[:, None])


def test_one_right_and_one_wrong_continuation():
    logits = torch.tensor([[0.0, 2.0, 1.0, -1.0], [3.0, 0.0, 1.0, -1.0]])
    scores = answer_scores(
        logits, torch.tensor([[1, 2], [1, 2]]), torch.tensor([[True, False], [True, False]])
    )
    probs = logits.softmax(-1)
    assert scores.logit_diff.tolist() == [1.0, -1.0]
    assert scores.prob_diff.tolist() == pytest.approx([(p[1] - p[2]).item() for p in probs])
    assert scores.correct.tolist() == [1.0, 0.0]
    assert scores.rank0.tolist() == [1.0, 0.0]
    assert scores.nll.tolist() == pytest.approx([-math.log(p[1]) for p in probs])
    # The logit difference is the log of the ratio of probabilities.
    assert scores.logit_diff.tolist() == pytest.approx(
        [math.log(p[1] / p[2]) for p in probs], abs=1e-6
    )


def test_several_right_continuations_count_together_over_the_whole_vocabulary():
    logits = torch.tensor([[1.0, 1.0, 1.0, 5.0]])
    scores = answer_scores(logits, torch.tensor([[0, 1, 2]]), torch.tensor([[True, True, False]]))
    each = math.exp(1) / (3 * math.exp(1) + math.exp(5))
    assert scores.prob_diff.item() == pytest.approx(each)
    assert scores.nll.item() == pytest.approx(-math.log(2 * each))
    assert scores.correct.item() == 1
    assert scores.rank0.item() == 0
    assert scores.logit_diff.item() == 0


def test_a_shift_of_all_logits_changes_nothing():
    torch.manual_seed(0)
    logits, candidates = (
        torch.randn(5, 20),
        torch.randint(0, 20, (5, 1)).repeat(1, 4) + torch.arange(4) - 10,
    )
    candidates = candidates % 20
    is_right = torch.arange(4).expand(5, 4) < 2
    one, two = (
        answer_scores(logits, candidates, is_right),
        answer_scores(logits + 7.5, candidates, is_right),
    )
    for name in ("logit_diff", "prob_diff", "nll"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name), atol=1e-5, rtol=1e-5)


def test_without_a_wrong_continuation_the_right_one_is_compared_with_all_and_positions_are_averaged():  # noqa: E501
    torch.manual_seed(0)
    logits, candidates = torch.randn(3, 4, 10), torch.randint(0, 10, (3, 4, 1))
    scores = answers.answer_scores(logits, candidates, torch.ones(3, 4, 1, dtype=torch.bool))
    right = logits.gather(-1, candidates)[..., 0]
    torch.testing.assert_close(scores.logit_diff, (right - logits.mean(-1)).mean(-1))
    torch.testing.assert_close(scores.nll, (logits.logsumexp(-1) - right).mean(-1))
    torch.testing.assert_close(
        scores.correct, (logits.argmax(-1) == candidates[..., 0]).float().mean(-1)
    )
    assert scores.rank0.tolist() == scores.correct.tolist()
