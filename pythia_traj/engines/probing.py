"""Linear probes of several layers at once.

They are multinomial logistic regression, directions between class means, and a few chosen neurons.
All of them end as one weight and one bias per class, so that they are evaluated alike. Layers are
the first axis of every tensor; a problem is one labelling of the items, and all problems of a layer
share its activations: the task and its control tasks are fitted with the same matrix products.

Classes stand before items, [layer, problem, cls, item]: a softmax over an axis that is not the last
one is vectorised on the CPU, and is thirty times as fast as over a last axis of twelve.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Activations = Float[Tensor, "layer item d"]
Labels = Int[Tensor, "#layer problem item"]
"""From 0; where all layers have the same labels, the first axis may be 1."""

TOLERANCE = 1e-4
"""A fit has converged when no entry of its gradient exceeds this."""

ROUGHLY = 1e-3
"""The same limit while strengths are compared."""

MOST_ITERATIONS = 200

_SUMMED = 8
"""Relative precisions of float32 by which a constant differs after summing in another order."""

_UNCHECKED = 4
"""Iterations between looks at whether all fits have converged: each waits for the device."""

_REMEMBERED = 8
"""Past steps that the L-BFGS approximation of the curvature uses."""


@dataclass(frozen=True)
class Probes:
    """Fitted probes.

    Attributes:
        weight, bias: of each class.
    """

    weight: Float[Tensor, "layer problem cls d"]
    bias: Float[Tensor, "layer problem cls"]

    def logits(self, x: Activations) -> Float[Tensor, "layer problem cls item"]:
        """What the probes say of activations that are standardised as those they were fitted on."""
        return _apply(self.weight, x) + self.bias[..., None]


@dataclass(frozen=True)
class Chosen:
    """Probes whose strength was chosen on validation items.

    Attributes:
        strength: the number of the strength, or scale, that was chosen.
        cross_entropy: on the validation items, in nats.
    """

    probes: Probes
    strength: Int[Tensor, "layer problem"]
    cross_entropy: Float[Tensor, "layer problem"]


def standardise(x: Activations, n_train: int, dtype: torch.dtype = torch.float32) -> None:
    """Gives every feature mean 0 and variance 1 over the first `n_train` items, in place.

    A feature that is constant there becomes 0 everywhere. Constant means that it differs only by
    rounding: divided by its rounding error, it would be far from 0 in items that are rounded
    otherwise, and would decide there. Storing a value errs by half of the relative precision of the
    model's `dtype`, and the sums before it by some of the precision of float32, in which they are
    made.

    Args:
        dtype: of the model that the activations come from.
    """
    tolerance = torch.finfo(dtype).eps / 2 + _SUMMED * torch.finfo(torch.float32).eps
    for layer in x:  # one by one, so that intermediate results are never as large as all layers
        mean = layer[:n_train].mean(0)
        layer -= mean
        scale = layer[:n_train].square().mean(0).sqrt()
        # Division by infinity turns finite values into 0 and all others into NaN.
        layer /= torch.where(scale <= tolerance * mean.abs(), torch.inf, scale)


def cross_entropy(
    logits: Float[Tensor, "layer problem cls item"], labels: Labels
) -> Float[Tensor, "layer problem item"]:
    """Negative log-likelihood of each item's label, in nats."""
    index = labels.expand(len(logits), -1, -1).unsqueeze(2)
    return (logits.logsumexp(2, keepdim=True) - logits.gather(2, index)).squeeze(2)


