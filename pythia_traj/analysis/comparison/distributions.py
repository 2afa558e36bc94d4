"""Heads as distributions: what can be compared between models whatever the order of their heads.

Every result is the same, to the bit, for any order of the heads: quantiles, counts, and sums over
sorted values.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from pythia_traj.analysis.matrix import Floats, identity, number, plain, require, typed_like
from pythia_traj.analysis.onsets.options import check_draws, check_seed
from pythia_traj.engines.streams import stream
from pythia_traj.errors import AnalysisError
from pythia_traj.schema import KEYS

_QUANTILES = {"min": 0.0, "q10": 0.1, "median": 0.5, "q90": 0.9, "max": 1.0}
"""The summaries of a metric of heads."""

_OF_HEADS = ("layer", "head")


def summarise_heads(rows: pd.DataFrame, above: float | Sequence[float] = ()) -> pd.DataFrame:
    """Metrics of heads as metrics of the whole model: quantiles over heads, and counts.

    Args:
        rows: rows with values of single heads, as `pythia_traj.load` gives them; others are left
            out.
        above: a threshold, or several.

    Returns:
        rows whose `metric` says what it is of the heads: `prefix_matching (max)`, (q90), (median),
        (q10), (min), and for each threshold `prefix_matching (heads above 0.3)`, how many. They
        have no layer and head and no standard error, as the heads share their items; `n` is the
        number of heads. They can be given to `compare`, `seed_bands` and the like.

    Raises:
        AnalysisError: no row has a value of a head, a head has two, or a threshold is not a number.
    """
    thresholds = _thresholds(above)
    heads = _values(rows)
    units = [name for name in rows.columns if name in _UNIT]
    keys = [name for name in (*units, *KEYS[2:]) if name in heads and name not in _OF_HEADS]
    heads = heads.assign(_place=number(heads, keys))
    groups = heads.groupby("_place")["value"]
    found = {name: groups.quantile(share) for name, share in _QUANTILES.items()}
    for threshold in thresholds:
        over = heads.assign(value=(heads["value"] > threshold).astype(float))
        found[f"heads above {threshold:g}"] = over.groupby("_place")["value"].sum()
    named = heads.drop_duplicates("_place").set_index("_place")[keys].assign(n=groups.size())
    parts = [
        named.assign(metric=named["metric"].astype(str) + f" ({name})", value=values)
        for name, values in found.items()
    ]
    # The summaries of a metric beside each other.
    together = pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)
    for name in _OF_HEADS:
        together[name] = pd.Series(pd.NA, index=together.index, dtype="Int64")
    return typed_like(together, heads, keys).assign(
        component=None, stderr=np.nan, reason="no standard error: heads share their items"
    )


def head_distances(rows: pd.DataFrame, draws: int = 999, seed: int = 0) -> pd.DataFrame:
    """How far the distributions of a metric over heads are apart, for each pair of models.

    The distance is Wasserstein's: by how much a head's value must change on average to make one
    distribution of the other; in the metric's unit. Beside it stands the same distance where the
    heads of both are shuffled between the two models. (Heads of one model depend on each other, so
    that `p` is a guide.)

    Args:
        rows: rows with values of single heads of two or more models.
        draws: how often the heads are shuffled; at least 100.
        seed: of the shuffling.

    Returns:
        a row for each metric, step that both have (of aligned rows: point `at`), and pair of
        models: the columns that identify the metric; `step`, `first` and `second` (the models),
        `distance`, `null` (its median under shuffling), `null_high` (95 % of the shuffled are
        below), `p` (the share that is at least as large), `heads_first`, `heads_second`.

    Raises:
        AnalysisError: no row has a value of a head, a head has two, they are of one model alone,
            or an option is wrong.
    """
    check_draws(draws)
    check_seed(seed)
    heads = _values(rows)
    if heads["model"].nunique() < 2:
        raise AnalysisError(
            f"distances between heads: the rows are of {heads['model'].nunique()} model: give those"
            " of two or more"
        )
    keys = [name for name in KEYS[1:] if name in heads and name not in _OF_HEADS]
    where = "at" if "at" in heads else "step"
    null, found = _Null(draws, seed), []
    for key, group in heads.groupby([*keys, where], dropna=False, sort=False):
        of_models = {
            model: at["value"].to_numpy(float) for model, at in group.groupby("model", sort=True)
        }
        named = dict(zip([*keys, where], key, strict=True))
        for (first, a), (second, b) in combinations(of_models.items(), 2):
            found.append({**named, "first": first, "second": second, **null.compare(a, b)})
    if not found:
        raise AnalysisError(
            "distances between heads: the models have no step of a metric in common"
        )
    return typed_like(pd.DataFrame(found), heads, keys)


class _Null:
    """Distances between two models whose heads are shuffled between them, by numbers of heads."""

    def __init__(self, draws: int, seed: int) -> None:
        self._draws, self._seed = draws, seed
        self._apart: dict[tuple[int, int], Floats] = {}

    def compare(self, a: Floats, b: Floats) -> dict[str, object]:
        """The distance of two distributions, and those of shuffled ones."""
        pooled = np.concatenate([a, b])
        order = np.argsort(pooled, kind="stable")
        gaps = np.diff(pooled[order])
        distance = float(_apart(order[None] < len(a))[0] @ gaps)
        shuffled = self._of(len(a), len(b)) @ gaps
        as_far = int((shuffled >= distance * (1 - 1e-12)).sum())
        return {
            "distance": distance,
            "null": float(np.median(shuffled)),
            "null_high": float(np.quantile(shuffled, 0.95)),
            "p": (1 + as_far) / (1 + self._draws),
            "heads_first": len(a),
            "heads_second": len(b),
        }

    def _of(self, n_a: int, n_b: int) -> Floats:
        """How far the shares below each gap of the pooled values differ [draw, gap]."""
        if (n_a, n_b) not in self._apart:
            # By numbers of heads alone, so that a result does not depend on what was done before.
            rng = stream(self._seed, f"head_distances of {n_a} and {n_b}")
            order = rng.permuted(np.tile(np.arange(n_a + n_b), (self._draws, 1)), axis=1)
            self._apart[n_a, n_b] = _apart(order < n_a)
        return self._apart[n_a, n_b]


def _apart(is_first: np.ndarray) -> Floats:
    """How far two distribution functions differ between neighbours of the pooled, sorted values.

    Args:
        is_first: whether each of the pooled values is of the first model [draw, head].
    """
    below = np.cumsum(is_first, axis=1)[:, :-1], np.cumsum(~is_first, axis=1)[:, :-1]
    found: Floats = np.abs(
        below[0] / is_first.sum(1, keepdims=True) - below[1] / (~is_first).sum(1, keepdims=True)
    )
    return found


_UNIT = ("model", "label", "suite", "revision", "commit", "experiment", "step", "tokens", "at")


def _values(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that have a value of a head.

    Raises:
        AnalysisError: none has, or a head has two of a metric at a step.
    """
    require(rows, ["model", "step", "metric", "head", "value"])
    found = plain(rows[rows["head"].notna() & rows["value"].notna()])
    if found.empty:
        raise AnalysisError("these rows have no value of a head: choose a metric of heads")
    where = "at" if "at" in found else "step"
    twice = found[found.duplicated([*identity(found), where])]
    if len(twice):
        one = twice.iloc[0]
        raise AnalysisError(
            f"{one['model']} has two values of {one['metric']} of a head at {where} {one[where]}:"
            " give each row once, and name the models of several runs differently"
        )
    return found


def _thresholds(above: float | Sequence[float]) -> list[float]:
    """The thresholds, ascending or not.

    Raises:
        AnalysisError: one is not a number.
    """
    try:
        found = np.atleast_1d(np.asarray(above, dtype=float))
    except (TypeError, ValueError):
        found = np.array([np.nan])
    if found.ndim != 1 or np.isnan(found).any():
        raise AnalysisError(f"above={above!r}: give a threshold, or several, such as [0.3]")
    return [float(threshold) for threshold in found]
