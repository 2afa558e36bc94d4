"""The onsets of hundreds of heads with their intervals, from tables to table.

    python benchmarks/many_heads.py [--json]

400 heads at Pythia's 154 steps with 50 items and 1000 draws. The baseline is what one writes at
first: scipy's bootstrap of a function of one curve, for some of the heads and scaled to all. The
floor is the matrix product that makes the means of all draws.
"""

import argparse
import time

import numpy as np
import pandas as pd
from curves import PUBLISHED
from harness import emit, summary
from scipy.stats import bootstrap

import pythia_traj as pt
from pythia_traj.analysis.onsets.crossing import Level, cross
from pythia_traj.analysis.onsets.curves import Curves
from pythia_traj.analysis.onsets.grid import Grid

HEADS, ITEMS, DRAWS, BY_BASELINE = 400, 50, 1000, 4


def values() -> np.ndarray:
    """Curves that rise late, float64 [heads, items, steps]."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(HEADS, ITEMS, len(PUBLISHED))) + np.linspace(0, 2, len(PUBLISHED))


def tables(values: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same as rows and items of a run."""
    head, item, step = (index.ravel() for index in np.indices(values.shape))
    items = pd.DataFrame(
        {
            "model": "m",
            "metric": "prefix_matching",
            "layer": pd.array(head // 16, dtype="Int64"),
            "head": pd.array(head % 16, dtype="Int64"),
            "step": np.array(PUBLISHED)[step],
            "item": item,
            "n": 1,
            "value": values.ravel(),
        }
    ).astype({"model": "category", "metric": "category"})
    keys = ["model", "metric", "layer", "head", "step"]
    return items.groupby(keys, observed=True)["value"].mean().reset_index(), items


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    curves, grid = values(), Grid(PUBLISHED)
    rows, items = tables(curves)
    weights = Curves.of_items(PUBLISHED, curves).weights(DRAWS, 0).astype(float)

    def crossing(chosen: np.ndarray, of: np.ndarray) -> float:
        return float(cross(of[chosen].mean(0), grid, Level()).k)

    seconds = {"onset": 0.0, "scipy_bootstrap_scaled": 0.0, "product_of_draws": 0.0}
    start = time.perf_counter()
    table = pt.onset(rows, items, draws=DRAWS)
    seconds["onset"] = time.perf_counter() - start
    start = time.perf_counter()
    for one in curves[:BY_BASELINE]:
        bootstrap(
            (np.arange(ITEMS),),
            lambda chosen, of=one: crossing(chosen, of),
            n_resamples=DRAWS,
            vectorized=False,
            method="percentile",
        )
    scale = HEADS / BY_BASELINE
    seconds["scipy_bootstrap_scaled"] = (time.perf_counter() - start) * scale
    start = time.perf_counter()
    for one in curves:
        weights @ one
    seconds["product_of_draws"] = time.perf_counter() - start
    assert table["low"].notna().all()
    emit(
        summary({name: [taken] for name, taken in seconds.items()}),
        {
            "onset_vs_scipy_bootstrap": seconds["scipy_bootstrap_scaled"] / seconds["onset"],
            "onset_vs_product_of_draws": seconds["onset"] / seconds["product_of_draws"],
        },
        as_json=arguments.json,
    )


if __name__ == "__main__":
    main()