def logistic(
    x: Activations,
    labels: Labels,
    n_train: int,
    n_classes: int,
    strengths: Sequence[float],
) -> Chosen:
    """Multinomial logistic regression, its L2 strength chosen by cross-entropy on validation items.

    Minimised is the mean cross-entropy over training items + strength / 2 x the sum of squared
    weights; biases are free. scikit-learn's C is 1 / (strength x items). Strengths are tried from
    strong to weak, each from the weights of the one before, as long as validation improves: after
    that, fits to few documents only get worse and take longer. They are tried roughly; the chosen
    one is fitted to the end.

    Args:
        x: standardised activations of training and validation items, in this order.
        labels: of the same items.
        n_train: how many of the items are training items.
        strengths: those to choose from.
    """
    train = _Problem(x[:, :n_train], labels[..., :n_train], n_classes)
    validation = (x[:, n_train:], labels[..., n_train:])
    theta = train.start()
    best = theta
    found = torch.full(theta.shape[:2], torch.inf, dtype=theta.dtype, device=theta.device)
    chosen = torch.zeros_like(found, dtype=torch.int64)
    improving = torch.ones_like(chosen, dtype=torch.bool)
    descending = sorted(range(len(strengths)), key=lambda i: -strengths[i])
    for number in descending:
        theta = train.fit(strengths[number], theta, improving, ROUGHLY)
        now = _mean_cross_entropy(theta, *validation)
        improving = improving & (now < found)
        if not bool(improving.any()):
            break
        best = torch.where(improving[..., None, None], theta, best)
        found, chosen = torch.where(improving, now, found), torch.where(improving, number, chosen)
    # Read once: reading it for each strength would wait for the device each time.
    of_some_fit = set(chosen.flatten().tolist())
    for number in descending:
        if number in of_some_fit:
            best = train.fit(strengths[number], best, chosen == number, TOLERANCE)
    return Chosen(_probes(best), chosen, _mean_cross_entropy(best, *validation))


def mean_difference(
    x: Activations,
    labels: Labels,
    n_train: int,
    n_classes: int,
    scales: Sequence[float],
) -> Chosen:
    """Directions between the classes' means: an item is of the class whose mean is nearest.

    The frequency of a class counts too. The logit of a class is scale x (x . mean - |mean|^2 / 2) +
    ln frequency. With two classes the direction is the difference of their means (Marks and Tegmark
    2024). The means come from the training items, the scale is chosen on validation items; 1 over
    the features would be right if they were independent within a class.

    Args:
        x, labels, n_train: as for `logistic`.
        scales: those to choose from, times 1 / d.
    """
    means, counts = _class_means(x[:, :n_train], labels[..., :n_train], n_classes)
    # A class without training items is as rare as possible.
    frequency = (counts.clamp(min=0.5) / n_train).log()
    found = []
    for scale in scales:
        factor = scale / x.shape[-1]
        theta = torch.cat(
            [factor * means, (frequency - factor / 2 * means.square().sum(-1))[..., None]], -1
        )
        found.append((_mean_cross_entropy(theta, x[:, n_train:], labels[..., n_train:]), theta))
    entropies = torch.stack([entropy for entropy, _ in found])
    best = entropies.argmin(0)
    thetas = torch.stack([theta for _, theta in found])
    index = best[None, :, :, None, None].expand(1, *thetas.shape[1:])
    return Chosen(_probes(thetas.gather(0, index)[0]), best, entropies.amin(0))


def most_telling(
    x: Activations, labels: Labels, n_classes: int, k: int
) -> tuple[Int[Tensor, "layer problem k"], Float[Tensor, "layer problem k"]]:
    """The k features whose class means differ most, each with a share of its variance.

    The share, 0..1, is what lies between the classes.

    Args:
        x: standardised activations of training items.
        labels: theirs.
    """
    means, counts = _class_means(x, labels, n_classes)
    between = (means.square() * (counts / x.shape[1])[..., None]).sum(2)
    ordered = between.sort(dim=-1, descending=True, stable=True)
    return ordered.indices[..., :k], ordered.values[..., :k]


def k_sparse(
    x: Activations,
    labels: Labels,
    n_train: int,
    n_classes: int,
    strengths: Sequence[float],
    k: int,
) -> tuple[Chosen, Int[Tensor, "layer problem k"], Float[Tensor, "layer problem k"]]:
    """Logistic regression on the k most telling features of each layer and problem.

    As in Gurnee et al. 2023; those features are returned with it. The weights of all others are 0.
    Arguments as for `logistic`; the second and third result as of `most_telling`.
    """
    layers, items, d = x.shape
    problems = labels.shape[1]
    features, shares = most_telling(x[:, :n_train], labels[..., :n_train], n_classes, k)
    k = features.shape[-1]
    few = x.gather(2, features.reshape(layers, 1, -1).expand(-1, items, -1)).view(
        layers, items, problems, k
    )
    # Each problem has features of its own: as if it were a layer.
    few = few.transpose(1, 2).reshape(layers * problems, items, k)
    own = labels.expand(layers, -1, -1).reshape(layers * problems, 1, items)
    found = logistic(few, own, n_train, n_classes, strengths)
    weight = x.new_zeros(layers, problems, n_classes, d)
    index = features[:, :, None].expand(-1, -1, n_classes, -1)
    weight.scatter_(3, index, found.probes.weight.view(layers, problems, n_classes, k))
    probes = Probes(weight, found.probes.bias.view(layers, problems, n_classes))
    shape = (layers, problems)
    return (
        Chosen(probes, found.strength.view(shape), found.cross_entropy.view(shape)),
        features,
        shares,
    )


