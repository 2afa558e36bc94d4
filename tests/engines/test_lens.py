"""Lenses: the last layer's is the model's own output, a trained translator comes closer to it."""

import warnings

import pytest
import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig

from pythia_traj.engines import lens


@pytest.fixture(scope="module")
def model():
    """Three random layers, with every bias random too."""
    config = HookedTransformerConfig(
        n_layers=3, d_model=16, n_ctx=32, d_head=8, n_heads=2, d_mlp=32, d_vocab=50,
        act_fn="gelu", seed=0, normalization_type="LN", parallel_attn_mlp=True,
        positional_embedding_type="rotary", rotary_dim=4,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = HookedTransformer(config)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def read(model, n=8, seed=0, positions=(1, 5, 9)):
    torch.manual_seed(seed)
    tokens = torch.randint(0, 50, (n, 12))
    at = torch.tensor(positions).repeat(n, 1)
    return tokens, at, lens.residuals(model, tokens, at).flatten(1, 2)


def test_the_last_layers_lens_is_the_models_own_output(model):
    tokens, at, residual = read(model)
    with torch.no_grad():
        expected = (
            model(tokens)
            .log_softmax(-1)
            .gather(1, at.unsqueeze(-1).expand(-1, -1, 50))
            .flatten(0, 1)
        )
    torch.testing.assert_close(
        lens.log_probabilities(model, residual[-1]), expected, atol=1e-5, rtol=0
    )


def test_measures_are_those_of_a_plain_computation_and_nothing_is_lost_at_the_last_layer(model):
    tokens, at, residual = read(model)
    targets = tokens.gather(1, at + 1).flatten()
    measured = lens.measure(model, residual, targets, lens.identity(model))
    with torch.no_grad():
        final, first = (
            model.unembed(model.ln_final(residual[layer][None]))[0].softmax(-1) for layer in (-1, 0)
        )
    torch.testing.assert_close(
        measured["kl"][0], (final * (final / first).log()).sum(-1), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(
        measured["entropy"][0], -(first * first.log()).sum(-1), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(
        measured["cross_entropy"][0], -first[range(24), targets].log(), atol=1e-5, rtol=1e-5
    )
    assert (
        measured["agreement"][0].tolist() == (final.argmax(-1) == first.argmax(-1)).float().tolist()
    )
    assert (measured["kl"][-1] == 0).all()
    assert (measured["agreement"][-1] == 1).all()


def test_blocks_change_nothing_but_the_memory(model, monkeypatch):
    tokens, at, residual = read(model)
    targets = tokens.gather(1, at + 1).flatten()
    whole = lens.measure(model, residual, targets, lens.identity(model))
    trained = lens.train(model, [residual], 1)
    monkeypatch.setattr(lens, "_LOGIT_BYTES", 4 * 50 * 5)
    assert len(lens.blocks(model, 24)) == 5
    for name, values in lens.measure(model, residual, targets, lens.identity(model)).items():
        torch.testing.assert_close(values, whole[name], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lens.train(model, [residual], 1).A, trained.A, atol=1e-6, rtol=1e-4)


def test_a_step_of_training_is_that_of_plain_autograd(model):
    _, _, residual = read(model)
    A = torch.zeros(2, 16, 16, requires_grad=True)
    b = torch.zeros(2, 16, requires_grad=True)
    final = lens.log_probabilities(model, residual[-1]).detach()
    loss = 0
    for layer in range(2):
        h = residual[layer]
        logits = model.unembed(model.ln_final((h + h @ A[layer].T + b[layer])[None]))[0]
        loss = loss + torch.nn.functional.kl_div(
            logits.log_softmax(-1), final, log_target=True, reduction="batchmean"
        )
    of_A, of_b = torch.autograd.grad(loss, [A, b])
    norm = torch.sqrt((of_A**2).sum() + (of_b**2).sum())
    scale = lens.LR * (1 + lens.MOMENTUM) / max(1.0, norm.item())  # Nesterov's first step, clipped
    trained = lens.train(model, [residual], 1)
    torch.testing.assert_close(trained.A, -scale * of_A, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(trained.b, -scale * of_b, atol=1e-6, rtol=1e-4)


def test_a_trained_translator_comes_closer_on_tokens_it_was_not_trained_on(model):
    batches = [read(model, n=32, seed=seed)[2] for seed in range(1, 41)]
    translators = lens.train(model, batches, len(batches))
    tokens, at, residual = read(model, n=32)
    targets = tokens.gather(1, at + 1).flatten()
    plain = lens.measure(model, residual, targets, lens.identity(model))["kl"].mean(-1)
    tuned = lens.measure(model, residual, targets, translators)["kl"].mean(-1)
    assert (tuned[:-1] < 0.8 * plain[:-1]).all()
    assert tuned[-1] == 0


def test_training_is_deterministic_and_leaves_the_model_alone(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches = [read(model, seed=seed)[2] for seed in range(3)]
    one, two = lens.train(model, batches, 3), lens.train(model, batches, 3)
    assert torch.equal(one.A, two.A)
    assert torch.equal(one.b, two.b)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
