"""Refuses to compare heads by index: head (3, 5) of one seed is not head (3, 5) of another."""

import pandas as pd

from pythia_traj.errors import AnalysisError

_HEADS = r"L\d+H\d+"
"""How the name of a set says which heads it has: a part `L4H6+L5H1`."""


def names_heads(rows: pd.DataFrame) -> pd.Series:
    """Whether each row is about heads by their index: one head, or a set that names its heads."""
    found = pd.Series(False, index=rows.index)
    if "head" in rows:
        found |= rows["head"].notna()
    for name in ("part", "reference"):
        if name in rows:
            texts = rows[name].astype(object)
            found |= texts.where(texts.notna(), "").astype(str).str.contains(_HEADS)
    return found


def refuse_heads(rows: pd.DataFrame, what: str) -> None:
    """Refuses rows that would be compared by the index of heads.

    Args:
        rows: rows of several models.
        what: what is asked for, for the message.

    Raises:
        AnalysisError: a row is about heads by their index.
    """
    found = rows[names_heads(rows)]
    if len(found):
        metrics = ", ".join(sorted(map(str, found["metric"].unique()))[:3])
        raise AnalysisError(
            f"{what}: these rows hold values of single heads ({metrics}), and a head of one model"
            " is not the head of the same index in another: give rows whose `head` is null, those"
            " of pythia_traj.summarise_heads, or match heads with pythia_traj.match_heads"
        )
