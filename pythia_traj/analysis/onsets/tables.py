"""Rows and items of a run as curves, one for each trajectory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pythia_traj.analysis.onsets.curves import Curves
from pythia_traj.analysis.onsets.grid import Grid
from pythia_traj.errors import AnalysisError
from pythia_traj.schema import KEYS

STORED = "cluster"
"""The column of items that says which of them are not independent."""

Cluster = str | Mapping[int, object] | pd.Series | None


@dataclass(frozen=True)
class Group:
    """Trajectories that were measured at the same steps on the same items in the same clusters.

    Attributes:
        numbers: which trajectories, as rows of the table of keys.
        curves: of them, in that order.
        items: which items, ascending; empty where none are stored.
        cluster: which of the curves' clusters each item is in, in that order.
        left_out: how many items of each are missing at some step, and so left out.
        unknown_clusters: how many clusters the items of each are in, where nothing says which items
            are in one, so that each was taken for independent; else 0.
    """

    numbers: np.ndarray
    curves: Curves
    items: tuple[int, ...]
    cluster: tuple[int, ...]
    left_out: np.ndarray
    unknown_clusters: np.ndarray

    def part(self, some: np.ndarray) -> "Group":
        """Some of its trajectories, by their places."""
        return Group(
            self.numbers[some],
            replace(self.curves, sums=self.curves.sums[some]),
            self.items,
            self.cluster,
            self.left_out[some],
            self.unknown_clusters[some],
        )


@dataclass(frozen=True)
class Trajectories:
    """All trajectories of some rows.

    Attributes:
        keys: a row for each.
        groups: their curves, together where steps and items are the same.
    """

    keys: pd.DataFrame
    groups: tuple[Group, ...]


def trajectories_of(
    rows: pd.DataFrame,
    items: pd.DataFrame | None = None,
    by: Sequence[str] | None = None,
    cluster: Cluster = None,
) -> Trajectories:
    """The trajectories of a run's rows.

    Rows without a value are steps that were not measured.

    Args:
        rows: as `pythia_traj.load` gives them: step, value, and the keys.
        items: the same of `load(run, table="items")`; None where there are none.
        by: the columns that tell trajectories apart; None are all of KEYS that the rows have.
        cluster: which items belong together: a column of items, or item -> cluster. None is their
            column `cluster`; items that have none are independent.

    Raises:
        AnalysisError: a column is missing, or a trajectory has two values at one step.
    """
    keys = _keys(rows, by)
    rows = rows[rows["value"].notna()]
    if rows["step"].isna().any() or not np.isfinite(rows["value"].astype(float)).all():
        raise AnalysisError("a row has no step, or a value that is infinite: leave it out")
    if not len(rows):
        return Trajectories(pd.DataFrame(columns=keys), ())
    codes, table = _codes(rows, keys)
    measured = rows.assign(_trajectory=codes)
    _refuse_twice(measured, keys)
    of_items = {} if items is None else _values(items, table, keys, cluster)
    alike: dict[tuple[object, ...], list[tuple[int, _Stored]]] = {}
    for number, of_one in measured.groupby("_trajectory", sort=True):
        stored = _stored(of_one, of_items.get(int(str(number))))
        alike.setdefault(stored.shape, []).append((int(str(number)), stored))
    return Trajectories(table, tuple(_group(some) for some in alike.values()))


@dataclass(frozen=True)
class _Stored:
    """What is stored of one trajectory: sums float64 [C, T] and counts [C] of clusters.

    `cluster` says which one each item is in [item].
    """

    steps: tuple[int, ...]
    sums: np.ndarray
    counts: np.ndarray
    items: tuple[int, ...] = ()
    cluster: tuple[int, ...] = ()
    left_out: int = 0
    unknown_clusters: int = 0

    @property
    def shape(self) -> tuple[object, ...]:
        """What is equal in all trajectories of a group."""
        return self.steps, self.items, self.cluster, self.counts.tobytes()


def _keys(rows: pd.DataFrame, by: Sequence[str] | None) -> list[str]:
    if isinstance(by, str):
        by = [by]
    missing = [name for name in ("step", "value", *(by or ())) if name not in rows.columns]
    if missing:
        raise AnalysisError(
            f"the rows have no column {missing[0]}: give rows as pythia_traj.load gives them"
        )
    if "item" in rows.columns:
        raise AnalysisError("these are items: give the rows of metrics first, and items=")
    return [name for name in KEYS if name in rows.columns] if by is None else list(by)


def _codes(rows: pd.DataFrame, keys: Sequence[str]) -> tuple[np.ndarray, pd.DataFrame]:
    """The number of each row's trajectory, and their keys in the order of the rows."""
    if not keys:
        return np.zeros(len(rows), int), pd.DataFrame(index=[0])
    codes = rows.groupby(list(keys), dropna=False, observed=True, sort=False).ngroup().to_numpy()
    _, first = np.unique(codes, return_index=True)
    return codes, rows.iloc[first][list(keys)].reset_index(drop=True)


