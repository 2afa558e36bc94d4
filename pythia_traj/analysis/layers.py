"""Metrics of layers, of sites in them and of matrices: which rows, and how lines are called."""

from collections.abc import Sequence

import pandas as pd

from pythia_traj.analysis.selection import choose_parts, measured, one_of

SITES = ("resid_post", "resid_pre", "resid_mid", "mlp_out", "attn_out")
"""Sites of the residual stream in the order in which one of them is chosen."""


def values_of_layers(
    rows: pd.DataFrame, metric: str, variant: str | None = None, component: str | None = None
) -> pd.DataFrame:
    """One metric of layers at one site, with controls; `what` names the layer.

    Args:
        rows: rows of a run.
        metric: a metric of layers.
        variant: its variant; None where it has none.
        component: the site; by default the first of `SITES` that was measured, else any.
    """
    chosen = choose_parts(rows, metric)
    chosen = chosen[(chosen["variant"] == (variant or "")) & chosen["head"].isna()]
    chosen = one_of(chosen.dropna(subset=["layer"]), "component", component, SITES)
    return chosen.assign(what=layer_names(chosen))


def compared_with(
    chosen: pd.DataFrame, reference: str | None = None, preferred: Sequence[str] = ()
) -> pd.DataFrame:
    """The chosen rows of one other step.

    Args:
        chosen: chosen rows that compare with other steps.
        reference: such as init; by default the first of the preferred ones that there is, else any.
        preferred: in order of preference.
    """
    return one_of(chosen, "reference", reference, preferred)


def named_by_reference(chosen: pd.DataFrame) -> pd.DataFrame:
    """The chosen rows of layers, where `what` names the layer and the other step."""
    return chosen.assign(what=chosen["what"] + ", with " + chosen["reference"])


def values_of_parts(
    rows: pd.DataFrame, metric: str, variant: str | None = None, target: str | None = None
) -> pd.DataFrame:
    """One metric of all parts of a model but heads and sets of them, without controls.

    Args:
        rows: rows of a run.
        metric: a metric of components.
        variant: its variant; None where it has none.
        target: what it is about; None where it is about nothing else.

    Returns:
        chosen rows; `what` names the component and its layer.
    """
    chosen = choose_parts(rows, metric)
    chosen = chosen[(chosen["variant"] == (variant or "")) & (chosen["target"] == (target or ""))]
    chosen = measured(chosen[chosen["head"].isna() & ~chosen["component"].isin(["head", "set"])])
    return chosen.assign(what=part_names(chosen))


def layer_names(chosen: pd.DataFrame) -> pd.Series:
    """The layer of each row, as `layer 3`."""
    names = [f"layer {layer:.0f}" for layer in chosen["layer"]]
    return pd.Series(names, chosen.index, dtype=str)


def part_names(chosen: pd.DataFrame) -> pd.Series:
    """The component of each row and its layer, as `mlp L3` or `embed`."""
    layers = ["" if pd.isna(layer) else f" L{layer:.0f}" for layer in chosen["layer"]]
    return chosen["component"] + pd.Series(layers, chosen.index, dtype=str)
