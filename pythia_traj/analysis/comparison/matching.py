"""Heads of two models matched by what they do over training.

A small distance of matched heads says that the two models have alike sets of heads. It does not
say that a head has an identity: any two alike sets can be matched. So it stands beside what pairs
at random have, and what a model has to itself once its own heads are shuffled.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from pythia_traj.analysis.matrix import Floats, number, plain, require
from pythia_traj.analysis.onsets.options import check_seed
from pythia_traj.engines.streams import stream
from pythia_traj.errors import AnalysisError, nearest
from pythia_traj.schema import KEYS

Within = Literal["model", "layer"]

_DRAWS = 999
_HEAD = ["layer", "head"]


@dataclass(frozen=True)
class Matching:
    """Which head of one model goes with which of the other.

    Attributes:
        pairs: a row a pair: `layer_first`, `head_first`, `layer_second`, `head_second`, and their
            `distance`.
        distances: the mean `distance` of the pairs, by `what`: `matched`; `at random`, pairs of
            one head of each model at random; `first with its own, shuffled` and `second with its
            own, shuffled`, a model's heads with its own in another order, which is what comparing
            by index gives where index means nothing. `low` and `high` hold 95 % of the shuffled.
        n_values: how many values of a head (metrics times steps) a distance is made of.
    """

    pairs: pd.DataFrame
    distances: pd.DataFrame
    n_values: int


def match_heads(
    first: pd.DataFrame, second: pd.DataFrame, within: Within = "model", seed: int = 0
) -> Matching:
    """Matches the heads of two models so that their trajectories differ least.

    The distance of two heads is the root of the mean squared difference of their values, each
    metric in units of its standard deviation over all heads and steps of both models, each step
    weighted by the part of log2(step + 1) that it stands for. The matching has the least sum of
    distances (Hungarian method). Where one model has more heads, some stay without.

    Args:
        first: rows with values of single heads of one model. All metrics and labels in the rows
            count, with the same weight.
        second: those of the other; metrics and steps that both have are used.
        within: whether a head can be matched with any head of the model, or of its layer.
        seed: of the shuffling.

    Returns:
        the pairs, and what their distance compares with. Another order of the heads of a model
        gives the same pairs and, to the bit, the same distances.

    Raises:
        AnalysisError: one side has not one model, both have no value of all heads in common or,
            within="layer", no layer, or an option is wrong.
    """
    if within not in get_args(Within):
        raise AnalysisError(
            f"within={within!r}: match within the model or the layer;"
            f" {nearest(str(within), get_args(Within))}"
        )
    check_seed(seed)
    sides = [_heads(rows, side) for rows, side in ((first, "first"), (second, "second"))]
    a, b = _scaled(*sides)
    layers = [side.index.get_level_values("layer").to_numpy() for side in sides]
    groups = [(0, 0)] if within == "model" else _shared(*layers)
    places = [
        tuple(
            np.arange(len(of)) if within == "model" else np.flatnonzero(of == layer)
            for of, layer in zip(layers, group, strict=True)
        )
        for group in groups
    ]
    matched, blocks = [], []
    for at_a, at_b in places:
        block = cdist(a[at_a], b[at_b])
        rows_of, columns_of = linear_sum_assignment(block)
        matched.append((at_a[rows_of], at_b[columns_of], block[rows_of, columns_of]))
        blocks.append((a[at_a], b[at_b]))
    of_a, of_b, distance = (np.concatenate(parts) for parts in zip(*matched, strict=True))
    pairs = pd.DataFrame(
        {
            **{f"{name}_first": sides[0].index.get_level_values(name)[of_a] for name in _HEAD},
            **{f"{name}_second": sides[1].index.get_level_values(name)[of_b] for name in _HEAD},
            "distance": distance,
        }
    )
    rng = stream(seed, "match_heads")
    rows = [
        {"what": "matched", "distance": _mean(distance), "low": np.nan, "high": np.nan},
        _shuffled("at random", blocks, rng),
        _shuffled("first with its own, shuffled", [(x, x) for x, _ in blocks], rng),
        _shuffled("second with its own, shuffled", [(y, y) for _, y in blocks], rng),
    ]
    ordered = pairs.sort_values(["layer_first", "head_first"], ignore_index=True)
    return Matching(ordered, pd.DataFrame(rows), a.shape[1])


def _heads(rows: pd.DataFrame, side: str) -> pd.DataFrame:
    """A model's heads: a row a head, a column a metric and step."""
    require(rows, ["model", "step", "metric", "layer", "head", "value"])
    found = plain(rows[rows["head"].notna()])
    models = sorted(map(str, found["model"].unique()))
    if len(models) != 1:
        raise AnalysisError(
            f"matching heads: the {side} rows hold heads of {len(models)} models"
            f" ({', '.join(models[:3]) or 'none'}): give those of one"
        )
    keys = [name for name in KEYS[1:] if name in found and name not in _HEAD]
    firsts = found.assign(_metric=number(found, keys)).drop_duplicates("_metric")
    names = {
        row[0]: " · ".join(str(word) for word in row[1:] if not pd.isna(word))
        for row in firsts[["_metric", *keys]].itertuples(index=False)
    }
    found = found.assign(_metric=pd.Series(number(found, keys), index=found.index).map(names))
    if found.duplicated(["_metric", "step", *_HEAD]).any():
        raise AnalysisError(
            f"matching heads: the {side} rows have two values of a head at a step: give rows of one"
            " run"
        )
    return found.pivot(index=_HEAD, columns=["_metric", "step"], values="value").sort_index()


