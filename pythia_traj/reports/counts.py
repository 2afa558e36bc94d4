"""How many tests were made, and at which rate of false ones: from the rows and onsets alone."""

import pandas as pd

from pythia_traj.analysis.onsets.evidence import ALPHA
from pythia_traj.analysis.onsets.heads import Q
from pythia_traj.analysis.selection import finite
from pythia_traj.analysis.wording import counted

ROLE_RATE = 0.05
"""The false discovery rate at which roles of heads are tested (docs/circuits.md)."""


def counted_tests(rows: pd.DataFrame, onsets: pd.DataFrame) -> tuple[str, ...]:
    """A sentence for each kind of test: onsets, heads by each metric, roles, removals.

    Args:
        rows: rows of one or several models, with controls or without.
        onsets: of these, as `pythia_traj.analysis.findings.dated` gives them.
    """
    said = [*_onsets(onsets)]
    if len(rows):
        known = finite(rows)
        measured = known[known["control"].isna()]
        said += [*_roles(measured), *_removals(measured)]
    return tuple(said)


def _onsets(onsets: pd.DataFrame) -> list[str]:
    if onsets.empty:
        return []
    heads, asked = onsets["head"].notna(), onsets["p"].notna()
    counts = f"{counted(int(heads.sum()), 'head')}, {int((~heads).sum()):,} of the whole model"
    found = counted(int((onsets["status"] == "onset").sum()), "onset")
    said = [
        f"{_trajectories(len(onsets))} dated ({counts}), {int(asked.sum()):,} of them with a test"
        f" of whether there is any rise (p <= {ALPHA:g}): {found}."
    ]
    tested = onsets[onsets["q"].notna()]
    variants = tested["variant"].astype(object).where(tested["variant"].notna(), "")
    for (metric, variant), at in tested.groupby([tested["metric"].astype(str), variants]):
        called = f"{metric} ({variant})" if variant else metric
        of = counted(at["model"].nunique(), "model")
        labels = at["label"].nunique()
        of += f" under {counted(labels, 'label')}" if labels > 1 else ""
        low = int((at["q"] <= Q).sum())
        said.append(
            f"By {called}, {counted(len(at), 'head')} of {of} entered q values by Benjamini and"
            f" Hochberg; {low:,} {'has' if low == 1 else 'have'} q <= {Q:g}."
        )
    return said


def _roles(measured: pd.DataFrame) -> list[str]:
    tests = measured[(measured["metric"] == "p_value") & measured["target"].notna()]
    if tests.empty:
        return []
    heads = len(tests.drop_duplicates(["model", "label", "layer", "head"]))
    roles, steps = tests["target"].nunique(), tests["step"].nunique()
    return [
        f"Roles: {counted(heads, 'head')} x {counted(roles, 'role')} x {counted(steps, 'step')},"
        f" {counted(len(tests), 'p-value')} on folds of items, at a false discovery rate of"
        f" {ROLE_RATE:.0%} among the heads of a model for each role, step and fold; a head has a"
        " role where it is found on one fold and, at the step before, on the other."
    ]


def _removals(measured: pd.DataFrame) -> list[str]:
    effects = measured[(measured["metric"] == "effect") & measured["target"].notna()]
    effects = effects[effects["component"].isin(["head", "set"])]
    if effects.empty:
        return []
    kinds = effects["variant"].nunique()
    return [
        f"Removals: {counted(len(effects), 'effect')} of heads and sets by"
        f" {counted(kinds, 'kind')} of removal; the worst is chosen with Bonferroni's interval over"
        " those of its model, kind and component."
    ]


def _trajectories(count: int) -> str:
    return "1 trajectory was" if count == 1 else f"{count:,} trajectories were"
