"""Rows as matrices: the trajectories of a model and label, which have the same steps.

What compares or smooths trajectories works on whole matrices [trajectory, step], as a run has
thousands of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pythia_traj import schema
from pythia_traj.errors import AnalysisError
from pythia_traj.schema import KEYS

UNIT = schema.PARTITIONS
"""The columns that tell models and labels apart; `KEYS` also has those of metrics."""

Steps = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Matrix:
    """The trajectories of one model and label.

    Attributes:
        keys: a row a trajectory, the columns that identify it.
        steps: the measured steps, ascending [step].
        rows: the rows that they are made of.
        place: where in `rows` the value of each is, -1 where there is none [trajectory, step].
    """

    keys: pd.DataFrame
    steps: Steps
    rows: pd.DataFrame
    place: Steps

    def of(self, column: str) -> Floats:
        """A column of numbers, NaN where it has none [trajectory, step]."""
        if column not in self.rows:
            return np.full(self.place.shape, np.nan)
        numbers = self.rows[column].astype("Float64").to_numpy(float, na_value=np.nan)
        return np.where(self.place < 0, np.nan, numbers[self.place])

    @cached_property
    def values(self) -> Floats:
        """The values [trajectory, step]."""
        return self.of("value")

    @cached_property
    def tokens(self) -> Floats:
        """The tokens seen up to each step, NaN where the rows do not say [step]."""
        tokens = self.of("tokens")
        of_any: Floats = np.where(np.isnan(tokens).all(0), np.nan, np.fmax.reduce(tokens, axis=0))
        return of_any


def matrices(rows: pd.DataFrame) -> Iterator[Matrix]:
    """The trajectories of each model and label, in the order of the rows.

    Args:
        rows: rows as `pythia_traj.load` gives them, of the metrics or of the table `items`.

    Raises:
        AnalysisError: a column is missing, or a trajectory has two values at one step.
    """
    require(rows, ["model", "step", "value"])
    named = plain(rows)
    keys = identity(named)
    units = [name for name in UNIT if name in named]
    for _, unit in named.groupby(units, sort=False):
        of_trajectory = number(unit, keys)
        at_rows = unit["step"].to_numpy(np.int64)
        steps = np.unique(at_rows).astype(np.int64)
        first = ~pd.Series(of_trajectory).duplicated().to_numpy()
        place = np.full((int(first.sum()), len(steps)), -1, dtype=np.int64)
        place[of_trajectory, np.searchsorted(steps, at_rows)] = np.arange(len(unit))
        found = unit.reset_index(drop=True)
        if (place >= 0).sum() < len(unit):
            _refuse_twice(found, keys)
        yield Matrix(found.loc[first, keys].reset_index(drop=True), steps, found, place)


def identity(rows: pd.DataFrame) -> list[str]:
    """The columns that identify the trajectories of these rows."""
    return [name for name in (*KEYS, "item") if name in rows]


def number(rows: pd.DataFrame, keys: Sequence[str]) -> Steps:
    """The number of each row's group, from 0 in the order in which the groups appear."""
    return np.asarray(rows.groupby(list(keys), dropna=False, sort=False).ngroup(), dtype=np.int64)


def plain(rows: pd.DataFrame) -> pd.DataFrame:
    """The same rows with words as objects and None for absent ones: frames of runs can be joined.

    Categories of two runs differ, and pandas does not join those.
    """
    words = [
        name
        for name in (*KEYS, "reason")
        if name in rows and not pd.api.types.is_numeric_dtype(rows[name])
    ]
    texts = {name: rows[name].astype(object).where(rows[name].notna(), None) for name in words}
    return rows.assign(**texts)


def typed_like(found: pd.DataFrame, rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """A table whose key columns have the types of those of some rows.

    pandas makes numbers of words that are all absent, and does not join them with words again.
    """
    return found.assign(
        **{
            name: found[name].astype(object).where(found[name].notna(), None)
            if rows[name].dtype == object
            else found[name].astype(rows[name].dtype)
            for name in keys
        }
    )


def require(rows: pd.DataFrame, columns: Sequence[str], given_by: str = "pythia_traj.load") -> None:
    """Refuses rows that lack a column.

    Args:
        rows: some rows.
        columns: those that are needed.
        given_by: the function that gives such rows, for the message.

    Raises:
        AnalysisError: they do.
    """
    missing = [name for name in columns if name not in rows]
    if missing:
        raise AnalysisError(
            f"these rows have no column {', '.join(missing)}: give rows as {given_by} gives them"
        )


def _refuse_twice(unit: pd.DataFrame, keys: Sequence[str]) -> None:
    twice = unit[unit.duplicated([*keys, "step"])].iloc[0]
    said = ", ".join(f"{name} {twice[name]}" for name in keys if not pd.isna(twice[name]))
    raise AnalysisError(
        f"two values at step {twice['step']} of {said}: give rows of one run, or name the models"
        " of several runs differently"
    )
