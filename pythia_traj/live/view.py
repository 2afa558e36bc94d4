"""The rows of a choice, and the figures that they are drawn as."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import pandas as pd

from pythia_traj.analysis.comparison.banded import banded
from pythia_traj.analysis.heads import head_name
from pythia_traj.errors import AnalysisError, ConfigError
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import NothingToDraw
from pythia_traj.figures.metric import heads_as_lines
from pythia_traj.figures.own import own_charts
from pythia_traj.figures.training import with_training
from pythia_traj.live.choice import Choice, numbers_of
from pythia_traj.live.offered import Offered, offered, some
from pythia_traj.live.watched import MOST_ROWS, State
from pythia_traj.reports.drawings import Drawing, Panel, charts_of, drawing_of
from pythia_traj.schema import KEYS

T = TypeVar("T")

_MOST_FOLLOWED = 3
"""Maps of heads whose followed heads are drawn as lines."""

_KEPT = 512
"""Drawings and the like that are kept; of the frames of rows, so many as have MOST_ROWS."""


def rows_of(state: State, choice: Choice) -> pd.DataFrame:
    """The rows that a choice asks for, with or without controls, as `pythia_traj.load` gives them.

    Raises:
        ConfigError: its layers or heads are not numbers.
        AnalysisError: seeds are to be one band, and there is one model.
    """
    rows = some(state.rows(choice.experiment), choice.models, choice.labels)
    wanted = pd.Series(True, index=rows.index)
    if choice.metric:
        wanted &= rows["metric"].isin([choice.metric])
    if choice.variant:
        # What has no variant, such as a loss beside it, is not of another one.
        wanted &= rows["variant"].isin([choice.variant]) | rows["variant"].isna()
    if not choice.controls:
        wanted &= rows["control"].isna()
    for column, text in (("layer", choice.layers), ("head", choice.heads)):
        numbers = numbers_of(text, f"{column}s")
        if numbers is not None:
            wanted &= rows[column].isin(list(numbers)) | rows[column].isna()
    # A choice of all rows makes no copy of them.
    rows = rows if wanted.all() else rows[wanted]
    return banded(rows) if choice.several == "band" and len(rows) else rows


def charts_to_draw(rows: pd.DataFrame, choice: Choice) -> tuple[Chart, ...]:
    """The charts of a choice's rows: of one metric its own, else those of a report."""
    if rows.empty:
        return ()
    return own_charts(rows) if choice.metric else charts_of(choice.experiment, rows)


_Key = tuple[str, Choice]


