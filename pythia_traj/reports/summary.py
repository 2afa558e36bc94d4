"""What was run on what, in one sentence."""

import pandas as pd

from pythia_traj.analysis.wording import listed
from pythia_traj.figures.axes import in_tokens

MOST_NAMED = 8
"""Experiments and models; of more the number is said."""


def sentence_of(rows: pd.DataFrame) -> str:
    """What some rows are of.

    >>> sentence_of(pd.DataFrame())
    'No unit is done yet, so there are no rows.'
    """
    if rows.empty:
        return "No unit is done yet, so there are no rows."
    experiments = listed(sorted(map(str, rows["experiment"].dropna().unique())), MOST_NAMED)
    models = listed(list(map(str, rows["model"].dropna().unique())), MOST_NAMED)
    steps = sorted(rows["step"].unique())
    span = (
        f"step {steps[0]:,}"
        if len(steps) == 1
        else (f"{len(steps):,} steps, from {steps[0]:,} to {steps[-1]:,}")
    )
    seen = rows["tokens"].max()
    tokens = "" if pd.isna(seen) or seen == 0 else f" ({in_tokens(float(seen))} tokens)"
    return f"{experiments} on {models} at {span}{tokens}: {len(rows):,} rows."
