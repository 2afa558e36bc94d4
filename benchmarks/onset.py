"""How often onsets are found where they are, on curves whose onset is known (curves.py).

    python benchmarks/onset.py --json > benchmarks/onset.json

For each kind of curve, on Pythia's 154 steps and on `log:18`: the share of 95 % intervals that hold
the crossing of the curve without noise, their median width in published intervals, and how often
each status is given. For the default method 500 curves of each kind; for the others 100 curves and
200 draws.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from curves import GRIDS, KINDS, PUBLISHED, THRESHOLDS, Curve, draw, level_at

from pythia_traj.analysis.onsets.curves import Curves
from pythia_traj.analysis.onsets.half import estimate
from pythia_traj.analysis.onsets.methods import METHODS, estimate_by, method_named
from pythia_traj.analysis.onsets.onset import Onset

CURVES = 500

OTHER_CURVES, OTHER_DRAWS = 100, 200
"""For the methods that are there for comparison."""

FIRST_ABOVE = "first_above:X,2"
"""With X at half of the height of the curve without noise: more than a user can know."""


@dataclass(frozen=True)
class Figures:
    """What a method says of curves of one kind on one grid.

    Attributes:
        intervals: how many curves were given an interval.
        held: the share of them that holds the crossing; None where the curve is flat.
        width: their median width in published intervals; open ends reach to the first or last step.
        said: how often each status is given.
    """

    kind: str
    grid: str
    method: str
    curves: int
    intervals: int
    held: float | None
    width: float | None
    said: dict[str, int]


def figures(kind: str, grid: str, method: str, curves: int, draws: int = 1000) -> Figures:
    """The figures of the first so many curves of a kind."""
    held, widths, said = [], [], Counter[str]()
    for number in range(curves):
        curve = draw(kind, number)
        found, truth = _estimated(curve, grid, method, number, draws)
        said[found.status] += 1
        if found.status in ("none", "refused", "never", "present"):
            continue
        widths.append(_width(found))
        if truth is not None:
            held.append(_holds(found, truth))
    return Figures(
        kind,
        grid,
        method,
        curves,
        len(widths),
        round(float(np.mean(held)), 4) if held else None,
        float(np.median(widths)) if widths else None,
        dict(sorted(said.items())),
    )


def _estimated(
    curve: Curve, grid: str, method: str, seed: int, draws: int
) -> tuple[Onset, float | None]:
    """What a method says, and the truth: the crossing of half of the height, or of a threshold."""
    steps, items = curve.on(grid)
    curves = Curves.of_items(steps, items)
    if method == "half":
        found = estimate(curves, falling=curve.falling, draws=draws, seed=seed)
        return found[0], curve.onset
    word, _, share = method.partition(":")
    if word == "threshold":
        level = level_at(curve.mean, THRESHOLDS[share], curve.falling)
        found = estimate(curves, threshold=level, falling=curve.falling, draws=draws, seed=seed)
        return found[0], curve.crossing(level)
    if method == FIRST_ABOVE:
        method = f"first_above:{level_at(curve.mean, 0.5, curve.falling)},2"
    return (
        estimate_by(method_named(method), curves, falling=curve.falling, draws=draws, seed=seed)[0],
        curve.onset,
    )


def _holds(found: Onset, truth: float) -> bool:
    low = -np.inf if found.low is None else found.low
    high = np.inf if found.high is None else found.high
    return bool(low <= truth <= high)


def _width(found: Onset) -> int:
    low = 0 if found.low is None else PUBLISHED.index(found.low)
    high = len(PUBLISHED) - 1 if found.high is None else PUBLISHED.index(found.high)
    return high - low


def all_figures(curves: int, others: int) -> Iterator[Figures]:
    """Those of every method, kind and grid."""
    rising = [kind for kind, one in KINDS.items() if not one.flat]
    for grid in GRIDS:
        for kind in KINDS:
            yield figures(kind, grid, "half", curves)
        for kind in rising:
            for share in THRESHOLDS:
                yield figures(kind, grid, f"threshold:{share}", curves)
        for method in (*METHODS, FIRST_ABOVE):
            for kind in KINDS:
                yield figures(kind, grid, method, others, OTHER_DRAWS)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--curves", type=int, default=CURVES, help="of each kind")
    parser.add_argument("--others", type=int, default=OTHER_CURVES, help="for the other methods")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    arguments = parser.parse_args()
    rows = []
    for one in all_figures(arguments.curves, arguments.others):
        rows.append(asdict(one))
        if not arguments.json:
            held = "" if one.held is None else f"{one.held:.3f}"
            sys.stdout.write(
                f"{one.grid:7} {one.method:18} {one.kind:28} {held:6} {one.width}  {one.said}\n"
            )
            sys.stdout.flush()
    if arguments.json:
        json.dump(rows, sys.stdout, indent=1)
        sys.stdout.write("\n")


if __name__ == "__main__":
    main()
