"""What some of the items tell of all, where the same items are known at neighbouring steps.

    python benchmarks/few_items.py                                       # synthetic curves
    python benchmarks/few_items.py --run RUN --metric nll --part second_copy   # items of a run

A quarter of the items (half of 16 blocks) is measured at the steps between the first steps of
`sweep --refine`, and their mean is corrected by all items at the two first steps around. Printed:
the variance of the plain mean of those items over that of the corrected mean (`gain`), that of the
mean of all items over that of the corrected one (`of_all`), the standard error that is said over
the one that is found (`said`), and for a search that completes the items so: the share of intervals
that hold the crossing, how often the bracket is that of all steps and items, and the share of the
full grid's item passes.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

import numpy as np
from curves import PUBLISHED, Curve, draw
from refine import FEWEST_DRAWS, onset_at

from pythia_traj.analysis.adaptive.control_variate import Corrected, between, corrected
from pythia_traj.analysis.adaptive.rule import START, choose
from pythia_traj.analysis.onsets.curves import Curves
from pythia_traj.analysis.onsets.grid import positions
from pythia_traj.analysis.onsets.half import estimate
from pythia_traj.analysis.onsets.onset import Onset
from pythia_traj.steps import select

KINDS = (
    "Bernoulli",
    "normal",
    "attention",
    "loss, falling",
    "small",
    "noise correlated over steps",
)
CURVES = 200
SHARE = 4
FEWEST = 8
SUBSETS = 50
"""Draws of the measured items of a run."""

Array = np.ndarray


def subset_of(n: int, seed: int = 0) -> Array:
    """Which items are measured between the anchors."""
    return np.sort(np.random.default_rng(seed).permutation(n)[: max(n // SHARE, FEWEST)])


def at(items: Array, steps: tuple[int, ...], step: int, subset: Array) -> Corrected:
    """The mean at a step of which only a subset is measured, from the first steps around it.

    Args:
        items: [items, steps].
    """
    anchors = [s for s in select(START, steps) if s != step]
    low, high = max(s for s in anchors if s < step), min(s for s in anchors if s > step)
    x = positions([low, step, high])
    columns = [items[:, steps.index(s)] for s in (low, step, high)]
    controls = between(columns[0], columns[2], float((x[1] - x[0]) / (x[2] - x[0])))
    return corrected(columns[1][subset], subset, controls)


def gains(kind: str, curves: int) -> dict[str, float]:
    """Variances about the curve without noise, at a step between two first ones for each curve."""
    errors: list[tuple[float, float, float, float]] = []
    for number in range(curves):
        curve = draw(kind, number)
        inner = [s for s in PUBLISHED if s not in select(START, PUBLISHED)]
        for step in inner[:: max(len(inner) // 8, 1)]:
            truth = float(curve.mean(np.array([step]))[0])
            found = at(curve.items, PUBLISHED, step, subset_of(len(curve.items), number))
            full = float(curve.items[:, PUBLISHED.index(step)].mean())
            errors.append((found.mean - truth, found.plain - truth, full - truth, found.stderr**2))
    ours, plain, full, said = np.array(errors).T
    return {
        "gain": round(float((plain**2).mean() / (ours**2).mean()), 2),
        "of_all": round(float((full**2).mean() / (ours**2).mean()), 2),
        "said": round(float(np.sqrt(said.mean() / (ours**2).mean())), 3),
    }


def search(curve: Curve, number: int) -> tuple[Onset, float]:
    """The onset by a search with few items between the first steps, and its item passes."""
    subset = subset_of(len(curve.items), number)
    first, columns, passes = select(START, PUBLISHED), dict[int, Array](), 0.0
    onset: Onset | None = None
    while (choice := choose(PUBLISHED, columns, onset)).steps:
        for step in choice.steps:
            if step in first:
                columns[step] = curve.items[:, PUBLISHED.index(step)]
                passes += 1
            else:
                columns[step] = at(curve.items, PUBLISHED, step, subset).completed
                passes += len(subset) / len(curve.items)
        onset = _onset(curve, columns)
    assert onset is not None
    return onset, passes / len(PUBLISHED)


def _onset(curve: Curve, columns: Mapping[int, Array]) -> Onset:
    steps = sorted(columns)
    items = np.stack([columns[step] for step in steps], axis=1)
    return estimate(Curves.of_items(steps, items), falling=curve.falling)[0]


def searches(kind: str, curves: int) -> dict[str, float]:
    """How searches with few items end."""
    held, same, passes = [], [], []
    for number in range(curves):
        curve = draw(kind, number)
        onset, share = search(curve, number)
        full = onset_at(curve, PUBLISHED, FEWEST_DRAWS)
        low, high = onset.low, onset.high
        assert curve.onset is not None
        held.append(
            onset.step is not None
            and (low is None or low <= curve.onset)
            and (high is None or curve.onset <= high)
        )
        same.append(onset.bracket_low == full.bracket_low)
        passes.append(share)
    return {
        "holds": round(float(np.mean(held)), 3),
        "same_bracket": round(float(np.mean(same)), 3),
        "passes": round(median(passes), 4),
    }


def of_run(run: str, where: Mapping[str, Any]) -> Iterable[dict[str, object]]:
    """The gain at the steps of a run between its first steps, as standard errors say it.

    Beside it stands how far the plain mean is from that of all items, over how far the corrected
    one is.
    """
    import pythia_traj as pt

    items = pt.load(run, table="items", **where)
    keys = ["model", "label", "metric", "variant", "part", "layer", "head"]
    for key, rows in items.groupby(keys, dropna=False, observed=True):
        wide = rows.pivot(index="item", columns="step", values="value").dropna()
        steps, values = tuple(int(step) for step in wide.columns), wide.to_numpy(float)
        inner = [step for step in steps if step not in select(START, steps)]
        full = values[:, [steps.index(step) for step in inner]].mean(0)
        # A run has one set of items: the draw of those that are measured is repeated.
        found = [
            [at(values, steps, step, subset_of(len(values), seed)) for step in inner]
            for seed in range(SUBSETS)
        ]
        ours, plain, said, plain_said = (
            np.array([[getattr(one, name) for one in row] for row in found])
            for name in ("mean", "plain", "stderr", "plain_stderr")
        )
        yield {
            "trajectory": [str(part) for part in key],
            "items": len(values),
            "measured": len(subset_of(len(values))),
            "gain_said": round(float((plain_said**2).mean() / (said**2).mean()), 2),
            "plain_over_corrected": round(
                float(np.sqrt(((plain - full) ** 2).mean() / ((ours - full) ** 2).mean())), 2
            ),
        }


def main() -> None:
    """Prints a line of JSON for each kind, or for each trajectory of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=int, default=CURVES)
    parser.add_argument("--run")
    parser.add_argument("--metric")
    parser.add_argument("--part")
    arguments = parser.parse_args()
    if arguments.run:
        given = {"metric": arguments.metric, "part": arguments.part}
        where = {name: value for name, value in given.items() if value is not None}
        for line in of_run(arguments.run, where):
            print(json.dumps(line))
        return
    for kind in KINDS:
        found = gains(kind, arguments.curves) | searches(kind, arguments.curves)
        print(json.dumps({"kind": kind, "curves": arguments.curves, **found}), flush=True)


if __name__ == "__main__":
    main()
