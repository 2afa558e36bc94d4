"""Roles of heads over training: the rows of `head_roles`, counted and read as timelines.

A single step decides nothing: with hundreds of heads, some exceed a 99.9th percentile by chance. So
a head has a role at a step only where it stands out there and at the measured step before.
"""

import pandas as pd

from pythia_traj.analysis.selection import WHICH, choose

_TIMELINE = [*WHICH, "role", "layer", "head"]
"""The columns that identify a timeline."""


def heads_above_null(rows: pd.DataFrame) -> pd.DataFrame:
    """How many heads exceed the threshold of each role, and how many do on shuffled tokens.

    `what` names the role.
    """
    chosen = choose(rows, ["heads_above_null"])
    return chosen.assign(what=chosen["target"].str.replace("_", " "))


def role_timeline(rows: pd.DataFrame) -> pd.DataFrame:
    """Scores of heads over steps, and whether they have the role.

    Args:
        rows: rows as `pythia_traj.load` gives them, with controls or without; rows of other
            experiments are ignored.

    Returns:
        one row for each model, label, role, layer, head and step at which the role was measured, in
        this order: `score`, its standard error `stderr`, `above` (it exceeds its role's threshold
        at this step), `has_role` (it does so here and at the measured step before; never at the
        first one).
    """
    plain = rows[
        rows["control"].isna()
        & rows["variant"].isna()
        & rows["part"].isna()
        & rows["layer"].notna()
        & rows["head"].notna()
        & rows["value"].notna()
    ]
    above = plain[plain["metric"] == "above_null"]
    above = above.assign(role=above["target"].astype(str), above=above["value"] == 1)[
        [*_TIMELINE, "step", "above"]
    ]
    scores = plain[plain["metric"].isin(above["role"].unique()) & plain["target"].isna()]
    scores = scores.assign(role=scores["metric"].astype(str)).rename(columns={"value": "score"})
    found = above.merge(
        scores[[*_TIMELINE, "step", "score", "stderr"]], on=[*_TIMELINE, "step"], how="left"
    )
    found = found.sort_values([*_TIMELINE, "step"], ignore_index=True)
    before = found.groupby(_TIMELINE, observed=True)["above"].shift(fill_value=False).astype(bool)
    found["has_role"] = found["above"] & before
    return found[[*_TIMELINE, "step", "score", "stderr", "above", "has_role"]]


def tracked_heads(rows: pd.DataFrame, role: str, step: int, top: int = 5) -> pd.DataFrame:
    """The heads with the largest scores at one step, followed over all steps.

    Args:
        rows: as for `role_timeline`.
        role: such as `induction`.
        step: where they are chosen; at this step their scores are too high, because the highest
            were selected.
        top: how many of each model and label.

    Returns:
        the rows of `role_timeline` of these heads; none where the role was not measured at the
        step.
    """
    timeline = role_timeline(rows)
    timeline = timeline[timeline["role"] == role]
    ranked = timeline[timeline["step"] == step].sort_values("score", ascending=False, kind="stable")
    chosen = ranked.groupby(list(WHICH), observed=True).head(top)[_TIMELINE]
    return timeline.merge(chosen, on=_TIMELINE).sort_values([*_TIMELINE, "step"], ignore_index=True)
