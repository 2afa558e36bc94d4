"""Metrics of heads: what they attend to, which head is largest, which heads reach most."""

import pandas as pd

from pythia_traj.analysis.selection import WHICH, choose, with_word

ATTENDED = {
    "prefix_matching": "token after the previous occurrence",
    "previous_token": "previous token",
    "duplicate_token": "previous occurrence itself",
    "bos": "first position",
    "self": "own position",
    "local": "2 to 5 tokens back",
}
"""What a head's attention goes to, by metric."""


def prefix_matching(rows: pd.DataFrame, variant: str) -> pd.DataFrame:
    """Prefix matching of every head in one convention, with controls; `what` is the convention."""
    return prefix_matching_by_convention(with_word(rows, "variant", variant))


def prefix_matching_by_convention(rows: pd.DataFrame) -> pd.DataFrame:
    """Prefix matching of every head in every convention, which `what` names.

    No two conventions are comparable.
    """
    chosen = choose(rows, ["prefix_matching"], component="head")
    return chosen.assign(what=chosen["variant"])


def attention_by_target(rows: pd.DataFrame, variant: str) -> pd.DataFrame:
    """The share of every head's attention by kind of target, which `what` names."""
    chosen = choose(with_word(rows, "variant", variant), list(ATTENDED), component="head")
    return chosen.assign(what=chosen["metric"].map(ATTENDED))


def values_of_heads(
    rows: pd.DataFrame,
    metric: str,
    variant: str | None = None,
    control: str | None = None,
) -> pd.DataFrame:
    """One metric of every head over all items.

    Args:
        rows: rows of a run.
        metric: a metric of heads.
        variant: its variant; None where it has none.
        control: which of its controls; None for the measurement.

    Returns:
        chosen rows without `what`. A row without a value for any head names no head: `of_one_head`
        leaves it out.
    """
    for column, word in (("control", control), ("variant", variant), ("part", None)):
        rows = with_word(rows, column, word)
    return choose(rows, [metric], component="head")


def of_one_head(chosen: pd.DataFrame) -> pd.DataFrame:
    """The chosen rows that name a layer and a head."""
    return chosen.dropna(subset=["layer", "head"])


def largest_head(chosen: pd.DataFrame) -> pd.DataFrame:
    """For each trajectory and step, the row of the head with the largest value.

    `note` names the head.
    """
    known = of_one_head(chosen).dropna(subset=["value"])
    keys = [*WHICH, "what", "control", "step"]
    largest = known.loc[known.groupby(keys, sort=False)["value"].idxmax()]
    return largest.assign(note=head_names(largest))


def top_heads(chosen: pd.DataFrame, top: int) -> pd.DataFrame:
    """The rows of the heads with the highest values at any step, highest first, in order of steps.

    `note` names the head.

    Args:
        chosen: chosen rows of one metric of heads, without controls.
        top: how many heads of each model and label.
    """
    known = of_one_head(chosen).dropna(subset=["value"])
    known = known.assign(note=head_names(known)).sort_values("step")
    heads = [known[:0]]
    for _, unit in known.groupby(list(WHICH), sort=False):
        reached = unit.groupby("note", sort=False)["value"].max().nlargest(top)
        heads += [unit[unit["note"] == name] for name in reached.index]
    return pd.concat(heads)


def head_names(heads: pd.DataFrame) -> list[str]:
    """The heads of some rows, as L4H6, from the columns layer and head."""
    return [head_name(*place) for place in zip(heads["layer"], heads["head"], strict=True)]


def head_name(layer: float, head: float) -> str:
    """A head as `L4H6`."""
    return f"L{layer:.0f}H{head:.0f}"
