"""Statistics of learning curves: when something is learnt, how much is forgotten, how stable it is.

They are those of Chang and Bergen (2024, doi:10.1162/tacl_a_00708; published code in
tylerachang/lm-learning-curves), for anything that falls as it is learnt: the loss, or the surprisal
of one token in its context. The curve is smoothed here by the kernel of `smoothing`, there by a
generalised additive model. Step 0 is left out, as the axis is log10 of the step.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from pythia_traj.analysis.comparison.by_index import refuse_heads
from pythia_traj.analysis.matrix import (
    Floats,
    Matrix,
    identity,
    matrices,
    number,
    plain,
    require,
    typed_like,
)
from pythia_traj.analysis.smoothing import check_width, smoothed
from pythia_traj.errors import AnalysisError, nearest

LATE = 0.75
"""Final values are means over the measured steps from this share of the last step on.

The source takes its last 11 checkpoints, which on steps that are even in log step would be most of
the training.
"""

Chance = float | Mapping[str, float] | None


def learning_curves(
    rows: pd.DataFrame, chance: Chance = None, octaves: float = 0.5
) -> pd.DataFrame:
    """The age of acquisition of each trajectory, what was forgotten again, and its final value.

    Args:
        rows: rows of a metric that falls as it is learnt, as `pythia_traj.load` gives them; rows of
            `table="items"` give each item its own statistics.
        chance: the metric's value before anything is learnt, for a surprisal the logarithm of the
            vocabulary's size; one number, or one for each model by its name. If not given, the
            rows' own control `chance`.
        octaves: the half-width of the smoothing.

    Returns:
        a row a trajectory, with the columns that identify it and:

        - `chance`; `minimum`, the smallest smoothed value; `level`, halfway between the two;
        - `age`, the log10 of the first step at which the smoothed curve is at the level or below,
          linear between measured steps, and `age_step`, that step. At the first measured step it
          means "by then". Null, with a `reason`, where the curve is never below chance;
        - `forgotten`, the sum of the smoothed curve's increases;
        - `final` and `final_sd`, the mean and the standard deviation between steps of the values
          themselves from three quarters of the last step on (`n_final` steps);
        - `n_steps`, the steps with a value.

    Raises:
        AnalysisError: no chance is given or in the rows, or a trajectory has two values at a step.
    """
    check_width(octaves)
    of_chance = _chances(rows) if chance is None else None
    measured = rows[rows["control"].isna()] if "control" in rows else rows
    found = [
        unit.keys.join(_statistics(unit, _of_unit(unit, chance, of_chance), octaves))
        for unit in map(_from_step_1, matrices(measured))
        if unit is not None
    ]
    if not found:
        raise AnalysisError("these rows have no measurement after step 0: learning curves need it")
    return pd.concat(found, ignore_index=True)


def stability(rows: pd.DataFrame, octaves: float = 0.5) -> pd.DataFrame:
    """How much the learning curves of several seeds of one model differ.

    Args:
        rows: rows of the same metric of two or more models, each of them a seed.
        octaves: the half-width of the smoothing.

    Returns:
        a row for each label and metric, with the columns that identify it and:

        - `final_sd`: the standard deviation between seeds of the final value (see
          `learning_curves`);
        - `between_seeds`: the mean over pairs of seeds of the mean squared difference of their
          smoothed curves at the steps that all have, which the source calls cross-run variability;
        - `seeds`, `n_steps`: how many were compared.

    Raises:
        AnalysisError: the values are those of single heads, which no two seeds share.
    """
    check_width(octaves)
    refuse_heads(rows, "learning curves of seeds")
    measured = plain(rows[rows["control"].isna()] if "control" in rows else rows)
    of_all = [unit for unit in map(_from_step_1, matrices(measured)) if unit is not None]
    # Smoothed from all of a seed's steps, compared at those that every seed has.
    tall = [_tall(unit, smoothed(unit, octaves)) for unit in of_all]
    if not tall:
        raise AnalysisError("these rows have no measurement after step 0: stability needs it")
    together = pd.concat(tall, ignore_index=True)
    keys = [name for name in identity(together) if name != "model"]
    groups = number(together, keys)
    found = [{**_named(group, keys), **_spread(group)} for _, group in together.groupby(groups)]
    return typed_like(pd.DataFrame(found), together, keys)


def _from_step_1(unit: Matrix) -> Matrix | None:
    late = unit.steps > 0
    if not late.any():
        return None
    return Matrix(unit.keys, unit.steps[late], unit.rows, unit.place[:, late])


def _statistics(unit: Matrix, chance: Floats, octaves: float) -> pd.DataFrame:
    """A row a trajectory, a column a statistic."""
    curve = smoothed(unit, octaves)
    known = ~np.isnan(curve)
    minimum = np.fmin.reduce(curve, axis=1)
    level = (chance + minimum) / 2
    age = _first_below(np.log10(unit.steps), curve, level)
    # At a minimum of chance the level is chance, and reaching it means nothing.
    learnt = known.any(1) & (minimum < chance)
    age = np.where(learnt, age, np.nan)
    final = unit.values[:, unit.steps >= LATE * unit.steps[-1]]
    found = pd.DataFrame(
        {
            "chance": chance,
            "minimum": minimum,
            "level": level,
            "age": age,
            "age_step": 10**age,
            "forgotten": np.where(known.any(1), _increases(curve), np.nan),
            "final": _mean(final),
            "final_sd": _sd(final),
            "n_final": (~np.isnan(final)).sum(1),
            "n_steps": known.sum(1),
        }
    )
    reason = pd.Series(None, index=found.index, dtype=object)
    reason = reason.mask(~pd.Series(learnt), "never below chance")
    reason = reason.mask(found["chance"].isna(), "no value for chance")
    return found.assign(reason=reason.mask(found["n_steps"] == 0, "no value at any step"))


def _first_below(x: Floats, curve: Floats, level: Floats) -> Floats:
    """Where each curve is first at its level or below, linear between steps that have a value."""
    found = np.full(len(curve), np.nan)
    for i, (y, c) in enumerate(zip(curve, level, strict=True)):
        known = np.flatnonzero(~np.isnan(y))
        below = np.flatnonzero(y[known] <= c)
        if not len(below):
            continue
        after = known[below[0]]
        if below[0] == 0:
            found[i] = x[after]
            continue
        before = known[below[0] - 1]
        share = (y[before] - c) / (y[before] - y[after])
        found[i] = x[before] + share * (x[after] - x[before])
    return found


def _increases(curve: Floats) -> Floats:
    """The sum of each curve's increases between the steps that have a value."""
    # A gap takes the value before it, so that the next step is compared with that.
    last = np.where(np.isnan(curve), -1, np.arange(curve.shape[1]))
    last = np.maximum.accumulate(last, axis=1)
    filled = np.where(last < 0, np.nan, np.take_along_axis(curve, np.maximum(last, 0), axis=1))
    found: Floats = np.nansum(np.maximum(np.diff(filled, axis=1), 0), axis=1)
    return found


