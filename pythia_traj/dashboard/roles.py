"""Roles of heads over training: the rows of `head_roles`, read as timelines.

A single step decides nothing: with hundreds of heads, some exceed a 99.9th percentile by chance. So
a head has a role at a step only where it stands out there and at the measured step before.
"""

import pandas as pd

WHICH = ["model", "label", "role", "layer", "head"]
"""The columns that say whose timeline it is."""


def role_timeline(rows: pd.DataFrame) -> pd.DataFrame:
    """Scores of heads over steps, and whether they have the role.

    Args:
        rows: rows as `pythia_traj.load` gives them, with controls or without; those of other
            experiments are passed over.

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
        [*WHICH, "step", "above"]
    ]
    scores = plain[plain["metric"].isin(above["role"].unique()) & plain["target"].isna()]
    scores = scores.assign(role=scores["metric"].astype(str)).rename(columns={"value": "score"})
    found = above.merge(
        scores[[*WHICH, "step", "score", "stderr"]], on=[*WHICH, "step"], how="left"
    )
    found = found.sort_values([*WHICH, "step"], ignore_index=True)
    before = found.groupby(WHICH, observed=True)["above"].shift(fill_value=False).astype(bool)
    found["has_role"] = found["above"] & before
    return found[[*WHICH, "step", "score", "stderr", "above", "has_role"]]


def tracked_heads(rows: pd.DataFrame, role: str, step: int, top: int = 5) -> pd.DataFrame:
    """The heads with the largest scores at one step, followed over all steps.

    Args:
        rows: as for `role_timeline`.
        role: such as `induction`.
        step: where they are chosen; at that very step their scores are too large, as those of the
            largest always are.
        top: how many of each model and label.

    Returns:
        the rows of `role_timeline` of these heads; none where the role was not measured at the
        step.
    """
    timeline = role_timeline(rows)
    timeline = timeline[timeline["role"] == role]
    ranked = timeline[timeline["step"] == step].sort_values("score", ascending=False, kind="stable")
    chosen = ranked.groupby(["model", "label"], observed=True).head(top)[WHICH]
    return timeline.merge(chosen, on=WHICH).sort_values([*WHICH, "step"], ignore_index=True)
