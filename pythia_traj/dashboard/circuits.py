"""Figures of ablations, circuits and heads' roles: rows in, Plotly figure out, as in figures.py."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.dashboard.figures import (
    WHICH,
    NothingToDraw,
    choose,
    drawable,
    head_names,
    over_steps,
)
from pythia_traj.dashboard.style import Quantity

EFFECT = Quantity("effect on the loss", "nats")
FAITHFULNESS = Quantity("faithfulness", "1 is the whole model")
EDGES = Quantity("edges", "number", rangemode="tozero")
HEADS = Quantity("heads above their controls", "number", rangemode="tozero")

_CIRCUIT_METRICS = {
    "nll": "loss in nats",
    "logit_diff": "logit difference",
    "prob_diff": "difference of probabilities",
}


def sets_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Effect of removing sets of heads on a task's loss at each step, by kind of removal.

    The mean of their matched controls is drawn with it.
    """
    chosen = choose(rows, ["effect"], component="set").sort_values("part", kind="stable")
    chosen = chosen[chosen["target"] == "nll"]
    chosen = chosen.assign(what=chosen["part"] + ", " + chosen["variant"])
    return over_steps(drawable(chosen, "effect of sets of heads"), EFFECT)


def removed_heads_over_steps(rows: pd.DataFrame, top: int = 5) -> go.Figure:
    """Effect of removing single heads on a task's loss at each step.

    They are those whose removal ever costs most, by the first kind of removal.

    Args:
        rows: rows of a run.
        top: how many heads of each model and label.
    """
    chosen = choose(rows, ["effect"], component="head")
    chosen = drawable(
        chosen[(chosen["target"] == "nll") & (chosen["control"] == "")], "effect of heads"
    ).dropna(subset=["head"])
    chosen = chosen[chosen["variant"] == chosen["variant"].min()]
    chosen = chosen.assign(what=head_names(chosen))
    most = chosen.groupby([*WHICH, "what"])["value"].max().groupby(list(WHICH)).nlargest(top)
    kept = {key[-3:] for key in most.index}
    keys = zip(*(chosen[name] for name in (*WHICH, "what")), strict=True)
    return over_steps(chosen[[key in kept for key in keys]], EFFECT)


def faithfulness_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Faithfulness of circuits at each step, random ones dotted.

    They are those of a named other step, and of the step itself by number of edges.
    """
    chosen = choose(rows, ["faithfulness_normalised", "transfer_faithfulness"])
    own = chosen["metric"] == "faithfulness_normalised"
    sizes = sorted(chosen["size"][own].unique())
    few = set(sizes[:: max(1, len(sizes) // 3)])
    chosen = chosen[~own | chosen["size"].isin(few)]
    of_sizes = chosen["size"].map("{:.0f} edges".format)
    names = of_sizes.where(chosen["reference"] == "", "circuit of " + chosen["reference"])
    return over_steps(drawable(chosen.assign(what=names), "faithfulness"), FAITHFULNESS)


def circuit_metric_over_steps(rows: pd.DataFrame) -> go.Figure:
    """The metric of the whole model, of the corrupted prompts, and of another step's circuit.

    That circuit is one in this step's model.
    """
    of_circuits = choose(rows, ["transfer_faithfulness"])
    chosen = choose(rows, list(_CIRCUIT_METRICS))
    chosen = chosen[chosen["experiment"].isin(of_circuits["experiment"]) & chosen["size"].isna()]
    if chosen.empty:
        raise NothingToDraw("metric of circuits", {})
    metric = chosen["metric"].mode().iloc[0]
    chosen = chosen[chosen["metric"] == metric]
    # The corrupted prompts have a line of their own: each circuit's control is one of random edges.
    corrupted = chosen["control"] == "corrupted"
    names = ("circuit of " + chosen["reference"]).mask(chosen["reference"] == "", "whole model")
    chosen = chosen.assign(
        what=names.mask(corrupted, "corrupted prompts"),
        control=chosen["control"].mask(corrupted, ""),
    )
    return over_steps(
        drawable(chosen, "metric of circuits"), Quantity("metric", _CIRCUIT_METRICS[metric])
    )


def circuit_size_over_steps(rows: pd.DataFrame) -> go.Figure:
    """How many edges a faithful circuit takes at each step, and how many it takes at random."""
    chosen = choose(rows, ["circuit_size"])
    return over_steps(drawable(chosen.assign(what="circuit"), "circuit size"), EDGES)


def roles_over_steps(rows: pd.DataFrame) -> go.Figure:
    """How many heads of each role stand out from their controls at each step."""
    chosen = choose(rows, ["heads_above_null"])
    chosen = chosen.assign(what=chosen["target"].str.replace("_", " "))
    return over_steps(drawable(chosen, "roles of heads"), HEADS)