def _chances(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the control `chance`."""
    require(rows, ["control"])
    found = plain(rows[rows["control"] == "chance"])
    if found.empty:
        raise AnalysisError(
            "these rows have no control called chance: give chance=, for a surprisal"
            " math.log(d_vocab) of the table models, or load them with controls=True"
        )
    return found


def _of_unit(unit: Matrix, chance: Chance, of_chance: pd.DataFrame | None) -> Floats:
    """The chance of each trajectory of a unit."""
    if of_chance is not None:
        # The control's mean over steps: it is drawn from the items, and does not learn.
        keys = [name for name in identity(of_chance) if name != "control"]
        means = of_chance.groupby(keys, dropna=False, sort=False)["value"].mean().reset_index()
        joined = unit.keys.merge(typed_like(means, unit.keys, keys), on=keys, how="left")
        found: Floats = joined["value"].to_numpy(float)
        return found
    if isinstance(chance, Mapping):
        name = unit.keys["model"].iloc[0]
        if name not in chance:
            raise AnalysisError(
                f"chance= has no model {name!r}: give a number for each model of the rows;"
                f" {nearest(str(name), map(str, chance))}"
            )
        chance = chance[name]
    return np.full(len(unit.keys), float(chance if chance is not None else np.nan))


def _tall(unit: Matrix, curve: Floats) -> pd.DataFrame:
    """A row for each trajectory and step: its smoothed value, and its final value."""
    final = _mean(unit.values[:, unit.steps >= LATE * unit.steps[-1]])
    repeated = unit.keys.loc[unit.keys.index.repeat(len(unit.steps))].reset_index(drop=True)
    return repeated.assign(
        step=np.tile(unit.steps, len(curve)),
        smooth=curve.ravel(),
        final=np.repeat(final, len(unit.steps)),
    )


def _named(group: pd.DataFrame, keys: list[str]) -> dict[str, object]:
    return {str(name): value for name, value in group[keys].iloc[0].items()}


def _spread(group: pd.DataFrame) -> dict[str, object]:
    """The spread between the seeds of one metric."""
    curve = group.pivot(index="model", columns="step", values="smooth").dropna(axis=1)
    seeds, pairs = len(curve), list(combinations(curve.to_numpy(float), 2))
    distances = [float(((a - b) ** 2).mean()) for a, b in pairs if curve.shape[1]]
    final = group.groupby("model")["final"].first()
    return {
        "final_sd": float(final.std(ddof=1)) if seeds > 1 else np.nan,
        "between_seeds": float(np.mean(distances)) if distances else np.nan,
        "seeds": seeds,
        "n_steps": curve.shape[1],
        "reason": None
        if distances
        else ("one seed alone" if seeds < 2 else "no step that all seeds have"),
    }


def _mean(values: Floats) -> Floats:
    known = ~np.isnan(values)
    count = known.sum(1)
    total = np.where(known, values, 0.0).sum(1)
    found: Floats = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
    return found


def _sd(values: Floats) -> Floats:
    """The standard deviation as the source has it, over all of the steps (ddof 0)."""
    found: Floats = np.sqrt(_mean((values - _mean(values)[:, None]) ** 2))
    return found