def _refuse_twice(measured: pd.DataFrame, keys: Sequence[str]) -> None:
    twice = measured.duplicated(["_trajectory", "step"], keep=False)
    if not twice.any():
        return
    same = measured[twice]
    same = same[same["_trajectory"] == same["_trajectory"].iloc[0]]
    same = same[same["step"] == same["step"].iloc[0]]
    apart = [
        name
        for name in KEYS
        if name in same and name not in keys and same[name].nunique(dropna=False) > 1
    ]
    raise AnalysisError(
        f"a trajectory has {len(same)} values at step {int(same['step'].iloc[0])}: "
        + (f"add {', '.join(apart)} to by=" if apart else "choose rows of one label and version")
    )


def _values(
    items: pd.DataFrame, table: pd.DataFrame, keys: Sequence[str], cluster: Cluster
) -> dict[int, pd.DataFrame]:
    """The items of each trajectory: columns step, item, value, n, cluster, is_known.

    Rows that name their cluster come first.
    """
    missing = [name for name in ("step", "item", "value", *keys) if name not in items.columns]
    if missing:
        raise AnalysisError(f"the items have no column {missing[0]}: give load(run, table='items')")
    both = pd.concat([table[list(keys)], items[list(keys)]], ignore_index=True).astype(object)
    codes, _ = _codes(both, keys)
    known = {code: number for number, code in enumerate(codes[: len(table)])}
    numbers = pd.Series(codes[len(table) :]).map(known).to_numpy(float, na_value=np.nan)
    found = pd.DataFrame(
        {
            "trajectory": numbers,
            "step": items["step"].to_numpy(int),
            "item": items["item"].to_numpy(int),
            "value": items["value"].to_numpy(float, na_value=np.nan),
            "n": items["n"].to_numpy(float) if "n" in items.columns else 1.0,
            **_clusters(items, cluster),
        }
    ).dropna(subset=["trajectory"])
    _refuse_items(found)
    # Steps that an older version measured do not name an item's cluster, where others do.
    found = found.sort_values("is_known", ascending=False, kind="stable")
    found = found.astype({"trajectory": int})
    return {int(str(number)): of_one for number, of_one in found.groupby("trajectory")}


def _refuse_items(found: pd.DataFrame) -> None:
    """Refuses two values of one item at one step, and infinite ones."""
    twice = found.duplicated(["trajectory", "step", "item"])
    if twice.any():
        one = found[twice].iloc[0]
        raise AnalysisError(
            f"item {one['item']} of a trajectory has two values at step {one['step']}: choose items"
            " with the filters of the rows, or add columns to by="
        )
    if np.isinf(found["value"]).any():
        raise AnalysisError("an item has an infinite value: leave that item out")


def _clusters(items: pd.DataFrame, cluster: Cluster) -> dict[str, np.ndarray]:
    """The number of each row's cluster, and whether it is known; else the item is its own."""
    item = items["item"].astype(int)
    if cluster is None:
        stored = items.get(STORED, pd.Series(pd.NA, items.index))
        numbers = pd.factorize(stored, sort=True)[0]
        # Above those of all items, so that no item has the number of a cluster.
        known, own = numbers >= 0, item.to_numpy()
        return {
            "cluster": np.where(known, own.max(initial=0) + 1 + numbers, own),
            "is_known": known,
        }
    if isinstance(cluster, str):
        if cluster not in items.columns:
            raise AnalysisError(f"the items have no column {cluster!r}: give one as cluster=")
        named = items[cluster].astype(object)
    else:
        named = item.map(dict(cluster))
    if named.isna().any():
        raise AnalysisError(
            f"item {int(item[named.isna()].iloc[0])} has no cluster: cluster= names one for each"
        )
    numbers = np.asarray(pd.factorize(named, sort=True)[0])
    return {"cluster": numbers, "is_known": np.ones(len(items), bool)}