def _scaled(first: pd.DataFrame, second: pd.DataFrame) -> tuple[Floats, Floats]:
    """The values of both, so that Euclidean distance is the one that is meant [head, value]."""
    common = first.columns.intersection(second.columns).sort_values()
    known = common[first[common].notna().all().to_numpy() & second[common].notna().all().to_numpy()]
    if not len(known):
        raise AnalysisError(
            "matching heads: the two models have no metric and step in common at which all their"
            " heads have a value"
        )
    metrics = known.get_level_values("_metric")
    n_metrics = metrics.nunique()
    parts: tuple[list[Floats], list[Floats]] = ([], [])
    for metric in metrics.unique():
        columns = known[metrics == metric]
        weights = _weights(columns.get_level_values("step").to_numpy(float))
        values = [side[columns].to_numpy(float) for side in (first, second)]
        # Sorted, so that the sum is the same for every order of the heads.
        spread = float(np.sort(np.concatenate([v.ravel() for v in values])).std())
        scale = np.sqrt(weights / n_metrics) / (spread if spread > 0 else 1.0)
        for part, value in zip(parts, values, strict=True):
            part.append(value * scale)
    return np.hstack(parts[0]), np.hstack(parts[1])


def _weights(steps: Floats) -> Floats:
    """The part of log2(step + 1) that each of some ascending steps stands for; their sum is 1."""
    if len(steps) == 1:
        return np.ones(1)
    x = np.log2(steps + 1)
    edges = np.concatenate([x[:1], (x[1:] + x[:-1]) / 2, x[-1:]])
    found: Floats = np.diff(edges) / (x[-1] - x[0])
    return found


def _shared(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
    """The layers that both have.

    Raises:
        AnalysisError: there are none.
    """
    found = [(int(layer), int(layer)) for layer in np.intersect1d(first, second)]
    if not found:
        have = [", ".join(map(str, np.unique(side)[:4])) for side in (first, second)]
        raise AnalysisError(
            f"within='layer': the first model has heads of layer {have[0]}, the second of"
            f" {have[1]}, and none in common: match within='model'"
        )
    return found


def _shuffled(
    what: str, blocks: list[tuple[Floats, Floats]], rng: np.random.Generator
) -> dict[str, object]:
    """The mean distance where the pairs of each block are drawn at random."""
    sums, every, count = np.zeros(_DRAWS), [], 0
    for a, b in blocks:
        # In the order of their values, so that the same draws mean the same whatever their order.
        a, b = _in_order(a), _in_order(b)
        distance = cdist(a, b)
        if len(a) > len(b):
            distance = distance.T
        n, m = distance.shape
        order = rng.permuted(np.tile(np.arange(m), (_DRAWS, 1)), axis=1)[:, :n]
        sums += distance[np.arange(n), order].sum(1)
        every.append((n, _mean(distance.ravel())))
        count += n
    means = sums / count
    return {
        "what": what,
        "distance": sum(n * mean for n, mean in every) / count,
        "low": float(np.quantile(means, 0.025)),
        "high": float(np.quantile(means, 0.975)),
    }


def _in_order(heads: Floats) -> Floats:
    found: Floats = heads[np.lexsort(heads.T[::-1])]
    return found


def _mean(values: Floats) -> float:
    return float(np.sort(values).mean())
