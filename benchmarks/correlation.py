"""How often are independent trajectories called correlated, and common changes found?

Correlates 400 pairs of synthetic trajectories of each kind, at p <= 0.05.

    python benchmarks/correlation.py [--pairs 400] [--json]

`walk`: random walks in log step. `common`: two walks with the same increments and half as large own
ones. `trend`: both rise evenly in log step, with noise. `rise`: each rises once, at a random time.
Columns: the share called correlated with either null, and by Pearson's p of the levels. docs/
comparing.md lists one run of it.
"""

import argparse
import json
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

import pythia_traj as pt

STEPS = {
    "Pythia's 154": np.array([0, *(2**i for i in range(10)), *range(1000, 143001, 1000)]),
    "19, an octave apart": np.array([0, *(2**i for i in range(18))]),
    "12": np.array([0, 1, 4, 16, 64, 256, 512, 1000, 4000, 16000, 64000, 143000]),
}

Pair = tuple[np.ndarray, np.ndarray]


def position(steps: np.ndarray) -> np.ndarray:
    return np.asarray(np.log2(steps + 1))


def walk(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    return np.cumsum(rng.normal(size=len(x)) * np.sqrt(np.diff(x, prepend=-1)))


def rise(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    curve = 1 / (1 + np.exp(-(x - rng.uniform(4, 13)) * rng.uniform(0.8, 2)))
    return np.asarray(curve + rng.normal(0, 0.02, len(x)))


def common(rng: np.random.Generator, x: np.ndarray) -> Pair:
    shared = walk(rng, x)
    return shared + walk(rng, x) / 2, shared + walk(rng, x) / 2


KINDS: dict[str, Callable[[np.random.Generator, np.ndarray], Pair]] = {
    "walk": lambda rng, x: (walk(rng, x), walk(rng, x)),
    "common": common,
    "trend": lambda rng, x: (x + rng.normal(size=len(x)), x + rng.normal(size=len(x))),
    "rise": lambda rng, x: (rise(rng, x), rise(rng, x)),
}


def rows(steps: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"model": "m", "step": steps, "value": values})


def measure(kind: str, grid: str, pairs: int) -> dict[str, object]:
    """One row of the table."""
    steps, rng, called = STEPS[grid], np.random.default_rng(0), []
    for seed in range(pairs):
        a, b = KINDS[kind](rng, position(steps))
        first, second = rows(steps, a), rows(steps, b)
        found = [
            pt.correlate(first, second, "phase", draws=499, seed=seed).p,
            pt.correlate(first, second, "block", draws=499, seed=seed).p,
            stats.pearsonr(a, b).pvalue,
        ]
        called.append([p <= 0.05 for p in found])
    shares = np.mean(called, axis=0)
    names = ("phase", "block", "levels")
    return {"kind": kind, "steps": grid} | {
        name: round(float(share), 3) for name, share in zip(names, shares, strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=400, help="of each kind")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    arguments = parser.parse_args()
    table = [measure(kind, grid, arguments.pairs) for kind in KINDS for grid in STEPS]
    text = json.dumps(table, indent=1) if arguments.json else pd.DataFrame(table).to_string()
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
