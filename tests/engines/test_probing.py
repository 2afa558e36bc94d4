"""Probes against scikit-learn, and what they find where it is known what there is to find."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from pythia_traj.engines import probing

TRAIN, VALIDATION, TEST, D, CLASSES = 900, 300, 600, 24, 5


def layers_of(n_layers, seed=0):
    """Standardised correlated features of several layers, and labels that the first layer tells."""
    generator = torch.Generator().manual_seed(seed)
    items = TRAIN + VALIDATION + TEST
    mix = torch.randn(n_layers, D, D, generator=generator) * torch.logspace(0, -2, D)[:, None]
    x = torch.randn(n_layers, items, D, generator=generator) @ mix
    noise = -torch.rand(items, CLASSES, generator=generator).log_().neg_().log_()
    labels = (x[0] @ torch.randn(D, CLASSES, generator=generator) + noise).argmax(-1)
    other = labels[torch.randperm(items, generator=generator)]
    x += 3
    probing.standardise(x, TRAIN)
    return x, torch.stack([labels, other])[None]


@pytest.fixture(scope="module")
def planted():
    return layers_of(3)


def fitted(x, labels, strengths):
    upto = TRAIN + VALIDATION
    return probing.logistic(x[:, :upto], labels[..., :upto], TRAIN, CLASSES, strengths)


@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-3])
def test_logistic_regression_is_that_of_scikit_learn(planted, strength):
    x, labels = planted
    probes = fitted(x, labels, [strength]).probes
    logits = probes.logits(x[:, -TEST:])
    for layer in range(len(x)):
        for problem in range(labels.shape[1]):
            y = labels[0, problem].numpy()
            theirs = LogisticRegression(C=1 / (strength * TRAIN), max_iter=2000, tol=1e-6).fit(
                x[layer, :TRAIN], y[:TRAIN]
            )
            accuracy = (logits[layer, problem].argmax(0).numpy() == y[-TEST:]).mean()
            assert accuracy == pytest.approx(theirs.score(x[layer, -TEST:], y[-TEST:]), abs=0.005)
            nll = probing.cross_entropy(logits, labels[..., -TEST:])[layer, problem].mean()
            assert nll.item() == pytest.approx(
                log_loss(y[-TEST:], theirs.predict_proba(x[layer, -TEST:])), abs=2e-3
            )


def test_layers_that_are_fitted_together_are_fitted_as_by_themselves(planted):
    x, labels = planted
    strengths = [1.0, 0.1, 0.01, 0.001]
    together = fitted(x, labels, strengths)
    for layer in range(len(x)):
        alone = fitted(x[layer : layer + 1], labels, strengths)
        assert torch.equal(alone.strength[0], together.strength[layer])
        torch.testing.assert_close(
            alone.probes.weight[0], together.probes.weight[layer], atol=2e-2, rtol=0
        )
        torch.testing.assert_close(
            alone.cross_entropy[0], together.cross_entropy[layer], atol=1e-3, rtol=0
        )


def test_the_strength_is_the_one_that_is_best_on_validation(planted):
    x, labels = planted
    strengths = [1e-3, 1.0, 0.1, 0.01]
    found = fitted(x, labels, strengths)
    single = torch.stack([fitted(x, labels, [strength]).cross_entropy for strength in strengths])
    torch.testing.assert_close(found.cross_entropy, single.amin(0), atol=2e-3, rtol=0)
    # Where there is nothing to find, a stronger penalty is best than where there is.
    signal, noise = (strengths[number] for number in found.strength[0].tolist())
    assert noise > signal


def test_the_same_bits_twice(planted):
    one, two = (fitted(*planted, [1.0, 0.01]).probes.weight for _ in range(2))
    assert torch.equal(one, two)


def test_standardising_looks_at_the_training_items_alone():
    x = torch.randn(2, 50, 4) * 5 + 7
    x[1, :, 2] = 3.0
    expected = (x - x[:, :30].mean(1, keepdim=True)) / x[:, :30].std(1, keepdim=True, correction=0)
    probing.standardise(x, 30)
    assert (x[1, :, 2] == 0).all()
    torch.testing.assert_close(x[0], expected[0])


def test_two_classes_are_told_apart_along_the_difference_of_their_means():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (1, 1, 1200), generator=generator)
    x = torch.randn(1, 1200, D, generator=generator)
    x[0, :, 3] += 2.0 * labels[0, 0]
    probing.standardise(x, TRAIN)
    found = probing.mean_difference(x, labels, TRAIN, 2, [1, 4, 16, 64])
    direction = found.probes.weight[0, 0, 1] - found.probes.weight[0, 0, 0]
    train = labels[0, 0, :TRAIN] == 1
    means = x[0, :TRAIN][train].mean(0) - x[0, :TRAIN][~train].mean(0)
    assert torch.cosine_similarity(direction, means, dim=0) == pytest.approx(1, abs=1e-5)
    right = found.probes.logits(x[:, TRAIN:]).argmax(2) == labels[..., TRAIN:]
    assert right.float().mean() > 0.8


def test_a_k_sparse_probe_uses_the_features_that_were_planted():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (1, 2, 1200), generator=generator)
    x = torch.randn(2, 1200, D, generator=generator)
    x[0, :, 5] += labels[0, 0]
    x[1, :, 9] += labels[0, 1]
    probing.standardise(x, TRAIN)
    found, features, shares = probing.k_sparse(x, labels, TRAIN, 3, [0.1, 0.01], k=2)
    assert features[0, 0, 0] == 5
    assert features[1, 1, 0] == 9
    assert (shares[..., 0] >= shares[..., 1]).all()
    assert 0.3 < shares[0, 0, 0] < 0.5  # variance 2/3 between classes, 1 within
    used = found.probes.weight.abs().sum(2) > 0
    assert (used.sum(-1) <= 2).all()
    assert used[0, 0, 5]
    everything = probing.k_sparse(x, labels, TRAIN, 3, [0.1], k=1000)[1]
    assert everything.shape == (2, 2, D)


def test_a_class_without_training_items_is_never_said():
    x = torch.randn(1, 400, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.from_numpy(np.arange(400) % 2)[None, None]
    for kind in (probing.logistic, probing.mean_difference):
        predicted = kind(x, labels, 300, 3, [1.0]).probes.logits(x).argmax(2)
        assert predicted.max() < 2
