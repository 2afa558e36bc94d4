"""Synthetic trajectories with a known onset: what benchmarks/onset.py and its test estimate.

A curve is the value of every item at each of Pythia's 154 steps; the same curve on `log:18` is
what was measured at those steps. Everything is a function of x = log2(step + 1), in octaves. The
truth is where the curve without noise first crosses half of its height: of what it has between its
base (the mean until step 16) and the largest value that it reaches at any step, published or not.

The generator and its seed are older than every estimator in this repository: see the history of
this file.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit

from pythia_traj.steps import select
from pythia_traj.suites.catalog import EARLY, EVERY_THOUSAND

SEED = 20_261_129

PUBLISHED = (*EARLY, *EVERY_THOUSAND)
GRIDS = {"all": PUBLISHED, "log:18": select("log:18", PUBLISHED)}

TEN_TO_NINETY = np.log(81)
"""Logistic units between a tenth and nine tenths of a rise."""

BASE_UNTIL = 16

Array = np.ndarray
Mean = Callable[[Array], Array]


def rise(x: Array, middle: float, octaves: float = 2.0) -> Array:
    """A logistic rise from 0 to 1 in x, that takes `octaves` from a tenth to nine tenths."""
    return np.asarray(expit(TEN_TO_NINETY * (x - middle) / octaves))


@dataclass(frozen=True)
class Curve:
    """One trajectory.

    Attributes:
        items: float64 [items, published steps].
        onset: the step at which the curve without noise crosses half of its height; None where it
            is flat.
        falling: whether it falls.
        mean: the curve without noise at any step, float64 of float64.
    """

    items: Array
    onset: float | None
    falling: bool
    mean: Mean

    def on(self, grid: str) -> tuple[tuple[int, ...], Array]:
        """The steps of one of GRIDS, and the items at them."""
        chosen = np.isin(PUBLISHED, GRIDS[grid])
        return GRIDS[grid], self.items[:, chosen]

    def crossing(self, level: float) -> float | None:
        """The first step at which the curve without noise is at a level, None if at none."""
        return _crossing(-1.0 if self.falling else 1.0, self.mean, level)


@dataclass(frozen=True)
class Kind:
    """One kind of curve.

    Attributes:
        middle: between which x the middle of its rise is drawn, uniformly.
        shape: x and that middle -> the curve without noise.
        noise: which items it is seen through, of `_NOISE`.
        wobble: standard deviation of what the model itself does at a step beside the curve: all
            items have it.
    """

    middle: tuple[float, float]
    shape: Callable[[Array, float], Array]
    noise: Literal["bernoulli", "normal", "correlated", "blocks", "loss"] = "bernoulli"
    wobble: float = 0.0
    flat: bool = False
    falling: bool = False


def _dip(x: Array, middle: float) -> Array:
    return 0.5 + 0.4 * rise(x, middle) - 0.15 * np.exp(-((x - middle + 2.5) ** 2) / 2)


def _late_decline(x: Array, middle: float) -> Array:
    return 0.5 + 0.4 * rise(x, middle) - 0.15 * rise(x, middle + 3.5)


def _vanishing(x: Array, middle: float) -> Array:
    return np.asarray(0.5 + 0.4 * rise(x, middle) * (1 - rise(x, middle + 3.5)))


def _two_stages(x: Array, middle: float) -> Array:
    return 0.5 + 0.16 * rise(x, middle) + 0.24 * rise(x, middle + 3)


def _oscillating(x: Array, middle: float) -> Array:
    """After its rise it goes round half of its height, a turn in three octaves."""
    turn = 0.5 + 0.5 * np.sin(2 * np.pi * (x - middle) / 3)
    return 0.5 + 0.4 * rise(x, middle - 1, 1.0) * turn


def _to(low: float, high: float, octaves: float = 2.0) -> Callable[[Array, float], Array]:
    return lambda x, middle: low + (high - low) * rise(x, middle, octaves)


USUAL = (6.0, 13.0)
"""Between steps 63 and 8191."""

KINDS = {
    "Bernoulli": Kind(USUAL, _to(0.5, 0.9)),
    "normal": Kind(USUAL, _to(0.0, 3.0), "normal"),
    "attention": Kind(USUAL, _to(0.015, 0.5), "blocks"),
    "loss, falling": Kind(USUAL, _to(10.8, 3.0), "loss", falling=True),
    "dip before the rise": Kind(USUAL, _dip),
    "late decline": Kind(USUAL, _late_decline),
    "rises and vanishes": Kind((6.0, 12.0), _vanishing),
    "two stages": Kind((6.0, 11.0), _two_stages),
    "slow, two decades": Kind((7.0, 11.0), _to(0.5, 0.9, np.log2(100.0))),
    "jump": Kind(USUAL, _to(0.5, 0.9, 0.01)),
    "small": Kind(USUAL, _to(0.5, 0.65)),
    "noise correlated over steps": Kind(USUAL, _to(0.0, 3.0), "correlated"),
    "wobble of the model itself": Kind(USUAL, _to(0.5, 0.9), wobble=0.02),
    "oscillation about the level": Kind((6.0, 10.0), _oscillating),
    "midpoint after the end": Kind((17.3, 18.3), _to(0.5, 0.9, 3.0)),
    "flat": Kind((0.0, 0.0), _to(0.5, 0.5), flat=True),
    "flat, wobble": Kind((0.0, 0.0), _to(0.5, 0.5), flat=True, wobble=0.02),
}

ORDINARY = tuple(KINDS)[:13]
"""The kinds whose onset an interval is meant to hold in 95 % of cases."""

THRESHOLDS = {"reached": 0.5, "never": 1.4, "present": -0.4}
"""Levels, as shares of the height above the base: within the curve, above and below all of it."""


def draw(kind: str, number: int) -> Curve:
    """Curve `number` of a kind: the same each time.

    Raises:
        KeyError: the kind is unknown.
    """
    one = KINDS[kind]
    rng = np.random.default_rng(
        np.random.SeedSequence(SEED, spawn_key=(zlib.crc32(kind.encode()), number))
    )
    middle = rng.uniform(*one.middle)

    def mean(steps: Array) -> Array:
        return np.asarray(one.shape(np.log2(np.asarray(steps, float) + 1), middle))

    at = mean(np.array(PUBLISHED))
    at = at + one.wobble * rng.normal(size=len(at))
    items = _NOISE[one.noise](at, rng)
    onset = None
    if not one.flat:
        sign = -1.0 if one.falling else 1.0
        onset = _crossing(sign, mean, level_at(mean, 0.5, one.falling))
    return Curve(items, onset, one.falling, mean)


def level_at(mean: Mean, share: float, falling: bool) -> float:
    """The level at a share of the height of a curve without noise above its base."""
    sign = -1.0 if falling else 1.0
    base = sign * float(mean(np.array([s for s in PUBLISHED if s <= BASE_UNTIL])).mean())
    top = float((sign * mean(_FINE)).max())
    return sign * (base + share * (top - base))


_FINE: Array = 2 ** np.linspace(0, np.log2(PUBLISHED[-1] + 1), 20_001) - 1
"""Steps so close that a crossing between two of them is known to a thousandth of an octave."""


def _crossing(sign: float, mean: Mean, level: float) -> float | None:
    above = sign * mean(_FINE) >= sign * level
    return float(_FINE[above.argmax()]) if above.any() else None


def _bernoulli(at: Array, rng: np.random.Generator) -> Array:
    """100 items that are right or wrong, each step drawn anew."""
    return (rng.uniform(size=(100, len(at))) < at).astype(float)


def _normal(at: Array, rng: np.random.Generator) -> Array:
    """100 items about the mean: each has an offset of its own, and noise at each step."""
    return at + rng.normal(size=(100, 1)) + rng.normal(size=(100, len(at)))


def _correlated(at: Array, rng: np.random.Generator) -> Array:
    """The same, but a step's noise is 0.9 of the step's before (AR 1, variance 1)."""
    noise = rng.normal(size=(100, len(at)))
    for t in range(1, len(at)):
        noise[:, t] = 0.9 * noise[:, t - 1] + np.sqrt(1 - 0.9**2) * noise[:, t]
    return np.asarray(at + rng.normal(size=(100, 1)) + noise)


def _blocks(at: Array, rng: np.random.Generator) -> Array:
    """16 blocks of an attention score: the larger the score, the more they differ."""
    spread = 0.003 + 0.1 * at
    own = rng.normal(size=(16, 1)) * spread
    return np.asarray(at + own + rng.normal(size=(16, len(at))) * spread)


def _loss(at: Array, rng: np.random.Generator) -> Array:
    """64 sequences: some are harder than others, all steps long."""
    return at + 0.5 * rng.normal(size=(64, 1)) + 0.2 * rng.normal(size=(64, len(at)))


_NOISE = {
    "bernoulli": _bernoulli,
    "normal": _normal,
    "correlated": _correlated,
    "blocks": _blocks,
    "loss": _loss,
}
