"""Accuracy on tasks: the share of prompts that are answered, and since when that is not chance.

Chance is what the same model has after the same prompts shuffled: answers differ in frequency, so
that one half is not chance. By the task's own metric where its accuracy was not measured.
"""

import pandas as pd

from pythia_traj.analysis.findings.finding import Kind, Statement
from pythia_traj.analysis.findings.halves import half_words
from pythia_traj.analysis.findings.values import control_of, first_last
from pythia_traj.analysis.selection import choose, measured, of_everything, on_text
from pythia_traj.analysis.wording import step_words

METRICS = ("accuracy", "logit_diff", "prob_diff")

_CALLED = {
    "accuracy": "Accuracy on the task",
    "logit_diff": "The logit difference of the task",
    "prob_diff": "The difference of probabilities of the task",
}

CHANCE = "shuffled"


def chosen_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The accuracy of experiments on tasks; of those without it the task's metric."""
    of_texts = set(on_text(rows)["experiment"].unique())
    chosen = of_everything(choose(rows, METRICS))
    chosen = chosen[~chosen["experiment"].isin(of_texts)]
    order = chosen["metric"].map({name: i for i, name in enumerate(METRICS)})
    chosen = chosen.assign(_order=order)
    best = chosen.groupby(["model", "label"], sort=False)["_order"].transform("min")
    return chosen[chosen["_order"] == best].drop(columns="_order")


def find(chosen: pd.DataFrame, onsets: pd.DataFrame) -> tuple[Statement, ...]:
    """How far it rises above chance, and by when."""
    metric = str(chosen["metric"].iloc[0])
    ends = first_last(measured(chosen))
    if ends is None:
        return ()
    start, end = ends
    chance = control_of(chosen, end.step, CHANCE)
    if not (end.above(start) and end.above(chance)):
        return ()
    half = half_words(onsets, metric)
    says = f"rises from {start.short} to {end.words} by step {step_words(end.step)}{half}"
    if chance is not None:
        says += f"; after shuffled prompts it is {chance.words}"
    beside = "" if chance is None else f", by chance it is {chance.short}"
    brief = f"it rises to {end.words}{half}{beside}"
    experiment = str(chosen["experiment"].iloc[0])
    return (Statement(_CALLED[metric], says, brief, experiment, metric),)


KIND = Kind(20, chosen_rows, find, names_labels=True)
