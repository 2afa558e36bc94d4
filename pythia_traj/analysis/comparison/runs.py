"""Two models of runs beside each other, or several seeds: what `pythia-traj compare` shows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pythia_traj.analysis.comparison.align import By, align
from pythia_traj.analysis.comparison.by_index import names_heads
from pythia_traj.analysis.comparison.chosen import Names
from pythia_traj.analysis.comparison.distributions import head_distances, summarise_heads
from pythia_traj.analysis.comparison.intervals import SIDES
from pythia_traj.analysis.comparison.pairs import (
    compare,
    in_both,
    largest_difference,
    nothing_in_common,
)
from pythia_traj.analysis.comparison.seeds import seed_bands
from pythia_traj.analysis.comparison.sides import Side, are_seeds, other_settings, read_sides
from pythia_traj.analysis.comparison.which_first import onsets_of_two
from pythia_traj.analysis.matrix import identity
from pythia_traj.errors import AnalysisError
from pythia_traj.store.read import read_run


@dataclass(frozen=True)
class Comparison:
    """Models of runs beside each other.

    Attributes:
        sides: what is compared: two models, or several seeds of one.
        by: what is equal: step, tokens or loss.
        metrics: metrics of the whole model. Of two models a row a metric at the last point that
            both have, as `compare` gives it, with the columns of the largest difference over
            training (`largest_at`, ...); of seeds the bands of `seed_bands` there.
        heads: metrics of heads, as distributions, at the last point: as `head_distances` gives
            them, with the largest head and the median of each side; of seeds a row a pair.
        onsets: when each metric of two models takes off, as `onsets_of_two` has it; empty where it
            was not asked.
        notes: what a reader must know.
        is_of_seeds: whether the sides are seeds of one model.
    """

    sides: tuple[Side, ...]
    by: str
    metrics: pd.DataFrame
    heads: pd.DataFrame
    onsets: pd.DataFrame
    notes: tuple[str, ...]
    is_of_seeds: bool = False


def compare_runs(
    runs: Sequence[str | Path],
    by: By = "step",
    *,
    models: Sequence[str] = (),
    metric: Sequence[str] = (),
    label: Sequence[str] = (),
    loss_label: str | None = None,
    seeds: bool = False,
    onsets: bool = False,
) -> Comparison:
    """Compares two models of one or two runs, or bands of several seeds.

    Args:
        runs: the directories of the runs.
        by: what is equal: see `pythia_traj.align`. The loss is `nll` on text.
        models: which models, and in which order; all if empty.
        metric: which metrics, as `METRIC`, `LABEL.METRIC` or `EXPERIMENT.METRIC`; all if empty.
        label: which labels; all if empty.
        loss_label: by="loss": the label of the loss, where several have it.
        seeds: the models are seeds of one another. They also are where the tables of models say so
            and there are three or more.
        onsets: also date the onsets of both, and say which came first.

    Raises:
        StoreError: a directory is not a run, or does not hold a word of the filters.
        AnalysisError: a run is given twice, there are not two models, nothing is in common, or an
            option has no meaning beside another.
    """
    if loss_label is not None and by != "loss":
        raise AnalysisError(
            f"--loss-label {loss_label} with --align {by}: only --align loss uses a loss; leave"
            " --loss-label out, or choose rows with --label"
        )
    names = Names(tuple(metric))
    where = {name: list(some) for name, some in (("metric", names.bare), ("label", label)) if some}
    sides, notes = read_sides(runs, models, **where)
    sides = names.of(sides)
    of_seeds = seeds or (len(sides) > 2 and are_seeds(sides))
    _check_count(sides, of_seeds)
    if onsets and of_seeds:
        raise AnalysisError(
            "--onsets with seeds: onsets are compared between two models; choose two with --model,"
            " without --seeds, or date those of each run with pythia-traj onset"
        )
    notes += [
        f"{name} was measured with different settings ({which}): a difference may come from those"
        for name, which in other_settings(sides).items()
    ]
    chosen = _Chosen.of_sides(by, loss_label, sides)
    if by == "loss" and where:
        sides = [replace(side, rows=_with_loss(side)) for side in sides]
    dated = pd.DataFrame()
    if of_seeds:
        metrics, heads = _of_seeds(sides, chosen)
    else:
        metrics, heads = _of_two(sides, chosen)
        dated = _dated(sides, chosen) if onsets else dated
    named = sum(int((names_heads(side.rows) & side.rows["head"].isna()).sum()) for side in sides)
    if named:
        notes.append(f"{named} values of sets that name heads by index were left out")
    return Comparison(tuple(sides), by, metrics, heads, dated, tuple(notes), of_seeds)


@dataclass(frozen=True)
class _Chosen:
    """What of the rows is compared: those of some metrics and labels, or all.

    Attributes:
        by: what is equal.
        loss_label: the label of the loss.
        known: the labels and metrics that are compared.
    """

    by: By
    loss_label: str | None
    known: frozenset[tuple[str, str]]

    @staticmethod
    def of_sides(by: By, loss_label: str | None, sides: Sequence[Side]) -> "_Chosen":
        """All that the sides have."""
        pairs = (zip(side.rows["label"], side.rows["metric"], strict=True) for side in sides)
        return _Chosen(by, loss_label, frozenset(pair for some in pairs for pair in some))

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The chosen rows, without those that were added for the loss."""
        pairs = zip(rows["label"], rows["metric"], strict=True)
        return rows[np.array([pair in self.known for pair in pairs], dtype=bool)]

    def aligned(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows of all sides at the same points."""
        return self.of(align(rows, self.by, loss_label=self.loss_label))


def _check_count(sides: Sequence[Side], of_seeds: bool) -> None:
    names = ", ".join(side.name for side in sides[:6]) or "none"
    if len(sides) < 2:
        raise AnalysisError(
            f"one model cannot be compared with itself ({names}): give two runs, or a run of"
            " several models"
        )
    if len(sides) > 2 and not of_seeds:
        raise AnalysisError(
            f"there are {len(sides)} models ({names}): choose two with --model, or say with --seeds"
            " that they are seeds of one model"
        )


def _of_two(sides: Sequence[Side], chosen: _Chosen) -> tuple[pd.DataFrame, pd.DataFrame]:
    first, second = sides
    whole, heads = ([part(side.rows) for side in sides] for part in (_whole, _of_heads))
    keys = [name for name in identity(first.rows) if name != "model"]
    of_heads = [name for name in keys if name not in ("layer", "head")]
    has_whole = len(chosen.of(in_both(whole[0], whole[1], keys))) > 0
    has_heads = len(chosen.of(in_both(heads[0], heads[1], of_heads))) > 0
    if not has_whole and not has_heads:
        raise AnalysisError(nothing_in_common(chosen.of(first.rows), chosen.of(second.rows)))
    metrics, distances = pd.DataFrame(), pd.DataFrame()
    if has_whole:
        items = _items(sides, whole, _same_labels(first, second))
        found = compare(whole[0], whole[1], chosen.by, loss_label=chosen.loss_label, items=items)
        metrics = _with_largest(chosen.of(found), chosen.by)
    if has_heads:
        aligned = chosen.aligned(pd.concat([side.rows for side in sides], ignore_index=True))
        distances = _heads_of_two(aligned[aligned["head"].notna()], sides, chosen.by)
    return metrics, distances


def _with_largest(found: pd.DataFrame, by: By) -> pd.DataFrame:
    """The difference of each metric at the last point, and the largest over training."""
    keys = identity(found)
    largest = largest_difference(found)[[*keys, "at", "difference", "low", "high", "points"]]
    renamed = {name: f"largest_{name}" for name in largest.columns if name not in keys}
    last = _last(found, "difference", by)
    return last.merge(largest.rename(columns=renamed), on=keys, how="left")


def _heads_of_two(aligned: pd.DataFrame, sides: Sequence[Side], by: By) -> pd.DataFrame:
    """Distances at the last point, with the largest head and the median of each side."""
    last = _last(head_distances(aligned), "distance", by)
    keys = [name for name in (*identity(last), "at") if name not in ("model", "component")]
    summaries = summarise_heads(aligned)
    for side, name in zip(sides, SIDES, strict=True):
        of_side = summaries[summaries["model"] == side.name]
        for what in ("max", "median"):
            chosen = of_side[of_side["metric"].str.endswith(f" ({what})")]
            chosen = chosen.assign(metric=chosen["metric"].str.removesuffix(f" ({what})"))
            column = chosen[[*keys, "value"]].rename(columns={"value": f"{what}_{name}"})
            last = last.merge(column, on=keys, how="left")
    return last


def _of_seeds(sides: Sequence[Side], chosen: _Chosen) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = pd.concat([side.rows for side in sides], ignore_index=True)
    aligned = chosen.aligned(rows)
    of_heads, parts = aligned[aligned["head"].notna()], [_whole(aligned)]
    distances = pd.DataFrame()
    if of_heads["value"].notna().any():
        parts.append(summarise_heads(of_heads))
        distances = _last(head_distances(of_heads), "distance", chosen.by)
    bands = seed_bands(pd.concat(parts, ignore_index=True))
    return _last(bands, "mean", chosen.by), distances


def _whole(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that are not about heads by their index, over all positions."""
    return rows[~names_heads(rows) & rows["position"].isna()]


def _of_heads(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a value of a head."""
    return rows[rows["head"].notna() & rows["value"].notna()]


def _dated(sides: Sequence[Side], chosen: _Chosen) -> pd.DataFrame:
    """The onsets of both, of the metrics whose items are kept."""
    whole = [chosen.of(_whole(side.rows)) for side in sides]
    labels = sorted(set(sides[0].settings) & set(sides[1].settings))
    found = _items(sides, whole, labels)
    if found is None or found[0].empty or found[1].empty:
        return pd.DataFrame()
    known = set.intersection(
        *(set(zip(items["label"], items["metric"], strict=True)) for items in found)
    )
    kept = [
        rows[[pair in known for pair in zip(rows["label"], rows["metric"], strict=True)]]
        for rows in whole
    ]
    if kept[0].empty or kept[1].empty:
        return pd.DataFrame()
    return onsets_of_two((kept[0], kept[1]), found, _same_labels(sides[0], sides[1]))


def _same_labels(first: Side, second: Side) -> list[str]:
    """The labels that were measured with the same settings and data."""
    return [name for name, made in first.settings.items() if second.settings.get(name) == made]


def _items(
    sides: Sequence[Side], whole: Sequence[pd.DataFrame], labels: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """The items of the metrics that both have at some labels; None where a run keeps none."""
    metrics = sorted(set(whole[0]["metric"].astype(str)) & set(whole[1]["metric"].astype(str)))
    first, second = (side.items(labels, metrics) for side in sides)
    return None if first is None or second is None else (first, second)


def _with_loss(side: Side) -> pd.DataFrame:
    """A side's rows, and those of its loss."""
    rows = read_run(side.run, mixed=True, model=side.model, metric="nll").frame
    both = pd.concat([side.rows, rows.assign(model=side.name)], ignore_index=True)
    return both.drop_duplicates([*identity(both), "step"], ignore_index=True)


def _last(found: pd.DataFrame, value: str, by: By) -> pd.DataFrame:
    """The row of each metric at the last point with a value; the last one where none has.

    The last point of training is the largest step or number of tokens, and the lowest loss.
    """
    keys = [name for name in (*identity(found), "first", "second") if name in found]
    if value == "difference":
        keys = identity(found)
    known = found.assign(_known=found[value].notna())
    ordered = known.sort_values(["_known", "at"], ascending=[True, by != "loss"])
    last = ordered.groupby(keys, dropna=False, sort=False).tail(1)
    return last.sort_index().drop(columns="_known").reset_index(drop=True)
