"""Roles of heads over training: the rows of `head_roles`, read as timelines and counted.

A single step decides nothing: weights that hardly change repeat an accident of the items that were
drawn. So a head has a role at a step only where it is significant there, on one fold of the items,
and at the measured step before, on the other.
"""

from collections.abc import Iterable

import pandas as pd

from pythia_traj.analysis.selection import WHICH, choose, of_everything
from pythia_traj.schema import WORDS

FOLDS = ("fold_1", "fold_2")
"""The fold that counts at the measured step before, and the one that counts at the step itself."""

_TIMELINE = [*WHICH, "role", "layer", "head"]
"""The columns that identify a timeline."""


def heads_with_role(rows: pd.DataFrame) -> pd.DataFrame:
    """How many heads have each role, and how many would by the same rule on shuffled tokens.

    The metric is `heads_with_role`, which no file holds: it is counted here. `what` names the role,
    in the order of `in_order`; a role that was not measured has a row without a value, with the
    reason.
    """
    if rows.empty:
        return choose(rows, ["significant"]).assign(what="")
    # Millions of rows, of which few are needed as plain columns.
    significant = rows[rows["metric"].isin(["significant"]) & rows["component"].isin(["head"])]
    of_head = significant["layer"].notna()
    at = [*WHICH, "control", "target", "step"]
    of_no_head = dict.fromkeys(["layer", "head", "stderr", "low", "high", "n"], float("nan"))
    one_each = choose(significant[of_head].drop_duplicates(at), ["significant"], "head")
    one_each = one_each.drop(columns="value").assign(**of_no_head)
    counted = one_each.merge(_counts(significant[of_head]), on=at)
    # A role without items has a row of no head, which says why.
    undefined = choose(significant[~of_head], ["significant"], "head")
    found = pd.concat([counted, undefined]).drop_duplicates(at, ignore_index=True)
    order = in_order(found["target"].unique())
    found = found.sort_values("target", key=lambda roles: roles.map(order.index), kind="stable")
    found = found.assign(
        metric="heads_with_role", part="", what=found["target"].str.replace("_", " ")
    )
    return found[[*undefined, "what"]].reset_index(drop=True)


def in_order(roles: Iterable[str]) -> list[str]:
    """Roles in the order in which they are shown: ours, then others in alphabetical order."""
    known = WORDS["target"]
    return sorted(roles, key=lambda role: (role not in known, [*known, role].index(role), role))


def _counts(significant: pd.DataFrame) -> pd.DataFrame:
    """How many heads have each role: the keys of `heads_with_role` and `value`."""
    keys = [*WHICH, "control", "target"]
    coded = significant[[*keys, "layer", "head", "step", "part", "value"]]
    words = {name: coded[name].astype("category") for name in keys}
    if "" not in words["control"].cat.categories:
        words["control"] = words["control"].cat.add_categories("")
    coded = coded.assign(**words | {"control": words["control"].fillna("")})
    decided = _decided(coded, [*keys, "layer", "head"])
    counts = decided.groupby([*keys, "step"], observed=True)["has_role"].sum().astype(float)
    return counts.rename("value").reset_index().astype(dict.fromkeys(keys, str))


def roles_of_heads(rows: pd.DataFrame) -> pd.DataFrame:
    """The timelines of the heads that ever have a role: their scores, as chosen rows.

    Args:
        rows: as for `role_timeline`.

    Returns:
        chosen rows whose metric is the role and whose value is the score, of each role and head
        that has it at any step, at all steps; `role`, a category of all measured roles, in
        the order of `in_order`; and `has_role`. `what` names the role.
    """
    if rows.empty:
        return choose(rows, []).assign(what="")
    timeline = role_timeline(rows)
    ever = timeline[timeline.groupby(_TIMELINE, observed=True)["has_role"].transform("any")]
    ever = ever.astype({"model": str, "label": str, "layer": float, "head": float})
    whole = rows[rows["part"].isna() & rows["control"].isna() & rows["layer"].notna()]
    scores = of_everything(choose(whole, list(ever["role"].unique()), component="head"))
    scores = scores.assign(role=scores["metric"])
    found = scores.merge(ever[[*_TIMELINE, "step", "has_role"]], on=[*_TIMELINE, "step"])
    names = found["role"].str.replace("_", " ")
    order = in_order(timeline["role"].unique())
    return found.assign(what=names, role=pd.Categorical(found["role"], order))


def role_timeline(rows: pd.DataFrame) -> pd.DataFrame:
    """Scores of heads over steps, and whether they have the role.

    Args:
        rows: rows as `pythia_traj.load` gives them, with controls or without; rows of other
            experiments are ignored.

    Returns:
        one row for each model, label, role, layer, head and step at which the role was measured, in
        this order: `score`, its standard error `stderr`, `fold_1` and `fold_2` (whether it is
        significant on these items at this step), `has_role` (it is on `fold_2` here and on `fold_1`
        at the measured step before; never at the first one).
    """
    plain = rows[
        rows["control"].isna()
        & rows["variant"].isna()
        & rows["layer"].notna()
        & rows["head"].notna()
        & rows["value"].notna()
    ]
    significant = plain[plain["metric"] == "significant"]
    significant = significant.assign(role=significant["target"].astype(str))
    found = _decided(significant[[*_TIMELINE, "step", "part", "value"]], _TIMELINE)
    scores = plain[
        plain["metric"].isin(found["role"].unique()) & plain["target"].isna() & plain["part"].isna()
    ]
    scores = scores.assign(role=scores["metric"].astype(str)).rename(columns={"value": "score"})
    found = found.merge(
        scores[[*_TIMELINE, "step", "score", "stderr"]], on=[*_TIMELINE, "step"], how="left"
    )
    return found[[*_TIMELINE, "step", "score", "stderr", *FOLDS, "has_role"]]


def _decided(significant: pd.DataFrame, timeline: list[str]) -> pd.DataFrame:
    """A row a head and step at which both folds have a value, in the order of steps.

    Has the columns of the rows, `FOLDS` and `has_role`.
    """
    key, known = [*timeline, "step"], significant[significant["value"].notna()]
    before, now = (known[known["part"] == fold].rename(columns={"value": fold}) for fold in FOLDS)
    found = now.merge(before[[*key, FOLDS[0]]], on=key).sort_values(key, ignore_index=True)
    found = found.assign(**{fold: found[fold] == 1 for fold in FOLDS})
    of_head = found.groupby(timeline, observed=True)[FOLDS[0]]
    was = of_head.shift(fill_value=False).astype(bool)
    return found.assign(has_role=found[FOLDS[1]] & was)


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
