"""Where half of a change is reached, by the onset of its metric."""

import pandas as pd

from pythia_traj.analysis.wording import between, rounded_step, step_words


def half_words(onsets: pd.DataFrame, metric: str, part: str | None = None) -> str:
    """`, half of it by step 590, between 550 and 600`; empty where it is not dated.

    Args:
        onsets: of one model and label.
        metric: whose onset.
        part: of which part; None is that of everything.
    """
    found = onset_of(onsets, metric, part)
    if found is None:
        return ""
    low, high = int(found["low"]), int(found["high"])
    step = rounded_step(float(found["step"]), low, high)
    return f", half of it by step {step_words(step)}, {between(low, high)}"


def onset_of(onsets: pd.DataFrame, metric: str, part: str | None = None) -> pd.Series | None:
    """The onset of one metric of the whole model; None where it is not dated with an interval."""
    if onsets.empty:
        return None
    at = onsets[(onsets["metric"] == metric) & onsets["head"].isna()]
    at = at[at["part"].isna() if part is None else at["part"] == part]
    at = at[(at["status"] == "onset") & at["low"].notna() & at["high"].notna()]
    return at.iloc[0] if len(at) else None
