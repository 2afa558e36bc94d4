"""Several seeds of one model as one: the mean of its trajectories with the band of that mean."""

import numpy as np
import pandas as pd

from pythia_traj.analysis.comparison.seeds import seed_bands


def banded(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of seeds as rows of one model, whose values are their means.

    Args:
        rows: rows of models that are seeds of one another, as `pythia_traj.load` gives them. Those
            of single heads are left out: heads of one number are not alike in two seeds.

    Returns:
        the same columns. `model` says how many seeds there are; `value` is their mean, `low` and
        `high` the 95 % interval of that mean (from 3 seeds on), `n` and `clusters` how many have a
        value at that step; `stderr` is null.

    Raises:
        AnalysisError: they are of one model alone.
    """
    whole = rows[rows["head"].isna()]
    parts = [_of_one(part) for _, part in whole.groupby("experiment", observed=True, sort=False)]
    made = pd.concat(parts, ignore_index=True) if parts else whole.iloc[:0]
    return made.astype({name: rows[name].dtype.name for name in rows.columns})


def _of_one(rows: pd.DataFrame) -> pd.DataFrame:
    """As `banded`, of one experiment, with other types."""
    found = seed_bands(rows)
    tokens = rows.drop_duplicates("step").set_index("step")["tokens"]
    # Models that saw another number of tokens at a step have no tokens in common.
    common = rows.groupby("step")["tokens"].nunique() == 1
    columns = {
        "model": f"mean of {rows['model'].nunique()} seeds",
        "experiment": rows["experiment"].iloc[0],
        "tokens": found["step"].map(tokens).where(found["step"].map(common)),
        "value": found["mean"],
        "stderr": np.nan,
        "n": found["seeds"],
        "clusters": found["seeds"],
    }
    return found.assign(**columns).reindex(columns=rows.columns)
