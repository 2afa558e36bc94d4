"""What was run on what, in one sentence."""

from collections.abc import Sequence

import pandas as pd

from pythia_traj.figures.axes import in_tokens


def sentence_of(rows: pd.DataFrame) -> str:
    """What some rows are of.

    >>> sentence_of(pd.DataFrame())
    'No unit is done yet, so there are no rows.'
    """
    if rows.empty:
        return "No unit is done yet, so there are no rows."
    experiments = listed(sorted(map(str, rows["experiment"].dropna().unique())))
    models = listed(list(map(str, rows["model"].dropna().unique())))
    steps = sorted(rows["step"].unique())
    span = (
        f"step {steps[0]:,}"
        if len(steps) == 1
        else (f"{len(steps):,} steps, from {steps[0]:,} to {steps[-1]:,}")
    )
    seen = rows["tokens"].max()
    tokens = "" if pd.isna(seen) or seen == 0 else f" ({in_tokens(float(seen))} tokens)"
    return f"{experiments} on {models} at {span}{tokens}: {len(rows):,} rows."


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names in a sentence; of many the first, and how many others.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 other'
    """
    if len(names) > most:
        others = len(names) - most
        names = [*names[:most], "1 other" if others == 1 else f"{others} others"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
