"""Rows of made-up trajectories, as a run has them."""

import numpy as np
import pandas as pd

from tests.analysis.frames import frame, head

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 4000)


def line(values, steps=STEPS, **columns):
    """The rows of one trajectory."""
    pairs = zip(steps, values, strict=True)
    rows = [{"step": step, "tokens": 10 * step, "value": value} for step, value in pairs]
    return frame(*({"clusters": 8, **row, **columns} for row in rows))


def heads_of(model, values, steps=STEPS, **columns):
    """Rows of heads: `values` is [layer, head, step]."""
    where = np.ndindex(values.shape)
    return frame(
        *(
            head(layer, number, values[layer, number, t], step=steps[t], model=model, **columns)
            for layer, number, t in where
        )
    )


def shuffled(rows, seed=0):
    """The same rows with the heads of each layer under other numbers, in another order."""
    rng = np.random.default_rng(seed)
    found = rows.copy()
    for layer in rows["layer"].dropna().unique():
        of = rows["layer"] == layer
        numbers = np.sort(rows.loc[of, "head"].unique())
        other = dict(zip(numbers, rng.permutation(numbers), strict=True))
        found.loc[of, "head"] = rows.loc[of, "head"].map(other)
    return found.iloc[rng.permutation(len(found))]


def both(*frames):
    """Several frames as one, as pandas.concat of two loads makes it."""
    return pd.concat(frames, ignore_index=True)
