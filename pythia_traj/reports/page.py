"""The contents of the page's template: drawings by model, numbers as they are written."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pandas as pd

from pythia_traj.analysis.tables import key_numbers
from pythia_traj.figures.charts import charts
from pythia_traj.figures.drawable import NothingToDraw


@dataclass(frozen=True)
class Drawing:
    """A chart of one model's rows: its figure, or the reason for its absence.

    Attributes:
        heading, caption: the texts above it.
        key: the id of the element that holds the figure.
        figure: its JSON, without any "<"; empty if nothing can be drawn.
        height: of the figure in pixels.
        reason: why nothing is drawn.
    """

    heading: str
    caption: str
    key: str = ""
    figure: str = ""
    height: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Section:
    """A model and its drawings; none if nothing in its rows can be drawn."""

    model: str
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class Cell:
    """A number as it is written: the value, its standard error, the step and the head."""

    value: str
    error: str
    where: str


@dataclass(frozen=True)
class NumbersLine:
    """The key numbers of one metric; None for a missing number."""

    what: str
    label: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class NumbersOfModel:
    """The key numbers of one model."""

    model: str
    lines: tuple[NumbersLine, ...]


def sections_of(rows: pd.DataFrame) -> list[Section]:
    """The models of some rows in their order, with what is drawn of each."""
    models = [] if rows.empty else [str(model) for model in rows["model"].dropna().unique()]
    keys = (f"figure-{i}" for i in count())
    return [
        Section(model, tuple(_drawings(rows[rows["model"].isin([model])], keys)))
        for model in models
    ]


def _drawings(rows: pd.DataFrame, keys: Iterator[str]) -> Iterator[Drawing]:
    """The charts of one model's rows, without charts that have no rows."""
    for chart in charts():
        for label, of_label in _labels(rows) if chart.per_label else [("", rows)]:
            heading = f"{chart.heading} ({label})" if label else chart.heading
            try:
                figure = chart.draw(of_label)
            except NothingToDraw as nothing:
                if nothing.reasons:
                    yield Drawing(heading, chart.caption, reason=str(nothing))
                continue
            # The only character with which JSON could end its HTML element.
            data = figure.to_json().replace("<", "\\u003c")
            yield Drawing(heading, chart.caption, next(keys), data, figure.layout.height)


def _labels(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for label in rows["label"].dropna().unique():
        yield str(label), rows[rows["label"].isin([label])]


def numbers_of(rows: pd.DataFrame) -> list[NumbersOfModel]:
    """The key numbers of some rows as they are written, by model and metric."""
    return [
        NumbersOfModel(
            str(model),
            tuple(
                NumbersLine(str(what), str(label), tuple(map(_cell, at.itertuples())))
                for (label, what), at in of_model.groupby(["label", "what"], sort=False)
            ),
        )
        for model, of_model in key_numbers(rows).groupby("model", sort=False)
    ]


def _cell(number: Any) -> Cell | None:
    if pd.isna(number.value):
        return None
    # Two digits of the error, and as many places of the value.
    exact = pd.isna(number.stderr) or number.stderr <= 0
    places = 4 if exact else min(max(1 - math.floor(math.log10(number.stderr)), 0), 8)
    return Cell(
        value=f"{number.value:z.{places}f}".replace("-", "−"),
        error="" if pd.isna(number.stderr) else f" ±\u00a0{number.stderr:.{places}f}",
        where=f"step\u00a0{number.step}" + (f" · {number.note}" if number.note else ""),
    )
