"""Differences of two models item by item, where both were measured on the same ones.

What makes an item hard is common to both models, so that the error of a paired difference is
usually much smaller than that of two independent values.
"""

import numpy as np
import pandas as pd

from pythia_traj.analysis.comparison.intervals import SIDES, with_interval
from pythia_traj.analysis.matrix import number, plain, require
from pythia_traj.errors import AnalysisError

Pair = tuple[pd.DataFrame, pd.DataFrame]
"""Rows of the table `items` of two models."""

_CLOSE = 1e-4
"""How far the mean of stored items may be from the value, of its size: they are float32."""


def paired_by_item(found: pd.DataFrame, items: Pair, keys: list[str]) -> pd.DataFrame:
    """Differences with the errors of paired items, where the items are there; others as they were.

    A difference is paired where both values were measured at a step, the items of both have the
    same numbers, sizes and clusters, and their mean is the value. Its error is that of clusters,
    sqrt(C / (C - 1) sum over clusters of (a cluster's summed deviation)^2) / N, with C - 1 degrees
    of freedom. Where values are of fewer clusters than items, and older items do not say of which,
    the error is multiplied by the larger of the two values' ratios of clustered error to that of
    independent items.

    Args:
        found: differences as `intervals.independent` gives them.
        items: rows of the table `items` of the first and the second model.
        keys: the columns that identify a metric.

    Raises:
        AnalysisError: an item is there twice.
    """
    table = found.reset_index(drop=True)
    paired = _by_row(_items_of_both(table, items, keys))
    rows = table.loc[paired.index]
    fits = paired["alike"]
    for side in SIDES:
        fits &= np.isclose(paired[side], rows[f"value_{side}"], rtol=_CLOSE, atol=_CLOSE**2)
    paired, rows = paired[fits], rows[fits]
    stderr, df = _of_clusters(paired, rows)
    better = with_interval(rows.assign(paired=True), stderr, df)
    if better.empty:
        return table
    reasons = better["low"].isna().map({True: "no standard error: too few items", False: None})
    better = better.assign(reason=reasons.astype(object))
    return pd.concat([table.drop(index=better.index), better]).sort_index()


def _items_of_both(table: pd.DataFrame, items: Pair, keys: list[str]) -> pd.DataFrame:
    """The items of both models at each row of the table: `row`, `item`, and value and n of each.

    None where a value lies between measured steps.
    """
    named = [table, *map(plain, items)]
    every = [part.reindex(columns=keys).astype(object) for part in named]
    numbers = number(pd.concat(every, ignore_index=True), keys)
    of_table, *of_items = np.split(numbers, np.cumsum([len(part) for part in named])[:-1])
    joined = []
    for side, part, key in zip(SIDES, named[1:], of_items, strict=True):
        require(part, ["step", "item", "value", "n"])
        wanted = pd.DataFrame(
            {"row": table.index, "key": of_table, "step": table[f"step_{side}"].to_numpy(float)}
        )
        columns = {
            "key": key,
            "step": part["step"].to_numpy(float),
            "item": part["item"].to_numpy(np.int64),
            side: part["value"].to_numpy(float),
            f"n_{side}": part["n"].to_numpy(float),
            f"cluster_{side}": _clusters(part),
        }
        matched = wanted.merge(pd.DataFrame(columns), on=["key", "step"])
        _refuse_twice(matched, side)
        joined.append(matched)
    first, second = (one.drop(columns=["key", "step"]) for one in joined)
    return first.merge(second, on=["row", "item"], how="outer")


def _refuse_twice(items: pd.DataFrame, side: str) -> None:
    """Refuses items that would count twice."""
    twice = items[items.duplicated(["row", "item"])]
    if len(twice):
        one = twice.iloc[0]
        raise AnalysisError(
            f"items=: the {side} have item {one['item']:.0f} of a metric twice at step"
            f" {one['step']:.0f}: give each row once, of one run"
        )


def _clusters(items: pd.DataFrame) -> np.ndarray:
    """Which items belong together; negative numbers of their own for those that are independent."""
    own = -1 - items["item"].to_numpy(np.int64)
    if "cluster" not in items:
        return own
    named = items["cluster"].astype("Float64").to_numpy(float, na_value=np.nan)
    return np.where(np.isnan(named), own, np.nan_to_num(named)).astype(np.int64)


def _by_row(joined: pd.DataFrame) -> pd.DataFrame:
    """By row: the means of both, the errors of both and of their difference, and the clusters.

    `alike` says whether both have the same items, in the same sizes and clusters.
    """
    first, second = SIDES
    weights = joined[f"n_{first}"]
    same = (weights == joined[f"n_{second}"]) & joined[list(SIDES)].notna().all(axis=1)
    same &= joined[f"cluster_{first}"] == joined[f"cluster_{second}"]
    joined = joined.assign(difference=joined[second] - joined[first], weight=weights, alike=same)
    cluster = joined[f"cluster_{first}"].fillna(joined[f"cluster_{second}"])
    joined = joined.assign(cluster=cluster)
    of_row = joined.groupby("row")
    found = pd.DataFrame({"alike": of_row["alike"].all(), "count": of_row["cluster"].nunique()})
    total = of_row["weight"].sum()
    for name, error in (("difference", "error"), *((side, f"error_{side}") for side in SIDES)):
        mean = (joined[name] * weights).groupby(joined["row"]).sum() / total
        apart = (joined[name] - joined["row"].map(mean)) * weights
        of_cluster = apart.groupby([joined["row"], cluster]).sum()
        squares = (of_cluster**2).groupby("row").sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            count = found["count"].to_numpy(float)
            found[error] = np.sqrt(squares * count / (count - 1)) / total
        found[name] = mean
    return found


def _of_clusters(paired: pd.DataFrame, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The standard error of each paired difference and its degrees of freedom."""
    clusters, count = np.full(len(rows), np.inf), paired["count"].to_numpy(float)
    scale = np.ones(len(rows))
    for side in SIDES:
        own = rows[f"clusters_{side}"].astype("Float64").to_numpy(float, na_value=np.inf)
        clusters = np.minimum(clusters, own)
        error = paired[f"error_{side}"].to_numpy(float)
        ratio = np.divide(
            rows[f"stderr_{side}"].to_numpy(float), error, out=np.ones_like(error), where=error > 0
        )
        scale = np.where(own < count, np.fmax(scale, ratio), scale)
    return paired["error"].to_numpy(float) * scale, np.minimum(clusters, count) - 1
