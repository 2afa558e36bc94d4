"""Tables of a run: its key numbers, and the metrics without a value."""

from collections.abc import Iterator

import pandas as pd

from pythia_traj.analysis.heads import ATTENDED, largest_head
from pythia_traj.analysis.selection import choose, measured, on_text

SCALARS = ("nll", "accuracy", "icl_score", "icl_window")
"""Metrics of the whole model among the key numbers.

The table also has the largest head of each metric of heads.
"""

PLACES = ("first step", "last step", "control, last step")
"""Where the key numbers of a metric stand in its trajectory."""

_NUMBER = r"[-+]?[0-9][0-9.,]*(e[-+]?[0-9]+)?"
"""A number in a reason."""

_FURTHER = ("part", "target", "size", "reference", "variant")
"""The columns that distinguish the values of one metric, in the order in which they are shown."""


def key_numbers(rows: pd.DataFrame) -> pd.DataFrame:
    """The first and the last value of each metric, with the control of the last.

    Args:
        rows: rows of a run, with controls or without.

    Returns:
        for each model, label and metric a row for each of `PLACES`: columns model, label, `what`
        (the metric and what distinguishes it from others of its name), `place`, step, value, stderr
        and `note`, which names the largest head. Step and value are null where the value is
        missing.
    """
    scalars = choose(on_text(rows), SCALARS)
    heads = choose(rows, list(ATTENDED), component="head")
    # Roles of heads share some of these metrics, without a convention.
    heads = heads[heads["variant"] != ""]
    numbers = pd.concat(
        [
            scalars.assign(what=metric_names(scalars)),
            largest_head(heads.assign(what=metric_names(heads))),
        ]
    )
    numbers = numbers.dropna(subset=["value"]).sort_values("step", kind="stable")
    found = [
        {"model": model, "label": key[0], "what": key[1], "place": place} | number
        for model, of_model in numbers.groupby("model", sort=False)
        for key, at in of_model.groupby(["label", "what"], sort=False)
        for place, number in zip(PLACES, _at_places(at), strict=True)
    ]
    columns = ["model", "label", "what", "place", "step", "value", "stderr", "note"]
    return pd.DataFrame(found, columns=columns).astype(
        {"step": "Int64", "value": float, "stderr": float}
    )


def _at_places(at: pd.DataFrame) -> Iterator[dict[str, object]]:
    """The number at each of `PLACES`, of one metric's rows in the order of steps."""
    found, controls = measured(at), at[at["control"] != ""]
    of_last = controls[controls["step"] == found["step"].max()]
    for one in (found.head(1), found.tail(1), of_last.head(1)):
        numbers = one[["step", "value", "stderr", "note"]].to_dict("records")
        yield {str(name): value for name, value in numbers[0].items()} if numbers else {"note": ""}


def undefined_metrics(rows: pd.DataFrame) -> pd.DataFrame:
    """The metrics without a value, each with its reason.

    Reasons that differ in their numbers alone stand together, as do all values of one metric.

    Args:
        rows: rows of a run.

    Returns:
        columns metric, label, reason (the first of its kind), `reasons` (how many there are of its
        kind), `models` (their names, separated by commas) and `rows`, the number of rows with one
        of them.
    """
    columns = ["metric", "label", "reason", "reasons", "models", "rows"]
    if rows.empty:
        return pd.DataFrame(columns=columns)
    missing = rows[rows["value"].isna()]
    reason = missing["reason"].astype(object).fillna("no reason given").astype(str)
    missing = missing.assign(reason=reason, kind=reason.str.replace(_NUMBER, "#", regex=True))
    found = [
        (
            *map(str, key[:2]),
            at["reason"].iloc[0],
            at["reason"].nunique(),
            ", ".join(map(str, at["model"].unique())),
            len(at),
        )
        for key, at in missing.groupby(["metric", "label", "kind"], sort=False, observed=True)
    ]
    return pd.DataFrame(found, columns=columns)


def metric_names(rows: pd.DataFrame) -> list[str]:
    """The metric of each row, with what distinguishes it from others of its name."""
    words = rows[["metric", *_FURTHER]].astype(object)
    words["size"] = [None if pd.isna(size) else f"size {size:.0f}" for size in rows["size"]]
    words = words.where(words.notna(), "")
    return [" · ".join(filter(None, row)) for row in words.itertuples(index=False)]
