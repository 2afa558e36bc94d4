"""When heads take off: the highest ones, in groups that rise within the same steps.

A head rises where it does so surely among all heads of its model (q), does not fall back below half
of its height, and is surely above its start at the last step too. It is told where it is surely
above its control at its top. Attention to the previous token has no such control: where tokens are
shuffled there still is one before each, so that it is compared with its own start alone. In a
trained model most heads move a little, and surely so: a sentence is about the *highest*, those that
rise by at least half as much as the one that rises most. Those whose intervals overlap took off
together.
"""

from dataclasses import dataclass

import pandas as pd

from pythia_traj.analysis.findings.dated import CONVENTION, falls_back, marked
from pythia_traj.analysis.findings.finding import Kind, Statement
from pythia_traj.analysis.findings.values import Value, control_of, first_last, values_of
from pythia_traj.analysis.heads import head_names, of_one_head
from pythia_traj.analysis.onsets.heads import Q
from pythia_traj.analysis.selection import choose, measured
from pythia_traj.analysis.wording import (
    between,
    counted,
    listed,
    number_words,
    rounded_step,
    step_words,
)

_MOST_GROUPS = 2
_SHARE = 0.5

_Top = tuple[Value, Value | None]
"""The value of a head at its top, and that of its control there."""


@dataclass(frozen=True)
class _Metric:
    """A metric of heads, and whether shuffled tokens take away what it measures."""

    name: str
    called: str
    has_null: bool

    def chosen(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Its rows of single heads; roles of heads have it too, without a convention."""
        chosen = of_one_head(choose(rows, [self.name], component="head"))
        tested = rows.loc[rows["metric"] == "significant", "experiment"].unique()
        return chosen[(chosen["part"] == "") & ~chosen["experiment"].isin(tested)]

    def find(self, chosen: pd.DataFrame, onsets: pd.DataFrame) -> tuple[Statement, ...]:
        """Which of the highest heads took off together, and when."""
        if onsets.empty:
            return ()
        tested = onsets[(onsets["metric"] == self.name) & onsets["q"].notna()]
        if tested.empty:
            return ()
        variant = str(tested["variant"].astype(object).where(tested["variant"].notna(), "").iloc[0])
        chosen = chosen[chosen["variant"] == variant]
        chosen = chosen.assign(called=head_names(chosen))
        sure = tested[(tested["q"] <= Q) & (tested["direction"] == "up")]
        risen = _risen(chosen, sure)
        above, tops = self._above(chosen, risen)
        if above.empty:
            return ()
        highest = above[above["height"] >= _SHARE * above["height"].max()]
        first = str(above["called"].iloc[0])
        verb = "rise" if len(risen) > 1 else "rises"
        ending = (
            f"; {len(risen)} of {counted(len(tested), 'head')} {verb} surely (q <= {Q:g}),"
            f" {first} highest, to {_said_top(tops[first])}{_fallen(sure)}"
        )
        convention = "" if variant in (CONVENTION, "") else f" ({variant})"
        moves, said = _dates(highest)
        subject = f"{self.called}{convention} {moves}"
        experiment = str(chosen["experiment"].iloc[0])
        return (Statement(subject, said + ending, said, experiment, self.name),)

    def _above(
        self, chosen: pd.DataFrame, risen: pd.DataFrame
    ) -> tuple[pd.DataFrame, dict[str, _Top]]:
        """Of heads that rise those above their control, the highest first; their tops."""
        risen = risen.assign(height=(risen["top"] - risen["base"]).astype(float))
        risen = risen.sort_values("height", ascending=False, kind="stable")
        at_top = chosen.merge(risen[["called", "top_step"]].astype({"top_step": float}))
        at_top = at_top[at_top["step"] == at_top["top_step"]]
        tops = {}
        for name, at in at_top.groupby("called", sort=False):
            own = values_of(measured(at))
            control = control_of(at, own[0].step) if own and self.has_null else None
            if own and own[0].above(control):
                tops[str(name)] = (own[0], control)
        return risen[risen["called"].isin(list(tops))], tops


def _risen(chosen: pd.DataFrame, sure: pd.DataFrame) -> pd.DataFrame:
    """The heads that are still up at the last step, with what they are called."""
    heads = marked(sure)
    heads = heads.assign(called=head_names(heads))
    own = measured(chosen[chosen["called"].isin(heads["called"])])
    still = []
    for name, at in own.groupby("called", sort=False):
        ends = first_last(at)
        if ends is not None and ends[1].above(ends[0]):
            still.append(str(name))
    return heads[heads["called"].isin(still)]


def _fallen(sure: pd.DataFrame) -> str:
    """How many heads rise and fall back; empty where none does."""
    fallen = int(falls_back(sure).sum())
    if not fallen:
        return ""
    return f"; {counted(fallen, 'other')} " + (
        "rises and falls back" if fallen == 1 else "rise and fall back"
    )


def _said_top(top: _Top) -> str:
    """The value of a head at its top, and that of its control."""
    value, control = top
    if control is None:
        return value.short
    return f"{value.short} (control {number_words(control.value, value.low, value.high)})"


def _dates(highest: pd.DataFrame) -> tuple[str, str]:
    """When the highest heads take off, or that this is not dated: a verb, and what follows."""
    datable = highest[highest["status"] == "onset"]
    datable = datable[datable["low"].notna() & datable["high"].notna()]
    if datable.empty:
        names = listed(list(highest["called"]))
        heads = "head" if len(highest) == 1 else "heads"
        return "rises", f"surely in {heads} {names}, but undated: {_why(highest.iloc[0])}"
    groups = _groups(datable)
    said = " and ".join(map(_said, groups[:_MOST_GROUPS]))
    later = sum(map(len, groups[_MOST_GROUPS:]))
    said += f", later in {counted(later, 'other')} as high" if later else ""
    undated = len(highest) - len(datable)
    return "takes off", said + (f", undated in {counted(undated, 'other')}" if undated else "")


def _why(onset: pd.Series) -> str:
    """Why a head that surely rises has no date."""
    flags = str(onset["flags"]).split(", ")
    if onset["status"] == "several":
        return "half of its height is crossed more than once"
    if "base_not_init" in flags:
        return "its start was not measured"
    if "uneven" in flags:
        return "it moves between steps by more than its items explain"
    return "its interval is open"


def _groups(heads: pd.DataFrame) -> list[pd.DataFrame]:
    """Heads whose intervals all overlap, the earliest group first, in each the highest first."""
    left = heads.sort_values(["step", "height"], ascending=[True, False], kind="stable")
    groups = []
    while len(left):
        low, high = left["low"].iloc[0], left["high"].iloc[0]
        members: list[object] = []
        for index, one_low, one_high in zip(left.index, left["low"], left["high"], strict=True):
            if max(low, one_low) < min(high, one_high) or not members:
                low, high = max(low, one_low), min(high, one_high)
                members.append(index)
        group = left.loc[members]
        groups.append(group.sort_values("height", ascending=False, kind="stable"))
        left = left.drop(index=members)
    return groups


def _said(group: pd.DataFrame) -> str:
    """When a group takes off, and its heads: the date is that of the highest."""
    low, high = int(group["low"].min()), int(group["high"].max())
    step = rounded_step(float(group["step"].iloc[0]), low, high)
    names = list(group["called"])
    heads = "head" if len(names) == 1 else "heads"
    return f"at step {step_words(step)}, {between(low, high)}, in {heads} {listed(names)}"


_METRICS = (
    (10, _Metric("prefix_matching", "Prefix matching", has_null=True)),
    (80, _Metric("previous_token", "Attention to the previous token", has_null=False)),
)

KIND = tuple(Kind(importance, metric.chosen, metric.find) for importance, metric in _METRICS)
