"""Whether two trajectories change together.

Two metrics that both rise over training correlate whatever they are, as any two random walks do:
so changes are correlated, not levels, and the p-value is from series that change alike over time
but know nothing of each other.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from pythia_traj.analysis.matrix import Floats, matrices
from pythia_traj.analysis.onsets.grid import positions, thinned
from pythia_traj.analysis.onsets.options import check_draws, check_seed
from pythia_traj.engines.streams import stream
from pythia_traj.errors import AnalysisError, nearest

Null = Literal["phase", "block"]

FEWEST_STEPS = 12

_ROUNDING = 1e-9
"""Changes that differ by less than this share are equal but for rounding."""


@dataclass(frozen=True)
class Correlation:
    """How two trajectories change together.

    Attributes:
        r: the correlation of their changes, -1 to 1.
        p: two-sided, from the null.
        steps: those between which the changes are, ascending.
        null: which null it is.
        draws: how many series it was drawn from.
    """

    r: float
    p: float
    steps: tuple[int, ...]
    null: str
    draws: int


def correlate(
    first: pd.DataFrame,
    second: pd.DataFrame,
    null: Null = "phase",
    *,
    octaves: float = 0.5,
    draws: int = 1999,
    seed: int = 0,
) -> Correlation:
    """The correlation of two trajectories' changes in log step.

    Of the steps at which both have a value, those are taken that are at least `octaves` apart in
    log2(step + 1), from the first on: otherwise most changes would be noise of late steps that
    hardly differ. A change is that from one of them to the next, per octave.

    Of two independent random walks in log step 6 % have p <= 0.05. But a metric that rises once,
    and otherwise stays, is a single event: of two such rises at independent times 16 to 24 % have
    p <= 0.05, and for those the order of their onsets says more (benchmarks/correlation.py).

    Args:
        first: the rows of one trajectory, as `pythia_traj.load` gives them.
        second: those of another, of the same model or another.
        null: `phase` draws series with the same spectrum and random phases (Theiler et al. 1992);
            `block` shuffles the first series in blocks of the cube root of its length, from a
            random start.
        octaves: the least distance of two steps; 0 takes all.
        draws: how many series; at least 100.
        seed: of the draws.

    Raises:
        AnalysisError: fewer than 12 steps are left, the rows are of several trajectories, a value
            is infinite, one does not change, or an option is wrong.
    """
    if null not in get_args(Null):
        raise AnalysisError(f"null={null!r}: phase or block; {nearest(str(null), get_args(Null))}")
    if not isinstance(octaves, int | float | np.number) or not octaves >= 0:
        raise AnalysisError(f"octaves={octaves!r}: the least distance is a number from 0, as 0.5")
    check_draws(draws)
    check_seed(seed)
    values = [_trajectory(rows, side) for rows, side in ((first, "first"), (second, "second"))]
    both = pd.concat(values, axis=1, join="inner").sort_index()
    steps = both.index.to_numpy(np.int64)
    kept = thinned(steps, octaves)
    if len(kept) < FEWEST_STEPS:
        raise AnalysisError(
            f"correlating: {len(kept)} steps that are at least {octaves:g} octaves apart (of"
            f" {len(steps)} that both have), and {FEWEST_STEPS} are needed: measure more steps"
        )
    octaves_apart = np.diff(positions(steps[kept]))
    changes = np.diff(both.to_numpy(float)[kept], axis=0).T / octaves_apart
    apart = changes - changes.mean(1, keepdims=True)
    sizes = np.sqrt((apart**2).sum(1))
    if (sizes <= _ROUNDING * np.abs(changes).max(1)).any():
        raise AnalysisError(
            "correlating: one of the two changes by the same in each octave, so that nothing can"
            " correlate with its changes"
        )
    a, b = apart / sizes[:, None]
    r = float(np.clip(a @ b, -1, 1))
    drawn = _NULLS[null](a, b, stream(seed, f"correlate {null}"), draws)
    as_large = int((np.abs(drawn) >= abs(r) * (1 - 1e-12)).sum())
    return Correlation(r, (1 + as_large) / (1 + draws), tuple(map(int, steps[kept])), null, draws)


def _trajectory(rows: pd.DataFrame, side: str) -> pd.Series:
    """The values of the one trajectory in these rows, by step."""
    units = list(matrices(rows))
    count = sum(len(unit.keys) for unit in units)
    if count != 1:
        raise AnalysisError(
            f"correlating: the {side} rows are of {count} trajectories: choose one, by label,"
            " metric, variant, part, layer and head"
        )
    found = pd.Series(units[0].values[0], index=units[0].steps, name=side).dropna()
    if np.isinf(found).any():
        raise AnalysisError(
            f"correlating: the {side} rows have an infinite value at step"
            f" {found.index[np.isinf(found)][0]}: leave that step out"
        )
    return found


def _phases(a: Floats, b: Floats, rng: np.random.Generator, draws: int) -> Floats:
    """Correlations of `b` with series of the spectrum of `a` and random phases [draw]."""
    n = len(a)
    spectrum = np.fft.rfft(a)
    turns = np.exp(2j * np.pi * rng.random((draws, len(spectrum))))
    if n % 2 == 0:
        # The highest frequency is real: it has a sign, not a phase.
        turns[:, -1] = np.where(rng.random(draws) < 0.5, -1, 1)
    found: Floats = np.fft.irfft(spectrum * turns, n) @ b
    return found


def _blocks(a: Floats, b: Floats, rng: np.random.Generator, draws: int) -> Floats:
    """Correlations of `b` with `a` in shuffled blocks [draw]."""
    n = len(a)
    length = int(np.ceil(n ** (1 / 3)))
    starts = np.arange(0, n, length)
    found = np.empty(draws)
    for i in range(draws):
        blocks = np.array_split(np.roll(a, int(rng.integers(n))), starts[1:])
        found[i] = np.concatenate([blocks[j] for j in rng.permutation(len(blocks))]) @ b
    return found


_NULLS = {"phase": _phases, "block": _blocks}
