"""Rows and items of trajectories, as a run has them; and the curves of the benchmarks."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"

STEPS = [0, *(2**i for i in range(10)), 1000, 2000, 4000]


def benchmark(name: str):
    """A program of the benchmarks as a module."""
    if f"benchmarks_{name}" not in sys.modules:
        sys.path.insert(0, str(BENCHMARKS))
        try:
            spec = importlib.util.spec_from_file_location(
                f"benchmarks_{name}", BENCHMARKS / f"{name}.py"
            )
            module = importlib.util.module_from_spec(spec)
            sys.modules[f"benchmarks_{name}"] = module
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(BENCHMARKS))
    return sys.modules[f"benchmarks_{name}"]


def tables(values, steps=STEPS, **key):
    """Rows and items of one trajectory.

    Args:
        values: [items, steps].
    """
    values = np.asarray(values, float)
    key = {"model": "m", "label": "a", "metric": "score"} | key
    rows = pd.DataFrame({**key, "step": list(steps), "value": values.mean(0)})
    items = pd.DataFrame(
        [
            {**key, "step": step, "item": i, "n": 1, "value": values[i, t]}
            for t, step in enumerate(steps)
            for i in range(len(values))
        ]
    )
    return rows, items


def both(*pairs):
    """Several trajectories together."""
    return tuple(pd.concat(frames, ignore_index=True) for frames in zip(*pairs, strict=True))


def rising(middle: float, n: int = 40, noise: float = 0.3, seed: int = 0, height: float = 1.0):
    """Items [n, steps] of a curve that rises about x = middle."""
    x = np.log2(np.array(STEPS) + 1)
    mean = height / (1 + np.exp(-3 * (x - middle)))
    rng = np.random.default_rng(seed)
    return mean + noise * rng.normal(size=(n, len(x)))
