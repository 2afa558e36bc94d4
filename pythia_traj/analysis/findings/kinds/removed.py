"""What removing heads costs: the head and the set whose removal harms most, at the worst step.

The worst of many heads and steps is chosen for being so, so its interval is Bonferroni's over all
of them. It counts where that lies above the mean of its matched sets by two of their standard
deviations, and where none of them harms as much: else the control explains it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pythia_traj.analysis.findings.finding import Kind, Statement
from pythia_traj.analysis.heads import head_names, of_one_head
from pythia_traj.analysis.selection import choose, finite, interval, measured
from pythia_traj.analysis.wording import counted, interval_words, number_words, step_words

METRICS = ("effect", "effect_sd", "effect_rank")

KINDS = ("mean", "positional_mean", "resample", "pattern_preserving", "direct", "zero")
"""Kinds of removal in the order in which one is taken; zero misleads, so it is the last."""

HARMS = {
    "logit_diff": (-1.0, "the logit difference falls by {}"),
    "prob_diff": (-1.0, "the difference of probabilities falls by {}"),
    "nll": (1.0, "the loss on the answers rises by {} nats"),
}
"""Targets in the order in which one is taken: the sign of harm, and how it is said."""


def chosen_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Effects of removing heads and sets of heads, with their controls; `what` names them."""
    heads = of_one_head(choose(rows, METRICS, component="head"))
    sets = choose(rows, METRICS, component="set")
    heads = heads.assign(what=head_names(heads), note="head")
    chosen = pd.concat([heads, sets.assign(what=sets["part"], note="set")])
    return chosen[chosen["target"].isin(HARMS)]


def find(chosen: pd.DataFrame, _onsets: pd.DataFrame) -> tuple[Statement, ...]:
    """The worst head and the worst set, where no control explains them."""
    target = next(one for one in HARMS if one in set(chosen["target"]))
    chosen = chosen[chosen["target"] == target]
    variants = sorted(
        set(chosen["variant"]), key=lambda one: (KINDS.index(one) if one in KINDS else 99, one)
    )
    chosen = chosen[chosen["variant"] == variants[0]]
    sign, harm = HARMS[target]
    head, some = (_worst(chosen[chosen["note"] == note], sign) for note in ("head", "set"))
    one = head if head is not None else some
    if one is None:
        return ()
    subject = f"Removing heads ({variants[0]})" if variants[0] else "Removing heads"
    called = f"head {one.name}" if one is head else f"the set {one.name}"
    control = f", where {one.control}"
    says = f"costs most for {called}: {harm.format(one.words)} at step {step_words(one.step)}"
    unit = " nats" if target == "nll" else ""
    brief = f"{called} costs {one.words}{unit} at step {step_words(one.step)}"
    says += control
    if head is not None and some is not None:
        says += (
            f"; for the set {some.name} by {some.words} at step {step_words(some.step)},"
            f" where {some.control}"
        )
    experiment = str(chosen["experiment"].iloc[0])
    return (Statement(subject, says, brief, experiment, "effect"),)


@dataclass(frozen=True)
class _Worst:
    """The head or set that harms most: its name, the step, its harm and that of its control."""

    name: str
    step: int
    words: str
    control: str


def _worst(chosen: pd.DataFrame, sign: float) -> _Worst | None:
    """The worst of some heads or sets; None where it is not sure, or its control explains it."""
    own = finite(measured(chosen[chosen["metric"] == "effect"]))
    if own.empty:
        return None
    (low, high), (low95, high95) = interval(own, len(own)), interval(own)
    own = own.assign(_sure=low if sign > 0 else -high, _low95=low95, _high95=high95)
    own = own[np.isfinite(own["_sure"].to_numpy(float))]
    if own.empty:
        return None
    row = own.loc[own["_sure"].idxmax()]
    same = chosen[(chosen["what"] == row["what"]) & (chosen["step"] == row["step"])]
    matched = same[same["control"] != ""]
    mean, sd = (_first(matched, metric) for metric in ("effect", "effect_sd"))
    rank = _first(measured(same), "effect_rank")
    bound = 0.0 if mean is None else max(0.0, sign * mean + 2 * (sd or 0.0))
    if not row["_sure"] > bound or (rank is not None and rank > 1):
        return None
    control = "no matched set was measured"
    if mean is not None:
        shown = _mean_words(sign * mean, sd or 0.0)
        control = f"{_counted(matched, row['note'] == 'head')} {shown} on average"
    ends = sorted((sign * row["_low95"], sign * row["_high95"]))
    words = interval_words(sign * row["value"], ends[0], ends[1])
    return _Worst(str(row["what"]), int(row["step"]), words, control)


def _first(rows: pd.DataFrame, metric: str) -> float | None:
    values = finite(rows[rows["metric"] == metric])["value"]
    return float(values.iloc[0]) if len(values) else None


def _mean_words(mean: float, sd: float) -> str:
    """The mean of matched sets with the digits that their spread supports, and at least one."""
    words = number_words(mean, mean - sd, mean + sd)
    return words if float(words) else f"{mean + 0.0:.1g}"


def _counted(matched: pd.DataFrame, are_heads: bool) -> str:
    """How many matched sets or heads there are, and the verb."""
    numbers = matched.loc[matched["metric"] == "effect", "n"].dropna()
    count = round(numbers.iloc[0]) if len(numbers) else None
    what, more = ("other head", " of its layer") if are_heads else ("matched set", "")
    said = f"{what}s" if count is None else counted(count, what)
    return f"{said}{more} {'costs' if count == 1 else 'cost'}"


KIND = Kind(40, chosen_rows, find)
