"""How often an order of two onsets is told where there is one, and onsets of heads where none are.

    python benchmarks/onset_claims.py --json > benchmarks/onset_claims.json

Orders: pairs of curves of 100 right or wrong answers, on items of their own, whose onsets are 0,
0.5, 1 or 2 octaves apart. Heads: sweeps of 384 heads of 16 blocks, 12 of which rise to 0.3; by q
(Benjamini-Hochberg), by p of each head alone, and by taking the 20 highest; and the height that
the 20 highest heads have on the blocks that chose them and on the others, where none rises.
"""

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from curves import GRIDS, rise

import pythia_traj as pt
from pythia_traj.analysis.onsets.curves import Curves
from pythia_traj.analysis.onsets.half import estimate
from pythia_traj.analysis.onsets.heads import q_values

PAIRS, APART = 400, (0.0, 0.5, 1.0, 2.0)

SWEEPS, HEADS, RISING, BLOCKS, TOP = 12, 384, 12, 16, 20

ALPHA = 0.05

DRAWS = 200
"""Of heads, whose statuses do not depend on draws."""


@dataclass(frozen=True)
class Orders:
    """What is said of pairs whose onsets are so many octaves apart; shares of the pairs."""

    grid: str
    octaves: float
    right: float
    wrong: float
    said: dict[str, float]


def orders(grid: str, octaves: float, pairs: int) -> Orders:
    """What `order` says of pairs; at 0 octaves any order is wrong."""
    steps, said = GRIDS[grid], Counter[str]()
    x = np.log2(np.array(steps) + 1.0)
    for number in range(pairs):
        rng = np.random.default_rng([number, round(10 * octaves)])
        middle = rng.uniform(6, 11)
        frames = [
            _table(rng.uniform(size=(100, len(x))) < 0.5 + 0.4 * rise(x, at), steps, label=name)
            for name, at in (("a", middle), ("b", middle + octaves))
        ]
        rows, items = (pd.concat(some, ignore_index=True) for some in zip(*frames, strict=True))
        said[pt.order(rows, items, direction="up")["verdict"].iloc[0]] += 1
    right = said["a before b"] if octaves else 0
    wrong = said["b before a"] + (0 if octaves else said["a before b"])
    return Orders(
        grid,
        octaves,
        right / pairs,
        wrong / pairs,
        {verdict: count / pairs for verdict, count in sorted(said.items())},
    )


def _table(
    values: np.ndarray, steps: tuple[int, ...], **key: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows and items of one trajectory."""
    item, step = (index.ravel() for index in np.indices(values.shape))
    items = pd.DataFrame({"step": np.array(steps)[step], "item": item, "value": values.ravel()})
    items = items.assign(**key).astype({"value": float})
    rows = items.groupby([*key, "step"])["value"].mean().reset_index()
    return rows, items


@dataclass(frozen=True)
class Heads:
    """Means over sweeps: how many heads are listed, of those that rise and of the others."""

    grid: str
    found_by_q: float
    false_by_q: float
    false_by_p: float
    false_by_top: float
    height_where_chosen: float
    height_elsewhere: float


def heads(grid: str, sweeps: int) -> Heads:
    """What is listed of sweeps of heads, and the heights of heads none of which rises."""
    steps, counts = GRIDS[grid], []
    keys = pd.DataFrame({"layer": np.arange(HEADS) // 16, "head": np.arange(HEADS) % 16})
    for sweep in range(sweeps):
        curves = _heads(steps, np.random.default_rng([sweep, 384]))
        found = estimate(curves, draws=DRAWS)
        p = np.array([one.p for one in found])
        rises = np.arange(HEADS) < RISING
        by_q = q_values(keys, p) <= ALPHA
        top = np.zeros(HEADS, bool)
        top[np.argsort([one.base - one.top for one in found])[:TOP]] = True  # type: ignore[operator]
        flat = curves.sums[~rises]
        own, other = _heights(flat[:, ::2], flat[:, 1::2], curves)
        counts.append(
            (
                (by_q & rises).sum(),
                (by_q & ~rises).sum(),
                ((p <= ALPHA) & ~rises).sum(),
                (top & ~rises).sum(),
                own,
                other,
            )
        )
    return Heads(grid, *(round(float(mean), 4) for mean in np.mean(counts, axis=0)))


def _heads(steps: tuple[int, ...], rng: np.random.Generator) -> Curves:
    """Heads whose first few rise; blocks differ more where the score is larger."""
    x = np.log2(np.array(steps) + 1.0)
    rises = [rise(x, rng.uniform(6, 13)) if head < RISING else 0 * x for head in range(HEADS)]
    mean = 0.015 + 0.285 * np.stack(rises)[:, None]
    spread = 0.003 + 0.1 * mean
    values = mean + spread * rng.normal(size=(HEADS, BLOCKS, len(x)))
    return Curves.of_items(steps, values)


def _heights(chosen: np.ndarray, other: np.ndarray, curves: Curves) -> tuple[float, float]:
    """The mean height of the highest heads on the blocks that chose them, and on the others."""
    grid = curves.grid
    own, elsewhere = (some.mean(1) @ grid.kernel.T for some in (chosen, other))
    bases = [some.mean(1) @ grid.base for some in (chosen, other)]
    at = own.argmax(1)
    index = np.arange(len(own))
    heights = own[index, at] - bases[0]
    highest = np.argsort(-heights)[:TOP]
    there = elsewhere[index, at] - bases[1]
    return float(heights[highest].mean()), float(there[highest].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of curves")
    parser.add_argument("--sweeps", type=int, default=SWEEPS, help="of heads")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = {
        "orders": [vars(orders(grid, o, arguments.pairs)) for grid in GRIDS for o in APART],
        "heads": [vars(heads(grid, arguments.sweeps)) for grid in GRIDS],
    }
    if arguments.json:
        json.dump(result, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    for name, rows in result.items():
        sys.stdout.write(f"{name}\n{pd.DataFrame(rows).to_string(index=False)}\n")


if __name__ == "__main__":
    main()
