"""Features that are constant in training but for rounding say nothing, whatever they are elsewhere;
all others stay as they were.
"""

import pytest
import torch

from pythia_traj.engines import probing

TRAIN, TEST, D, CLASSES = 600, 400, 12, 3
SEED = 0


def planted():
    """Features that tell three classes, and their labels."""
    generator = torch.Generator().manual_seed(SEED)
    labels = torch.randint(0, CLASSES, (1, 1, TRAIN + TEST), generator=generator)
    x = torch.randn(1, TRAIN + TEST, D, generator=generator)
    x[0, :, :CLASSES] += 4.0 * torch.nn.functional.one_hot(labels[0, 0], CLASSES)
    return x, labels


def with_constant(value, noise, dtype=torch.float32, elsewhere=1.0):
    """The same, with a last feature that is one value in training but for noise, and moves in the
    test.
    """
    x, labels = planted()
    generator = torch.Generator().manual_seed(SEED + 1)
    feature = value + noise * torch.randn(TRAIN + TEST, generator=generator)
    feature[TRAIN:] += elsewhere * torch.randn(TEST, generator=generator)
    x[0, :, -1] = feature
    return x.to(dtype).float(), labels


def plainly(x):
    """Standardised as the definition says, without any care."""
    found = x - x[:, :TRAIN].mean(1, keepdim=True)
    return found / found[:, :TRAIN].square().mean(1, keepdim=True).sqrt()


def accuracy(x, labels):
    found = probing.logistic(x[:, :TRAIN], labels[..., :TRAIN], TRAIN - 100, CLASSES, [0.001])
    right = found.probes.logits(x[:, TRAIN:]).argmax(2) == labels[..., TRAIN:]
    return right.float().mean().item()


ULP = torch.finfo(torch.float32).eps
CONSTANT = {
    "an exact constant": (3.0, 0.0, torch.float32),
    "a constant whose mean is rounded": (0.1, 0.0, torch.float32),
    "a large constant": (12345.678, 0.0, torch.float32),
    "a large negative constant": (-54321.0, 0.0, torch.float32),
    "rounding of a large constant": (1000.0, 1000.0 * ULP, torch.float32),
    "rounding that was summed": (1000.0, 4 * 1000.0 * ULP, torch.float32),
    "rounding of a small constant": (1e-6, 1e-6 * ULP, torch.float32),
    "rounding of a negative constant": (-77.7, 77.7 * ULP, torch.float32),
    "one step of half precision": (100.0, 0.01, torch.float16),
    "one step of bfloat16": (100.0, 0.1, torch.bfloat16),
}


@pytest.mark.parametrize("case", CONSTANT)
def test_what_is_constant_but_for_rounding_becomes_0_in_all_items(case):
    value, noise, dtype = CONSTANT[case]
    x, labels = with_constant(value, noise, dtype)
    without = x.clone()
    without[0, :, -1] = 0
    probing.standardise(x, TRAIN, dtype)
    probing.standardise(without, TRAIN, dtype)
    assert (x[0, :, -1] == 0).all()
    assert torch.equal(x[..., :-1], without[..., :-1])
    assert accuracy(x, labels) == accuracy(without, labels) > 0.9


def test_such_a_feature_would_lead():
    x, labels = with_constant(1000.0, 1000.0 * ULP)
    careless = plainly(x)
    assert careless[0, TRAIN:, -1].abs().mean() > 1000
    assert accuracy(careless, labels) < 0.6
    probing.standardise(x, TRAIN)
    assert accuracy(x, labels) > 0.9


def test_a_feature_that_only_another_precision_would_round_is_kept():
    """What bfloat16 could not tell from a constant is a signal in a model of float32."""
    x, _ = with_constant(100.0, 0.1)
    probing.standardise(x, TRAIN)
    assert x[0, :TRAIN, -1].std(correction=0) == pytest.approx(1, abs=1e-3)


KEPT = {
    "mean 0": (0.0, 1.0),
    "mean 0, tiny": (0.0, 1e-12),
    "a large mean": (1e4, 1.0),
    "a variance of a hundred-thousandth of its mean": (1000.0, 0.01),
    "huge": (1e15, 1e14),
}


HALF = ("mean 0", "mean 0, tiny", "huge")
"""Those whose values half precision can tell apart."""


@pytest.mark.parametrize(
    ("case", "dtype"),
    [(case, torch.float32) for case in KEPT]
    + [(case, dtype) for case in HALF for dtype in (torch.float16, torch.bfloat16)],
)
def test_all_other_features_are_standardised_to_the_bit_as_by_the_definition(case, dtype):
    mean, deviation = KEPT[case]
    x = planted()[0] * deviation + mean
    expected = x.clone()
    for layer in expected:
        layer -= layer[:TRAIN].mean(0)
        layer /= layer[:TRAIN].square().mean(0).sqrt()
    probing.standardise(x, TRAIN, dtype)
    assert torch.equal(x, expected)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("item", [0, TRAIN + 1])
@pytest.mark.parametrize("constant", [0.0, 5.0])
def test_what_is_not_finite_stays_so(value, item, constant):
    x, _ = with_constant(constant, 0.0)
    x[0, item, -1] = value
    probing.standardise(x, TRAIN)
    assert not x[0, item, -1].isfinite()
