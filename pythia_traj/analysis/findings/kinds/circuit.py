"""How few edges make a faithful circuit, and since when there is anything to be faithful to.

A circuit can only be faithful where the task's metric differs between the clean and the corrupted
prompts. Its size counts where circuits of edges in random order are surely larger: by two standard
deviations among the orders, or because some of them reach no faithful size at all.
"""

import numpy as np
import pandas as pd

from pythia_traj.analysis.findings.finding import Kind, Statement
from pythia_traj.analysis.findings.values import Value, surely_from, values_of
from pythia_traj.analysis.selection import choose, measured
from pythia_traj.analysis.tasks import CIRCUIT_METRICS
from pythia_traj.analysis.wording import counted, step_words

METRICS = ("circuit_size", "circuit_size_sd", "faithfulness_normalised", *CIRCUIT_METRICS)

METHODS = ("eap_ig", "eap", "eap_denoising")
"""Methods in the order in which one is taken."""


def chosen_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Sizes and faithfulness of circuits, and the metric that they are of."""
    chosen = choose(rows, METRICS)
    found = set(chosen.loc[chosen["metric"] == "circuit_size", "experiment"])
    return chosen[chosen["experiment"].isin(found) & (chosen["reference"] == "")]


def find(chosen: pd.DataFrame, _onsets: pd.DataFrame) -> tuple[Statement, ...]:
    """The size at the last step, that of random orders, and since when the metrics differ."""
    methods = set(chosen.loc[chosen["metric"] == "circuit_size", "variant"])
    method = next((one for one in METHODS if one in methods), min(methods, default=""))
    own = chosen[chosen["variant"] == method]
    sizes = values_of(measured(own[own["metric"] == "circuit_size"]))
    since = _differ_from(chosen[(chosen["variant"] == "") & chosen["size"].isna()])
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
        f" {random}; clean and corrupted prompts surely differ from step {step_words(since)} on"
    )
    verb = "is" if last.value == 1 else "are"
    brief = f"{size} {verb} faithful at step {step_words(last.step)}, in random order {random}"
    experiment = str(chosen["experiment"].iloc[0])
    return (Statement(subject, says, brief, experiment, "circuit_size"),)


def _differ_from(whole: pd.DataFrame) -> int | None:
    """From which step on the metric surely differs between clean and corrupted prompts."""
    whole = whole[whole["metric"].isin(CIRCUIT_METRICS)]
    whole = whole[whole["metric"].isin(whole["metric"].mode()[:1])]
    corrupted = {one.step: one for one in values_of(whole[whole["control"] == "corrupted"])}
    clean = [one for one in values_of(measured(whole)) if one.step in corrupted]
    return surely_from([(one.step, one.apart(corrupted[one.step])) for one in clean])


def _random(own: pd.DataFrame, last: Value) -> str | None:
    """How many edges random orders need at that step; None where that is not surely more."""
    at = own[(own["step"] == last.step) & (own["control"] == "random")]
    sizes, spread = at[at["metric"] == "circuit_size"], at[at["metric"] == "circuit_size_sd"]
    faithful = own[(own["metric"] == "faithfulness_normalised") & (own["step"] == last.step)]
    faithful = faithful[(faithful["control"] == "random") & (faithful["size"] >= last.value)]
    if len(sizes) and np.isfinite(float(sizes["value"].iloc[0])):
        needed = float(sizes["value"].iloc[0])
        sd = float(spread["value"].iloc[0]) if len(spread) else 0.0
        is_more = needed - 2 * (sd if np.isfinite(sd) else 0.0) > last.value
        return f"{step_words(needed)} are needed" if is_more else None
    # Some orders reach no faithful size: their mean is null. The others may still be small.
    nearest = faithful.sort_values("size")["value"].to_numpy(float)[:1]
    known = values_of(
        measured(own[(own["metric"] == "faithfulness_normalised") & (own["size"] >= last.value)])
    )
    beside = [one for one in known if one.step == last.step]
    if len(nearest) and np.isfinite(nearest[0]) and beside and beside[0].low > nearest[0]:
        return "some orders are faithful at no size"
    return None


def _faithful(own: pd.DataFrame, last: Value) -> str:
    """The faithfulness of the next size of the grid, with its interval."""
    at = own[(own["metric"] == "faithfulness_normalised") & (own["step"] == last.step)]
    at = measured(at[(at["size"] >= last.value) & np.isfinite(at["value"].to_numpy(float))])
    if at.empty:
        return ""
    size = at["size"].min()
    (value,) = values_of(at[at["size"] == size])
    return f" (normalised faithfulness of {size:.0f} edges: {value.words})"


KIND = Kind(50, chosen_rows, find)
