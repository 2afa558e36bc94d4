"""Where each model is in training at each step: in tokens, and in loss."""

from typing import Any

import pandas as pd

from pythia_traj.analysis.selection import finite, measured
from pythia_traj.analysis.text import loss_on_text


def training_of(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The measured steps of each model, with the tokens seen and the loss on text at each.

    The loss is the lowest until then: it only falls, so that steps keep their order on an axis.
    All models have that of one label where one has it for all of them, as losses on other texts or
    lengths are not comparable.

    Args:
        rows: rows of a run.

    Returns:
        for each model `steps`, ascending, and of each step `tokens` and `loss` (nats per token),
        None where they are unknown; and `label`, that of the loss, None without one.
    """
    if rows.empty:
        return {}
    losses = finite(measured(loss_on_text(rows)))
    by_label = losses.groupby("label")
    order = sorted(
        by_label.groups,
        key=lambda label: (
            -by_label.get_group(label)["model"].nunique(),
            -len(by_label.get_group(label)),
            str(label),
        ),
    )
    found: dict[str, dict[str, Any]] = {}
    for model, of_model in rows.groupby("model", observed=True):
        at = of_model.drop_duplicates("step").sort_values("step")
        own = losses[losses["model"] == str(model)]
        label = next((one for one in order if (own["label"] == one).any()), None)
        found[str(model)] = {
            "steps": [int(step) for step in at["step"]],
            "tokens": [None if pd.isna(seen) else int(seen) for seen in at["tokens"]],
            "loss": _lowest(own[own["label"] == label], at["step"]),
            "label": label,
        }
    return found


def _lowest(losses: pd.DataFrame, steps: pd.Series) -> list[float | None]:
    """The lowest loss until each step at which it was measured."""
    lowest = losses.sort_values("step").assign(value=lambda one: one["value"].cummin())
    at = dict(zip(lowest["step"], lowest["value"].astype(float), strict=True))
    return [at.get(step) for step in steps]
