"""The onsets that a page marks: those of whole-model metrics, and of heads by two metrics."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from pythia_traj.analysis.onsets.frames import onset
from pythia_traj.analysis.onsets.run import surely_rising
from pythia_traj.analysis.onsets.tables import names_of
from pythia_traj.analysis.selection import WHICH, finite
from pythia_traj.schema import KEYS

OF_HEADS = ("prefix_matching", "previous_token")
"""The metrics of heads whose onsets are marked."""

CONVENTION = "two_halves"
"""The convention that is taken where heads were measured in several."""

COPIES = ("first_copy", "second_copy")
"""The parts whose losses are dated beside those of everything."""

NOT_LEARNT = frozenset(
    {
        *("share", "bytes_per_token", "majority"),
        *("effect", "embed_edges", "completeness_gap", "edges_left"),
        *("circuit_size", "circuit_falls", "jaccard", "heads_significant"),
    }
)
"""Metrics of the whole model that say something about a measurement, or about a circuit."""

OF_NGRAMS = ("kl", "js")
"""Metrics that have a size and are of the whole model all the same."""

_BY = [*WHICH, "experiment", "metric", "variant"]
"""What is dated together: all heads whose p-values make a q-value are in it."""

Progress = Callable[[int, int], None]
"""Receives how many trajectories are dated, and of how many."""


def dated(
    rows: pd.DataFrame, items: pd.DataFrame | None = None, progress: Progress | None = None
) -> pd.DataFrame:
    """The onsets that a page marks, as `pythia_traj.onset` gives them.

    They are those of metrics of the whole model (loss on text, on both copies, metrics of tasks, a
    user's own), and of heads by prefix matching and attention to the previous token: in the
    convention `two_halves`, or else the first there is. Controls are not dated, nor is what
    compares with another step.

    Args:
        rows: rows of one or several models, as `pythia_traj.load` gives them. Values that are
            infinite count as not measured.
        items: the same of the table `items`; trajectories without items have a bracket alone.
        progress: called after each metric.

    Returns:
        one row a trajectory: `name`, its keys, then the columns of `pythia_traj.onset`.

    Raises:
        AnalysisError: a trajectory has two values at one step.
    """
    chosen = dated_rows(rows)
    kept = None if items is None else finite(items)
    groups = list(chosen.groupby(_BY, sort=False, observed=True, dropna=False))
    total = sum(map(_trajectories, (group for _, group in groups)))
    tables, done = [onset(chosen[:0], None)], 0
    of_items = {} if kept is None else _indices(kept)
    for key, group in groups:
        at = of_items.get(_plain(key))
        own = None if kept is None or at is None else kept.iloc[at]
        tables.append(onset(group, own))
        done += _trajectories(group)
        if progress is not None:
            progress(done, total)
    found = _joined(tables)
    keys = found[[name for name in KEYS if name in found.columns]]
    return found.assign(name=names_of(keys, always=("metric",)))[["name", *found.columns]]


def marked(onsets: pd.DataFrame) -> pd.DataFrame:
    """The onsets that have a mark: without heads whose rise is not sure, or that fall back.

    A head that is back below half of its height at the end, surely, rose for a while: it is not
    what a reader takes a mark of an onset for.

    Args:
        onsets: as `dated` gives them.
    """
    sure = surely_rising(onsets)
    return sure[~(falls_back(sure) & sure["head"].notna())].reset_index(drop=True)


def falls_back(onsets: pd.DataFrame) -> pd.Series:
    """Whether each is surely back below half of its height at the end; bool [onset]."""
    flags = onsets["flags"].astype(str).str.split(", ")
    return flags.map(lambda some: "falls_back" in some).astype(bool)


def dated_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows whose trajectories `dated` dates.

    Args:
        rows: rows of a run, with controls or without.
    """
    columns = [*KEYS, "experiment", "step", "value"]
    if rows.empty:
        return rows.reindex(columns=list(dict.fromkeys([*columns, *rows.columns])))
    plain = rows[rows["control"].isna() & rows["position"].isna() & rows["reference"].isna()]
    plain = finite(plain[plain["target"].isna()])
    # Roles share metrics with the heads that are dated, and have tests of their own.
    tested = rows.loc[rows["metric"] == "significant", "experiment"].unique()
    heads = _of_heads(plain[~plain["experiment"].isin(tested)])
    return pd.concat([_of_model(plain), heads])


def _of_model(rows: pd.DataFrame) -> pd.DataFrame:
    metric = rows["metric"].astype(str)
    whole = rows["component"].isna() & rows["layer"].isna() & rows["head"].isna()
    whole &= ~metric.isin(NOT_LEARNT) & ~metric.str.endswith(("_sd", "_rank"))
    whole &= rows["size"].isna() | metric.isin(OF_NGRAMS)
    whole &= rows["part"].isna() | rows["part"].isin(COPIES)
    return rows[whole]


def _of_heads(rows: pd.DataFrame) -> pd.DataFrame:
    """Those of heads, in one convention of each model, label and metric."""
    heads = rows["metric"].isin(OF_HEADS) & rows["layer"].notna() & rows["head"].notna()
    heads &= rows["part"].isna() & rows["size"].isna()
    found = rows[heads]
    chosen = [found[:0]]
    for _, group in found.groupby([*WHICH, "metric"], sort=False, observed=True):
        variants = group["variant"].astype(object).where(group["variant"].notna(), "")
        first = CONVENTION if (variants == CONVENTION).any() else variants.iloc[0]
        chosen.append(group[variants == first])
    return pd.concat(chosen)


def _trajectories(group: pd.DataFrame) -> int:
    keys = [name for name in KEYS if name in group.columns]
    return int(group.drop_duplicates(keys).shape[0])


def _indices(items: pd.DataFrame) -> dict[tuple[str, ...], np.ndarray]:
    """Where the items of each group are, found once for all groups."""
    groups = items.groupby(_BY, sort=False, observed=True, dropna=False)
    return {_plain(key): np.asarray(at) for key, at in groups.indices.items()}


def _plain(key: object) -> tuple[str, ...]:
    """A group's key with one word for null, which is not equal to itself."""
    assert isinstance(key, tuple)
    return tuple("" if pd.isna(word) else str(word) for word in key)


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The tables of all groups; columns of words are of one type, whatever each held."""
    words = [name for name in KEYS if name in tables[0].columns]
    filled = [table for table in tables if len(table)] or tables[:1]
    plain = [
        table.assign(
            **{
                name: table[name].astype(object).where(table[name].notna(), None)
                for name in words
                if isinstance(table[name].dtype, pd.CategoricalDtype)
            }
        )
        for table in filled
    ]
    return pd.concat(plain, ignore_index=True)
