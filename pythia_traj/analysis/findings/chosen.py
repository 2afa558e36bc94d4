"""The few findings that matter most, and what is said where there are none.

Findings stand in the order of their kinds' `importance`, which is fixed:

1. when heads take off in prefix matching (10)
2. when accuracy on a task leaves chance (20)
3. the loss on the second copy of random tokens, against the first (30)
4. what removing heads costs (40)
5. how few edges make a faithful circuit (50)
6. roles of heads (60)
7. loss on text (70)
8. when heads take off in attention to the previous token (80)
9. which n-gram model the predictions are nearest to (90)
10. what probes find (100)
11. memorization (110)
12. any other metric of the whole model that is dated (120)

A control that was measured must be surely passed; where none was, a statement needs its own
interval alone. Text is plain: names are in it as they are.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import cache

import pandas as pd

from pythia_traj.analysis.findings import kinds
from pythia_traj.analysis.findings.finding import Finding, Kind, Statement
from pythia_traj.analysis.onsets.evidence import ALPHA
from pythia_traj.analysis.onsets.heads import Q
from pythia_traj.analysis.selection import WHICH, finite
from pythia_traj.analysis.wording import counted, listed, step_words
from pythia_traj.errors import AnalysisError
from pythia_traj.folder import defined_in

MOST = 4
"""The most findings, unless more are asked for."""

FEWEST_STEPS = 8
"""With fewer steps nothing is dated."""

_Which = tuple[str, str]
"""A model and a label."""

_SIDE_BY_SIDE = 3
"""The most models that one sentence describes; others are named."""

_NAMED = 8
"""The most models or labels that a sentence names without describing them."""


def findings(rows: pd.DataFrame, onsets: pd.DataFrame, most: int = MOST) -> tuple[Finding, ...]:
    """The most important findings of some rows, in the order that this file's docstring lists.

    Args:
        rows: rows of one or several models, with controls.
        onsets: of these rows, as `dated` gives them.
        most: the most findings.

    Returns:
        at most so many; empty where nothing is sure: then `nothing_found` says what was looked at.

    Raises:
        AnalysisError: `most` is not a number from 1.
    """
    if most < 1:
        raise AnalysisError(f"most={most}: give a number from 1")
    if rows.empty:
        return ()
    known = finite(rows)
    names_models = known["model"].nunique() > 1
    found: list[Finding] = []
    for kind in all_kinds():
        if len(found) < most:
            found += _of_kind(kind, known, onsets, names_models)
    return tuple(found[:most])


@cache
def all_kinds() -> tuple[Kind, ...]:
    """The kinds of findings, the most important first."""
    return tuple(sorted(defined_in(kinds, "KIND", Kind), key=lambda kind: kind.importance))


def _of_kind(
    kind: Kind, rows: pd.DataFrame, onsets: pd.DataFrame, names_models: bool
) -> list[Finding]:
    """The findings of one kind: what is said of several models and labels in one sentence."""
    chosen = kind.chosen(rows)
    units = {
        (str(model), str(label)): at
        for (model, label), at in chosen.groupby(list(WHICH), sort=False)
    }
    labels = {label for _, label in units}
    names_labels = len(labels) > 1 or (kind.names_labels and len(units) == 1)
    named: dict[_Which, str] = {}
    for (model, label), at in units.items():
        says_label = names_labels and (len(labels) > 1 or label != str(at["experiment"].iloc[0]))
        named[model, label] = " · ".join([model] * names_models + [label] * says_label)
    of_subject: dict[str, dict[_Which, Statement]] = {}
    for which, at in units.items():
        for statement in kind.find(at, _of_unit(onsets, *which)):
            of_subject.setdefault(statement.subject, {})[which] = statement
    told = {(which, one.metric) for stated in of_subject.values() for which, one in stated.items()}
    return [_finding(stated, named, told) for stated in of_subject.values()]


def _of_unit(onsets: pd.DataFrame, model: str, label: str) -> pd.DataFrame:
    if onsets.empty:
        return onsets
    return onsets[(onsets["model"].astype(str) == model) & (onsets["label"].astype(str) == label)]


def _finding(
    stated: Mapping[_Which, Statement],
    named: Mapping[_Which, str],
    told: Collection[tuple[_Which, str]],
) -> Finding:
    """One sentence of what is stated of some of the models and labels that were looked at.

    Args:
        stated: of each model and label of which the same is said.
        named: all that were looked at, and what they are called.
        told: of which something is said, by which metric.
    """
    first = next(iter(stated.values()))
    models = tuple(dict.fromkeys(model for model, _ in stated))
    if len(named) == 1:
        ((which, name),) = named.items()
        where = f" (in {name})" if name else ""
        words = f"{first.subject} {stated[which].says}{where}."
    else:
        order = _each_model_first(stated)
        parts = [f"in {named[which]} {stated[which].brief}" for which in order[:_SIDE_BY_SIDE]]
        others = [named[which] for which in order[_SIDE_BY_SIDE:]]
        if others:
            parts.append(f"surely in {listed(others, _NAMED)} too")
        missing = [which for which in named if (which, first.metric) not in told]
        if missing:
            unsure = [named[which] for which in _each_model_first(missing)]
            parts.append(f"not surely in {listed(unsure, _NAMED)}")
        words = f"{first.subject}: {'; '.join(parts)}."
    return Finding(words, first.experiment, models, first.metric)


def _each_model_first(some: Iterable[_Which]) -> list[_Which]:
    """The first label of each model, then the second of each, so that no model takes all places."""
    labels: dict[str, int] = {}
    order = []
    for model, label in some:
        labels[model] = labels.get(model, 0) + 1
        order.append((labels[model], (model, label)))
    return [which for _, which in sorted(order, key=lambda one: one[0])]


def nothing_found(rows: pd.DataFrame, onsets: pd.DataFrame) -> str:
    """The sentences of a page without findings: what was looked at, and why nothing is said.

    Args:
        rows: as for `findings`.
        onsets: as for `findings`.
    """
    if rows.empty or finite(rows).empty:
        return "No finding: no value was measured."
    steps = sorted({int(step) for step in rows["step"]})
    measured = counted(len(steps), "step")
    if len(steps) > 1:
        measured += f" from {step_words(steps[0])} to {step_words(steps[-1])}"
    looked_at = _looked_at(rows, measured)
    if len(steps) < FEWEST_STEPS:
        return (
            f"No finding. Nothing is dated, as {counted(len(steps), 'step')}"
            f" {'was' if len(steps) == 1 else 'were'} measured, and {FEWEST_STEPS} are needed."
            f" {looked_at}"
        )
    if onsets.empty:
        return f"No finding: no metric of the whole model, and none of heads, is dated. {looked_at}"
    if onsets["flags"].str.contains("no_items").all():
        return (
            "No finding. Nothing is dated, as no items of these metrics are kept: there are"
            f" brackets without dates. {looked_at}"
        )
    return f"{_no_onset(onsets)} {looked_at} That nothing happened is not shown."


def _no_onset(onsets: pd.DataFrame) -> str:
    """What was tested, and how much of it passed."""
    is_head = onsets["head"].notna()
    heads, whole = onsets[is_head & onsets["q"].notna()], onsets[~is_head]
    rising, parts = int(((heads["q"] <= Q) & (heads["direction"] == "up")).sum()), []
    dates = int((whole["status"] == "onset").sum())
    if len(heads):
        by = listed([str(name).replace("_", " ") for name in heads["metric"].unique()])
        number = counted(len(heads.drop_duplicates(["model", "label", "layer", "head"])), "head")
        said = f"among {number} none rises surely by {by} (q <= {Q:g})"
        if rising:
            times = counted(rising, "rise")
            verb = "is" if rising == 1 else "are"
            said = (
                f"among {number} there {verb} {times} by {by} (q <= {Q:g}), but nothing sure to say"
            )
        parts.append(said)
    if len(whole):
        said = f"of {counted(len(whole), 'metric')} of the whole model "
        said += "none has" if not dates else f"{dates} {'have' if dates > 1 else 'has'}"
        parts.append(f"{said} an onset (p <= {ALPHA:g})")
    start = "No finding" if rising or dates else "No onset was found"
    return f"{start}: {'; '.join(parts)}."


def _looked_at(rows: pd.DataFrame, measured: str) -> str:
    return f"Looked at: {listed(_labels(rows), _NAMED)}, at {measured}."


def _labels(rows: pd.DataFrame) -> list[str]:
    """The labels in alphabetical order, each with its experiment where the names differ."""
    named = rows[["label", "experiment"]].drop_duplicates().astype(str).sort_values("label")
    return [
        label if label == experiment else f"{label} ({experiment})"
        for label, experiment in named.itertuples(index=False)
    ]
