"""Several seeds of one model: their mean, and how far they are apart."""

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from pythia_traj.analysis.comparison.by_index import refuse_heads
from pythia_traj.analysis.matrix import identity, number, plain, require, typed_like
from pythia_traj.errors import AnalysisError

FEWEST_SEEDS = 3
"""With fewer, two points say too little about the spread for an interval."""


def seed_bands(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean of several seeds at each step, with the spread between them.

    Two uncertainties stand beside each other and are not merged: that between seeds, which `low`
    and `high` are made of, and that of the items, `item_stderr`. (The spread between seeds includes
    that of the items where each seed has items of its own.)

    Args:
        rows: rows of models that are seeds of one another, as `pythia_traj.load` gives them, or
            those of `align`. Values of single heads are refused: see `summarise_heads`.

    Returns:
        a row for each label, metric and step (of aligned rows: point): the columns that identify
        the metric; `step` or `at`; `mean`, `sd` (between seeds), `low` and `high` (95 % interval of
        the mean over seeds, by t with seeds - 1 degrees of freedom; from 3 seeds on),
        `least`, `most`, `seeds` (how many have a value), `item_stderr` (the median of the seeds'
        own standard errors), and the `reason` where the interval is missing.

    Raises:
        AnalysisError: heads would be compared by index, there is one model alone, or a model has
            two values at a step.
    """
    require(rows, ["model", "step", "value"])
    refuse_heads(rows, "bands of seeds")
    named = plain(rows)
    where = "at" if "at" in named else "step"
    keys = [name for name in identity(named) if name != "model"]
    if named["model"].nunique() < 2:
        raise AnalysisError(
            f"bands of seeds: the rows are of {named['model'].nunique()} model: give those of two"
            " or more, each of them a seed"
        )
    if named.duplicated([*keys, where, "model"]).any():
        twice = named[named.duplicated([*keys, where, "model"])].iloc[0]
        raise AnalysisError(
            f"bands of seeds: {twice['model']} has two values at {where} {twice[where]}: name the"
            " models of several runs differently"
        )
    if "stderr" not in named:
        named = named.assign(stderr=np.nan)
    # In the order of values, so that a mean is the same to the bit for every order of the rows.
    named = named.assign(_place=number(named, keys) if keys else 0)
    known = named[named["value"].notna()].sort_values("value")
    groups = known.groupby([*keys, where], dropna=False, sort=False)
    found = groups.agg(
        _place=("_place", "first"),
        mean=("value", "mean"),
        sd=("value", "std"),
        least=("value", "min"),
        most=("value", "max"),
        seeds=("value", "size"),
        item_stderr=("stderr", "median"),
    ).reset_index()
    seeds = found["seeds"].to_numpy(float)
    enough = seeds >= FEWEST_SEEDS
    reach = stdtrit(np.where(enough, seeds - 1, np.nan), 0.975) * found["sd"] / np.sqrt(seeds)
    reason = pd.Series(None, index=found.index, dtype=object)
    reason[~enough] = f"no interval: fewer than {FEWEST_SEEDS} seeds"
    found = found.assign(low=found["mean"] - reach, high=found["mean"] + reach, reason=reason)
    columns = ["mean", "sd", "low", "high", "least", "most", "seeds", "item_stderr", "reason"]
    ordered = found.sort_values(["_place", where], ignore_index=True)
    return typed_like(ordered, named, keys)[[*keys, where, *columns]]
