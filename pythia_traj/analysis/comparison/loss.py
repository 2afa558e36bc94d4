"""Where in training a model is at a loss."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pythia_traj.analysis.matrix import Floats, require
from pythia_traj.analysis.selection import choose, measured, of_everything, on_text
from pythia_traj.errors import AnalysisError


@dataclass(frozen=True)
class Descent:
    """A model's loss over training, as the way down: it is at a loss when it first reaches it.

    Attributes:
        x: log2(step + 1) of the measured steps, ascending [step].
        y: its loss there [step].
    """

    x: Floats
    y: Floats

    @property
    def losses(self) -> Floats:
        """The losses at which it was measured: each that is lower than all before."""
        found: Floats = self.y[np.diff(np.minimum.accumulate(self.y), prepend=np.inf) < 0]
        return found

    def positions(self, losses: Floats) -> Floats:
        """log2(step + 1) where each loss is first reached, linear between measured steps.

        NaN of a loss that is above the first or below every measured one [point].
        """
        lowest = np.minimum.accumulate(self.y)
        # The first step at or below each loss: the running minimum descends.
        after = np.searchsorted(-lowest, -losses)
        known = (after < len(self.y)) & (losses <= self.y[0])
        high = np.clip(after, 0, len(self.y) - 1)
        low = np.maximum(high - 1, 0)
        drop = self.y[low] - self.y[high]
        share = np.divide(self.y[low] - losses, drop, out=np.ones_like(drop), where=drop > 0)
        found: Floats = np.where(known, self.x[low] + share * (self.x[high] - self.x[low]), np.nan)
        return found


def descents(rows: pd.DataFrame, metric: str, label: str | None = None) -> dict[str, Descent]:
    """The loss of each model in these rows, by the model's name.

    Args:
        rows: rows of a run; the loss is that of the whole model over all tokens of text.
        metric: what the loss is called, such as `nll`.
        label: the label that it has; not needed where there is one.

    Raises:
        AnalysisError: a model has it under several labels.
    """
    require(rows, ["label", "experiment", "metric", "component", "position"])
    chosen = measured(of_everything(choose(on_text(rows), [metric]))).dropna(subset=["value"])
    if label is not None:
        chosen = chosen[chosen["label"] == label]
    found = {}
    for model, of_model in chosen.groupby("model", sort=False):
        labels = sorted(of_model["label"].unique())
        if len(labels) > 1:
            raise AnalysisError(
                f"by='loss': {model} has {metric} under the labels {', '.join(labels)}: choose"
                f" one with loss_label={labels[0]!r}"
            )
        ordered = of_model.sort_values("step")
        x = np.log2(ordered["step"].to_numpy(float) + 1)
        found[str(model)] = Descent(x, ordered["value"].to_numpy(float))
    return found
