"""Loss on text."""

import pandas as pd

from pythia_traj.analysis.findings.finding import Kind, Statement
from pythia_traj.analysis.findings.halves import half_words
from pythia_traj.analysis.findings.values import control_of, first_last
from pythia_traj.analysis.selection import measured
from pythia_traj.analysis.text import loss_on_text
from pythia_traj.analysis.wording import step_words


def find(chosen: pd.DataFrame, onsets: pd.DataFrame) -> tuple[Statement, ...]:
    """How far the loss on text falls, by when, and what it is on shuffled tokens."""
    ends = first_last(measured(chosen))
    if ends is None:
        return ()
    start, end = ends
    control = control_of(chosen, end.step)
    if not (end.below(start) and end.below(control)):
        return ()
    half = half_words(onsets, "nll")
    says = f"falls from {start.short} to {end.words} nats by step {step_words(end.step)}{half}"
    if control is not None:
        says += f"; on the same tokens shuffled it is {control.words}"
    brief = f"it falls from {start.short} to {end.words} nats{half}"
    experiment = str(chosen["experiment"].iloc[0])
    return (Statement("The loss on text", says, brief, experiment, "nll"),)


KIND = Kind(70, loss_on_text, find)
