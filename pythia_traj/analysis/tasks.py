"""Tasks: what removing heads costs, and circuits of edges."""

import pandas as pd

from pythia_traj.analysis.heads import head_names
from pythia_traj.analysis.selection import WHICH, choose, measured

CIRCUIT_METRICS = ("nll", "logit_diff", "prob_diff")
"""The metrics of a task by which a circuit is found."""


def effects_of_sets(rows: pd.DataFrame) -> pd.DataFrame:
    """Effect of removing sets of heads on a task's loss, with matched controls.

    `what` names the set and the kind of removal; the sets are in alphabetical order.
    """
    chosen = choose(rows, ["effect"], component="set").sort_values("part", kind="stable")
    chosen = chosen[chosen["target"] == "nll"]
    return chosen.assign(what=chosen["part"] + ", " + chosen["variant"])


def effects_of_heads(rows: pd.DataFrame) -> pd.DataFrame:
    """Effect of removing single heads on a task's loss, by every kind of removal, no controls.

    `what` names the head.
    """
    chosen = choose(rows, ["effect"], component="head")
    chosen = measured(chosen[chosen["target"] == "nll"])
    return chosen.assign(what=head_names(chosen))


def costliest_heads(chosen: pd.DataFrame, top: int) -> pd.DataFrame:
    """The effects of the heads whose removal costs most at any step, by one kind of removal.

    Args:
        chosen: effects of heads, with a value. Of several kinds of removal the first in
            alphabetical order is taken.
        top: how many heads of each model and label.
    """
    chosen = chosen.dropna(subset=["head"])
    chosen = chosen[chosen["variant"] == chosen["variant"].min()]
    most = chosen.groupby([*WHICH, "what"])["value"].max().groupby(list(WHICH)).nlargest(top)
    kept = {key[-3:] for key in most.index}
    keys = zip(*(chosen[name] for name in (*WHICH, "what")), strict=True)
    return chosen[[key in kept for key in keys]]


def faithfulness(rows: pd.DataFrame) -> pd.DataFrame:
    """Faithfulness of circuits, and of random ones as controls.

    The circuits are those of a named other step, and of the step itself by number of edges: about
    three of the sizes. `what` names the step or the number of edges.
    """
    chosen = choose(rows, ["faithfulness_normalised", "transfer_faithfulness"])
    own = chosen["metric"] == "faithfulness_normalised"
    sizes = sorted(chosen["size"][own].unique())
    few = set(sizes[:: max(1, len(sizes) // 3)])
    chosen = chosen[~own | chosen["size"].isin(few)]
    of_sizes = chosen["size"].map("{:.0f} edges".format)
    names = of_sizes.where(chosen["reference"] == "", "circuit of " + chosen["reference"])
    return chosen.assign(what=names)


def circuit_metric(rows: pd.DataFrame) -> pd.DataFrame:
    """The metric of the whole model, of the corrupted prompts, and of another step's circuit.

    Of several metrics it is the one that most rows have. `what` distinguishes the three. The
    corrupted prompts are not a control here: a circuit's control has random edges.
    """
    of_circuits = choose(rows, ["transfer_faithfulness"])
    chosen = choose(rows, CIRCUIT_METRICS)
    chosen = chosen[chosen["experiment"].isin(of_circuits["experiment"]) & chosen["size"].isna()]
    chosen = chosen[chosen["metric"].isin(chosen["metric"].mode()[:1])]
    corrupted = chosen["control"] == "corrupted"
    names = ("circuit of " + chosen["reference"]).mask(chosen["reference"] == "", "whole model")
    return chosen.assign(
        what=names.mask(corrupted, "corrupted prompts"),
        control=chosen["control"].mask(corrupted, ""),
    )


def circuit_sizes(rows: pd.DataFrame) -> pd.DataFrame:
    """How many edges a faithful circuit needs, and how many at random; `what` is "circuit"."""
    return choose(rows, ["circuit_size"]).assign(what="circuit")
