"""Other metrics of the whole model that have an onset, such as those of a user's experiment."""

import pandas as pd

from pythia_traj.analysis.findings.dated import NOT_LEARNT
from pythia_traj.analysis.findings.finding import Kind, Statement
from pythia_traj.analysis.findings.halves import half_words, onset_of
from pythia_traj.analysis.findings.values import at_step, control_of, values_of
from pythia_traj.analysis.selection import choose, measured, of_everything
from pythia_traj.analysis.wording import step_words

SAID = frozenset(
    {
        *("nll", "accuracy", "bits_per_byte", "logit_diff", "prob_diff", "rank0"),
        *("kl", "js", "match", "extractible"),
    }
)
"""Metrics that other kinds speak of."""


def chosen_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The metrics of the whole model that no other kind speaks of, under each label."""
    names = {str(name) for name in rows["metric"].unique()} - SAID - NOT_LEARNT
    return of_everything(choose(rows, sorted(names)))


def find(chosen: pd.DataFrame, onsets: pd.DataFrame) -> tuple[Statement, ...]:
    """Each metric that surely changes, and is surely apart from its control where it is highest."""
    found = []
    for metric, at in chosen.groupby("metric", sort=True):
        onset, own = onset_of(onsets, str(metric)), values_of(measured(at))
        if onset is None or len(own) < 2:
            continue
        top = at_step(measured(at), int(onset["top_step"]))
        if top is None or not (top.apart(own[0]) and top.apart(control_of(at, top.step) or own[0])):
            continue
        half = half_words(onsets, str(metric))
        says = f"goes from {own[0].short} to {top.words} by step {step_words(top.step)}{half}"
        brief = f"it goes to {top.words}{half}"
        experiment = str(at["experiment"].iloc[0])
        found.append(Statement(f"The metric {metric}", says, brief, experiment, str(metric)))
    return tuple(found)


KIND = Kind(120, chosen_rows, find, names_labels=True)
