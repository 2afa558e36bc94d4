"""What was run on what, in one sentence."""

import pandas as pd

from pythia_traj.analysis.wording import counted, listed, step_words
from pythia_traj.figures.axes import in_tokens
from pythia_traj.reports.drawings import in_order

MOST_NAMED = 8
"""Experiments and models; of more the number is said."""


def sentence_of(rows: pd.DataFrame) -> str:
    """What some rows are of.

    >>> sentence_of(pd.DataFrame())
    'No unit is done yet, so there are no rows.'
    """
    if rows.empty:
        return "No unit is done yet, so there are no rows."
    experiments = listed(in_order(rows), MOST_NAMED)
    where = {
        str(model): _steps(at) for model, at in rows.groupby("model", observed=True, sort=False)
    }
    if len(set(where.values())) == 1:
        on = f"{listed(list(where), MOST_NAMED)} {next(iter(where.values()))}"
    else:
        on = listed([f"{model} {steps}" for model, steps in where.items()], MOST_NAMED)
    return f"{experiments} on {on}: {counted(len(rows), 'row')}."


def _steps(rows: pd.DataFrame) -> str:
    """The steps of one model, and the tokens at the last."""
    steps = sorted(int(step) for step in rows["step"].unique())
    seen = rows.loc[rows["step"] == steps[-1], "tokens"].max()
    tokens = "" if pd.isna(seen) or seen == 0 else f" ({in_tokens(float(seen))} tokens)"
    if len(steps) == 1:
        return f"at step {step_words(steps[0])}{tokens}"
    span = f"from {step_words(steps[0])} to {step_words(steps[-1])}"
    return f"at {counted(len(steps), 'step')}, {span}{tokens}"
