"""Values of several models at the same step, number of tokens or loss."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd

from pythia_traj.analysis.comparison.loss import Descent, descents
from pythia_traj.analysis.matrix import Floats, Matrix, matrices
from pythia_traj.errors import AnalysisError, nearest

By = Literal["step", "tokens", "loss"]

_SAME = 1e-9
"""Octaves within which a point is a measured step."""


def align(
    rows: pd.DataFrame,
    by: By = "step",
    points: Sequence[float] | None = None,
    loss: str = "nll",
    loss_label: str | None = None,
) -> pd.DataFrame:
    """Values of all models at the same points: steps, numbers of tokens, or losses.

    Between two measured steps a value is linear in log2(step + 1), and so is its standard error,
    which that bounds from above. Nothing is extrapolated. A model is at a loss where its curve,
    linear likewise, first comes down to it: at the running minimum of its losses.

    Args:
        rows: rows of one or several models, as `pythia_traj.load` gives them.
        by: what is equal at a point.
        points: the points. If not given: of steps, those that all models of a label have; of tokens
            and losses, those of all models that are within the range of each.
        loss: by="loss": the metric of the whole model on text that is the loss. Its rows are among
            `rows`.
        loss_label: the label of the loss, where several have it.

    Returns:
        a row for each trajectory and point: the columns that identify the trajectory; `at`, the
        point; `step`, where it lies in that model's training, between steps where `interpolated`;
        value, stderr, n and clusters; the reason where the value is missing.

    Raises:
        AnalysisError: the models have no point in common, a model's tokens or loss is not known,
            or a trajectory has two values at a step.
    """
    return at_equal(rows, by, points, losses_of(rows, by, loss, loss_label))


def losses_of(rows: pd.DataFrame, by: By, loss: str, loss_label: str | None) -> dict[str, Descent]:
    """The loss of each model by its name, where values are aligned by it.

    Raises:
        AnalysisError: a label of the loss is given, and values are aligned by something else; or a
            model has its loss under several labels.
    """
    if by == "loss":
        return descents(rows, loss, loss_label)
    if loss_label is not None:
        raise AnalysisError(
            f"loss_label={loss_label!r} with by={by!r}: only by='loss' uses a loss; leave it out"
        )
    return {}


def at_equal(
    rows: pd.DataFrame, by: By, points: Sequence[float] | None, known: Mapping[str, Descent]
) -> pd.DataFrame:
    """As `align`, with the loss of each model by its name.

    Raises:
        AnalysisError: as `align`.
    """
    if by not in get_args(By):
        raise AnalysisError(
            f"by={by!r}: align by step, tokens or loss; {nearest(str(by), get_args(By))}"
        )
    units = list(matrices(rows))
    if not units:
        raise AnalysisError("there are no rows to align: choose some that a run has")
    parts = []
    for label in dict.fromkeys(map(_label, units)):
        of_label = [unit for unit in units if _label(unit) == label]
        axes = [_Axis.of(unit, by, known) for unit in of_label]
        at = _common(axes, by) if points is None else np.unique(np.asarray(points, dtype=float))
        parts += [_at_points(unit, axis, at) for unit, axis in zip(of_label, axes, strict=True)]
    found = pd.concat(parts, ignore_index=True)
    if found.empty:
        raise AnalysisError(_nothing(units, by))
    return found.astype({"n": "Int64", "clusters": "Int64"})


class _Axis:
    """Where in a model's training a point lies.

    Attributes:
        by: what is equal at a point.
        marks: the point of each measured step, ascending; those of losses are descending.
    """

    def __init__(self, by: By, steps: Floats, marks: Floats, descent: Descent | None) -> None:
        self.by, self.marks = by, marks
        self._steps, self._descent = steps, descent

    @staticmethod
    def of(unit: Matrix, by: By, known: Mapping[str, Descent]) -> "_Axis":
        """That of a model and label.

        Raises:
            AnalysisError: its tokens or its loss are not known.
        """
        model, steps = str(unit.keys["model"].iloc[0]), unit.steps.astype(float)
        if by == "step":
            return _Axis(by, steps, steps, None)
        if by == "tokens":
            if np.isnan(unit.tokens).any():
                raise AnalysisError(
                    f"by='tokens': the rows of {model} do not say how many tokens were seen: align"
                    " by step or loss"
                )
            return _Axis(by, steps, unit.tokens, None)
        descent = known.get(model)
        if descent is None:
            raise AnalysisError(
                f"by='loss': these rows have no loss of {model} on text: give them with those to be"
                " aligned, or name another metric with loss="
            )
        return _Axis(by, steps, descent.losses, descent)

    def positions(self, points: Floats) -> Floats:
        """log2(step + 1) of each point; NaN where the model was not measured [point]."""
        if self._descent is not None:
            return self._descent.positions(points)
        inside = (points >= self.marks.min()) & (points <= self.marks.max())
        steps = np.interp(points, self.marks, self._steps)
        found: Floats = np.where(inside, np.log2(steps + 1), np.nan)
        return found

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest point."""
        return float(self.marks.min()), float(self.marks.max())


