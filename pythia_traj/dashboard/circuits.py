"""Figures of ablations, circuits and heads' roles: rows in, Plotly figure out, as in figures.py."""

import pandas as pd
import plotly.graph_objects as go

from pythia_traj.dashboard.figures import (
    NULL,
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
HEADS = Quantity("heads above their null", "number", rangemode="tozero")

_CIRCUIT_METRICS = {
    "nll": "loss in nats",
    "logit_diff": "logit difference",
    "prob_diff": "difference of probabilities",
}


def sets_over_steps(rows: pd.DataFrame) -> go.Figure:
    """Effect of removing sets of heads on a task's loss at each step, by kind of removal.

    The mean of their matched controls is drawn with it.
    """
    names = sorted(
        {str(name) for name in rows["component"].dropna().unique() if str(name).startswith("set:")}
    )
    if not names:
        raise NothingToDraw("effect of sets of heads", {})
    parts = [
        choose(rows, ["effect"], component=name).assign(what=name.removeprefix("set:"))
        for name in names
    ]
    chosen = pd.concat(parts, ignore_index=True)
    chosen = chosen[chosen["dim"] == "nll"]
    chosen = chosen.assign(what=chosen["what"] + ", " + chosen["variant"])
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
        chosen[(chosen["dim"] == "nll") & (chosen[NULL] == "")], "effect of heads"
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
    sizes = sorted(chosen["dim"][own].unique(), key=int)
    few = set(sizes[:: max(1, len(sizes) // 3)])
    chosen = chosen[~own | chosen["dim"].isin(few)]
    names = [
        f"{row.dim} edges" if row.metric == "faithfulness_normalised" else f"circuit of {row.dim}"
        for row in chosen.itertuples()
    ]
    return over_steps(drawable(chosen.assign(what=names), "faithfulness"), FAITHFULNESS)


def circuit_metric_over_steps(rows: pd.DataFrame) -> go.Figure:
    """The metric of the whole model, of the corrupted prompts, and of another step's circuit.

    That circuit is one in this step's model.
    """
    of_circuits = choose(rows, ["transfer_faithfulness"])
    names = {"full": "whole model", "corrupted": "corrupted prompts"}
    names |= {dim: f"circuit of {dim}" for dim in of_circuits["dim"].unique()}
    if of_circuits.empty:
        raise NothingToDraw("metric of circuits", {})
    chosen = choose(rows, list(_CIRCUIT_METRICS))
    chosen = chosen[chosen["dim"].isin(list(names))]
    metric = chosen["metric"].mode().iloc[0]
    chosen = chosen[chosen["metric"] == metric]
    return over_steps(
        drawable(chosen.assign(what=chosen["dim"].map(names)), "metric of circuits"),
        Quantity("metric", _CIRCUIT_METRICS[metric]),
    )


def circuit_size_over_steps(rows: pd.DataFrame) -> go.Figure:
    """How many edges a faithful circuit takes at each step, and how many it takes at random."""
    chosen = choose(rows, ["circuit_size"])
    return over_steps(drawable(chosen.assign(what="circuit"), "circuit size"), EDGES)


def roles_over_steps(rows: pd.DataFrame) -> go.Figure:
    """How many heads of each role stand out from their null at each step."""
    chosen = choose(rows, ["heads_above_null"])
    chosen = chosen.assign(what=chosen["dim"].str.replace("_", " "))
    return over_steps(drawable(chosen, "roles of heads"), HEADS)
