"""Onsets of the metrics of a run: what to read of it, and how its trajectories are called."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pythia_traj.analysis.named import filters_of
from pythia_traj.analysis.onsets.frames import onset, threshold_of
from pythia_traj.analysis.onsets.heads import Q
from pythia_traj.analysis.onsets.order import order
from pythia_traj.analysis.onsets.tables import names_of
from pythia_traj.errors import AnalysisError, StoreError
from pythia_traj.schema import KEYS
from pythia_traj.store.done import list_tables
from pythia_traj.store.layout import Run
from pythia_traj.store.read import load


def onsets_of_run(
    run: str | Path,
    metric: str | None = None,
    *,
    model: Sequence[str] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """The onsets of a run's metrics, as `onset` gives them, each with a name.

    Args:
        run: the run's directory.
        metric: `METRIC`, `LABEL.METRIC` or `EXPERIMENT.METRIC`; None are all whose items are kept.
        model: of these models; None are all.
        **options: those of `onset`.

    Returns:
        the table of `onset`, with the column `name` in front. Values by position are left out.

    Raises:
        StoreError: it is not a run, or has no such model.
        AnalysisError: it has no such metric, or an option is wrong.
    """
    rows, items = rows_and_items(run, metric, model)
    table = onset(rows, items, **options)
    if options.get("method", "half") != "half":
        # Other methods do not ask whether a head rises at all.
        table["q"] = onset(rows, items, direction=options.get("direction", "auto"))["q"]
    if metric is None:
        table = table[~table["flags"].str.contains("no_items")].reset_index(drop=True)
    keys = table[[name for name in KEYS if name in table.columns]]
    return table.assign(name=names_of(keys, always=("metric",)))[["name", *table.columns]]


def surely_rising(table: pd.DataFrame) -> pd.DataFrame:
    """A table of onsets without the heads whose rise is not sure among all heads."""
    is_head = table["head"].notna() if "head" in table else pd.Series(False, table.index)
    return table[~is_head | (table["q"] <= Q)].reset_index(drop=True)


def order_of_run(
    run: str | Path,
    metric: str | None = None,
    *,
    model: Sequence[str] | None = None,
    all_heads: bool = False,
    method: str = "half",
    **options: Any,
) -> pd.DataFrame:
    """Which onset of a run came first, for each pair, as `order` gives it.

    Args:
        run, metric, model: as for `onsets_of_run`.
        all_heads: include heads whose rise is not sure among all heads.
        method: `half` or `threshold:X`.
        **options: those of `order`.

    Raises:
        StoreError: as `onsets_of_run`.
        AnalysisError: as `order`; or no items are kept.
    """
    threshold = threshold_of(method)
    if threshold is None and method != "half":
        raise AnalysisError(f"method {method!r}: the order of onsets is by half or threshold:X")
    rows, items = rows_and_items(run, metric, model)
    if items is None:
        raise AnalysisError(f"{run} keeps no items, so no order can be told")
    if not all_heads:
        rows = _sure(rows, items, options.get("direction", "auto"))
    return order(rows, items, threshold=threshold, **options)


def _sure(rows: pd.DataFrame, items: pd.DataFrame, direction: str) -> pd.DataFrame:
    """The rows without those of heads that do not surely rise."""
    keys = [name for name in KEYS if name in rows.columns]
    known = rows.dropna(subset=["value"])
    table = onset(known, items, direction=direction)
    number = known.groupby(keys, dropna=False, observed=True, sort=False).ngroup()
    unsure = table.index[table["head"].notna() & ~(table["q"] <= Q)]
    return known[~number.isin(unsure)]


def rows_and_items(
    run: str | Path, metric: str | None = None, model: Sequence[str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The rows of a metric of a run, or of all whose items are kept, and their items.

    Raises:
        StoreError, AnalysisError: as `onsets_of_run`.
    """
    where: dict[str, Any] = {} if model is None else {"model": list(model)}
    if metric is not None:
        where |= filters_of(run, metric)
    rows = load(run, **where)
    items = _items(run, where)
    if items is not None and metric is None:
        kept = items[["label", "metric"]].astype(str).drop_duplicates()
        known = set(kept.itertuples(index=False, name=None))
        of_rows = zip(rows["label"].astype(str), rows["metric"].astype(str), strict=True)
        rows = rows[[pair in known for pair in of_rows]]
    rows = rows[rows["position"].isna()]
    if rows.empty:
        raise AnalysisError(f"{run} has no value of this metric for the whole model or a component")
    return rows, items


def _items(run: str | Path, where: Mapping[str, Any]) -> pd.DataFrame | None:
    """The items of the rows that filters choose, None where none are kept."""
    if "items" not in list_tables(Run.open(Path(run))):
        return None
    try:
        return load(run, table="items", **where)
    except StoreError:
        # The rows were read with the same filters: a metric or label that keeps no items is an
        # unknown word only here.
        return None
