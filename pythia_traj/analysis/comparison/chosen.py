"""Which metrics of some models are compared: by name, and by label."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from pythia_traj.analysis.comparison.sides import Side
from pythia_traj.errors import AnalysisError, nearest


@dataclass(frozen=True)
class Names:
    """What is asked for: metrics by their names, some with their label or experiment.

    Attributes:
        metrics: the names as they were given: `METRIC`, `LABEL.METRIC` or `EXPERIMENT.METRIC`; all
            metrics if empty.
    """

    metrics: tuple[str, ...]

    @property
    def bare(self) -> list[str]:
        """The metrics without label and experiment."""
        return list(dict.fromkeys(name.rpartition(".")[2] for name in self.metrics))

    def of(self, sides: Sequence[Side]) -> list[Side]:
        """The sides with the rows of these metrics alone.

        Args:
            sides: those whose rows are of the bare metrics.

        Raises:
            AnalysisError: no side has a metric under a label or experiment that a name has.
        """
        if not any("." in name for name in self.metrics):
            return list(sides)
        masks = [pd.Series(False, index=side.rows.index) for side in sides]
        for name in self.metrics:
            found = [_named(side.rows, name) for side in sides]
            if not any(mask.any() for mask in found):
                metric = name.rpartition(".")[2]
                known = {one for side in sides for one in _names(side.rows, metric)}
                raise AnalysisError(f"no run has {name!r}: {nearest(name, known)}")
            masks = [mask | more for mask, more in zip(masks, found, strict=True)]
        return [
            replace(side, rows=side.rows[mask].reset_index(drop=True))
            for side, mask in zip(sides, masks, strict=True)
        ]


def _named(rows: pd.DataFrame, name: str) -> pd.Series:
    """Whether each row is of a metric, and of the label or experiment that its name has."""
    where, _, metric = name.rpartition(".")
    found: pd.Series = rows["metric"] == metric
    return found & ((rows["label"] == where) | (rows["experiment"] == where)) if where else found


def _names(rows: pd.DataFrame, metric: str) -> set[str]:
    """The names of a metric with its labels and experiments."""
    some = rows[rows["metric"] == metric]
    return {f"{one}.{metric}" for one in {*some["label"], *some["experiment"]}}
