"""Which of a metric's trajectories an onset is sought of, and when it takes off.

A metric can have several: by variant, part, layer and head. One is taken: what the user names, then
of words the one for everything (null) or else the first that the experiment yields, and of layers
and heads the one with the greatest sure rise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from pythia_traj.analysis.onsets.crossing import Level
from pythia_traj.analysis.onsets.directions import falls
from pythia_traj.analysis.onsets.evidence import ALPHA
from pythia_traj.analysis.onsets.half import estimate
from pythia_traj.analysis.onsets.onset import Onset
from pythia_traj.analysis.onsets.tables import Trajectories, trajectories_of
from pythia_traj.errors import AnalysisError, nearest
from pythia_traj.schema import KEY_COLUMNS, KEYS

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
            f"{name} {value}" if name in (*NUMBERS, "control") else str(value)
            for name, value in self.key.items()
            if value is not None and (name, value) != ("component", "head")
        ]
        return ", ".join(named)


@dataclass(frozen=True)
class Dated:
    """The onset of one trajectory.

    Attributes:
        onset: by half of its height.
        left_out: how many items are missing at some step, and so left out.
    """

    onset: Onset
    left_out: int


def of_metric(items: pd.DataFrame, where: Where) -> pd.DataFrame:
    """The rows of the trajectories that a user's words leave.

    Args:
        items: rows of `tables/items` of one metric of one model and label.
        where: words and numbers in key columns; controls only where it names one.

    Raises:
        AnalysisError: no row has one of them; the message lists those that rows have.
    """
    for name, value in {"control": None, **where}.items():
        chosen = _with(items, name, value)
        if chosen.empty:
            known = [_as_text(one) for one in items[name].unique()]
            raise AnalysisError(
                f"{name}={_as_text(value)}: no item has it: {nearest(_as_text(value), known)}"
            )
        items = chosen
    return items


def choose_trajectory(items: pd.DataFrame, where: Where) -> Trajectory:
    """The trajectory that a search follows.

    Args:
        items: as for `of_metric`; rows at all steps that are compared.
        where: as for `of_metric`.

    Raises:
        AnalysisError: no row is what the user named.
    """
    left = of_metric(items, where)
    for name in COLUMNS:
        if name not in _PLACES:
            found = left[name].unique()
            left = _with(left, name, None if pd.isna(found).any() else found[0])
    trajectories = _trajectories(left)
    among, dated = len(trajectories.keys), _dated(trajectories, draws=_DRAWS)
    key = trajectories.keys.iloc[_greatest([one.onset for one in dated]) if among > 1 else 0]
    return Trajectory({name: _plain(key[name]) for name in COLUMNS}, among)


def rows_of(items: pd.DataFrame, key: Where) -> pd.DataFrame:
    """The rows of one trajectory that have a value."""
    items = items[items["value"].notna()]
    for name, value in key.items():
        items = _with(items, name, value)
    return items


def date(items: pd.DataFrame) -> Dated:
    """The onset of one trajectory, as `pythia_traj.onset` gives it.

    Args:
        items: its rows at all measured steps, as `rows_of` gives them.

    Raises:
        AnalysisError: no item has a value at all of these steps.
    """
    (found,) = _dated(_trajectories(items))
    if "no_items" in found.onset.flags:
        raise AnalysisError(f"no item has a value at all {found.onset.steps} measured steps")
    return found


def _with(rows: pd.DataFrame, name: str, value: Word) -> pd.DataFrame:
    return rows[rows[name].isna() if value is None else rows[name] == value]


def _trajectories(items: pd.DataFrame) -> Trajectories:
    keys = [name for name in KEYS if name in items.columns]
    rows = items.drop(columns=["item", "n"]).drop_duplicates([*keys, "step"])
    return trajectories_of(rows, items)


def _dated(found: Trajectories, *, draws: int = 1000) -> list[Dated]:
    """The onset of each trajectory of one metric, in the order of their keys."""
    dated: dict[int, Dated] = {}
    for group in found.groups:
        metric = str(found.keys["metric"].iloc[group.numbers[0]])
        down, alpha = falls("auto", metric, group.curves, Level())
        ways = {
            way: estimate(group.curves, falling=way, draws=draws, alpha=alpha)
            for way in map(bool, np.unique(down))
        }
        for j, number in enumerate(group.numbers):
            onset = ways[bool(down[j])][j]
            dated[int(number)] = Dated(onset, int(group.left_out[j]))
    return [dated[number] for number in sorted(dated)]


def _greatest(onsets: list[Onset]) -> int:
    """Which rises most, of those that surely do among so many; of all where none surely does."""
    heights = np.array(
        [
            -np.inf if one.top is None or one.base is None else abs(one.top - one.base)
            for one in onsets
        ]
    )
    p = np.array([1.0 if one.p is None else one.p for one in onsets])
    sure = false_discovery_control(p) <= ALPHA
    return int(np.where(sure | ~sure.any(), heights, -np.inf).argmax())


def _plain(value: Any) -> Word:
    if pd.isna(value):
        return None
    return str(value) if isinstance(value, str) else int(value)


def _as_text(value: Any) -> str:
    return "null" if value is None or pd.isna(value) else str(value)
