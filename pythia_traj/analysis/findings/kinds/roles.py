"""Roles of heads: since when there are heads with a role, where shuffled tokens give fewer."""

import pandas as pd

from pythia_traj.analysis.findings.finding import Kind, Statement
from pythia_traj.analysis.roles import heads_with_role
from pythia_traj.analysis.selection import measured
from pythia_traj.analysis.wording import counted, listed, step_words

_MOST_ROLES = 3


def find(chosen: pd.DataFrame, _onsets: pd.DataFrame) -> tuple[Statement, ...]:
    """Each role that more heads have than ever on shuffled tokens: the first step, and how many."""
    chosen = chosen.dropna(subset=["value"])
    found: list[tuple[int, str, str]] = []
    for role, at in chosen.groupby("what", sort=False):
        controls = at.loc[at["control"] != "", "value"]
        own = measured(at).sort_values("step")
        above = own[own["value"] > controls.max()] if len(controls) else own[:0]
        if above.empty:
            continue
        first, last = int(above["step"].iloc[0]), own.iloc[-1]
        now = f"{counted(int(last['value']), 'head')} at step {step_words(last['step'])}"
        since = f"{role} first at step {step_words(first)}"
        found.append((first, f"{since} ({now})", since))
    if not found:
        return ()
    found.sort()
    shuffled = chosen.loc[chosen["control"] != "", "value"].max()
    on_shuffled = "none" if not shuffled else f"at most {counted(int(shuffled), 'head')}"
    others = len(found) - _MOST_ROLES
    more = f"; {counted(others, 'other role')}" if others > 0 else ""
    says = (
        f"appear: {'; '.join(said for _, said, _ in found[:_MOST_ROLES])}{more}; on shuffled tokens"
        f" {on_shuffled}"
    )
    brief = listed([said for _, _, said in found], _MOST_ROLES)
    experiment = str(chosen["experiment"].iloc[0])
    return (Statement("Roles of heads", says, brief, experiment, "significant"),)


KIND = Kind(60, heads_with_role, find)
