"""Two models beside each other: differences and their 95 % intervals.

An interval is that of the items: what other items of the same kind would have given. It has
neither the steps between which a value was not measured, nor other seeds of the models.
"""

from collections.abc import Sequence

import pandas as pd
from scipy.special import stdtrit

from pythia_traj.analysis.comparison.align import By, at_equal, losses_of
from pythia_traj.analysis.comparison.by_index import refuse_heads
from pythia_traj.analysis.comparison.intervals import SIDES, independent
from pythia_traj.analysis.comparison.items import Pair, paired_by_item
from pythia_traj.analysis.matrix import identity, plain, require
from pythia_traj.errors import AnalysisError

_COLUMNS = (
    *("at", *SIDES, "difference", "stderr", "df", "low", "high", "paired"),
    *("step_first", "step_second", "interpolated", "reason"),
)


def compare(
    first: pd.DataFrame,
    second: pd.DataFrame,
    by: By = "step",
    *,
    points: Sequence[float] | None = None,
    loss: str = "nll",
    loss_label: str | None = None,
    items: Pair | None = None,
) -> pd.DataFrame:
    """Each metric of two models at the same step, tokens or loss, and their difference.

    Args:
        first: rows of one model, as `pythia_traj.load` gives them.
        second: rows of the other. Metrics that both have under the same label are compared.
        by: what is equal, and
        points: where: see `align`.
        loss: see `align`, as for
        loss_label: the label of the loss.
        items: rows of the table `items` of both, which the caller knows to be of the same items:
            the same label, parameters and data. Then differences are of each item, and so is their
            error, where both models were measured at the point, on all of the items.

    Returns:
        a row for each label, metric and point: the columns that identify the metric; `at`, the
        point; the values `first` and `second`, at `step_first` and `step_second` of training;
        `difference`, the second minus the first, with its `stderr`, degrees of freedom `df`, and
        `low` and `high` of its 95 % interval; `paired`, whether by item; the `reason` where the
        difference or its error is missing. Where it is not paired, the error takes the two for
        independent: with the same items it is rather too large.

    Raises:
        AnalysisError: heads would be compared by index, one side has several models, both have
            nothing in common, or an option is wrong.
    """
    _check_items(items)
    sides = {}
    for side, rows in zip(SIDES, (first, second), strict=True):
        require(rows, ["model", "step", "value"])
        refuse_heads(rows, "comparing two models")
        _refuse_several(rows, side)
        sides[side] = plain(rows).assign(model=side)
    keys = [name for name in identity(sides["first"]) if name != "model"]
    common = in_both(sides["first"], sides["second"], keys)
    if common.empty:
        raise AnalysisError(nothing_in_common(sides["first"], sides["second"]))
    # Its label may differ between the two, and then it is not among the common rows.
    known = losses_of(pd.concat(list(sides.values())), by, loss, loss_label)
    found = independent(_side_by_side(at_equal(common, by, points, known), keys))
    if items is not None:
        found = paired_by_item(found, items, keys)
    return found[[*keys, *_COLUMNS]]


def largest_difference(compared: pd.DataFrame) -> pd.DataFrame:
    """Where over training two models differ most, for each metric.

    As the largest of many differences is chosen, its interval is one of all of them together: each
    at 1 - 0.05 / points (Bonferroni), so that with 95 % all hold.

    Args:
        compared: the rows that `compare` gives.

    Returns:
        the row of the largest absolute difference of each metric, with low and high as said, and
        `points`, the number of points that it is the largest of.

    Raises:
        AnalysisError: the rows are not those of `compare`.
    """
    require(compared, ["at", "difference", "stderr", "df"], "pythia_traj.compare")
    keys = [name for name in identity(compared) if name in compared]
    known = compared.dropna(subset=["difference"])
    groups = known.groupby(keys, dropna=False, sort=False)["difference"]
    sizes, rank = groups.transform("size"), groups.transform(lambda some: some.abs().max())
    largest = known[known["difference"].abs() == rank].drop_duplicates(keys)
    points = sizes.loc[largest.index]
    reach = largest["stderr"] * stdtrit(largest["df"], 1 - 0.025 / points)
    return largest.assign(
        low=largest["difference"] - reach, high=largest["difference"] + reach, points=points
    )


def _check_items(items: Pair | None) -> None:
    """Refuses what is not the items of both."""
    if items is None:
        return
    if not isinstance(items, tuple | list) or len(items) != 2:
        raise AnalysisError("items=: give two, the rows of the table items of each model")
    for rows, side in zip(items, SIDES, strict=True):
        if not isinstance(rows, pd.DataFrame):
            raise AnalysisError(
                f"items=: the {side} is {type(rows).__name__}: give the rows of"
                " pythia_traj.load(run, table='items') of both, or leave items= out"
            )


def _refuse_several(rows: pd.DataFrame, side: str) -> None:
    models = sorted(map(str, rows["model"].unique()))
    if len(models) != 1:
        raise AnalysisError(
            f"the {side} rows are of {len(models)} models ({', '.join(models[:3]) or 'none'}): give"
            " those of one, such as rows[rows.model == name], or compare seeds with"
            " pythia_traj.seed_bands"
        )


def in_both(first: pd.DataFrame, second: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The rows of two models whose key the other has too."""
    together = pd.concat([plain(first), plain(second)], ignore_index=True)
    models = together.groupby(list(keys), dropna=False, sort=False)["model"].transform("nunique")
    return together[models == 2]


def nothing_in_common(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """The message for two models without a common metric."""
    have = ["; ".join(_metrics(rows)[:4]) or "none" for rows in (first, second)]
    return (
        f"the two have no metric in common under the same label: the first has {have[0]}, the"
        f" second {have[1]}"
    )


def _metrics(rows: pd.DataFrame) -> list[str]:
    """The metrics of some rows, with what tells them apart, by name."""
    names = [name for name in ("label", "metric", "variant", "part") if name in rows]
    words = plain(rows)[names].drop_duplicates().itertuples(index=False)
    return sorted(" ".join(str(word) for word in row if word is not None) for row in words)


def _side_by_side(aligned: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """A row a metric and point, the columns of both sides with their name at the end."""
    columns = ["step", "value", "stderr", "n", "clusters", "interpolated", "reason"]
    first, second = (
        aligned.loc[aligned["model"] == side, [*keys, "at", *columns]].rename(
            columns={name: f"{name}_{side}" for name in columns}
        )
        for side in SIDES
    )
    return first.merge(second, on=[*keys, "at"])
