"""Where each model is in training at each step: in tokens, and in loss."""

from typing import Any

import pandas as pd

from pythia_traj.analysis.selection import finite, measured
from pythia_traj.analysis.text import loss_on_text


def training_of(rows: pd.DataFrame) -> dict[str, dict[str, list[Any]]]:
    """The measured steps of each model, with the tokens seen and the loss on text at each.

    Args:
        rows: rows of a run.

    Returns:
        for each model `steps`, ascending, and of each step `tokens` and `loss` (nats per token, of
        the label with most steps), None where they are unknown.
    """
    if rows.empty:
        return {}
    losses = finite(measured(loss_on_text(rows)))
    found: dict[str, dict[str, list[Any]]] = {}
    for model, of_model in rows.groupby("model", observed=True):
        tokens = of_model.drop_duplicates("step").sort_values("step")
        loss = losses[losses["model"] == str(model)]
        loss = loss[loss["label"].isin(loss["label"].mode()[:1])]
        at = dict(zip(loss["step"], loss["value"].astype(float), strict=True))
        found[str(model)] = {
            "steps": [int(step) for step in tokens["step"]],
            "tokens": [None if pd.isna(seen) else int(seen) for seen in tokens["tokens"]],
            "loss": [at.get(step) for step in tokens["step"]],
        }
    return found
