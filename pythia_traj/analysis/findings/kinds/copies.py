"""Loss on the second copy of random tokens: what a model gains from having seen them before."""

import pandas as pd

from pythia_traj.analysis.findings.dated import COPIES
from pythia_traj.analysis.findings.finding import Kind, Statement
from pythia_traj.analysis.findings.halves import half_words
from pythia_traj.analysis.findings.values import at_step, first_last
from pythia_traj.analysis.selection import measured
from pythia_traj.analysis.text import loss_on_copies
from pythia_traj.analysis.wording import step_words


def find(chosen: pd.DataFrame, onsets: pd.DataFrame) -> tuple[Statement, ...]:
    """How far the loss on the second copy falls below that on the first, and by when."""
    variant = chosen["variant"].iloc[0]
    own = chosen[chosen["variant"] == variant]
    first, second = (own[own["part"] == part] for part in COPIES)
    ends = first_last(measured(second))
    if ends is None:
        return ()
    start, end = ends
    beside = at_step(measured(first), end.step)
    shuffled = at_step(second[second["control"] != ""], end.step)
    if not (end.below(start) and end.below(beside) and end.below(shuffled)) or beside is None:
        return ()
    half = half_words(onsets, "nll", part=COPIES[1])
    says = (
        f"falls from {start.short} to {end.words} nats by step {step_words(end.step)}{half}; on the"
        f" first copy it is {beside.words}"
    )
    brief = f"it falls to {end.words} nats{half}, on the first copy it is {beside.short}"
    experiment = str(own["experiment"].iloc[0])
    subject = "The loss on the second copy of random tokens"
    return (Statement(subject, says, brief, experiment, "nll"),)


KIND = Kind(30, loss_on_copies, find)
