"""Which rows: those of some metrics as plain columns, those of text, those of the whole model.

Rows are found by metric, never by label, as a label can be any name.
"""

from collections.abc import Sequence

import pandas as pd

WHICH = ("model", "label")
"""The columns that say whose trajectory a row belongs to."""

TASKS = ("ablation", "attribution", "behaviour", "logit_attribution", "patching", "transplant")
"""The experiments on tasks."""

_OF_ANSWERS = ("logit_diff", "prob_diff")
"""Metrics that show that a user's experiment is on a task."""

_APART = ("variant", "part", "target", "reference")
_TEXT = (*WHICH, "experiment", "metric", "control", *_APART, "reason")
_NUMBERS = (
    *("tokens", "layer", "head", "position", "size"),
    *("value", "stderr", "low", "high", "n", "clusters"),
)


def choose(
    rows: pd.DataFrame, metrics: Sequence[str], component: str = "", by_position: bool = False
) -> pd.DataFrame:
    """The rows of some metrics with plain columns: absent strings are empty, absent numbers NaN.

    Args:
        rows: rows of a run, with controls or without.
        metrics: the names of the metrics.
        component: what the values belong to; empty for those of the whole model.
        by_position: whether to take the values at each position or those over all positions.

    Returns:
        columns model, label, experiment, metric, control, variant, part, target, reference and
        reason as strings; tokens, layer, head, position, size, value, stderr, low, high, n and
        clusters as floats; step as an integer; an empty `note`, for remarks on a value.
    """
    if rows.empty:
        rows = rows.reindex(columns=[*_TEXT, *_NUMBERS, "component", "step"])
    wanted = rows["metric"].isin(metrics) & (rows["position"].notna() == by_position)
    wanted &= rows["component"].isin([component]) if component else rows["component"].isna()
    found = rows.loc[wanted]
    columns: dict[str, object] = {
        name: found[name].astype(object).where(found[name].notna(), "").to_numpy(object)
        for name in _TEXT
    }
    columns |= {
        name: found[name].astype("Float64").to_numpy(float, na_value=float("nan"))
        for name in _NUMBERS
    }
    return pd.DataFrame(columns | {"step": found["step"].astype("int64").to_numpy(), "note": ""})


def on_text(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the rows of experiments on tasks.

    They have a loss and an accuracy too, of the answers.
    """
    if rows.empty:
        return rows
    of_answers = rows.loc[rows["metric"].isin(_OF_ANSWERS), "experiment"]
    return rows[~rows["experiment"].isin([*TASKS, *of_answers.unique()])]


def of_everything(chosen: pd.DataFrame) -> pd.DataFrame:
    """The chosen rows without a variant, part, target, reference or size."""
    return chosen[(chosen[list(_APART)] == "").all(axis=1) & chosen["size"].isna()]


def measured(chosen: pd.DataFrame) -> pd.DataFrame:
    """The chosen rows without their controls."""
    return chosen[chosen["control"] == ""]


def reasons(chosen: pd.DataFrame) -> dict[str, int]:
    """Each reason for a missing value with its row count, the commonest first."""
    missing = chosen.loc[chosen["value"].isna(), "reason"].replace("", "no reason given")
    return {str(reason): int(count) for reason, count in missing.value_counts().items()}