def _common(axes: list[_Axis], by: By) -> Floats:
    """The points at which all models can be read."""
    if by == "step":
        shared = set(axes[0].marks).intersection(*(axis.marks for axis in axes))
        return np.array(sorted(shared), dtype=float)
    low, high = (max(axis.ends[0] for axis in axes), min(axis.ends[1] for axis in axes))
    every = np.unique(np.concatenate([axis.marks for axis in axes]))
    found: Floats = every[(every >= low) & (every <= high)]
    # As training goes: losses from the highest on.
    return found[::-1] if by == "loss" else found


def _at_points(unit: Matrix, axis: _Axis, points: Floats) -> pd.DataFrame:
    """The values of a unit's trajectories at the points."""
    x, wanted = np.log2(unit.steps + 1.0), axis.positions(points)
    inside = (wanted >= x[0] - _SAME) & (wanted <= x[-1] + _SAME)
    clipped = np.clip(np.where(inside, wanted, x[0]), x[0], x[-1])
    high = np.clip(np.searchsorted(x, clipped - _SAME), 0, len(x) - 1)
    low = np.where(np.abs(x[high] - clipped) <= _SAME, high, np.maximum(high - 1, 0))
    gap = np.where(high > low, x[high] - x[low], 1.0)
    share = np.where(high > low, (clipped - x[low]) / gap, 0.0)

    def between(column: str) -> Floats:
        numbers = unit.of(column)
        found = numbers[:, low] + share * (numbers[:, high] - numbers[:, low])
        return np.where(inside, found, np.nan)

    def fewer(column: str) -> Floats:
        numbers = unit.of(column)
        return np.where(inside, np.minimum(numbers[:, low], numbers[:, high]), np.nan)

    value, n_points = between("value"), len(points)
    repeated = unit.keys.loc[unit.keys.index.repeat(n_points)].reset_index(drop=True)
    steps = np.where(inside, 2**clipped - 1, np.nan)
    measured = np.where(inside & (low == high), unit.steps[low], steps)
    return repeated.assign(
        at=np.tile(points, len(unit.keys)),
        step=np.tile(measured, len(unit.keys)),
        interpolated=np.tile(inside & (low != high), len(unit.keys)),
        value=value.ravel(),
        stderr=between("stderr").ravel(),
        n=fewer("n").ravel(),
        clusters=fewer("clusters").ravel(),
        reason=_reasons(unit, axis, np.isnan(value), inside, (low, high)).ravel(),
    )


def _reasons(
    unit: Matrix,
    axis: _Axis,
    missing: np.ndarray,
    inside: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Why each missing value is missing, None of the others [trajectory, point]."""
    found = np.full(missing.shape, None, dtype=object)
    first, last = axis.ends
    found[:, ~inside] = f"not extrapolated: measured at a {axis.by} from {first:g} to {last:g}"
    for trajectory, point in zip(*np.nonzero(missing & inside), strict=True):
        at = [unit.place[trajectory, end[point]] for end in ends]
        own = [_own(unit, row) for row in at]
        found[trajectory, point] = next(
            (reason for reason in own if reason), "no value at the measured steps beside it"
        )
    return found


def _own(unit: Matrix, row: int) -> str | None:
    """The reason that a row has for its missing value."""
    if row < 0 or "reason" not in unit.rows:
        return None
    return None if pd.notna(unit.rows["value"].iloc[row]) else unit.rows["reason"].iloc[row]


def _label(unit: Matrix) -> str:
    return str(unit.keys["label"].iloc[0]) if "label" in unit.keys else ""


def _nothing(units: list[Matrix], by: By) -> str:
    ranges = []
    for unit in units[:2]:
        model = unit.keys["model"].iloc[0]
        steps = f"{len(unit.steps)} steps from {unit.steps[0]} to {unit.steps[-1]}"
        ranges.append(f"{model} has {steps if len(unit.steps) > 1 else f'step {unit.steps[0]}'}")
    if by == "step":
        return (
            f"these models have no step in common ({'; '.join(ranges)}): give points=, at which"
            " values are interpolated, or align by tokens or loss"
        )
    return f"these models have no {by} in common: nothing is extrapolated ({'; '.join(ranges)})"