def _apply(
    weight: Float[Tensor, "layer problem cls d"], x: Activations
) -> Float[Tensor, "layer problem cls item"]:
    found: Tensor = weight.flatten(1, 2) @ x.transpose(1, 2)
    return found.view(*weight.shape[:3], -1)


def _one_hot(
    labels: Labels, n_classes: int, like: Tensor
) -> Float[Tensor, "#layer problem cls item"]:
    classes = torch.arange(n_classes, device=labels.device)[:, None]
    return (labels.unsqueeze(2) == classes).to(like.dtype)


def _class_means(
    x: Activations, labels: Labels, n_classes: int
) -> tuple[Float[Tensor, "layer problem cls d"], Float[Tensor, "layer problem cls"]]:
    """Means of each class, 0 for one without items, and how many items it has."""
    is_class = _one_hot(labels, n_classes, x).expand(len(x), -1, -1, -1)
    counts = is_class.sum(-1)
    sums = is_class.flatten(1, 2) @ x
    return sums.view(*is_class.shape[:3], -1) / counts.clamp(min=1)[..., None], counts


Theta = Float[Tensor, "layer problem cls d1"]
"""Weights and, as the last of the features, biases."""


class _Problem:
    """The minimisation of `logistic`, by L-BFGS from a good guess of the curvature.

    At weights 0 the Hessian is known: (C - 1) / C^2 x the features' covariance, for each class by
    itself. Its inverse, with the penalty, is where L-BFGS starts from instead of the identity. So
    correlated features, as in a residual stream, cost no more iterations than others. Logits are
    linear along a direction, so the length of a step is found on them, without products with the
    activations; an iteration needs two of those.
    """

    def __init__(self, x: Activations, labels: Labels, n_classes: int) -> None:
        self._x = x
        self._target = _one_hot(labels, n_classes, x)
        self._curvature = (n_classes - 1) / n_classes**2
        self._covariance = self._curvature * (x.transpose(1, 2) @ x) / x.shape[1]

    def start(self) -> Theta:
        """All 0."""
        layers, _, d = self._x.shape
        return self._x.new_zeros(layers, *self._target.shape[1:3], d + 1)

    def fit(
        self, strength: float, theta: Theta, wanted: Bool[Tensor, "layer problem"], tolerance: float
    ) -> Theta:
        """The minimum for one strength, sought from `theta` on.

        Problems that are not wanted stay as they are.
        """
        inverse = self._inverse(strength)
        penalty = theta.new_full((theta.shape[-1],), strength)
        penalty[-1] = 0
        history = _History(_REMEMBERED)
        logits = self._logits(theta)
        gradient = self._gradient(theta, logits, penalty)
        guess = _times(gradient, inverse)
        active = wanted & _exceeds(gradient, tolerance)
        for _ in range(MOST_ITERATIONS // _UNCHECKED):
            if not bool(active.any()):
                break
            for _ in range(_UNCHECKED):
                direction = -history.times_inverse(gradient, guess)
                change = self._logits(direction)
                length = self._length(theta, direction, logits, change, penalty) * active
                step = length[..., None, None] * direction
                theta, logits = theta + step, logits + length[..., None, None] * change
                before, guess_before = gradient, guess
                gradient = self._gradient(theta, logits, penalty)
                guess = _times(gradient, inverse)
                history.add(step, gradient - before, guess - guess_before)
                active = active & _exceeds(gradient, tolerance)
        return theta

    def _inverse(self, strength: float) -> Float[Tensor, "layer d1 d1"]:
        """Of the Hessian at weights 0, for one class.

        Weak penalties are raised to what single precision can invert: this is only a guess.
        """
        layers, _, d = self._x.shape
        damping = max(strength, 1e-6 * self._curvature * d)
        damped = self._covariance + damping * torch.eye(
            d, device=self._x.device, dtype=self._x.dtype
        )
        # Do not synchronise for an inversion that fails: see the strength above.
        factor, _ = torch.linalg.cholesky_ex(damped)
        inverse = self._x.new_zeros(layers, d + 1, d + 1)
        inverse[:, :d, :d] = torch.cholesky_inverse(factor)
        inverse[:, d, d] = 1 / self._curvature
        return inverse

    def _logits(self, theta: Theta) -> Float[Tensor, "layer problem cls item"]:
        return _apply(theta[..., :-1], self._x).add_(theta[..., -1:])

    def _gradient(self, theta: Theta, logits: Tensor, penalty: Tensor) -> Theta:
        residual = (logits.softmax(2) - self._target) / self._x.shape[1]
        weights = (residual.flatten(1, 2) @ self._x).view(*residual.shape[:3], -1)
        return torch.cat([weights, residual.sum(-1, keepdim=True)], -1) + penalty * theta

    def _length(
        self, theta: Theta, direction: Theta, logits: Tensor, change: Tensor, penalty: Tensor
    ) -> Float[Tensor, "layer problem"]:
        """Where the objective is least along a direction.

        Two steps of Newton's method from 1, kept within what encloses the minimum.
        """
        along = _dot(theta * penalty, direction)
        squared = _dot(direction * penalty, direction)
        target = (self._target * change).sum(2).mean(-1)
        length = torch.ones_like(along)
        low, high = torch.zeros_like(length), torch.full_like(length, torch.inf)
        for _ in range(2):
            probability = (
                torch.addcmul(logits, change, length[..., None, None]).softmax(2).mul_(change)
            )
            mean = probability.sum(2)
            slope = mean.mean(-1) - target + along + length * squared
            second = (probability.mul_(change).sum(2) - mean.square()).mean(-1) + squared
            low, high = torch.where(slope < 0, length, low), torch.where(slope < 0, high, length)
            newton = torch.minimum(length - slope / second, 4 * length)
            halfway = torch.where(high.isinf(), 2 * length, (low + high) / 2)
            length = torch.where((newton > low) & (newton < high), newton, halfway)
        return length


class _History:
    """The L-BFGS approximation of an inverse Hessian, for each layer and problem by itself.

    It is algorithm 7.4 of Nocedal and Wright 2006. It starts from a matrix, and products with that
    are expensive: it receives one for every gradient, and combines them into those of the
    differences.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pairs: list[tuple[Theta, Theta, Theta, Tensor]] = []
        self._scale: Tensor | None = None

    def add(self, step: Theta, change: Theta, guess: Theta) -> None:
        """A step, the change of the gradient over it, and the start's product with that.

        Where there was no step, nothing is learnt.
        """
        curvature = _dot(step, change)
        moved = curvature > 0
        self._pairs = [
            *self._pairs[1 - self._most :],
            (step, change, guess, torch.where(moved, 1 / curvature, 0)),
        ]
        before = torch.ones_like(curvature) if self._scale is None else self._scale
        self._scale = torch.where(moved, curvature / _dot(change, guess), before)

    def times_inverse(self, gradient: Theta, guess: Theta) -> Theta:
        """The approximation times a gradient; the start's product with it is given too."""
        found, shares = guess, []
        for step, change, change_guess, weight in reversed(self._pairs):
            share = (weight * _dot(step, gradient))[..., None, None]
            gradient, found = gradient - share * change, found - share * change_guess
            shares.append(share)
        if self._scale is not None:
            found = found * self._scale[..., None, None]
        for (step, change, _, weight), share in zip(self._pairs, reversed(shares), strict=True):
            found = found + (share - (weight * _dot(change, found))[..., None, None]) * step
        return found


def _probes(theta: Theta) -> Probes:
    return Probes(theta[..., :-1], theta[..., -1])


def _mean_cross_entropy(
    theta: Theta, x: Activations, labels: Labels
) -> Float[Tensor, "layer problem"]:
    return cross_entropy(_probes(theta).logits(x), labels).mean(-1)


def _times(theta: Theta, matrix: Float[Tensor, "layer d1 d1"]) -> Theta:
    found: Tensor = theta.flatten(1, 2) @ matrix
    return found.view_as(theta)


def _exceeds(gradient: Theta, tolerance: float) -> Bool[Tensor, "layer problem"]:
    return gradient.abs().amax((2, 3)) > tolerance


def _dot(a: Theta, b: Theta) -> Float[Tensor, "layer problem"]:
    return (a * b).sum((2, 3))
