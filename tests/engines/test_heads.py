"""Attention measures: known patterns give known numbers, TransformerLens's own detector agrees."""

import math

import pytest
import torch

from pythia_traj.engines import heads


def uniform_causal(length):
    """Each query attends equally to all before it and itself: [1, 1, query, key]."""
    ones = torch.ones(length, length).tril()
    return (ones / ones.sum(-1, keepdim=True))[None, None]


def attending(length, target):
    """A head that attends to `target(query)` alone."""
    pattern = torch.zeros(1, 1, length, length)
    for query in range(length):
        pattern[0, 0, query, max(target(query), 0)] = 1
    return pattern


@pytest.mark.parametrize(("length", "expected"), [(50, 0.01376), (25, 0.02733)])
def test_uniform_attention_gives_the_published_prefix_matching(length, expected):
    score = heads.attention_at_offset(uniform_causal(2 * length), length - 1, length)
    assert score.item() == pytest.approx(expected, abs=1e-5)


def test_each_kind_of_head_scores_one_on_its_own_measure_and_nothing_on_the_others():
    length = 20
    kinds = {length - 1: "induction", 1: "previous", length: "duplicate", 0: "self"}
    for offset in kinds:
        pattern = attending(2 * length, lambda query, offset=offset: query - offset)
        scores = {
            other: heads.attention_at_offset(pattern, other, length).item() for other in kinds
        }
        assert scores == {other: float(other == offset) for other in kinds}


def test_attention_to_the_first_token_and_in_a_band():
    sink = attending(40, lambda query: 0)
    assert heads.attention_to_first(sink, 20).item() == 1
    third_back = attending(40, lambda query: query - 3)
    assert heads.attention_in_band(third_back, 2, 5, 20).item() == 1
    assert heads.attention_in_band(attending(40, lambda query: query - 6), 2, 5, 20).item() == 0


def test_entropy_of_attention_is_that_of_each_query_averaged():
    shares = torch.tensor([[1, 0, 0], [0.25, 0.75, 0], [0.5, 0.25, 0.25]])
    second = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    third = 0.5 * math.log(2) + 2 * 0.25 * math.log(4)
    for length, of_queries in ((3, (0, second, third)), (2, (0, second)), (1, (0,))):
        found = heads.attention_entropy(shares[None, None], torch.tensor([length]))
        assert found.item() == pytest.approx(sum(of_queries) / length)


def test_entropy_is_0_on_one_position_and_greatest_where_attention_is_even():
    lengths = torch.tensor([10])
    for target in (lambda query: 0, lambda query: query, lambda query: query - 1):
        assert heads.attention_entropy(attending(10, target), lengths).item() == 0
    even = heads.even_entropy(lengths).item()
    assert even == pytest.approx(math.log(math.factorial(10)) / 10)
    found = heads.attention_entropy(uniform_causal(10), lengths).item()
    assert found == pytest.approx(even, abs=1e-6)
    some = torch.rand(1, 5, 10, 10, generator=torch.Generator().manual_seed(0)).tril()
    spread = heads.attention_entropy(some / some.sum(-1, keepdim=True), lengths)
    assert ((spread > 0) & (spread < even)).all()


def test_each_sequence_has_the_entropy_of_its_own_queries():
    lengths = torch.tensor([10, 4])
    both = uniform_causal(10).expand(2, 3, 10, 10)
    found = heads.attention_entropy(both, lengths)
    assert found.shape == (2, 3)
    torch.testing.assert_close(found, heads.even_entropy(lengths)[:, None].expand(2, 3))


def test_olssons_conventions_have_their_stated_bounds():
    length, copies, start = 25, 4, 1
    context = start + copies * length
    shares = torch.zeros(1, 1, context, context)
    for query in range(start + length, context):
        earlier = list(range(query - length + 1, start, -length))
        shares[0, 0, query, earlier] = 1 / len(earlier)
    entries, query = heads.attention_after_earlier_copies(shares, length, copies, start)
    assert entries.item() == pytest.approx(0.5)
    assert query.item() == pytest.approx(1.0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_transformer_lens_detects_the_same(suite):
    from transformer_lens.head_detector import (
        compute_head_attention_similarity_score,
        get_induction_head_detection_pattern,
    )

    import pythia_traj as pt

    (ckpt,) = pt.checkpoints(suite, steps="4", device="cpu")
    halves = torch.randint(0, 20, (2, 15))  # few ids, so that tokens also recur by chance
    tokens = torch.cat([halves, halves], 1)
    _, cache = ckpt.model.run_with_cache(tokens)
    targets = heads.induction_targets(tokens)
    for item in range(2):
        expected = get_induction_head_detection_pattern(tokens[item : item + 1])
        assert torch.equal(targets[item].float(), expected)
        for layer in range(2):
            pattern = cache["pattern", layer][item : item + 1]
            ours = {
                "mul": heads.detect_head_mul(pattern, targets[item : item + 1])[0],
                "abs": heads.detect_head_abs(pattern, targets[item : item + 1])[0],
            }
            for head in range(4):
                for measure, values in ours.items():
                    theirs = compute_head_attention_similarity_score(
                        pattern[0, head],
                        expected,
                        exclude_bos=False,
                        exclude_current_token=False,
                        error_measure=measure,
                    )
                    assert values[head].item() == pytest.approx(
                        theirs, abs=6e-4 if measure == "abs" else 1e-6
                    )