def _stored(rows: pd.DataFrame, items: pd.DataFrame | None) -> _Stored:
    """A trajectory through its items, or its means where no item is there at all its steps."""
    rows = rows.sort_values("step")
    steps = tuple(int(step) for step in rows["step"])
    means = rows["value"].to_numpy(float)[None]
    if items is None:
        return _Stored(steps, means, np.ones(1))
    wide = items[items["step"].isin(steps)].pivot(index="item", columns="step", values="value")
    wide = wide.reindex(columns=list(steps)).sort_index()
    whole = wide.dropna()
    left_out = len(wide) - len(whole)
    if not len(whole):
        return _Stored(steps, means, np.ones(1), left_out=left_out)
    facts = items.drop_duplicates("item").set_index("item").loc[whole.index]
    counts = facts["n"].to_numpy(float)
    _, cluster = np.unique(facts["cluster"].to_numpy(), return_inverse=True)
    sums = np.zeros((int(cluster.max()) + 1, len(steps)))
    np.add.at(sums, cluster, whole.to_numpy(float) * counts[:, None])
    sizes = np.bincount(cluster, weights=counts)
    is_known = bool(facts["is_known"].any()) or bool((counts > 1).any())
    unknown = 0 if is_known else _counted(rows)
    numbers = tuple(int(i) for i in whole.index)
    return _Stored(steps, sums, sizes, numbers, tuple(cluster.tolist()), left_out, unknown)


def _counted(rows: pd.DataFrame) -> int:
    """How many clusters rows say that their items are in; 0 where each is one."""
    if not {"n", "clusters"} <= set(rows.columns):
        return 0
    fewer = rows[(rows["clusters"] < rows["n"]).fillna(False).astype(bool)]
    return int(fewer["clusters"].max()) if len(fewer) else 0


def _group(some: Sequence[tuple[int, _Stored]]) -> Group:
    first = some[0][1]
    return Group(
        np.array([number for number, _ in some]),
        Curves(
            Grid(first.steps),
            np.stack([stored.sums for _, stored in some]),
            first.counts,
            has_items=bool(first.items),
        ),
        first.items,
        first.cluster,
        np.array([stored.left_out for _, stored in some]),
        np.array([stored.unknown_clusters for _, stored in some]),
    )


def by_metric(group: Group, keys: pd.DataFrame) -> Iterator[tuple[str | None, np.ndarray]]:
    """The trajectories of each metric: its name, and which rows of the group they are."""
    if "metric" not in keys.columns:
        yield None, np.arange(len(group.numbers))
        return
    names = keys["metric"].iloc[group.numbers].astype(object).to_numpy()
    for name in dict.fromkeys(names):
        yield str(name), np.flatnonzero(names == name)


_NUMBERS = ("position", "size")
"""Keys whose values are numbers that need their name beside them."""


def names_of(keys: pd.DataFrame, always: Sequence[str] = ()) -> list[str]:
    """The name of each trajectory, by the keys in which any of them differ.

    Args:
        keys: a row for each.
        always: keys that the names have even where all have the same.
    """
    shown = [
        name
        for name in keys.columns
        if name in always or (len(keys) > 1 and keys[name].nunique(dropna=False) > 1)
    ] or list(keys.columns[:1])
    if {"layer", "head"} & set(shown):
        # A head's number, or its layer's, says nothing alone.
        shown = [name for name in keys.columns if name in (*shown, "layer", "head")]
    return [_name_of({str(name): one[name] for name in shown}) for one in keys.to_dict("records")]


def _name_of(key: Mapping[str, object]) -> str:
    known = {name: value for name, value in key.items() if not pd.isna(value)}  # type: ignore[call-overload]
    layer, head = known.pop("layer", None), known.pop("head", None)
    words = [f"{name} {value}" if name in _NUMBERS else str(value) for name, value in known.items()]
    if layer is not None or head is not None:
        words.append(
            "".join(
                (f"L{layer}" if layer is not None else "", f"H{head}" if head is not None else "")
            )
        )
    return " · ".join(words) or "the others"
