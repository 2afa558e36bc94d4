"""Decoding with a cache against decoding without, and a model that writes what it should."""

import pytest
import torch

import pythia_traj as pt
from pythia_traj.engines import decoding
from pythia_traj.engines.decoding import continued, matches, uniform_draws


@pytest.fixture(scope="module")
def model(suite):
    (ckpt,) = pt.checkpoints(suite, steps="4", device="cpu")
    return ckpt.model


def prompts(n, length, low=0):
    return torch.randint(low, 300, (n, length), generator=torch.Generator().manual_seed(0))


def without_cache(model, tokens, new):
    for _ in range(new):
        with torch.inference_mode():
            logits = model(tokens)[:, -1]
        tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], 1)
    return tokens[:, -new:]


def test_greedy_decoding_with_a_cache_writes_what_it_writes_without(model):
    tokens = prompts(7, 9)
    # End-of-text tokens are tokens like any other: what is padding elsewhere is not hidden here.
    tokens[0, 3] = tokens[1, 0] = tokens[2, -1] = 0
    assert torch.equal(continued(model, tokens, 12).tokens, without_cache(model, tokens, 12))


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_prompts_of_different_lengths_are_continued_as_each_alone(model, temperature):
    tokens, lengths = prompts(6, 9), [9, 3, 1, 9, 5, 8]
    draws = uniform_draws(0, 0, 6, 7) if temperature else None
    asked = {"temperature": temperature or 1.0}
    found = continued(model, tokens, 7, lengths=lengths, draws=draws, **asked)
    for row, length in enumerate(lengths):
        own = None if draws is None else draws[row : row + 1]
        alone = continued(model, tokens[row : row + 1, :length], 7, draws=own, **asked)
        assert torch.equal(found.tokens[row], alone.tokens[0])
        torch.testing.assert_close(found.log_prob[row], alone.log_prob[0], rtol=1e-4, atol=1e-4)


def test_log_probabilities_are_those_of_the_whole_sequence(model):
    tokens = prompts(3, 5)
    found = continued(model, tokens, 6)
    whole = torch.cat([tokens, found.tokens], 1)
    with torch.inference_mode():
        log_probs = model(whole).log_softmax(-1)[:, 4:-1]
    expected = log_probs.gather(-1, found.tokens.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(found.log_prob, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.0, 5.0])
def test_rows_that_pad_the_vocabulary_are_not_written(model, temperature):
    tokens = prompts(12, 6)
    draws = uniform_draws(0, 0, 12, 10) if temperature else None
    asked = {"draws": draws, "temperature": temperature or 1.0}
    assert continued(model, tokens, 10, **asked).tokens.max() >= 60
    found = continued(model, tokens, 10, **asked, entries=60)
    assert found.tokens.max() < 60
    whole = torch.cat([tokens, found.tokens], 1)
    with torch.inference_mode():
        log_probs = model(whole)[:, 5:-1, :60].log_softmax(-1)
    expected = log_probs.gather(-1, found.tokens.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(found.log_prob, expected, rtol=1e-4, atol=1e-4)


def test_batches_are_bounded_and_do_not_change_what_is_written(model, monkeypatch):
    tokens = prompts(10, 6)
    whole = continued(model, tokens, 5).tokens
    assert decoding.rows_at_once(model, 11) >= 10
    monkeypatch.setattr(decoding, "_MOST_ROWS", 3)
    sizes = []
    batch = decoding._batch

    def counted(model, some, *rest):
        sizes.append(len(some))
        return batch(model, some, *rest)

    monkeypatch.setattr(decoding, "_batch", counted)
    assert torch.equal(continued(model, tokens, 5).tokens, whole)
    assert sizes == [3, 3, 3, 1]


def test_tokens_are_drawn_as_often_as_they_are_likely(model):
    tokens = prompts(1, 4)
    draws = torch.linspace(0.5 / 4000, 1 - 0.5 / 4000, 4000)[:, None]
    found = continued(model, tokens.expand(4000, -1), 1, draws=draws, temperature=0.7).tokens[:, 0]
    with torch.inference_mode():
        expected = (model(tokens)[0, -1] / 0.7).softmax(-1)
    shares = torch.bincount(found, minlength=300) / 4000
    assert (shares - expected).abs().max() < 1e-3


def test_each_new_token_has_its_own_draw(model):
    tokens, draws = prompts(8, 5), uniform_draws(0, 0, 8, 3)
    whole = continued(model, tokens, 3, draws=draws, temperature=3.0).tokens
    one_by_one = tokens
    for i in range(3):
        drawn = continued(model, one_by_one, 1, draws=draws[:, i : i + 1], temperature=3.0).tokens
        one_by_one = torch.cat([one_by_one, drawn], 1)
    assert torch.equal(whole, one_by_one[:, 5:])


def test_draws_at_the_ends_of_their_range_are_tokens(model):
    found = continued(model, prompts(2, 4), 1, draws=torch.tensor([[0.0], [1.0]]))
    assert found.tokens.min() >= 0
    assert found.tokens.max() < 300
    assert torch.isfinite(found.log_prob).all()


def test_draws_of_the_first_rows_do_not_depend_on_how_many_there_are():
    assert torch.equal(uniform_draws(3, 0, 5, 4)[:2], uniform_draws(3, 0, 2, 4))


def test_all_first_draws_of_51_seeds_and_51_prompts_differ():
    first = {uniform_draws(seed, prompt, 1, 1).item() for seed in range(51) for prompt in range(51)}
    assert len(first) == 51 * 51


def test_matches_are_shares_of_positions():
    written, true = (
        torch.tensor([[1, 2, 3, 4], [1, 2, 3, 4]]),
        torch.tensor([[1, 2, 3, 4], [1, 0, 3, 0]]),
    )
    match, extractible = matches(written, true)
    assert match.tolist() == [1, 0.5]
    assert extractible.tolist() == [1, 0]
