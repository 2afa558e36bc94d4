"""How few edges make a faithful circuit, and since when there is anything to be faithful to.

A circuit can only be faithful where the task's metric differs between the clean and the corrupted
prompts. The run itself says where: normalised faithfulness has a value where the mean of their
differences is more than 3 of its standard errors from 0 (docs/circuits.md). A circuit's size counts
where circuits of edges in random order are surely larger: by two standard deviations among the
orders, or because some of them reach no faithful size at all.
"""

import pandas as pd

from pythia_traj.analysis.findings.finding import Kind, Statement
from pythia_traj.analysis.findings.values import Value, surely_from, values_of
from pythia_traj.analysis.selection import choose, finite, measured
from pythia_traj.analysis.tasks import CIRCUIT_METRICS
from pythia_traj.analysis.wording import counted, step_words

FAITHFUL = ("circuit_size", "faithfulness_normalised")
"""Metrics that have a value where clean and corrupted prompts differ, and only there."""

METRICS = (*FAITHFUL, "circuit_size_sd", *CIRCUIT_METRICS)

METHODS = ("eap_ig", "eap", "eap_denoising")
"""Methods in the order in which one is taken."""


def chosen_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Sizes and faithfulness of circuits, and the metric that they are of."""
    chosen = choose(rows, METRICS)
    found = set(chosen.loc[chosen["metric"] == "circuit_size", "experiment"])
    return chosen[chosen["experiment"].isin(found) & (chosen["reference"] == "")]


def find(chosen: pd.DataFrame, _onsets: pd.DataFrame) -> tuple[Statement, ...]:
    """The size at the last step, that of random orders, and since when the prompts differ."""
    methods = set(chosen.loc[chosen["metric"] == "circuit_size", "variant"])
    method = next((one for one in METHODS if one in methods), min(methods, default=""))
    own = chosen[chosen["variant"] == method]
    sizes = values_of(measured(own[own["metric"] == "circuit_size"]))
    since = _differ_from(own, chosen["step"])
    if not sizes or since is None or sizes[-1].step < since:
        return ()
    last = sizes[-1]
    random = _random(own, last)
    if random is None:
        return ()
    size = counted(round(last.value), "edge")
    faithful = _faithful(own, last)
    subject = f"A circuit ({method})" if method else "A circuit"
    says = (
        f"of {size} is faithful at step {step_words(last.step)}{faithful}; in random order"
        f" {random}; clean and corrupted prompts differ by over 3 standard errors from step"
        f" {step_words(since)} on"
    )
    verb = "is" if last.value == 1 else "are"
    brief = f"{size} {verb} faithful at step {step_words(last.step)}, in random order {random}"
    experiment = str(chosen["experiment"].iloc[0])
    return (Statement(subject, says, brief, experiment, "circuit_size"),)


def _differ_from(own: pd.DataFrame, steps: pd.Series) -> int | None:
    """From which step on the prompts differ at all steps, by the run's own rule."""
    defined = set(finite(measured(own[own["metric"].isin(FAITHFUL)]))["step"])
    return surely_from([(int(step), step in defined) for step in sorted(steps.unique())])


def _random(own: pd.DataFrame, last: Value) -> str | None:
    """How many edges random orders need at that step; None where that is not surely more."""
    at = finite(own[(own["step"] == last.step) & (own["control"] == "random")])
    sizes, spread = at[at["metric"] == "circuit_size"], at[at["metric"] == "circuit_size_sd"]
    faithful = at[(at["metric"] == "faithfulness_normalised") & (at["size"] >= last.value)]
    if len(sizes):
        needed = float(sizes["value"].iloc[0])
        sd = float(spread["value"].iloc[0]) if len(spread) else 0.0
        is_more = needed - 2 * sd > last.value
        return f"{step_words(needed)} are needed" if is_more else None
    # Some orders reach no faithful size: their mean is null. The others may still be small.
    nearest = faithful.sort_values("size")["value"].to_numpy(float)[:1]
    known = values_of(
        measured(own[(own["metric"] == "faithfulness_normalised") & (own["size"] >= last.value)])
    )
    beside = [one for one in known if one.step == last.step]
    if len(nearest) and beside and beside[0].low > nearest[0]:
        return "some orders are faithful at no size"
    return None


def _faithful(own: pd.DataFrame, last: Value) -> str:
    """The faithfulness of the next size of the grid, with its interval."""
    at = own[(own["metric"] == "faithfulness_normalised") & (own["step"] == last.step)]
    at = finite(measured(at[at["size"] >= last.value]))
    if at.empty:
        return ""
    size = at["size"].min()
    (value,) = values_of(at[at["size"] == size])
    return f" (normalised faithfulness of {size:.0f} edges: {value.words})"


KIND = Kind(50, chosen_rows, find)
