"""Tasks: whether they are done, what removing heads costs, and circuits of edges."""

import pandas as pd

from pythia_traj.analysis.heads import head_names, of_one_head
from pythia_traj.analysis.layers import part_names
from pythia_traj.analysis.selection import (
    WHICH,
    choose,
    choose_parts,
    measured,
    of_everything,
    one_of,
)

CIRCUIT_METRICS = ("nll", "logit_diff", "prob_diff")
"""The metrics of a task by which a circuit is found."""

UNITS = {"nll": "nats", "logit_diff": "logits", "prob_diff": "probability"}
"""The units of these metrics."""

_RIGHT = {"accuracy": "likelier than the wrong one", "rank0": "first choice"}
"""What it takes to be right on a prompt, by metric."""


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

    Of several metrics it is the one that most rows have. `what` is the whole model or the circuit.
    The corrupted prompts are the whole model's control, random edges that of the circuit.
    """
    of_circuits = choose(rows, ["transfer_faithfulness"])
    chosen = choose(rows, CIRCUIT_METRICS)
    chosen = chosen[chosen["experiment"].isin(of_circuits["experiment"]) & chosen["size"].isna()]
    chosen = chosen[chosen["metric"].isin(chosen["metric"].mode()[:1])]
    names = ("circuit of " + chosen["reference"]).mask(chosen["reference"] == "", "whole model")
    return chosen.assign(what=names)


def attributions_of_heads(rows: pd.DataFrame) -> pd.DataFrame:
    """Attribution of every head by one method, without controls; `what` names the head."""
    chosen = measured(choose(rows, ["attribution"], component="head"))
    chosen = one_of(chosen.dropna(subset=["head"]), "variant")
    return chosen.assign(what=head_names(chosen))


def circuit_sizes(rows: pd.DataFrame) -> pd.DataFrame:
    """How many edges a faithful circuit needs, and how many at random; `what` is "circuit"."""
    return choose(rows, ["circuit_size"]).assign(what="circuit")


def on_prompts(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric of a task over all its prompts, with controls; `what` is "prompts"."""
    return of_everything(choose(rows, [metric])).assign(what="prompts")


def right_on_prompts(rows: pd.DataFrame) -> pd.DataFrame:
    """Shares of prompts on which a model is right, with controls; `what` names the standard."""
    chosen = of_everything(choose(rows, list(_RIGHT)))
    return chosen.assign(what=chosen["metric"].map(_RIGHT))


def on_templates(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric of a task by template, which `what` names, without controls."""
    chosen = measured(choose(rows, [metric]))
    chosen = chosen[(chosen["part"] != "") & (chosen["target"] == "")]
    return chosen.assign(what=chosen["part"])


def strongest(chosen: pd.DataFrame, top: int) -> pd.DataFrame:
    """The rows of the heads whose values are ever furthest from 0, the furthest first.

    `what` names the head.

    Args:
        chosen: chosen rows of one metric of heads.
        top: how many heads of each model and label.
    """
    of_heads = of_one_head(chosen).copy()
    of_heads["what"] = head_names(of_heads)
    keys = [*WHICH, "what"]
    reached = of_heads["value"].abs().groupby([of_heads[key] for key in keys], sort=False).max()
    most = reached.dropna().groupby(list(WHICH), sort=False, group_keys=False).nlargest(top)
    places = pd.Series(range(len(most)), index=most.index, name="place")
    kept = of_heads.merge(places.reset_index(), on=keys)
    kept = kept.sort_values(["place", "step"], kind="stable", ignore_index=True)
    return kept.drop(columns="place")


def patched_parts(rows: pd.DataFrame, variant: str) -> pd.DataFrame:
    """Patching of attention layers and MLPs in one direction, without controls.

    `what` names the component and its layer.
    """
    chosen = measured(choose_parts(rows, "patching"))
    chosen = chosen[chosen["component"].isin(["attn", "mlp"]) & (chosen["variant"] == variant)]
    return chosen.assign(what=part_names(chosen))


def patched_positions(rows: pd.DataFrame, variant: str) -> pd.DataFrame:
    """Patching of the stream before each layer at each position, without controls or `what`."""
    chosen = measured(choose(rows, ["patching"], component="resid_pre", by_position=True))
    return chosen[chosen["variant"] == variant]


def transplants(rows: pd.DataFrame) -> pd.DataFrame:
    """Effect of transplants that are of no single layer, with controls.

    `what` names the component, or the other step's whole model, and the step.
    """
    whole = choose(rows, ["transplant"])
    parts = choose_parts(rows, "transplant")
    parts = parts[parts["layer"].isna() & (parts["component"] != "head")]
    chosen = pd.concat([whole, parts], ignore_index=True)
    names = chosen["component"].mask(chosen["component"] == "", "whole model")
    return chosen.assign(what=names + " of " + chosen["reference"])


def transplanted_parts(rows: pd.DataFrame) -> pd.DataFrame:
    """Effect of transplants of all components but heads, without controls.

    `what` names the component and its layer.
    """
    chosen = measured(choose_parts(rows, "transplant"))
    chosen = chosen[chosen["component"] != "head"]
    return chosen.assign(what=part_names(chosen))


def effects_of_layers(rows: pd.DataFrame, variant: str | None = None) -> pd.DataFrame:
    """Effect of removing attention layers and MLPs on a task's loss, by one kind of removal.

    Args:
        rows: rows of a run.
        variant: the kind of removal; by default the first in alphabetical order.

    Returns:
        chosen rows; `what` names the component and its layer.
    """
    chosen = measured(choose_parts(rows, "effect"))
    chosen = chosen[chosen["component"].isin(["attn", "mlp"]) & (chosen["target"] == "nll")]
    chosen = one_of(chosen, "variant", variant)
    return chosen.assign(what=part_names(chosen))
