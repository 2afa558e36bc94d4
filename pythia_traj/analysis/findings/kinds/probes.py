"""What probes find: the layer with the largest selectivity at the last step.

Selectivity, the accuracy minus that on control tasks, must surely be above 0 and above its own
control. Layers are compared, so the interval is Bonferroni's over all of them.
"""

import pandas as pd

from pythia_traj.analysis.findings.finding import Kind, Statement
from pythia_traj.analysis.findings.values import at_step, control_of
from pythia_traj.analysis.learning import logistic_probes
from pythia_traj.analysis.selection import finite, interval, measured
from pythia_traj.analysis.wording import counted, step_words


def chosen_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy and selectivity of logistic probes of the stream after each layer."""
    some = [logistic_probes(rows, metric) for metric in ("accuracy", "selectivity")]
    return pd.concat(some, ignore_index=True)


def find(chosen: pd.DataFrame, _onsets: pd.DataFrame) -> tuple[Statement, ...]:
    """The best layer, its accuracy and its selectivity."""
    own = finite(measured(chosen[chosen["metric"] == "selectivity"]))
    own = own[own["step"] == own["step"].max()]
    if own.empty:
        return ()
    low, _ = interval(own, len(own))
    at_best = own["value"].idxmax()
    best, sure = own.loc[at_best], float(low[at_best])
    step, layer = int(best["step"]), best["what"]
    at = chosen[chosen["what"] == layer]
    selectivity = at_step(measured(at[at["metric"] == "selectivity"]), step)
    lead = control_of(at[at["metric"] == "selectivity"], step)
    accuracy = at_step(measured(at[at["metric"] == "accuracy"]), step)
    if selectivity is None or accuracy is None or not sure > 0 or not selectivity.above(lead):
        return ()
    beside = control_of(at[at["metric"] == "accuracy"], step)
    says = (
        f"are most selective {layer} of {counted(len(own), 'layer')} at step {step_words(step)}:"
        f" accuracy {accuracy.words}"
    )
    if beside is not None:
        says += f", on control tasks {beside.words}"
    says += f", selectivity {selectivity.words}"
    brief = (
        f"they are most selective {layer}, accuracy {accuracy.short}, selectivity"
        f" {selectivity.words}"
    )
    experiment = str(best["experiment"])
    return (Statement("Logistic probes", says, brief, experiment, "selectivity"),)


KIND = Kind(100, chosen_rows, find, names_labels=True)
