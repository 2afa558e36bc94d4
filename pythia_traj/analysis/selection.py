"""Which rows: those of some metrics as plain columns, those of text, those of the whole model.

Rows are found by metric, never by label, as a label can be any name.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtrit

WHICH = ("model", "label")
"""The columns that say whose trajectory a row belongs to."""

TASKS = ("ablation", "attribution", "behaviour", "logit_attribution", "patching", "transplant")
"""The experiments on tasks."""

OF_ANSWERS = ("logit_diff", "prob_diff")
"""Metrics that show that a user's experiment is on a task."""

_APART = ("variant", "part", "target", "reference")
_TEXT = (*WHICH, "experiment", "metric", "control", "component", *_APART, "reason")
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
        columns model, label, experiment, metric, control, component, variant, part, target,
        reference and reason as strings; tokens, layer, head, position, size, value, stderr, low,
        high, n and clusters as floats; step as an integer; an empty `note`, for remarks on a value.
    """
    if rows.empty:
        rows = rows.reindex(columns=[*_TEXT, *_NUMBERS, "step"])
    wanted = rows["metric"].isin(metrics) & (rows["position"].notna() == by_position)
    wanted &= rows["component"].isin([component]) if component else rows["component"].isna()
    return plain_columns(rows.loc[wanted])


def choose_parts(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of one metric that belong to any component, not by position, as `choose`."""
    if rows.empty:
        return choose(rows, [metric])
    wanted = rows["metric"].isin([metric]) & rows["position"].isna() & rows["component"].notna()
    return plain_columns(rows.loc[wanted])


def plain_columns(found: pd.DataFrame) -> pd.DataFrame:
    """Rows of a run with plain columns, as `choose` returns them."""
    if found.empty:
        found = found.reindex(columns=[*_TEXT, *_NUMBERS, "step"])
    columns: dict[str, object] = {name: _words(found[name]) for name in _TEXT}
    columns |= {
        name: found[name].astype("Float64").to_numpy(float, na_value=float("nan"))
        for name in _NUMBERS
    }
    return pd.DataFrame(columns | {"step": found["step"].astype("int64").to_numpy(), "note": ""})


def _words(column: pd.Series) -> object:
    """The strings of a column, empty where they are absent."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        # Where a word is absent its code is -1, which takes the last: a frame has millions of rows.
        return pd.Index([*column.cat.categories, ""]).take(column.cat.codes.to_numpy())
    return column.astype(object).where(column.notna(), "").to_numpy(object)


def with_word(rows: pd.DataFrame, column: str, word: str | None) -> pd.DataFrame:
    """The rows of a run with one word in a column; None: with none there.

    Before `choose`, which takes its time for each row.
    """
    if rows.empty:
        return rows
    return rows[rows[column].isin([word]) if word else rows[column].isna()]


def on_text(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the rows of experiments on tasks.

    They have a loss and an accuracy too, of the answers.
    """
    if rows.empty:
        return rows
    of_answers = rows.loc[rows["metric"].isin(OF_ANSWERS), "experiment"]
    return rows[~rows["experiment"].isin([*TASKS, *of_answers.unique()])]


def of_everything(chosen: pd.DataFrame) -> pd.DataFrame:
    """The chosen rows without a variant, part, target, reference or size."""
    return chosen[(chosen[list(_APART)] == "").all(axis=1) & chosen["size"].isna()]


def measured(chosen: pd.DataFrame) -> pd.DataFrame:
    """The chosen rows without their controls."""
    return chosen[chosen["control"] == ""]


def finite(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows whose value is a number: neither missing nor infinite.

    Args:
        rows: chosen rows, or rows of a run.
    """
    is_number: np.ndarray = np.isfinite(rows["value"].to_numpy(float, na_value=np.nan))
    return rows.loc[is_number]


def one_of(
    chosen: pd.DataFrame, column: str, wanted: str | None = None, preferred: Sequence[str] = ()
) -> pd.DataFrame:
    """The chosen rows with one value in a column of words.

    Args:
        chosen: chosen rows.
        column: such as variant, reference, component.
        wanted: the value. If not given, the first of the preferred ones that any row with a value
            has, else the first in alphabetical order.
        preferred: values in order of preference.
    """
    if wanted is None:
        there = sorted(chosen.loc[chosen["value"].notna(), column].unique())
        wanted = next(iter([name for name in preferred if name in there] or there), None)
    return chosen if wanted is None else chosen[chosen[column] == wanted]


def interval(chosen: pd.DataFrame, comparisons: int = 1) -> tuple[pd.Series, pd.Series]:
    """The ends of the 95 % interval of each of some chosen rows, on a page and in its sentences.

    They are those stored; else Student's t with clusters - 1 degrees of freedom gives them, items
    where clusters are not stored, or the normal distribution where neither is.

    Args:
        chosen: chosen rows.
        comparisons: how many values were looked at to find one of them: the interval is then the
            wider one of Bonferroni, and those stored are not taken.

    Returns:
        low and high, by row; nan where a row has no standard error and no interval, or one cluster.
    """
    free = (chosen["clusters"].fillna(chosen["n"]) - 1).fillna(np.inf)
    reach = stdtrit(free.where(free > 0).to_numpy(float), 1 - 0.025 / comparisons)
    low, high = (chosen["value"] + sign * reach * chosen["stderr"] for sign in (-1, 1))
    if comparisons > 1:
        return low, high
    return chosen["low"].fillna(low), chosen["high"].fillna(high)


def reasons(chosen: pd.DataFrame) -> dict[str, int]:
    """Each reason for a missing value with its row count, the commonest first."""
    missing = chosen.loc[chosen["value"].isna(), "reason"].replace("", "no reason given")
    return {str(reason): int(count) for reason, count in missing.value_counts().items()}