@dataclass(frozen=True)
class Views:
    """Draws choices, and keeps what it drew until the rows change."""

    _kept: OrderedDict[_Key, tuple[object, object]] = field(default_factory=OrderedDict)
    _locks: WeakValueDictionary[_Key, threading.Lock] = field(default_factory=WeakValueDictionary)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def rows(self, state: State, choice: Choice) -> pd.DataFrame:
        """As `rows_of`."""
        return self.once("rows", state, choice, lambda: rows_of(state, choice))

    def charts(self, state: State, choice: Choice) -> tuple[Chart, ...]:
        """As `charts_to_draw`."""

        def make() -> tuple[Chart, ...]:
            return charts_to_draw(self.rows(state, choice), choice)

        return self.once("charts", state, choice, make)

    def offered(self, state: State, asked: Choice) -> Offered:
        """As `offered`."""
        found = self.once("offered", state, asked, lambda: offered(state, asked))
        return replace(found, choice=replace(found.choice, followed=asked.followed))

    def drawing(self, state: State, choice: Choice, place: int) -> Drawing | None:
        """One of the choice's charts; None where nothing is for it, or there are fewer charts."""
        charts = self.charts(state, choice)
        if place >= len(charts):
            return None

        def draw() -> Drawing | None:
            found = drawing_of(charts[place], self.rows(state, choice))
            return found and _dressed(found, state)

        return self.once(f"drawing {place}", state, choice, draw)

    def followed(self, state: State, choice: Choice) -> list[Drawing]:
        """The followed heads as lines over steps, for each of the choice's maps of heads."""
        if not choice.followed:
            return []
        places = range(len(self.charts(state, choice)))
        drawings = [self.drawing(state, choice, place) for place in places]
        maps = [one for one in drawings if one is not None and _keys_of_heads(one)][:_MOST_FOLLOWED]

        def draw() -> list[Drawing]:
            rows = self.rows(state, choice)
            return [_dressed(_followed(rows, one, choice.followed_heads), state) for one in maps]

        return self.once("followed", state, choice, draw)

    def once(self, what: str, state: State, choice: Choice, make: Callable[[], T]) -> T:
        """What is made of a choice, made once until the rows change.

        Args:
            what: a name for it; what depends on the followed heads is called `followed...`.
            state: what the runs hold.
            choice: of what it is made.
            make: makes it.
        """
        of = choice if what.startswith("followed") else replace(choice, followed=())
        key, at = (what, of), _version(what, state, choice)
        # Who asks for the same at once waits for it: the browser asks for all charts together.
        with self._making(key):
            with self._lock:
                if key in self._kept and self._kept[key][0] == at:
                    self._kept.move_to_end(key)
                    return self._kept[key][1]  # type: ignore[return-value]
            made = make()
            with self._lock:
                self._kept[key] = at, made
                self._kept.move_to_end(key)
                self._drop_oldest()
            return made

    def _making(self, key: _Key) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(key, threading.Lock())

    def _drop_oldest(self) -> None:
        sizes = {
            key: len(kept)
            for key, (_, kept) in self._kept.items()
            if isinstance(kept, pd.DataFrame)
        }
        while len(sizes) > 1 and sum(sizes.values()) > MOST_ROWS:
            oldest = next(iter(sizes))
            del sizes[oldest], self._kept[oldest]
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)


def _version(what: str, state: State, choice: Choice) -> object:
    """What changes whenever that changes which is made of a choice."""
    if what == "offered":
        # It tells of all experiments.
        return tuple(sorted(state.changed_at.items()))
    return state.changed_at.get(choice.experiment)


def _dressed(drawing: Drawing, state: State) -> Drawing:
    panels = [
        panel
        if panel.figure is None
        else replace(panel, figure=with_training(panel.figure, state.schedules))
        for panel in drawing.panels
    ]
    return replace(drawing, panels=tuple(panels))


def _keys_of_heads(drawing: Drawing) -> list[Mapping[str, Any]]:
    """What the rows of a drawing's maps of heads have in common, by map; empty for another one."""
    return [
        trace.meta["key"]
        for panel in drawing.panels
        if panel.figure is not None and "at" in (panel.figure.layout.meta or {})
        for trace in panel.figure.data
        if "key" in (trace.meta or {}) and "head" in trace.meta["rows"][0]
    ]


def _followed(rows: pd.DataFrame, drawing: Drawing, heads: Sequence[tuple[int, int]]) -> Drawing:
    """The trajectories that are rows of a drawing's maps, of some heads, as lines."""
    of_heads = rows[rows["head"].notna()]
    wanted = pd.Series(False, index=of_heads.index)
    for key in _keys_of_heads(drawing):
        wanted |= _has(of_heads, key)
    names = ", ".join(head_name(*head) for head in heads)
    caption = f"{names}, with 95 % intervals and controls where these are measured."
    try:
        panel = Panel("", heads_as_lines(of_heads[wanted], heads))
    except (NothingToDraw, ConfigError) as nothing:
        panel = Panel("", reason=str(nothing))
    return Drawing(f"Followed: {drawing.heading}", caption, (panel,))


def _has(rows: pd.DataFrame, key: Mapping[str, Any]) -> pd.Series:
    """Which rows have all that identifies the rows of a map, whatever their head and control."""
    found = pd.Series(True, index=rows.index)
    for name in KEYS:
        if name not in ("layer", "head", "control"):
            found &= rows[name].isin([key[name]]) if name in key else rows[name].isna()
    return found


def why_not(state: State, choice: Choice) -> str:
    """Why a choice has no rows; empty where it has some."""
    try:
        rows = rows_of(state, choice)
    except (ConfigError, AnalysisError) as error:
        return str(error)
    return "" if len(rows) else "no row has all of this: choose more models, layers or heads"
