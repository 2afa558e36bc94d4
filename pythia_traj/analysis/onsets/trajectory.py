"""Which of a metric's trajectories an onset is sought of, and its items as curves.

A metric can have several: by variant, part, layer and head. One is taken: what the user names, then
of words the one for everything (null) or else the first that the experiment yields, and of layers
and heads the one with the greatest sure rise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pythia_traj.analysis.onsets.curves import Curves
from pythia_traj.analysis.onsets.evidence import ALPHA
from pythia_traj.analysis.onsets.grid import Grid
from pythia_traj.analysis.onsets.half import estimate
from pythia_traj.analysis.onsets.onset import Onset
from pythia_traj.errors import AnalysisError, nearest
from pythia_traj.outside import shown
from pythia_traj.schema import KEY_COLUMNS

Word = str | int | None
"""What stands in a key column: a word, a number, or null."""

Where = Mapping[str, Word]
"""Words and numbers in key columns."""

COLUMNS = tuple(column.name for column in KEY_COLUMNS if column.name != "metric")
"""The key columns in which trajectories of a metric differ."""

NUMBERS = tuple(column.name for column in KEY_COLUMNS if column.type.startswith("int"))
"""Those that hold numbers."""

_PLACES = ("layer", "head")
"""Those of which the one with the greatest rise is taken."""

_DRAWS = 20
"""Of the bootstrap where trajectories are compared: their heights and p need none."""


@dataclass(frozen=True)
class Trajectory:
    """One trajectory of a metric.

    Attributes:
        key: what stands in each of COLUMNS.
        among: how many layers and heads it was chosen from.
    """

    key: Where
    among: int = 1

    @property
    def in_words(self) -> str:
        """What distinguishes it: `two_halves, layer 3, head 5`."""
        named = [
            f"{name} {value}" if name in NUMBERS or name == "control" else str(value)
            for name, value in self.key.items()
            if value is not None and not (name == "component" and value == "head")
        ]
        return ", ".join(named)


def of_metric(items: pd.DataFrame, where: Where) -> pd.DataFrame:
    """The rows of the trajectories that a user's words leave.

    Args:
        items: rows of `tables/items` of one metric of one model and label.
        where: words and numbers in key columns; controls only where it names one.

    Raises:
        AnalysisError: no row has one of them; the message lists those that rows have.
    """
    for name, value in {"control": None, **where}.items():
        column = items[name]
        chosen = items[column.isna() if value is None else column == value]
        if chosen.empty:
            known = [_as_text(one) for one in column.unique()]
            raise AnalysisError(
                f"{name}={'null' if value is None else value}: no item has it: "
                f"{nearest(_as_text(value), known)}"
            )
        items = chosen
    return items


def choose_trajectory(items: pd.DataFrame, where: Where, falling: bool | None = None) -> Trajectory:
    """The trajectory that a search follows.

    Args:
        items: as for `of_metric`; rows at all steps that are measured so far.
        where: as for `of_metric`.
        falling: whether the metric falls as it is learnt; None finds out.

    Raises:
        AnalysisError: no row is what the user named.
    """
    left = of_metric(items, where)
    for name in COLUMNS:
        if name not in _PLACES:
            found = left[name].unique()
            word = None if pd.isna(found).any() else found[0]
            left = left[left[name].isna() if word is None else left[name] == word]
    groups = [rows for _, rows in left.groupby(list(_PLACES), dropna=False, observed=True)]
    trajectories = [Trajectory(_key_of(rows), len(groups)) for rows in groups]
    if len(groups) == 1:
        return trajectories[0]
    onsets = [estimate_of(_curves(rows), falling, draws=_DRAWS) for rows in groups]
    return trajectories[_greatest(onsets)]


def _greatest(onsets: Sequence[Onset]) -> int:
    """Which rises most, of those that are sure after a correction for their number; else of all."""
    heights = np.array([_height(onset) for onset in onsets])
    p = np.array([1.0 if onset.p is None else onset.p for onset in onsets])
    sure = p * len(p) <= ALPHA
    return int(np.where(sure | ~sure.any(), heights, -np.inf).argmax())


def _height(onset: Onset) -> float:
    if onset.base is None or onset.top is None:
        return -np.inf
    return abs(onset.top - onset.base)


def _key_of(rows: pd.DataFrame) -> dict[str, Word]:
    first = rows.iloc[0]
    return {name: _plain(first[name]) for name in COLUMNS}


def _plain(value: Any) -> Word:
    if pd.isna(value):
        return None
    return str(value) if isinstance(value, str) else int(value)


def _as_text(value: Any) -> str:
    return "null" if value is None or pd.isna(value) else str(value)


def curves_of(items: pd.DataFrame, key: Where) -> Curves:
    """The items of one trajectory at all steps that the rows have.

    Items that miss a step, or are not finite there, are left out.

    Raises:
        AnalysisError: no item is there at all steps.
    """
    return _curves(rows_of(items, key))


def rows_of(items: pd.DataFrame, key: Where) -> pd.DataFrame:
    """The rows of one trajectory that have a value."""
    items = items[items["value"].notna()]
    for name, value in key.items():
        items = items[items[name].isna() if value is None else items[name] == value]
    return items


def _curves(rows: pd.DataFrame) -> Curves:
    values = rows.pivot_table(index="item", columns="step", values="value", aggfunc="first")
    counts = rows.groupby("item")["n"].first().to_numpy(float)
    steps = tuple(int(step) for step in sorted(rows["step"].unique()))
    array = values.reindex(columns=list(steps)).to_numpy(float)
    whole = np.isfinite(array).all(axis=1)
    if not whole.any():
        raise AnalysisError(f"no item has a value at all of the steps {shown(list(steps))}")
    counts = counts[whole]
    return Curves(Grid(steps), array[whole][None] * counts[:, None], counts)


def estimate_of(curves: Curves, falling: bool | None = None, *, draws: int = 1000) -> Onset:
    """The onset of one trajectory; in the direction in which it moves more, if not given."""
    if falling is not None:
        return estimate(curves, falling=falling, draws=draws)[0]
    ways = [estimate(curves, falling=way, draws=draws)[0] for way in (False, True)]
    return min(ways, key=lambda onset: (onset.p is None or onset.p > ALPHA, -_height(onset)))
