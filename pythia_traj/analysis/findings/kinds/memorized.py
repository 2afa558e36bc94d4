"""Training sequences that are continued as they were in training."""

import pandas as pd

from pythia_traj.analysis.findings.finding import Kind, Statement
from pythia_traj.analysis.findings.halves import half_words
from pythia_traj.analysis.findings.values import at_step, control_of, values_of
from pythia_traj.analysis.selection import choose, measured, of_everything
from pythia_traj.analysis.wording import step_words


def chosen_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Shares of tokens and of whole continuations that are the true ones."""
    chosen = of_everything(choose(rows, ["match", "extractible"]))
    return chosen[chosen["experiment"].isin(chosen.loc[chosen["metric"] == "match", "experiment"])]


def find(chosen: pd.DataFrame, onsets: pd.DataFrame) -> tuple[Statement, ...]:
    """The share of tokens at the last step, where it surely is above that of other sequences."""
    match = chosen[chosen["metric"] == "match"]
    own = values_of(measured(match))
    if not own:
        return ()
    last = own[-1]
    control = control_of(match, last.step)
    if control is None or not last.above(control):
        return ()
    half = half_words(onsets, "match")
    whole = at_step(measured(chosen[chosen["metric"] == "extractible"]), last.step)
    says = (
        f"are continued with {last.words} of their tokens at step {step_words(last.step)}{half};"
        f" another sequence's continuation has {control.words}"
    )
    if whole is not None and whole.has_interval:
        says += f"; {whole.words} of the sequences are continued without an error"
    brief = f"{last.words} of their tokens are continued, by chance {control.short}"
    experiment = str(chosen["experiment"].iloc[0])
    return (Statement("Training sequences", says, brief, experiment, "match"),)


KIND = Kind(110, chosen_rows, find, names_labels=True)
