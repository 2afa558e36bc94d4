"""The n-gram model of the text that the predictions are nearest to, step by step.

The control `shuffled` does not serve here: a model that predicts bigrams does so on shuffled tokens
as well. What must be passed is the curve itself: the divergence at its smallest, by the interval of
Bonferroni over all steps, is surely smaller than at the first step. Steps at which it is not surely
larger are named.
"""

from dataclasses import replace

import pandas as pd

from pythia_traj.analysis.findings.finding import Kind, Statement
from pythia_traj.analysis.findings.values import values_of
from pythia_traj.analysis.learning import divergence_from_ngrams
from pythia_traj.analysis.selection import interval, measured
from pythia_traj.analysis.wording import step_words


def find(chosen: pd.DataFrame, _onsets: pd.DataFrame) -> tuple[Statement, ...]:
    """At which step the divergence from each n-gram model is smallest, and how small."""
    said, brief = [], []
    for name in chosen.sort_values("size")["what"].unique():
        own = measured(chosen[chosen["what"] == name])
        curve = values_of(own)
        if len(curve) < 2:
            continue
        least = min(curve, key=lambda one: one.value)
        _, high = interval(own[own["step"] == least.step], len(curve))
        if not replace(least, high=float(high.iloc[0])).below(curve[0]):
            continue
        near = [one.step for one in curve if not least.below(one)]
        at = f"at step {step_words(least.step)}"
        if len(near) > 1:
            at += f" (as near from {step_words(near[0])} to {step_words(near[-1])})"
        elif least is curve[-1]:
            at += ", the last"
        said.append(f"the {name} model {at}, {least.words} nats away")
        brief.append(f"the {name} model {at}")
    if not said:
        return ()
    experiment = str(chosen["experiment"].iloc[0])
    subject = "On text the predictions are nearest to"
    return (Statement(subject, "; ".join(said), ", ".join(brief), experiment, "kl"),)


KIND = Kind(90, divergence_from_ngrams, find)
